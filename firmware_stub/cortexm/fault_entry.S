/*
 * Every fault comes here. The stack it happened on may be the cause, so nothing is pushed before MSP points into the fault
 * stack. A fault of code that already runs there (a probe of the post-mortem loop) leaves MSP where it is.
 *
 * At entry: r0-r3, r12, lr, pc and xpsr are in the exception frame and free to use; lr is EXC_RETURN.
 */
    .syntax unified
    .thumb
    .section .text.fault_entry, "ax", %progbits
    .global fault_entry
    .thumb_func
    .type fault_entry, %function
fault_entry:
    mrs r0, msp
    mrs r1, psp
#if __ARM_ARCH >= 8
    mrs r2, msplim
    mov r12, r2
    movs r2, #0
    msr msplim, r2
#endif
    ldr r2, =harness_fault_stack_bottom
    subs r3, r0, r2
    ldr r2, =harness_fault_stack_bytes
    cmp r3, r2
    blo 1f
    ldr r2, =harness_fault_frame
    msr msp, r2
1:
#if __ARM_ARCH >= 8
    ldr r2, =harness_fault_stack_bottom
    msr msplim, r2
#endif
    /* struct fault_entry, from its end; Armv6-M pushes low registers only. */
    mov r2, r10
    mov r3, r11
    push {r2, r3}
    mov r2, r8
    mov r3, r9
    push {r2, r3}
    push {r4, r5, r6, r7}
    mov r2, r12
    push {r0, r1, r2, lr}
    mov r0, sp
    bl fault_taken
    ldr r1, [sp, #0]
    ldr r2, [sp, #8]
    ldr r0, [sp, #12]
#if __ARM_ARCH >= 8
    /* The old limit must not meet the new pointer, nor the new limit the old one. */
    movs r3, #0
    msr msplim, r3
#endif
    msr msp, r1
#if __ARM_ARCH >= 8
    msr msplim, r2
#endif
    bx r0
    .size fault_entry, . - fault_entry
    .ltorg
