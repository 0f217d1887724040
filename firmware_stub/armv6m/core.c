/* Armv6-M: one fault handler, no MPU here, no FPU, no cycle counter. */
#include "core.h"

void core_start(void) {}

uint32_t core_cycles(void)
{
    return 0;
}
