/*
 * Runs a model, and crashes when told so by a character on the UART:
 *
 *     r  runs the model as it should be        m  with an arena that is not there, on the main stack
 *     l  prints the record that is kept        d  the same with interrupts disabled
 *     c  clears it                             p  the same in a thread with a stack of its own
 *                                              u  the same in such a thread without privileges
 *                                              i  the same in an interrupt of a thread
 *                                              o  lets the main stack overflow
 *                                              a  fails an assertion
 *                                              n  fails one in a handler that no fault can interrupt
 */
#include <stdint.h>

#include "layerproof_fault.h"
#include "model.h"
#include "uart.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            layerproof_assert_failed(__FILE__, __LINE__);                                                              \
        }                                                                                                              \
    } while (0)

/* The linker script keeps code away from the one, and the stack at the bottom of the RAM over the other. */
#define NULL_GUARD_BYTES  256u
#define STACK_GUARD_BYTES 1024u

#define ICSR            (*(volatile uint32_t *)0xE000ED04u)
#define ICSR_PENDSVSET  (1u << 28)
#define ICSR_NMIPENDSET (1u << 31)

#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)

#define PROCESS_STACK 2u /* of CONTROL */
#define UNPRIVILEGED  1u

static _Alignas(MODEL_ARENA_ALIGN) uint8_t arena[MODEL_ARENA_BYTES];
static uint8_t thread_stack[1024] __attribute__((aligned(8)));
static volatile uint32_t zero;

extern uint8_t __StackLimit[];

/* The one thing that the fault module must be given. */
void layerproof_fault_putc(char character)
{
    uart_write(character);
}

static void say(const char *text)
{
    while (*text != '\0') {
        uart_write(*text++);
    }
    uart_write('\r');
    uart_write('\n');
}

__attribute__((noinline)) static void classify(uint8_t *place)
{
    model_run(place);
    CHECK(place[MODEL_OUTPUT_0_OFFSET] == arena[MODEL_OUTPUT_0_OFFSET] + zero);
}

__attribute__((noinline)) static void interrupt(uint32_t which)
{
    ICSR = which;
    __asm volatile("dsb\n\tisb\n\tnop" ::: "memory");
    zero = 0;
}

void NMI_Handler(void);
void NMI_Handler(void)
{
    CHECK(zero == 2);
}

void PendSV_Handler(void);
void PendSV_Handler(void)
{
    classify((uint8_t *)NOWHERE);
    CHECK(zero == 0);
}

static volatile char command;

__attribute__((noinline, noreturn, used)) static void thread(void)
{
    if (command == 'i') {
        interrupt(ICSR_PENDSVSET);
    } else {
        classify((uint8_t *)NOWHERE);
    }
    for (;;) {
    }
}

__attribute__((naked, noinline)) static void run_thread(uint8_t *stack_end, uint32_t control)
{
    (void)stack_end, (void)control;
    __asm volatile("msr psp, r0\n"
                   "msr control, r1\n"
                   "isb\n"
                   "movs r0, #0\n"
                   "mov lr, r0\n"
                   "ldr r0, =thread\n"
                   "bx r0\n"
                   ".ltorg\n");
}

__attribute__((noinline)) static uint32_t overflow(uint32_t depth)
{
    volatile uint32_t kept[8];
    kept[depth & 7u] = depth;
    if (depth == zero - 1u) {
        return 0;
    }
    return overflow(depth + 1u) + kept[zero];
}

__attribute__((noinline)) static void obey(void)
{
    switch (command) {
    case 'r':
        classify(arena);
        say("ran");
        break;
    case 'l':
        layerproof_fault_print();
        say("printed");
        break;
    case 'c':
        layerproof_fault_clear();
        say("cleared");
        break;
    case 'd':
        __asm volatile("cpsid i" ::: "memory");
        /* fall through */
    case 'm':
        classify((uint8_t *)NOWHERE);
        break;
    case 'p':
    case 'i':
        run_thread(thread_stack + sizeof thread_stack, PROCESS_STACK);
        break;
    case 'u':
        MPU_CTRL = 0; /* what no region covers is for privileged code only */
        run_thread(thread_stack + sizeof thread_stack, PROCESS_STACK | UNPRIVILEGED);
        break;
    case 'n':
        interrupt(ICSR_NMIPENDSET);
        break;
    case 'o':
        zero = overflow(0);
        break;
    case 'a':
        CHECK(zero == 1);
        break;
    default:
        say("?");
        break;
    }
}

int main(void)
{
    uart_start();
    layerproof_fault_start();
    layerproof_fault_guard(0, 0, NULL_GUARD_BYTES);
    layerproof_fault_guard(2, (uint32_t)__StackLimit - STACK_GUARD_BYTES, STACK_GUARD_BYTES);
    layerproof_fault_limit((uint32_t)__StackLimit, 0);
    say("started");
    if (layerproof_fault_record() != NULL) {
        say("a crash is on record");
    }
    for (;;) {
        command = uart_read();
        obey();
    }
}
