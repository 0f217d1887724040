/* What differs between the architectures: armv6m/, armv7m/ and armv8m/ each implement it. */
#ifndef CORE_H
#define CORE_H

#include <stdint.h>

#include "fault_record.h"

/* Places that the linker script names. */
extern uint8_t harness_stack_guard[]; /* STACK_GUARD_BYTES, up to the bottom of the stack */
extern uint8_t harness_stack_bottom[], harness_stack_top[];
extern uint8_t harness_fault_stack_bottom[], harness_fault_stack_top[];
extern uint32_t harness_fault_frame[]; /* the topmost 32 bytes of the fault stack */

/* First thing after reset, before variables exist: faults, FPU, MPU, stack limit, cycle counter. */
void core_start(void);

/* See platform_cycles. */
uint32_t core_cycles(void);

/* Fills the fault status and the registers that only this architecture has, and the flags that say so. */
void core_fault_status(struct fault_record *record);
void core_fault_status_clear(void);

/*
 * Fills s16..s31, and completes the lazy stacking of s0..s15 when the frame lies in the stack; sets the flags that say
 * so. Afterwards nothing of the crashed program's floating-point state is pending.
 */
void core_fault_float(struct fault_record *record);

/* The reset handler. */
_Noreturn void core_reset_handler(void);

#endif
