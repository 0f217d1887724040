/* What the crash programs share with their start-up. */
#pragma once
#include <stdint.h>

/* STACK_BYTES, of each of the two stacks, and UNMAPPED, an address where the machine has nothing, come from the command
 * line: assembly.S needs the first too. */

#define FUNCTION __attribute__((noipa)) /* never inlined, never cloned, nothing known of it by its callers */
#define INLINED static inline __attribute__((always_inline))

typedef void routine(void);

extern const uint32_t scenario_count;
extern routine *const scenarios[];
extern volatile int32_t sink;
extern volatile uint32_t zero;
extern volatile float real;
extern volatile uint32_t progress;

/* of program.c */
void poke(uint32_t address);
uint32_t outer(uint32_t address, uint32_t depth);
uint32_t inlining(uint32_t address);
int32_t leaf(const volatile int32_t *where);
uint32_t variable_frame(uint32_t bytes, uint32_t address);
uint32_t large_frame(uint32_t address);
int32_t mixed(int32_t count, ...);
uint32_t deep(uint32_t n);
void jumps(uint32_t address);

/* scenarios of kinds.c */
void undefined_instruction(void), division(void), misaligned(void), call_null(void), call_nowhere(void),
    call_data(void), undefined_as_data(void),
    execute_never(void), null_data(void), no_fpu(void), assertion(void), libc(void), callback(void), bare_assembly(void), through_assembly(void), interrupt(void),
    interrupt_misaligned(void), interrupt_float(void), supervisor(void), corrupted_return(void),
    smashed_stack(void), overflow(void), quiet(void);

/* of assembly.S */

void bare_store(uint32_t address);
void bare_call(void (*function)(uint32_t), uint32_t argument);
void pend_misaligned(void);
void return_to(uint32_t address);
void run_on_process_stack(void (*function)(void), void (*back)(void));
void guard_stacks(void);
void guard_null(void);

void SVC_Handler(void);
void PendSV_Handler(void);
_Noreturn void next_scenario(void);
