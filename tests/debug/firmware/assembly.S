/* Functions that no compiler would write: without call frame information, or with a stack that is not 8-aligned. */
    .syntax unified
    .thumb
    .cfi_sections .debug_frame

    .macro function name
    .section .text.\name, "ax", %progbits
    .global \name
    .type \name, %function
    .thumb_func
\name:
    .endm

/* void bare_store(uint32_t address): pushes, then faults; nothing describes its frame. */
    function bare_store
    push {r4, r5, lr}
    sub sp, #12
    movs r4, #1
    str r4, [r0] /*@bare_store*/
    add sp, #12
    pop {r4, r5, pc}
    .size bare_store, . - bare_store

/* void bare_call(void (*function)(uint32_t), uint32_t argument) */
    function bare_call
    push {r4, r5, r6, lr}
    mov r2, r0
    mov r0, r1
    blx r2 /*@bare_call*/
    pop {r4, r5, r6, pc}
    .size bare_call, . - bare_call

/* void pend_misaligned(void): takes PendSV with sp at an odd multiple of 4. */
    function pend_misaligned
    .cfi_startproc
    push {r4, r5, lr}
    .cfi_def_cfa_offset 12
    .cfi_offset lr, -4
    .cfi_offset r5, -8
    .cfi_offset r4, -12
    ldr r4, =0xE000ED04
    ldr r5, =0x10000000
    str r5, [r4]; dsb; isb; nop /*@pend_misaligned*/
    pop {r4, r5, pc}
    .cfi_endproc
    .ltorg
    .size pend_misaligned, . - pend_misaligned

/* void return_to(uint32_t address): returns to where nobody called from, as after a smashed stack. */
    function return_to
    .cfi_startproc
    push {r0, lr}
    .cfi_def_cfa_offset 8
    .cfi_offset lr, -4
    str r0, [sp, #4]
    pop {r0, pc}
    .cfi_endproc
    .size return_to, . - return_to

/* void run_on_process_stack(void (*function)(void), void (*back)(void)): as a scheduler starts a thread. */
    function run_on_process_stack
    ldr r2, =process_stack + STACK_BYTES
    msr psp, r2
    movs r2, #2
    msr control, r2
    isb
    mov lr, r1
    bx r0
    .ltorg
    .size run_on_process_stack, . - run_on_process_stack

/* void guard_stacks(void): makes the lowest bytes of both stacks untouchable. */
    function guard_stacks
#if CORE_HAS_SFSR
    ldr r0, =main_stack + 32
    msr msplim, r0
    ldr r0, =process_stack + 32
    msr psplim, r0
#elif CORE_HAS_CFSR
    ldr r3, =0xE000ED94 /* MPU_CTRL; RNR, RBAR, RASR follow */
    ldr r0, =main_stack + 0x10 /* VALID, region 0 */
    ldr r1, =(1 << 28) | (4 << 1) | 1 /* execute never, no access, 32 bytes, on */
    str r0, [r3, #8]
    str r1, [r3, #12]
    ldr r0, =process_stack + 0x11
    str r0, [r3, #8]
    str r1, [r3, #12]
    movs r0, #5 /* on, default map for the rest */
    str r0, [r3]
    dsb
    isb
#endif
    bx lr
    .ltorg
    .size guard_stacks, . - guard_stacks

/* void guard_null(void): makes the vector table untouchable for loads and stores; the processor itself still reads it. */
    function guard_null
#if CORE_HAS_CFSR
    ldr r3, =0xE000ED94 /* MPU_CTRL; RNR, RBAR, RASR or RLAR follow */
#if CORE_HAS_SFSR
    ldr r0, =0xE000EDC0 /* MPU_MAIR0: attribute 0 is normal memory */
    movs r1, #0xFF
    str r1, [r0]
    movs r0, #1 /* from address 0, execute never */
    movs r1, #0x21 /* to 0x3F, on */
    movs r2, #4 /* two regions over one address: every access faults */
    str r2, [r3, #4]
    str r0, [r3, #8]
    str r1, [r3, #12]
    movs r2, #5
    str r2, [r3, #4]
    str r0, [r3, #8]
    str r1, [r3, #12]
#else
    movs r0, #0x12 /* VALID, region 2, from address 0 */
    ldr r1, =(1 << 28) | (5 << 1) | 1 /* execute never, no access, 64 bytes, on */
    str r0, [r3, #8]
    str r1, [r3, #12]
#endif
    movs r0, #5 /* on, default map for the rest */
    str r0, [r3]
    dsb
    isb
#endif
    bx lr
    .ltorg
    .size guard_null, . - guard_null
