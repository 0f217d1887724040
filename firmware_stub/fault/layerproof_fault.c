/*
 * Keeps a record of every crash; what can be called and set stands in layerproof_fault.h.
 *
 * The handler trusts nothing: it switches the MPU off, takes a stack of its own, saves what is gone once it is left,
 * and then leaves for thread mode, still on its own stack. There memory is probed, the record is finished and got out:
 * a fault there can be handled again, in a handler it would lock the processor up.
 *
 * Nothing here calls a library, and no compiler may use floating-point registers here: they are evidence.
 */
#include "layerproof_fault.h"

#if defined __ARM_FP || defined __ARM_FEATURE_MVE
#define HAS_FLOATS 1
#else
#define HAS_FLOATS 0
#endif
#ifdef __ARM_FEATURE_MVE
#define HAS_VECTORS 1
#else
#define HAS_VECTORS 0
#endif
#pragma GCC target("general-regs-only")

extern uint8_t LAYERPROOF_FAULT_STACK_TOP[] __attribute__((weak));
extern uint8_t LAYERPROOF_FAULT_STACK_BOTTOM[] __attribute__((weak));
extern const uint8_t LAYERPROOF_FAULT_BUILD_ID[] __attribute__((weak));
#ifdef LAYERPROOF_FAULT_LAYER
extern volatile uint32_t LAYERPROOF_FAULT_LAYER;
#endif

/* ---- the processor (Armv7-M manual B3.2, Armv8-M manual D1.2) ---- */

#if __ARM_ARCH >= 7 && !defined __ARM_ARCH_8M_BASE__
#define MAINLINE 1
#else
#define MAINLINE 0 /* one fault handler without status registers */
#endif
#define HAS_LIMITS (MAINLINE && __ARM_ARCH >= 8)

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define VTOR  REGISTER(0xE000ED08u)
#define AIRCR REGISTER(0xE000ED0Cu)
#define CCR   REGISTER(0xE000ED14u)
#define SHCSR REGISTER(0xE000ED24u)
#define CFSR  REGISTER(0xE000ED28u)
#define HFSR  REGISTER(0xE000ED2Cu)
#define MMFAR REGISTER(0xE000ED34u)
#define BFAR  REGISTER(0xE000ED38u)
#define AFSR  REGISTER(0xE000ED3Cu)
#define CPACR REGISTER(0xE000ED88u)
#define SFSR  REGISTER(0xE000EDE4u)
#define SFAR  REGISTER(0xE000EDE8u)
#define FPCCR REGISTER(0xE000EF34u)
#define FPCAR REGISTER(0xE000EF38u)
#define CLEAN REGISTER(0xE000EF68u) /* DCCMVAC */

#define MPU_TYPE  REGISTER(0xE000ED90u)
#define MPU_CTRL  REGISTER(0xE000ED94u)
#define MPU_RNR   REGISTER(0xE000ED98u)
#define MPU_RBAR  REGISTER(0xE000ED9Cu)
#define MPU_RASR  REGISTER(0xE000EDA0u) /* Armv7-M; RLAR in Armv8-M */
#define MPU_MAIR0 REGISTER(0xE000EDC0u)

#define AIRCR_RESET        ((0x05FAu << 16) | (1u << 2))
#define CCR_NONBASETHRDENA (1u << 0)
#define CCR_DIV_0_TRP      (1u << 4)
#define CCR_DC             (1u << 16)
#define SHCSR_ENABLE       (7u << 16) /* MemManage, BusFault, UsageFault */
#define SHCSR_SECURE       (1u << 19)
#define CFSR_STACKING      ((1u << 4) | (1u << 12)) /* MSTKERR, STKERR */
#define CFSR_STKOF         (1u << 20)
#define CPACR_PRIVILEGED   (1u << 20)
#define CPACR_FPU          (0xFu << 20)
#define FPCCR_LSPACT       (1u << 0)
#define FPCCR_TS           (1u << 26)
#define FPCCR_ASPEN        (1u << 31)
#define EXC_RETURN_SECURE  (1u << 0) /* ES: of the handler */
#define EXC_RETURN_BY_HAND (1u << 1) /* never set by a processor */
#define EXC_RETURN_PROCESS (1u << 2)
#define EXC_RETURN_THREAD  (1u << 3)
#define EXC_RETURN_BASIC   (1u << 4)
#define EXC_RETURN_SECURED (1u << 6) /* S: of what was interrupted */
#define XPSR_THUMB         (1u << 24)
#define XPSR_EXCEPTION     0x1FFu
#define MPU_CTRL_ON        5u /* what no region covers is as without MPU */
#define BASIC_WORDS        8u
#define EXTENDED_WORDS     26u
#define SECURE_WORDS       42u
#define LARGEST_FRAME      (4u * (SECURE_WORDS + 1u))

enum { R0, R1, R2, R3, R12, LR, PC, XPSR }; /* words of an exception frame */

/* ---- state ---- */

#define MOST_CRASHES 3u   /* the fault path's own faults that are survived; then only a reset is left */
#define MOST_SKIPPED 4096 /* bytes below a stack that may be unreadable before its readable part begins */
#define STACK_MARGIN 128  /* bytes that must be left of the fault stack for it to be used as it stands */

/* What the entry pushes, in this order of addresses. It loads the first four again when it leaves. */
struct layerproof_fault_entry {
    uint32_t msp;
    uint32_t psp;
    uint32_t msplim;
    uint32_t exc_return;
    uint32_t r4_r11[8];
};

struct span {
    uint32_t address;
    uint32_t bytes;
    uint8_t data[];
};

/* The names are global for the assembler. */
__attribute__((section(LAYERPROOF_FAULT_SECTION ".layerproof_record"), used)) struct {
    struct layerproof_record head;
    uint8_t memory[LAYERPROOF_FAULT_MEMORY_BYTES] __attribute__((aligned(4)));
} layerproof_fault_kept;
__attribute__((section(LAYERPROOF_FAULT_SECTION ".layerproof_stack"), used,
               aligned(8))) uint32_t layerproof_fault_stack[LAYERPROOF_FAULT_STACK_BYTES / 4];

static struct layerproof_record *const record = &layerproof_fault_kept.head;

/* Since reset. They may hold anything when the crash comes before they are cleared, so the second one must fit. */
static uint32_t crashes, crashes_inverted;
static uint32_t probing;  /* stack pointer of layerproof_fault_copy while it runs */
static uint32_t in_place; /* the handler could not be left: nothing may be touched that could fault */

extern const uint8_t layerproof_fault_probe_begins[], layerproof_fault_probe_ends[], layerproof_fault_probe_failed[];
extern const uint8_t layerproof_assert_trap[];
bool layerproof_fault_probe(void *to, const void *from, uint32_t bytes);
void layerproof_fault_taken(struct layerproof_fault_entry *entry);
__attribute__((noreturn)) void layerproof_fault_postmortem(void);

static void count_crashes(uint32_t count)
{
    crashes = count;
    crashes_inverted = ~count;
}

static uint32_t stack_top(void)
{
    if (LAYERPROOF_FAULT_STACK_TOP) {
        return (uint32_t)LAYERPROOF_FAULT_STACK_TOP;
    }
    return *(const volatile uint32_t *)VTOR; /* reads as 0 where there is no VTOR */
}

static uint32_t stack_bottom(void)
{
    return (uint32_t)LAYERPROOF_FAULT_STACK_BOTTOM;
}

static bool in_main_stack(uint32_t address)
{
    return address >= stack_bottom() && address < stack_top();
}

/* ---- the record ---- */

static uint32_t crc32(uint32_t crc, const void *data, uint32_t bytes)
{
    const uint8_t *byte = data;
    crc = ~crc;
    while (bytes--) {
        crc ^= *byte++;
        for (uint32_t bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320u & -(crc & 1u));
        }
    }
    return ~crc;
}

static uint32_t crc_of_record(void)
{
    return crc32(0, &record->version, record->total - offsetof(struct layerproof_record, version));
}

const struct layerproof_record *layerproof_fault_record(void)
{
    bool whole = record->magic == LAYERPROOF_RECORD_MAGIC && record->version == LAYERPROOF_RECORD_VERSION &&
                 record->total >= sizeof *record && record->total <= sizeof layerproof_fault_kept &&
                 record->crc32 == crc_of_record();
    return whole ? record : NULL;
}

/* Writes it through to memory: a reset forgets what is in the cache only. */
static void set_magic(uint32_t magic)
{
    __asm volatile("dsb" ::: "memory");
    record->magic = magic;
#if MAINLINE
    if (CCR & CCR_DC) {
        uint32_t end = (uint32_t)record + sizeof layerproof_fault_kept;
        __asm volatile("dsb" ::: "memory");
        for (uint32_t line = (uint32_t)record & ~31u; line < end; line += 32u) {
            CLEAN = line;
        }
    }
#endif
    __asm volatile("dsb" ::: "memory");
}

void layerproof_fault_clear(void)
{
    set_magic(0);
    count_crashes(0);
}

/* ---- reading what may not be there ---- */

/* Uses r0-r3 only, so there is nothing to undo when the handler continues it at layerproof_fault_probe_failed. */
__attribute__((naked, noinline, used)) bool layerproof_fault_probe(void *to, const void *from, uint32_t bytes)
{
    (void)to, (void)from, (void)bytes;
    __asm volatile(".syntax unified\n"
                   "mov r3, r0\n"
                   "orrs r3, r1\n"
                   "orrs r3, r2\n"
                   "lsls r3, r3, #30\n"
                   "beq 4f\n"
                   "b 2f\n"
                   ".global layerproof_fault_probe_begins\n"
                   "layerproof_fault_probe_begins:\n"
                   "1: ldrb r3, [r1]\n"
                   "strb r3, [r0]\n"
                   "adds r0, #1\n"
                   "adds r1, #1\n"
                   "2: subs r2, #1\n"
                   "bhs 1b\n"
                   "b 5f\n"
                   "3: ldr r3, [r1]\n"
                   "str r3, [r0]\n"
                   "adds r0, #4\n"
                   "adds r1, #4\n"
                   "4: subs r2, #4\n"
                   "bhs 3b\n"
                   "5: dsb\n" /* a buffered write that fails must do so here */
                   ".global layerproof_fault_probe_ends\n"
                   "layerproof_fault_probe_ends:\n"
                   "movs r0, #1\n"
                   "bx lr\n"
                   ".global layerproof_fault_probe_failed\n"
                   "layerproof_fault_probe_failed:\n"
                   "movs r0, #0\n"
                   "bx lr\n");
}

bool layerproof_fault_copy(void *to, const void *from, uint32_t bytes)
{
    uint32_t here;
    __asm volatile("mov %0, sp" : "=r"(here));
    *(volatile uint32_t *)&probing = here;
    bool copied = layerproof_fault_probe(to, from, bytes);
    *(volatile uint32_t *)&probing = 0;
    return copied;
}

static bool take(void *to, uint32_t from, uint32_t bytes)
{
    return (!in_place || in_main_stack(from)) && layerproof_fault_copy(to, (const void *)from, bytes);
}

/* Appends what can be read of the `bytes` bytes from `from` on to the record, as far as it takes `most` in all. */
static void keep(uint32_t from, uint32_t bytes, uint32_t most)
{
    uint32_t used = record->total - sizeof *record;
    struct span *span = (void *)(layerproof_fault_kept.memory + used);
    uint32_t word;
    from = (from + 3u) & ~3u;
    for (uint32_t end = from + MOST_SKIPPED; !take(&word, from, 4);) {
        uint32_t step = 32u - (from & 31u);
        if (bytes < step || from >= end) {
            return;
        }
        from += step;
        bytes -= step;
    }
    if (used + sizeof *span >= most) {
        return;
    }
    uint32_t count = 0;
    while (count < bytes && used + sizeof *span + count < most && take(span->data + count, from + count, 4)) {
        count += 4u;
    }
    span->address = from;
    span->bytes = count;
    record->total += sizeof *span + count;
}

/* ---- in the handler ---- */

static uint32_t frame_address(const struct layerproof_fault_entry *entry)
{
    uint32_t process = entry->exc_return & EXC_RETURN_PROCESS;
#if __ARM_ARCH >= 8
    uint32_t secure = entry->exc_return & (EXC_RETURN_SECURED | EXC_RETURN_SECURE);
    if (secure == EXC_RETURN_SECURED) {
        return 0;
    }
    if (secure == EXC_RETURN_SECURE) {
        uint32_t address;
        if (process) {
            __asm volatile("mrs %0, psp_ns" : "=r"(address));
        } else {
            __asm volatile("mrs %0, msp_ns" : "=r"(address));
        }
        return address;
    }
#endif
    return process ? entry->psp : entry->msp;
}

/* Whether layerproof_fault_copy touched what is not there; if so it is told, and nothing has happened. */
static bool probe_failed(const struct layerproof_fault_entry *entry)
{
    uint32_t address = frame_address(entry);
    if (address >= probing || probing - address > LARGEST_FRAME) {
        return false;
    }
    uint32_t *frame = (uint32_t *)address;
    if (frame[PC] < (uint32_t)layerproof_fault_probe_begins || frame[PC] >= (uint32_t)layerproof_fault_probe_ends) {
        return false;
    }
    frame[PC] = (uint32_t)layerproof_fault_probe_failed & ~1u;
    return true;
}

/* What was to be stacked lazily is taken from the registers themselves; the frame gets it from flush(). */
static void save_floats(void)
{
#if HAS_FLOATS
    if (!(CPACR & CPACR_PRIVILEGED)) {
        return;
    }
    record->fpccr = FPCCR;
    FPCCR = record->fpccr & ~(FPCCR_LSPACT | FPCCR_ASPEN); /* the next instructions must not begin a new context */
    uint32_t *at = record->s0_s31;
    __asm volatile("dsb\n\tisb\n\tvstmia %0!, {s0-s31}\n\tvmrs %1, fpscr" : "+r"(at), "=r"(record->fpscr)::"memory");
#if HAS_VECTORS
    __asm volatile(".arch_extension mve\n\tvmrs %0, vpr" : "=r"(record->vpr));
#endif
    record->flags |= LAYERPROOF_RECORD_FLOAT;
    if (record->fpccr & FPCCR_LSPACT || record->exc_return & EXC_RETURN_BASIC) {
        record->flags |= LAYERPROOF_RECORD_FLUSHED;
    }
#endif
}

static void save_status(void)
{
#if MAINLINE
    record->flags |= LAYERPROOF_RECORD_STATUS;
    record->cfsr = CFSR;
    record->hfsr = HFSR;
    record->mmfar = MMFAR;
    record->bfar = BFAR;
    record->afsr = AFSR;
    record->shcsr = SHCSR;
    __asm volatile("mrs %0, basepri" : "=r"(record->basepri));
    __asm volatile("mrs %0, faultmask" : "=r"(record->faultmask));
#endif
#if HAS_LIMITS
    record->flags |= LAYERPROOF_RECORD_SECURITY;
    record->sfsr = SFSR;
    record->sfar = SFAR;
    __asm volatile("mrs %0, psplim" : "=r"(record->psplim));
#endif
}

/* Bits are cleared by writing them. */
static void clear_status(void)
{
#if MAINLINE
    CFSR = CFSR;
    HFSR = HFSR;
#endif
#if HAS_LIMITS
    SFSR = SFSR;
#endif
}

/* From an ELF note: the lengths of name and description, the type, "GNU", then the build ID. */
static void save_build_id(void)
{
    const uint32_t *note = (const uint32_t *)(const void *)LAYERPROOF_FAULT_BUILD_ID;
    if (note == NULL || note[0] != 4u || note[1] != sizeof record->build_id) {
        return;
    }
    for (uint32_t i = 0; i < sizeof record->build_id; i++) {
        record->build_id[i] = LAYERPROOF_FAULT_BUILD_ID[16u + i];
    }
}

/* All that is gone once the handler has been left. */
static void save_registers(const struct layerproof_fault_entry *entry, uint32_t primask)
{
    for (uint32_t i = 0; i < sizeof *record / 4u; i++) {
        ((volatile uint32_t *)record)[i] = 0;
    }
    record->total = sizeof *record;
    record->version = LAYERPROOF_RECORD_VERSION;
    record->layer = LAYERPROOF_RECORD_NO_LAYER;
#ifdef LAYERPROOF_FAULT_LAYER
    record->layer = LAYERPROOF_FAULT_LAYER;
#endif
    record->exc_return = entry->exc_return & ~EXC_RETURN_BY_HAND;
    record->msp = entry->msp;
    record->psp = entry->psp;
    record->msplim = entry->msplim;
    record->frame_address = frame_address(entry);
    for (uint32_t i = 0; i < 8u; i++) {
        record->r4_r11[i] = entry->r4_r11[i];
    }
    __asm volatile("mrs %0, ipsr" : "=r"(record->exception));
    __asm volatile("mrs %0, control" : "=r"(record->control));
    record->primask = primask;
    save_floats();
    save_status();
    save_build_id();
}

/* ---- out of the handler ---- */

/* Completes the frame that floating-point registers were to be stacked to, or takes them from one that is complete. */
static void flush(void)
{
#if HAS_FLOATS
    if (!(record->flags & LAYERPROOF_RECORD_FLOAT) || in_place) {
        return;
    }
    if (record->fpccr & FPCCR_LSPACT) {
        uint32_t place = FPCAR & ~7u;
        (void)(layerproof_fault_copy((void *)place, record->s0_s31, 64) &&
               layerproof_fault_copy((void *)(place + 64u), &record->fpscr, 8));
    } else if (!(record->exc_return & EXC_RETURN_BASIC)) {
        uint32_t place = record->frame_address + 4u * BASIC_WORDS;
        if (take(record->s0_s31, place, 64) && take(&record->fpscr, place + 64u, 8)) {
            record->flags |= LAYERPROOF_RECORD_FLUSHED;
        }
    }
#endif
}

static void save_assertion(void)
{
    const uint32_t most = sizeof record->file - 1u;
    const char *name = (const char *)record->frame[R0];
    uint32_t length = 0;
    for (char c; length < 1024u && layerproof_fault_copy(&c, name + length, 1) && c != '\0';) {
        length++;
    }
    uint32_t skipped = length > most ? length - most : 0;
    layerproof_fault_copy(record->file, name + skipped, length - skipped);
    record->line = record->frame[R1];
    record->flags |= LAYERPROOF_RECORD_ASSERT;
}

/* Whether there was room for the exception frame. A frame that would pass the stack's limit is not written, and the
 * stack pointer is set to the limit (Armv8-M manual, RZLZG). */
static bool stacked(void)
{
    uint32_t limit = record->exc_return & EXC_RETURN_PROCESS ? record->psplim : record->msplim;
    bool stopped = record->cfsr & CFSR_STKOF && record->frame_address <= limit;
    return record->frame_address != 0 && !(record->cfsr & CFSR_STACKING) && !stopped;
}

static uint32_t frame_words(void)
{
    if (record->exc_return & EXC_RETURN_BASIC) {
        return BASIC_WORDS;
    }
    bool secure = record->fpccr & FPCCR_TS && record->exc_return & EXC_RETURN_SECURED;
    return secure ? SECURE_WORDS : EXTENDED_WORDS;
}

/* The exception frame, and what lies above it on its stack; of the main stack the deepest part when it is not there. */
static void save_memory(void)
{
    uint32_t start = record->frame_address;
    if (stacked() && take(record->frame, start, sizeof record->frame)) {
        record->flags |= LAYERPROOF_RECORD_FRAME;
        start += 4u * frame_words();
        flush();
        if (record->frame[PC] == ((uint32_t)layerproof_assert_trap & ~1u)) {
            save_assertion();
        }
    }
    const uint32_t all = sizeof layerproof_fault_kept.memory;
    if (record->exc_return & EXC_RETURN_PROCESS) {
        keep(start < record->psplim ? record->psplim : start, all, all);
        return;
    }
    if (!in_main_stack(start) && stack_bottom() != 0) {
        start = stack_bottom();
    }
    if (record->exc_return & EXC_RETURN_THREAD || record->psp == 0) {
        keep(start, stack_top() - start, all);
    } else { /* an interrupt handler, perhaps of a thread with a stack of its own */
        keep(start, stack_top() - start, all / 2u);
        keep(record->psp, all, all);
    }
}

static __attribute__((noreturn)) void stop(void)
{
#ifndef LAYERPROOF_FAULT_LOOP
    __asm volatile("dsb" ::: "memory");
    AIRCR = AIRCR_RESET;
#endif
    for (;;) {
    }
}

/* On the empty fault stack. */
__attribute__((noreturn, used, noinline)) void layerproof_fault_postmortem(void)
{
    if (layerproof_fault_record() == NULL) {
        if (crashes == 1u) {
            save_memory();
        } else {
            record->flags |= LAYERPROOF_RECORD_PARTIAL;
        }
        record->crc32 = crc_of_record();
        set_magic(LAYERPROOF_RECORD_MAGIC);
    }
#if HAS_FLOATS
    CPACR |= CPACR_FPU; /* what comes now is the user's code */
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    layerproof_fault_finished();
    stop();
}

/* Changes `entry` to where the processor is to continue. */
__attribute__((used)) void layerproof_fault_taken(struct layerproof_fault_entry *entry)
{
    if (probe_failed(entry)) {
        clear_status();
        return;
    }
    uint32_t primask;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(primask)::"memory");
    count_crashes(crashes == ~crashes_inverted ? crashes + 1u : 1u);
    if (crashes > MOST_CRASHES) {
        stop();
    }
    /* The first crash is the one that counts; one from before a reset is kept until it is cleared. */
    if (crashes == 1u && layerproof_fault_record() == NULL) {
        save_registers(entry, primask);
    }
    clear_status();

    uint32_t exception = 0;
    in_place = entry->exc_return & EXC_RETURN_BY_HAND;
#if MAINLINE
    CCR |= CCR_NONBASETHRDENA;
#elif __ARM_ARCH < 8
    /* Armv6-M returns to thread mode from the last active exception only: this takes the place of the other one. */
    if (!(entry->exc_return & EXC_RETURN_THREAD)) {
        uint32_t frame = entry->msp;
        in_place |= !in_main_stack(frame) && frame - (uint32_t)layerproof_fault_stack >= sizeof layerproof_fault_stack;
        exception = in_place ? 0 : ((uint32_t *)frame)[XPSR] & XPSR_EXCEPTION;
    }
#endif
    if (in_place) {
        layerproof_fault_postmortem();
    }
    uint32_t *frame = layerproof_fault_stack + sizeof layerproof_fault_stack / 4u - BASIC_WORDS;
    for (uint32_t i = 0; i < BASIC_WORDS; i++) {
        ((volatile uint32_t *)frame)[i] = 0;
    }
    frame[PC] = (uint32_t)layerproof_fault_postmortem & ~1u;
    frame[XPSR] = XPSR_THUMB | exception;
    entry->msp = (uint32_t)frame;
    entry->msplim = (uint32_t)layerproof_fault_stack;
    entry->exc_return = (entry->exc_return | EXC_RETURN_BASIC) & ~EXC_RETURN_PROCESS;
    if (exception == 0) {
        entry->exc_return |= EXC_RETURN_THREAD;
    }
#if __ARM_ARCH >= 8
    entry->exc_return &= ~EXC_RETURN_SECURED; /* on in the handler's own security state */
    entry->exc_return |= entry->exc_return & EXC_RETURN_SECURE ? EXC_RETURN_SECURED : 0;
#endif
    __asm volatile("msr control, %0\n\tdsb\n\tisb" ::"r"(0) : "memory"); /* privileged from here on */
}

/*
 * Every fault comes here. The stack it happened on may be the cause, so nothing is pushed before MSP points into the
 * fault stack. A fault of code that already runs there (a probe) leaves MSP where it is.
 *
 * At entry: r0-r3, r12, lr, pc and xpsr are in the exception frame and free to use; lr is EXC_RETURN.
 */
__attribute__((naked, noinline, used)) void layerproof_fault_entry(void)
{
    __asm volatile(".syntax unified\n"
                   "mrs r0, msp\n"
                   "mrs r1, psp\n"
#if HAS_LIMITS
                   "mrs r2, msplim\n"
                   "mov r12, r2\n"
                   "movs r2, #0\n"
                   "msr msplim, r2\n"
#else
                   "movs r2, #0\n"
                   "mov r12, r2\n"
#endif
#ifndef LAYERPROOF_FAULT_KEEP_MPU
                   "ldr r3, =0xE000ED94\n" /* MPU_CTRL */
                   "movs r2, #0\n"
                   "str r2, [r3]\n"
                   "dsb\n"
                   "isb\n"
#endif
                   "ldr r2, =layerproof_fault_stack + %c0\n"
                   "subs r3, r0, r2\n"
                   "ldr r2, =%c1\n"
                   "cmp r3, r2\n"
                   "blo 1f\n"
                   "ldr r2, =layerproof_fault_stack + %c2\n"
                   "msr msp, r2\n"
                   "1:\n"
#if HAS_LIMITS
                   "ldr r2, =layerproof_fault_stack\n"
                   "msr msplim, r2\n"
#endif
                   "mov r2, r10\n" /* struct layerproof_fault_entry, from its end; Armv6-M pushes low registers only */
                   "mov r3, r11\n"
                   "push {r2, r3}\n"
                   "mov r2, r8\n"
                   "mov r3, r9\n"
                   "push {r2, r3}\n"
                   "push {r4, r5, r6, r7}\n"
                   "mov r2, r12\n"
                   "push {r0, r1, r2, lr}\n"
                   "mov r0, sp\n"
                   "bl layerproof_fault_taken\n"
                   "ldr r1, [sp, #0]\n"
                   "ldr r2, [sp, #8]\n"
                   "ldr r0, [sp, #12]\n"
#if HAS_LIMITS
                   "movs r3, #0\n" /* the old limit must not meet the new pointer, nor the new limit the old one */
                   "msr msplim, r3\n"
#endif
                   "msr msp, r1\n"
#if HAS_LIMITS
                   "msr msplim, r2\n"
#endif
                   "bx r0\n"
                   ".ltorg\n" ::"i"(STACK_MARGIN),
                   "i"(LAYERPROOF_FAULT_STACK_BYTES - STACK_MARGIN),
                   "i"(LAYERPROOF_FAULT_STACK_BYTES - 4 * (int)BASIC_WORDS));
}

/*
 * A fault on purpose, so that the processor saves the registers. In a handler that no fault can interrupt, and with
 * FAULTMASK, that would be a lockup: there the frame is written by hand.
 */
__attribute__((naked, noinline, used)) void layerproof_assert_failed(const char *file, uint32_t line)
{
    (void)file, (void)line;
    __asm volatile(".syntax unified\n"
                   "mrs r2, ipsr\n"
                   "subs r2, #2\n" /* 2: NMI, 3: HardFault */
                   "cmp r2, #2\n"
                   "blo 1f\n"
#if MAINLINE
                   "cpsie f\n"
#endif
                   ".global layerproof_assert_trap\n"
                   "layerproof_assert_trap:\n"
                   "udf #76\n"
                   "1: sub sp, #32\n"
                   "str r0, [sp, #0]\n"
                   "str r1, [sp, #4]\n"
                   "str r2, [sp, #8]\n"
                   "str r3, [sp, #12]\n"
                   "mov r2, r12\n"
                   "str r2, [sp, #16]\n"
                   "mov r2, lr\n"
                   "str r2, [sp, #20]\n"
                   "ldr r2, =layerproof_assert_trap\n"
                   "str r2, [sp, #24]\n"
                   "mrs r2, xpsr\n"
                   "ldr r3, =0x01000000\n"
                   "orrs r2, r3\n"
                   "str r2, [sp, #28]\n"
                   "ldr r2, =0xFFFFFFF3\n" /* EXC_RETURN of a handler, with EXC_RETURN_BY_HAND */
                   "mov lr, r2\n"
                   "ldr r2, =layerproof_fault_entry\n"
                   "bx r2\n"
                   ".ltorg\n");
}

#ifndef LAYERPROOF_FAULT_NO_HANDLERS
#define HANDLER(name) void name(void) __attribute__((alias("layerproof_fault_entry")))
HANDLER(HardFault_Handler);
#if MAINLINE
HANDLER(MemManage_Handler);
HANDLER(BusFault_Handler);
HANDLER(UsageFault_Handler);
#endif
#if HAS_LIMITS
HANDLER(SecureFault_Handler);
#endif
#endif

/* ---- the record as text ---- */

static void put_text(const char *text)
{
    while (*text != '\0') {
        layerproof_fault_putc(*text++);
    }
}

static void put_hex(uint32_t value, uint32_t digits)
{
    while (digits-- != 0) {
        layerproof_fault_putc("0123456789abcdef"[(value >> (4u * digits)) & 15u]);
    }
}

#define TEXT_MARK       "layerproof-crash "
#define TEXT_LINE_BYTES 16u /* lines of 63 characters: mail folds longer ones */

void layerproof_fault_print(void)
{
    if (layerproof_fault_record() == NULL) {
        return;
    }
    put_text("\r\n" TEXT_MARK "begin\r\n");
    for (uint32_t offset = 0; offset < record->total; offset += TEXT_LINE_BYTES) {
        const uint8_t *line = (const uint8_t *)record + offset;
        uint32_t rest = record->total - offset;
        uint32_t count = rest < TEXT_LINE_BYTES ? rest : TEXT_LINE_BYTES;
        put_text(TEXT_MARK);
        put_hex(offset, 4);
        put_text(" ");
        for (uint32_t i = 0; i < count; i++) {
            put_hex(line[i], 2);
        }
        put_text(" ");
        put_hex(crc32(offset, line, count), 8);
        put_text("\r\n");
    }
    put_text(TEXT_MARK "end\r\n");
}

__attribute__((weak)) void layerproof_fault_putc(char character)
{
    (void)character;
}

__attribute__((weak)) void layerproof_fault_finished(void)
{
    layerproof_fault_print();
}

/* ---- what is armed on request ---- */

void layerproof_fault_start(void)
{
    count_crashes(0);
#if MAINLINE
    CCR |= CCR_DIV_0_TRP;
    SHCSR |= SHCSR_ENABLE | (HAS_LIMITS ? SHCSR_SECURE : 0u);
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
}

void layerproof_fault_limit(uint32_t main_stack, uint32_t process_stack)
{
#if HAS_LIMITS
    __asm volatile("msr msplim, %0\n\tmsr psplim, %1" ::"r"(main_stack), "r"(process_stack));
#else
    (void)main_stack, (void)process_stack;
#endif
}

#if MAINLINE
static bool set_regions(uint32_t region, uint32_t count, uint32_t base, uint32_t attributes)
{
    if (((MPU_TYPE >> 8) & 0xFFu) < region + count) {
        return false;
    }
    for (uint32_t number = region; number < region + count; number++) {
        MPU_RNR = number;
        MPU_RBAR = base;
        MPU_RASR = attributes;
    }
    MPU_CTRL |= MPU_CTRL_ON;
    __asm volatile("dsb\n\tisb" ::: "memory");
    return true;
}
#endif

#if MAINLINE && __ARM_ARCH >= 8

#define RBAR_NO_CODE 3u    /* read and write, execute never */
#define RLAR_ENABLE  1u    /* with attribute 0 */
#define MAIR_NORMAL  0xFFu /* write-back, write and read allocate */

bool layerproof_fault_no_code(uint32_t region, uint32_t address, uint32_t bytes)
{
    MPU_MAIR0 = (MPU_MAIR0 & ~0xFFu) | MAIR_NORMAL;
    return set_regions(region, 1, address | RBAR_NO_CODE, ((address + bytes - 1u) & ~31u) | RLAR_ENABLE);
}

bool layerproof_fault_guard(uint32_t region, uint32_t address, uint32_t bytes)
{
    /* No attribute forbids privileged access, but an address that two regions cover faults. */
    return set_regions(region, 2, address | RBAR_NO_CODE, ((address + bytes - 1u) & ~31u) | RLAR_ENABLE);
}

#elif MAINLINE

#define RASR_ENABLE     1u
#define RASR_SIZE(size) (((uint32_t)__builtin_ctz(size) - 1u) << 1)
#define RASR_NORMAL     ((1u << 19) | (1u << 17) | (1u << 16)) /* write-back, write and read allocate */
#define RASR_READ_WRITE (3u << 24)
#define RASR_NO_CODE    (1u << 28)

bool layerproof_fault_no_code(uint32_t region, uint32_t address, uint32_t bytes)
{
    return set_regions(region, 1, address,
                       RASR_SIZE(bytes) | RASR_NORMAL | RASR_READ_WRITE | RASR_NO_CODE | RASR_ENABLE);
}

bool layerproof_fault_guard(uint32_t region, uint32_t address, uint32_t bytes)
{
    return set_regions(region, 1, address, RASR_SIZE(bytes) | RASR_NO_CODE | RASR_ENABLE);
}

#else

bool layerproof_fault_no_code(uint32_t region, uint32_t address, uint32_t bytes)
{
    (void)region, (void)address, (void)bytes;
    return false;
}

bool layerproof_fault_guard(uint32_t region, uint32_t address, uint32_t bytes)
{
    (void)region, (void)address, (void)bytes;
    return false;
}

#endif
