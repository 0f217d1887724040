/* What differs between the architectures: armv6m/ and mainline/ (Armv7-M, Armv8-M) each implement it. */
#ifndef CORE_H
#define CORE_H

#include <stdint.h>

/* Places that the linker script names. */
extern uint8_t harness_stack_guard[]; /* STACK_GUARD_BYTES, up to the bottom of the stack */
extern uint8_t harness_stack_bottom[], harness_stack_top[];

/* First thing after reset, before variables exist: faults, FPU, MPU, stack limit, cycle counter. */
void core_start(void);

/* See platform_cycles. */
uint32_t core_cycles(void);

/* The reset handler. */
_Noreturn void core_reset_handler(void);

#endif
