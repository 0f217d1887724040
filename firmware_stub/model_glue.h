/* The model as the stub sees it. Only model_glue.c knows its headers, so that all else is built once for many models.
 */
#ifndef MODEL_GLUE_H
#define MODEL_GLUE_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc_messages.h"

extern uint8_t harness_arena[];
extern const uint32_t harness_arena_bytes;
extern const uint32_t harness_layer_count;

/* The layer that is running, LAYERPROOF_RECORD_NO_LAYER outside. Read by the fault path and by debuggers. */
extern volatile uint32_t harness_current_layer;

/* Fills the arena with a pattern: a layer that reads what nothing wrote computes the same nonsense each time. */
void model_start(void);

/* Whether `length` bytes at `offset` lie in the arena. */
bool model_in_arena(uint32_t offset, uint32_t length);

/* Runs one layer; what came of it is kept until the layer runs again. */
void model_run_layer(uint32_t index);
const struct rpc_layer_done *model_layer_result(uint32_t index);

/* Runs the whole model, as an application would. */
struct rpc_run_done model_run_whole(void);

#endif
