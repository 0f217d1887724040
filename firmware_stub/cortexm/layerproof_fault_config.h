/* The settings of the fault module in the harness's own firmware. */
#ifndef LAYERPROOF_FAULT_CONFIG_H
#define LAYERPROOF_FAULT_CONFIG_H

#include "board.h"

#define LAYERPROOF_FAULT_STACK_BYTES  FAULT_STACK_BYTES
#define LAYERPROOF_FAULT_MEMORY_BYTES RECORD_MEMORY_BYTES
#define LAYERPROOF_FAULT_STACK_TOP    harness_stack_top
#define LAYERPROOF_FAULT_STACK_BOTTOM harness_stack_bottom
#define LAYERPROOF_FAULT_BUILD_ID     harness_build_id_note
#define LAYERPROOF_FAULT_LAYER        harness_current_layer
#define LAYERPROOF_FAULT_NO_HANDLERS

#endif
