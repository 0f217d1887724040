/* Armv6-M: one fault handler without status registers, no MPU here, no FPU, no cycle counter. */
#include "core.h"

void core_start(void) {}

uint32_t core_cycles(void)
{
    return 0;
}

void core_fault_status(struct fault_record *record)
{
    (void)record;
}

void core_fault_status_clear(void) {}

void core_fault_float(struct fault_record *record)
{
    (void)record;
}
