/* Armv7-M, and Armv8-M with the main extension. */
#include "core.h"

#include "board.h"
#include "layerproof_fault.h"
#include "scb.h"

extern const uint32_t harness_vectors[];

/* The half of the address map that holds RAM; nothing there is code. */
#define RAM_ADDRESS 0x20000000u
#define RAM_BYTES   0x20000000u

/* Regions of the MPU. */
enum { NO_CODE_IN_RAM, NULL_GUARD, NULL_GUARD_AGAIN, STACK_GUARD };

void core_start(void)
{
    SCB_VTOR = (uint32_t)harness_vectors;
    SCB_CCR |= CCR_STKALIGN;
#ifdef __ARM_FP
    SCB_CPACR |= CPACR_FPU;
#endif
    layerproof_fault_start();
    layerproof_fault_limit((uint32_t)harness_stack_bottom, 0);
    layerproof_fault_no_code(NO_CODE_IN_RAM, RAM_ADDRESS, RAM_BYTES);
    layerproof_fault_guard(NULL_GUARD, 0, NULL_GUARD_BYTES);
#if STACK_GUARD_BYTES
    layerproof_fault_guard(STACK_GUARD, (uint32_t)harness_stack_guard, STACK_GUARD_BYTES);
#endif
    DCB_DEMCR |= DEMCR_TRCENA;
    DWT_LAR = DWT_LAR_KEY; /* locked after reset on some Cortex-M7 */
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL_CYCCNTENA;
    __asm volatile("dsb\n\tisb" ::: "memory");
}

uint32_t core_cycles(void)
{
    return DWT_CYCCNT;
}
