/* Programs that crash in known ways. The truth the tests hold the debugger to stands beside the code:
 *
 *     //: name = innermost@a < ~inlined@b < caller@c      [kind KIND] [not CORES: why it cannot happen there] [module]
 *
 * names a scenario and its whole call chain; `~` marks a function that the compiler was told to inline; `@a` is the
 * line that carries the marker a in a comment, `@a+` one that may be there many times. A chain that ends in `…` continues
 * with `main` or, on the process stack, with the thread's entry. `module`: only the fault module captures it. */
#include <stdint.h>

#include "lab.h"

volatile int32_t sink;
volatile uint32_t zero;
volatile float real = 1.5f;

/* ---- plain chains ------------------------------------------------------------------------------------------- */

FUNCTION void poke(uint32_t address)
{
    *(volatile uint32_t *)address = 42; /*@poke*/
}

INLINED void store_word(uint32_t address)
{
    *(volatile uint32_t *)address = 7; /*@store_word*/
}

INLINED void store_twice(uint32_t address)
{
    store_word((uint32_t)&sink);
    store_word(address); /*@store_twice*/
    sink++;
}

FUNCTION uint32_t outer(uint32_t address, uint32_t depth)
{
    uint32_t saved[4] = {depth, depth + 1, depth + 2, depth + 3};
    poke(address); /*@outer*/
    return saved[depth & 3u] + (uint32_t)sink;
}

FUNCTION uint32_t inlining(uint32_t address)
{
    store_twice(address); /*@inlining*/
    return (uint32_t)sink;
}

//: store = poke@poke < outer@outer < store@store < …
FUNCTION void store(void)
{
    sink = (int32_t)outer(UNMAPPED, zero); /*@store*/
}

//: inlined = ~store_word@store_word < ~store_twice@store_twice < inlining@inlining < inlined@inlined < …
FUNCTION void inlined(void)
{
    sink = (int32_t)inlining(UNMAPPED); /*@inlined*/
}

FUNCTION int32_t leaf(const volatile int32_t *where)
{
    return *where + 1; /*@leaf*/
}

//: load_in_leaf = leaf@leaf < load_in_leaf@load_in_leaf < …
FUNCTION void load_in_leaf(void)
{
    sink = leaf((const volatile int32_t *)(uintptr_t)UNMAPPED); /*@load_in_leaf*/
    sink++;
}

static uint32_t (*volatile chosen)(uint32_t, uint32_t) = outer;

//: function_pointer = poke@poke < outer@outer < function_pointer@function_pointer < …
FUNCTION void function_pointer(void)
{
    sink = (int32_t)chosen(UNMAPPED, 1); /*@function_pointer*/
}

FUNCTION uint32_t variable_frame(uint32_t bytes, uint32_t address)
{
    uint8_t *block = __builtin_alloca(bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        block[i] = (uint8_t)i;
    }
    poke(address); /*@variable_frame*/
    return block[bytes / 2];
}

//: frame_pointer = poke@poke < variable_frame@variable_frame < frame_pointer@frame_pointer < …
FUNCTION void frame_pointer(void)
{
    sink = (int32_t)variable_frame(40 + zero, UNMAPPED); /*@frame_pointer*/
}

FUNCTION uint32_t large_frame(uint32_t address)
{
    volatile uint8_t block[700];
    block[0] = 1;
    block[699] = 2;
    poke(address); /*@large_frame*/
    return block[0] + (uint32_t)block[699];
}

//: large = poke@poke < large_frame@large_frame < large@large < …
FUNCTION void large(void)
{
    sink = (int32_t)large_frame(UNMAPPED); /*@large*/
}

FUNCTION uint32_t recursive(uint32_t depth)
{
    if (depth == 0) {
        poke(UNMAPPED); /*@recursion_ends*/
    }
    return 1 + recursive(depth - 1) + (uint32_t)sink; /*@recursive*/
}

//: recursion = poke@poke < recursive@recursion_ends < recursive@recursive < recursive@recursive < recursive@recursive < recursion@recursion < …
FUNCTION void recursion(void)
{
    sink = (int32_t)recursive(3 + zero); /*@recursion*/
}

FUNCTION int32_t variadic(int32_t count, ...)
{
    __builtin_va_list list;
    __builtin_va_start(list, count);
    int32_t sum = 0;
    while (count-- > 0) {
        sum += __builtin_va_arg(list, int32_t);
    }
    poke(UNMAPPED + (uint32_t)(sum & 4)); /*@variadic*/
    __builtin_va_end(list);
    return sum + sink;
}

FUNCTION int32_t mixed(int32_t count, ...)
{
    __builtin_va_list list;
    __builtin_va_start(list, count);
    int32_t sum = leaf((const volatile int32_t *)&sink);
    while (count-- > 0) {
        sum += __builtin_va_arg(list, int32_t);
    }
    __builtin_va_end(list);
    return sum;
}

//: variable_arguments = poke@poke < variadic@variadic < variable_arguments@variable_arguments < …
FUNCTION void variable_arguments(void)
{
    sink = variadic(5, 1, 2, 3, 4, 5); /*@variable_arguments*/
}

__attribute__((noipa, noreturn)) void dies(uint32_t address)
{
    for (;;) {
        poke(address); /*@dies*/
    }
}

/* The call is the last instruction of the function: the return address belongs to whatever comes next. */
__attribute__((noipa, noreturn)) void calls_no_return(uint32_t address)
{
    sink = 3;
    dies(address); /*@calls_no_return*/
}

//: no_return = poke@poke < dies@dies < calls_no_return@calls_no_return < no_return@no_return < …
FUNCTION void no_return(void)
{
    if (zero == 0) {
        calls_no_return(UNMAPPED); /*@no_return*/
    }
    sink++;
}

FUNCTION uint32_t deep(uint32_t n)
{
    volatile uint32_t block[6];
    block[n % 6u] = n;
    return n == 0 ? block[0] : deep(n - 1) + block[n % 6u];
}

/* Its array lies over what `deep` left on the stack: return addresses that nobody will return to. */
FUNCTION uint32_t over_stale(uint32_t address)
{
    volatile uint32_t block[120];
    block[0] = address;
    poke(block[0]); /*@over_stale*/
    return block[0];
}

//: stale = poke@poke < over_stale@over_stale < stale@stale < …
FUNCTION void stale(void)
{
    sink = (int32_t)deep(12);
    sink = (int32_t)over_stale(UNMAPPED); /*@stale*/
}

FUNCTION void second(uint32_t address)
{
    poke(address); /*@second*/
    sink++;
}

/* Where the compiler optimises, these two end in a jump and leave nothing on the stack. */
FUNCTION void jumps_on(uint32_t address)
{
    sink++;
    second(address + zero); /*@jumps_on*/
}

FUNCTION void jumps(uint32_t address)
{
    sink++;
    jumps_on(address + zero); /*@jumps*/
}

//: tail_call = poke@poke < second@second < jumps_on@jumps_on < jumps@jumps < tail_call@tail_call < …
FUNCTION void tail_call(void)
{
    jumps(UNMAPPED); /*@tail_call*/
    sink++;
}

/* ---- the list ------------------------------------------------------------------------------------------------------ */

routine *const scenarios[] = {
    store, inlined, load_in_leaf, function_pointer, frame_pointer, large, recursion, variable_arguments, no_return,
    stale, undefined_instruction, division, misaligned, call_null, call_nowhere,
    execute_never, null_data, no_fpu, assertion, libc, callback,
    bare_assembly, through_assembly, interrupt, interrupt_misaligned, interrupt_float, supervisor, tail_call, corrupted_return,
    smashed_stack, overflow, undefined_as_data, call_data, quiet,
};
const uint32_t scenario_count = sizeof scenarios / sizeof scenarios[0];

/* A thread of an operating system: the return address it starts with is where no call stands. */
__attribute__((noipa)) void thread(void)
{
    scenarios[progress / 2u](); /*@thread*/
    next_scenario();
}

int main(void)
{
    if (progress & 1u) {
        run_on_process_stack(thread, next_scenario);
    }
    scenarios[progress / 2u](); /*@main*/
    sink++;
    return 0;
}
