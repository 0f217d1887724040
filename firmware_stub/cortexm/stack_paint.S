/*
 * How much of the stack a call writes to: what lies below the caller's frame is painted before it, and the lowest word that
 * lost its paint afterwards is the deepest that was reached. Neither function may touch the stack itself.
 *
 * void platform_stack_paint(void); uint32_t platform_stack_used(void), in bytes. Both belong into one function, whose
 * stack pointer does not move between them.
 */
    .syntax unified
    .thumb
    .equ PAINT, 0xC3A5965A
    .section .text.stack_paint, "ax", %progbits
    .global platform_stack_paint, platform_stack_used
    .thumb_func
    .type platform_stack_paint, %function
platform_stack_paint:
    ldr r0, =harness_stack_bottom
    ldr r1, =PAINT
    mov r2, sp
    b .Lpaint
.Lword:
    stmia r0!, {r1}
.Lpaint:
    cmp r0, r2
    blo .Lword
    bx lr
    .size platform_stack_paint, . - platform_stack_paint

    .thumb_func
    .type platform_stack_used, %function
platform_stack_used:
    ldr r0, =harness_stack_bottom
    ldr r1, =PAINT
    mov r2, sp
.Lseek:
    cmp r0, r2
    bhs .Lfound
    ldmia r0!, {r3}
    cmp r3, r1
    beq .Lseek
    subs r0, #4
.Lfound:
    subs r0, r2, r0
    bx lr
    .ltorg
    .size platform_stack_used, . - platform_stack_used
