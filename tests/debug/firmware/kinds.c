/* Kinds of fault, code without call frame information, exceptions, and stacks beyond repair; see program.c. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"

/* ---- kinds of fault ------------------------------------------------------------------------------------------ */

FUNCTION void undefined(void)
{
    __asm__ volatile("udf #1"); /*@undefined*/
}

//: undefined_instruction = undefined@undefined < undefined_instruction@undefined_instruction < … [kind undefined_instruction]
FUNCTION void undefined_instruction(void)
{
    undefined(); /*@undefined_instruction*/
    sink++;
}

FUNCTION void written_as_data(void)
{
    /* the assembler keeps lines only of what it knows to be instructions: the first gives the second its line */
    __asm__ volatile("nop\n\t.short 0xde05"); /*@written_as_data*/
}

//: undefined_as_data = written_as_data@written_as_data < undefined_as_data@undefined_as_data < … [kind undefined_instruction]
FUNCTION void undefined_as_data(void)
{
    written_as_data(); /*@undefined_as_data*/
    sink++;
}

FUNCTION int32_t divide(int32_t a, int32_t b)
{
#if CORE_HAS_CFSR
    return a / b; /*@divide*/
#else
    return a + b;
#endif
}

//: division = divide@divide < division@division < … [kind divide_by_zero] [not m0: Armv6-M has no instruction that divides]
FUNCTION void division(void)
{
    sink = divide(5, (int32_t)zero); /*@division*/
    sink++;
}

//: misaligned = leaf@leaf < misaligned@misaligned < … [kind unaligned_access]
FUNCTION void misaligned(void)
{
    sink = leaf((const volatile int32_t *)((uintptr_t)&sink + 1u)); /*@misaligned*/
    sink++;
}

FUNCTION void call(routine *volatile *where)
{
    (*where)(); /*@call*/
    sink++;
}

static routine *volatile nowhere;

//: call_null = call@call < call_null@call_null < … [kind null_call]
FUNCTION void call_null(void)
{
    nowhere = NULL;
    call(&nowhere); /*@call_null*/
    sink++;
}

//: call_nowhere = call@call < call_nowhere@call_nowhere < … [kind bad_jump]
FUNCTION void call_nowhere(void)
{
    nowhere = (routine *)(uintptr_t)(UNMAPPED | 1u);
    call(&nowhere); /*@call_nowhere*/
    sink++;
}

//: call_data = call@call < call_data@call_data < … [kind bad_jump]
FUNCTION void call_data(void)
{
    static uint32_t no_code[] = {0xDE05DE05u}; /* undefined wherever it is */
    nowhere = (routine *)((uintptr_t)no_code | 1u);
    call(&nowhere); /*@call_data*/
    sink++;
}

//: execute_never = call@call < execute_never@execute_never < … [kind execute_never] [not m0: QEMU's core without MPU executes from every address]
FUNCTION void execute_never(void)
{
#if CORE_HAS_CFSR
    nowhere = (routine *)(uintptr_t)0x40000001u; /* the peripheral region */
    call(&nowhere);                              /*@execute_never*/
#endif
    sink++;
}

struct node {
    int32_t value;
    struct node *next;
};

FUNCTION void second_value(const volatile struct node *first)
{
    sink = first->next->value; /*@second_value*/
    sink++;
}

//: null_data = second_value@second_value < null_data@null_data < … [kind null_pointer] [not m0: without MPU the vector table at address 0 can be read]
FUNCTION void null_data(void)
{
    static volatile struct node alone;
#if CORE_HAS_CFSR
    guard_null();
#endif
    second_value(&alone); /*@null_data*/
    sink++;
}

FUNCTION void scale(void)
{
    real = real * 2.5f; /*@scale*/
}

//: no_fpu = scale@scale < no_fpu@no_fpu < … [kind no_coprocessor] [not m0 m3: without floating-point unit GCC makes no instructions for one]
FUNCTION void no_fpu(void)
{
#if CORE_HAS_FPU
    *(volatile uint32_t *)0xE000ED88u &= ~0xF00000u;
    __asm__ volatile("dsb\nisb");
#endif
    scale(); /*@no_fpu*/
    sink++;
}

FUNCTION void check(int32_t value)
{
    assert(value == 4711); /*@check*/
    sink++;
}

//: assertion = layerproof_assert_failed < __assert_func@assert_func < check@check < assertion@assertion < … [kind assertion] [module]
FUNCTION void assertion(void)
{
    check(sink); /*@assertion*/
    sink++;
}

/* ---- code without call frame information ---------------------------------------------------------------------- */

//: libc = memcpy < libc@libc < …
FUNCTION void libc(void)
{
    memcpy((void *)(uintptr_t)UNMAPPED, (const void *)(uintptr_t)&sink, 64 + zero); /*@libc*/
    sink++;
}

FUNCTION int order(const void *a, const void *b)
{
    return *(const uint8_t *)a - *(const uint8_t *)b;
}

FUNCTION int compare(const void *a, const void *b)
{
    poke(UNMAPPED); /*@compare*/
    return *(const uint8_t *)a - *(const uint8_t *)b + sink;
}

//: callback = poke@poke < compare@compare < qsort < callback@callback < …
FUNCTION void callback(void)
{
    uint8_t numbers[] = {3, 1, 2, 9, 7, 5};
    qsort(numbers, sizeof numbers, 1, compare); /*@callback*/
    sink = numbers[zero];
}

//: bare_assembly = bare_store@bare_store < bare_assembly@bare_assembly < …
FUNCTION void bare_assembly(void)
{
    bare_store(UNMAPPED); /*@bare_assembly*/
    sink++;
}

//: through_assembly = poke@poke < bare_call@bare_call < through_assembly@through_assembly < …
FUNCTION void through_assembly(void)
{
    bare_call(poke, UNMAPPED); /*@through_assembly*/
    sink++;
}

/* ---- exceptions ------------------------------------------------------------------------------------------------ */

static volatile uint32_t handler_target;

INLINED void pend(void)
{
    *(volatile uint32_t *)0xE000ED04u = 0x10000000u; __asm__ volatile("dsb\nisb\nnop" ::: "memory"); /*@pend*/
}

void PendSV_Handler(void)
{
    sink = (int32_t)outer(handler_target, 2); /*@pendsv*/
    sink++;
}

void SVC_Handler(void)
{
    volatile uint32_t block[3] = {1, 2, 3};
    pend(); /*@svc*/
    sink = (int32_t)block[zero];
    sink++;
}

FUNCTION uint32_t interrupted(uint32_t value)
{
    volatile uint32_t block[5] = {value, 2, 3, 4, 5};
    handler_target = UNMAPPED;
    pend(); /*@interrupted*/
    return block[zero];
}

//: interrupt = poke@poke < outer@outer < PendSV_Handler@pendsv < ~pend@pend < interrupted@interrupted < interrupt@interrupt < …
FUNCTION void interrupt(void)
{
    sink = (int32_t)interrupted(1); /*@interrupt*/
}

//: interrupt_misaligned = poke@poke < outer@outer < PendSV_Handler@pendsv < pend_misaligned@pend_misaligned < interrupt_misaligned@interrupt_misaligned < …
FUNCTION void interrupt_misaligned(void)
{
    handler_target = UNMAPPED;
    pend_misaligned(); /*@interrupt_misaligned*/
    sink++;
}

FUNCTION float interrupted_float(float value)
{
    float kept = real * value;
    handler_target = UNMAPPED;
    pend(); /*@interrupted_float*/
    return kept + real;
}

//: interrupt_float = poke@poke < outer@outer < PendSV_Handler@pendsv < ~pend@pend < interrupted_float@interrupted_float < interrupt_float@interrupt_float < …
FUNCTION void interrupt_float(void)
{
    sink = (int32_t)interrupted_float(3.0f); /*@interrupt_float*/
}

/* PendSV waits until SVC returns, since both have one priority: it is SVC's caller that it interrupts. */
//: supervisor = poke@poke < outer@outer < PendSV_Handler@pendsv < supervisor@supervisor < …
FUNCTION void supervisor(void)
{
    handler_target = UNMAPPED;
    __asm__ volatile("svc #3\nnop" ::: "memory"); /*@supervisor*/
    sink++;
}

/* ---- broken beyond repair ---------------------------------------------------------------------------------------- */

//: corrupted_return = ?
FUNCTION void corrupted_return(void)
{
    sink = (int32_t)deep(2);
    return_to(UNMAPPED | 1u);
    sink++;
}

FUNCTION void smash(volatile uint32_t *array)
{
    for (volatile uint32_t i = 0; i < 8; i++) { /* in memory: the M55 would count in LR, the last trace of the caller */
        array[i] = UNMAPPED | 1u;
    }
}

FUNCTION uint32_t smashed_array(void)
{
    volatile uint32_t array[4];
    smash(array); /*@smashed_array*/
    return array[0];
}

//: smashed_stack = ?
FUNCTION void smashed_stack(void)
{
    sink = (int32_t)deep(9);
    sink = (int32_t)smashed_array();
}

/* On one line, since any of its instructions may be the one that meets the end of the stack. */
FUNCTION uint32_t endless(uint32_t n) { volatile uint32_t block[8]; block[n & 7u] = n; return endless(n + 1) + block[n & 7u]; } /*@endless*/

//: overflow = endless@endless+ < overflow@overflow < … [kind stack_overflow]
FUNCTION void overflow(void)
{
#if CORE_HAS_CFSR
    guard_stacks(); /* elsewhere there is nothing below the stacks */
#endif
    sink = (int32_t)endless(0); /*@overflow*/
}

/* No fault: the tests stop it at every instruction. */
//: quiet = ? [kind none]
FUNCTION void quiet(void)
{
    uint8_t numbers[3];
    uint32_t words[7];
    numbers[0] = 3;
    numbers[1] = 1;
    numbers[2] = 2;
    handler_target = (uint32_t)&sink;
    sink = (int32_t)outer((uint32_t)&sink, 1);
    sink = (int32_t)inlining((uint32_t)&sink);
    sink = (int32_t)variable_frame(12, (uint32_t)&sink);
    sink = (int32_t)large_frame((uint32_t)&sink);
    sink = (int32_t)deep(2);
    sink = mixed(3, 1, 2, 3);
    jumps((uint32_t)&sink);
    bare_call(poke, (uint32_t)&sink);
    bare_store((uint32_t)&sink);
    memcpy(words, (const void *)scenarios, sizeof words - zero);
    qsort(numbers, sizeof numbers, 1, order);
    pend_misaligned();
    __asm__ volatile("svc #3\nnop" ::: "memory");
    sink = (int32_t)words[zero];
}
