#include "mainline.h"

#include <stdbool.h>

#include "scb.h"

extern const uint32_t harness_vectors[];

void mainline_start(void)
{
    SCB_VTOR = (uint32_t)harness_vectors;
    SCB_CCR |= CCR_STKALIGN | CCR_DIV_0_TRP | CCR_NONBASETHRDENA;
    SCB_SHCSR |= SHCSR_MEMFAULTENA | SHCSR_BUSFAULTENA | SHCSR_USGFAULTENA;
#if __ARM_ARCH >= 8
    SCB_SHCSR |= SHCSR_SECUREFAULTENA;
#endif
#ifdef __ARM_FP
    SCB_CPACR |= CPACR_FPU;
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

void core_fault_status(struct fault_record *record)
{
    record->flags |= FAULT_RECORD_STATUS;
    record->cfsr = SCB_CFSR;
    record->hfsr = SCB_HFSR;
    record->mmfar = SCB_MMFAR;
    record->bfar = SCB_BFAR;
    record->afsr = SCB_AFSR;
    record->shcsr = SCB_SHCSR;
    __asm volatile("mrs %0, basepri" : "=r"(record->basepri));
    __asm volatile("mrs %0, faultmask" : "=r"(record->faultmask));
#if __ARM_ARCH >= 8
    record->flags |= FAULT_RECORD_SECURITY;
    record->sfsr = SCB_SFSR;
    record->sfar = SCB_SFAR;
    __asm volatile("mrs %0, psplim" : "=r"(record->psplim));
#endif
}

void core_fault_status_clear(void)
{
    /* Bits are cleared by writing them. */
    SCB_CFSR = SCB_CFSR;
    SCB_HFSR = SCB_HFSR;
#if __ARM_ARCH >= 8
    SCB_SFSR = SCB_SFSR;
#endif
}

void core_fault_float(struct fault_record *record)
{
#ifdef __ARM_FP
    bool enabled = (SCB_CPACR & CPACR_FPU) == CPACR_FPU;
    uint32_t place = FPU_FPCAR;
    bool pending = FPU_FPCCR & FPCCR_LSPACT;
    bool writable = place >= (uint32_t)harness_stack_bottom && place < (uint32_t)harness_stack_top;
    if (pending && (!enabled || !writable)) {
        FPU_FPCCR &= ~FPCCR_LSPACT; /* writing s0..s15 would fault again */
    }
    if (enabled) {
        /* The first floating-point instruction makes the processor write s0..s15 to the frame, where that is pending.
         */
        __asm volatile("vstmia %0, {s16-s31}" ::"r"(record->s16_s31) : "memory");
        record->flags |= FAULT_RECORD_FLOAT;
        record->flags |= !pending || writable ? FAULT_RECORD_FLUSHED : 0u;
    }
#else
    (void)record;
#endif
}
