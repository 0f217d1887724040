/*
 * How much of the stack a call writes to: what lies below the caller's frame is painted before it, and the lowest word
 * that lost its paint afterwards is the deepest that was reached. Neither function may touch the stack itself, hence
 * the assembly.
 */
#include "platform.h"

#define PAINT "0xC3A5965A"

__attribute__((naked, noinline)) void platform_stack_paint(void)
{
    __asm volatile(".syntax unified\n"
                   "ldr r0, =harness_stack_bottom\n"
                   "ldr r1, =" PAINT "\n"
                   "mov r2, sp\n"
                   "b 2f\n"
                   "1: stmia r0!, {r1}\n"
                   "2: cmp r0, r2\n"
                   "blo 1b\n"
                   "bx lr\n"
                   ".ltorg\n");
}

__attribute__((naked, noinline)) uint32_t platform_stack_used(void)
{
    __asm volatile(".syntax unified\n"
                   "ldr r0, =harness_stack_bottom\n"
                   "ldr r1, =" PAINT "\n"
                   "mov r2, sp\n"
                   "1: cmp r0, r2\n"
                   "bhs 2f\n"
                   "ldmia r0!, {r3}\n"
                   "cmp r3, r1\n"
                   "beq 1b\n"
                   "subs r0, #4\n"
                   "2: subs r0, r2, r0\n"
                   "bx lr\n"
                   ".ltorg\n");
}
