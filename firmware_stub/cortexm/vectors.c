#include "core.h"
#include "layerproof_fault.h"

/* Every exception but reset is a crash here: the stub uses no interrupt. Entry 7 is SecureFault on Armv8-M. */
struct vectors {
    void *stack;
    void (*handlers[15])(void);
};

__attribute__((section(".vectors"), used)) const struct vectors harness_vectors = {
    harness_stack_top,
    {core_reset_handler, layerproof_fault_entry, layerproof_fault_entry, layerproof_fault_entry, layerproof_fault_entry,
     layerproof_fault_entry, layerproof_fault_entry, layerproof_fault_entry, layerproof_fault_entry,
     layerproof_fault_entry, layerproof_fault_entry, layerproof_fault_entry, layerproof_fault_entry,
     layerproof_fault_entry, layerproof_fault_entry},
};
