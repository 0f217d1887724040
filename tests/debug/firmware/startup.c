/* Start-up, fault capture and hand-over for the crash programs. It shares no line with the harness's own firmware: the
 * tests that use it must not trust what they test. With CAPTURE_BY_MODULE it is the fault module that captures instead,
 * as in anybody's firmware, and its record that is handed over.
 *
 * The machine runs every scenario in turn. A fault leaves a record and the stacks in a file through semihosting, then
 * resets the machine for the next scenario; `progress` survives the reset because nothing initialises it. */
#include <stdint.h>

#include "lab.h"

#if CAPTURE_BY_MODULE
#include "layerproof_fault.h"
#define fault_entry layerproof_fault_entry
#endif

#define SYSTEM_RESET 0x05FA0004u /* AIRCR: key and SYSRESETREQ */

struct record {
    uint32_t progress;   /* scenario * 2 + (1 on the process stack) */
    uint32_t r4_r11[8];
    uint32_t exc_return;
    uint32_t msp, psp;   /* as they stand in the handler: the exception frame lies at one of them */
    uint32_t control, ipsr;
    uint32_t cfsr, hfsr, mmfar, bfar, shcsr, sfsr, sfar;
    uint32_t fpccr, fpcar; /* whether floating-point registers still wait to be saved, and where to */
    uint32_t main_stack, process_stack; /* addresses of the two stacks */
    uint32_t stack_bytes;               /* size of each */
};

extern uint32_t data_load, data_start, data_end, bss_start, bss_end;
int main(void);

__attribute__((section(".noinit"))) volatile uint32_t progress;
__attribute__((section(".noinit"))) static volatile uint32_t alive;
/* At the bottom of the RAM: what overflows one of them also meets the end of the memory. */
__attribute__((section(".stacks.0"), aligned(512))) uint32_t main_stack[STACK_BYTES / 4];
__attribute__((section(".stacks.1"), aligned(512))) uint32_t process_stack[STACK_BYTES / 4];
__attribute__((section(".noinit"), aligned(8), used)) static uint32_t fault_stack[64];
__attribute__((section(".noinit"))) struct record record;

static int32_t semihost(uint32_t operation, const void *arguments)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

_Noreturn static void finish(void)
{
    const uint32_t arguments[] = {0x20026u, 0u}; /* ADP_Stopped_ApplicationExit */
    semihost(0x20, arguments);
    semihost(0x18, (const void *)0x20026u);
    for (;;) {
    }
}

static void append(uint32_t file, const void *data, uint32_t bytes)
{
    const uint32_t arguments[] = {file, (uint32_t)data, bytes};
    semihost(0x05, arguments);
}

_Noreturn void next_scenario(void)
{
    progress++;
    if (progress >= scenario_count * 2u) {
        finish();
    }
    *(volatile uint32_t *)0xE000ED0Cu = SYSTEM_RESET;
    for (;;) {
    }
}

static int32_t open_file(void)
{
    static const char name[] = "faults.bin";
    const uint32_t open[] = {(uint32_t)name, 9u /* "ab" */, sizeof name - 1u};
    const int32_t file = semihost(0x01, open);
    const uint32_t end[] = {(uint32_t)file, (uint32_t)semihost(0x0C, &file)};
    semihost(0x0A, end); /* QEMU 7.2 opens for appending but writes at the start */
    return file;
}

#if CAPTURE_BY_MODULE

void layerproof_fault_finished(void)
{
    const struct layerproof_record *kept = layerproof_fault_record();
    const int32_t file = open_file();
    append((uint32_t)file, (const void *)&progress, sizeof progress);
    append((uint32_t)file, kept, kept->total);
    semihost(0x02, &file);
    layerproof_fault_clear();
    next_scenario();
}

/* What newlib's assert calls. */
void __assert_func(const char *file, int line, const char *function, const char *expression)
{
    (void)function, (void)expression;
    layerproof_assert_failed(file, (uint32_t)line); /*@assert_func*/
}

static void prepare_capture(void)
{
    layerproof_fault_start();
}

#else

__attribute__((used)) _Noreturn static void save_record(void)
{
    __asm__ volatile("mrs %0, ipsr" : "=r"(record.ipsr));
#if CORE_HAS_CFSR
    record.cfsr = *(volatile uint32_t *)0xE000ED28u;
    record.hfsr = *(volatile uint32_t *)0xE000ED2Cu;
    record.mmfar = *(volatile uint32_t *)0xE000ED34u;
    record.bfar = *(volatile uint32_t *)0xE000ED38u;
    record.shcsr = *(volatile uint32_t *)0xE000ED24u;
    *(volatile uint32_t *)0xE000ED94u = 0; /* MPU off: the guarded bytes are part of the stacks written below */
    __asm__ volatile("dsb\nisb");
#endif
#if CORE_HAS_FPU
    record.fpccr = *(volatile uint32_t *)0xE000EF34u;
    record.fpcar = *(volatile uint32_t *)0xE000EF38u;
#endif
#if CORE_HAS_SFSR
    record.sfsr = *(volatile uint32_t *)0xE000EDE4u;
    record.sfar = *(volatile uint32_t *)0xE000EDE8u;
#endif
    record.progress = progress;
    record.main_stack = (uint32_t)main_stack;
    record.process_stack = (uint32_t)process_stack;
    record.stack_bytes = STACK_BYTES;
    const int32_t file = open_file();
    append((uint32_t)file, &record, sizeof record);
    append((uint32_t)file, main_stack, STACK_BYTES);
    append((uint32_t)file, process_stack, STACK_BYTES);
    semihost(0x02, &file);
    next_scenario();
}

/* Thumb-1 throughout, so that the same entry serves every core. */
__attribute__((naked)) void fault_entry(void)
{
    __asm__ volatile("ldr  r0, =record + 4\n"
                     "stmia r0!, {r4-r7}\n"
                     "mov  r4, r8\n"
                     "mov  r5, r9\n"
                     "mov  r6, r10\n"
                     "mov  r7, r11\n"
                     "stmia r0!, {r4-r7}\n"
                     "mov  r1, lr\n"
                     "mrs  r2, msp\n"
                     "mrs  r3, psp\n"
                     "mrs  r4, control\n"
                     "stmia r0!, {r1-r4}\n"
                     "ldr  r1, =fault_stack + 256\n"
#if CORE_HAS_SFSR
                     "movs r2, #0\n"
                     "msr  msplim, r2\n"
#endif
                     "msr  msp, r1\n"
                     "b    save_record\n"
                     ".ltorg\n");
}

void __assert_func(const char *file, int line, const char *function, const char *expression)
{
    (void)file, (void)line, (void)function, (void)expression;
    next_scenario();
}

static void prepare_capture(void)
{
#if CORE_HAS_CFSR
    *(volatile uint32_t *)0xE000ED24u |= 0xF0000u; /* SHCSR: MemManage, BusFault, UsageFault, SecureFault */
    *(volatile uint32_t *)0xE000ED14u |= 0x10u;    /* CCR: DIV_0_TRP */
#endif
}

#endif

static void prepare(void)
{
    for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
    if (alive != 0x600DF00Du) {
        alive = 0x600DF00Du;
        progress = 0;
    }
    prepare_capture();
#if CORE_HAS_CFSR
    *(volatile uint32_t *)0xE000ED14u |= 0x8u; /* CCR: UNALIGN_TRP */
#endif
#if CORE_HAS_FPU
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u; /* CPACR: CP10, CP11 */
#endif
}

__attribute__((used)) void Reset_Handler(void)
{
    prepare();
    main();
    next_scenario(); /* a scenario that does not fault leaves no record: the test misses it */
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(main_stack + STACK_BYTES / 4),
    Reset_Handler,
    fault_entry, /* NMI */
    fault_entry, /* HardFault */
    fault_entry, /* MemManage */
    fault_entry, /* BusFault */
    fault_entry, /* UsageFault */
    fault_entry, /* SecureFault */
    0,
    0,
    0,
    SVC_Handler,
    fault_entry,
    0,
    PendSV_Handler,
    fault_entry,
};
