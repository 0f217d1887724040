/*
 * What a firmware keeps of a crash, and how it gets out: this header and layerproof_fault.c, for any Cortex-M project
 * built by GCC. Of layerproof, under the Apache License 2.0; docs/fault-module.md there explains it.
 *
 * Every setting has a default. Others are set in a file layerproof_fault_config.h in the include path, or by -D.
 */
#ifndef LAYERPROOF_FAULT_H
#define LAYERPROOF_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- settings ---- */

#ifdef __has_include
#if __has_include("layerproof_fault_config.h")
#include "layerproof_fault_config.h"
#endif
#endif

/* Bytes of the fault path's own stack, a multiple of 8. 512 are enough at every level of optimisation, without what
 * layerproof_fault_finished and layerproof_fault_putc need. */
#ifndef LAYERPROOF_FAULT_STACK_BYTES
#define LAYERPROOF_FAULT_STACK_BYTES 640
#endif

/* Bytes of stack that a record keeps, a multiple of 8. */
#ifndef LAYERPROOF_FAULT_MEMORY_BYTES
#define LAYERPROOF_FAULT_MEMORY_BYTES 1024
#endif

/* Where record and stack lie: the sections .noinit.layerproof_record and .noinit.layerproof_stack. Nothing there may be
 * cleared at reset. */
#ifndef LAYERPROOF_FAULT_SECTION
#define LAYERPROOF_FAULT_SECTION ".noinit"
#endif

/* The symbol at the end of the main stack; where there is none, the vector table's first word says it. */
#ifndef LAYERPROOF_FAULT_STACK_TOP
#define LAYERPROOF_FAULT_STACK_TOP _estack
#endif

/* The symbol of the main stack's lowest byte; it may be missing. */
#ifndef LAYERPROOF_FAULT_STACK_BOTTOM
#define LAYERPROOF_FAULT_STACK_BOTTOM __StackLimit
#endif

/* The symbol of the ELF note that holds the build ID; it may be missing. */
#ifndef LAYERPROOF_FAULT_BUILD_ID
#define LAYERPROOF_FAULT_BUILD_ID layerproof_build_id
#endif

/* Without a default:
 * LAYERPROOF_FAULT_LAYER        name of a global `volatile uint32_t` that says which layer of a model runs
 * LAYERPROOF_FAULT_NO_HANDLERS  do not define HardFault_Handler, MemManage_Handler and so on
 * LAYERPROOF_FAULT_KEEP_MPU     leave the MPU on while the record is made
 * LAYERPROOF_FAULT_LOOP         stop after the record instead of a reset */

/* ---- the record ---- */

#ifdef __cplusplus
extern "C" {
#define LAYERPROOF_STATIC_ASSERT static_assert
#else
#define LAYERPROOF_STATIC_ASSERT _Static_assert
#endif

/* Generated from here by `python -m harness.rpc.generate`. */
/* clang-format off */
#define LAYERPROOF_RECORD_MAGIC 0x4352504Cu
#define LAYERPROOF_RECORD_VERSION 1u
#define LAYERPROOF_RECORD_NO_LAYER 0xFFFFFFFFu
#define LAYERPROOF_RECORD_STATUS 1u
#define LAYERPROOF_RECORD_SECURITY 2u
#define LAYERPROOF_RECORD_FLOAT 4u
#define LAYERPROOF_RECORD_FLUSHED 8u
#define LAYERPROOF_RECORD_FRAME 16u
#define LAYERPROOF_RECORD_ASSERT 32u
#define LAYERPROOF_RECORD_PARTIAL 64u

/* A crash; spans of memory follow. `magic` is written last, so that a record without it is not one. */
struct layerproof_record {
    uint32_t magic;
    uint32_t total;
    uint32_t crc32;
    uint32_t version;
    uint32_t flags;
    uint8_t build_id[20];
    uint32_t layer;
    uint32_t exception;
    uint32_t exc_return;
    uint32_t msp;
    uint32_t psp;
    uint32_t control;
    uint32_t primask;
    uint32_t basepri;
    uint32_t faultmask;
    uint32_t msplim;
    uint32_t psplim;
    uint32_t r4_r11[8];
    uint32_t frame_address;
    uint32_t frame[8];
    uint32_t s0_s31[32];
    uint32_t fpscr;
    uint32_t vpr;
    uint32_t fpccr;
    uint32_t cfsr;
    uint32_t hfsr;
    uint32_t mmfar;
    uint32_t bfar;
    uint32_t afsr;
    uint32_t shcsr;
    uint32_t sfsr;
    uint32_t sfar;
    uint32_t line;
    uint8_t file[40];
};
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, magic) == 0, "layerproof_record.magic");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, total) == 4, "layerproof_record.total");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, crc32) == 8, "layerproof_record.crc32");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, version) == 12, "layerproof_record.version");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, flags) == 16, "layerproof_record.flags");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, build_id) == 20, "layerproof_record.build_id");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, layer) == 40, "layerproof_record.layer");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, exception) == 44, "layerproof_record.exception");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, exc_return) == 48, "layerproof_record.exc_return");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, msp) == 52, "layerproof_record.msp");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, psp) == 56, "layerproof_record.psp");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, control) == 60, "layerproof_record.control");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, primask) == 64, "layerproof_record.primask");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, basepri) == 68, "layerproof_record.basepri");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, faultmask) == 72, "layerproof_record.faultmask");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, msplim) == 76, "layerproof_record.msplim");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, psplim) == 80, "layerproof_record.psplim");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, r4_r11) == 84, "layerproof_record.r4_r11");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, frame_address) == 116, "layerproof_record.frame_address");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, frame) == 120, "layerproof_record.frame");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, s0_s31) == 152, "layerproof_record.s0_s31");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, fpscr) == 280, "layerproof_record.fpscr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, vpr) == 284, "layerproof_record.vpr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, fpccr) == 288, "layerproof_record.fpccr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, cfsr) == 292, "layerproof_record.cfsr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, hfsr) == 296, "layerproof_record.hfsr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, mmfar) == 300, "layerproof_record.mmfar");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, bfar) == 304, "layerproof_record.bfar");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, afsr) == 308, "layerproof_record.afsr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, shcsr) == 312, "layerproof_record.shcsr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, sfsr) == 316, "layerproof_record.sfsr");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, sfar) == 320, "layerproof_record.sfar");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, line) == 324, "layerproof_record.line");
LAYERPROOF_STATIC_ASSERT(offsetof(struct layerproof_record, file) == 328, "layerproof_record.file");
LAYERPROOF_STATIC_ASSERT(sizeof(struct layerproof_record) == 368, "layerproof_record");
/* clang-format on */
/* Generated up to here. */

/* ---- what there is to call ---- */

/*
 * Enables MemManage, BusFault, UsageFault and SecureFault where the core has them, and the trap on division by zero.
 * Call it early in main. Without it all faults are still captured, as HardFaults.
 */
void layerproof_fault_start(void);

/*
 * Makes `bytes` bytes from `address` on untouchable, which catches null pointers and stacks that overflow; exceptions
 * still read their vectors there. Sizes and addresses as the MPU takes them: Armv7-M powers of two from 32 on, aligned
 * to themselves; Armv8-M multiples of 32. Takes the MPU's region `region`, on Armv8-M the next one too. Regions with
 * higher numbers go before it on Armv7-M. false: the core or its MPU cannot.
 */
bool layerproof_fault_guard(uint32_t region, uint32_t address, uint32_t bytes);

/*
 * Lets no code run in `bytes` bytes of normal memory from `address` on. Otherwise as layerproof_fault_guard. On Armv8-M
 * it makes attribute 0 of MPU_MAIR0 normal memory: regions of your own that use it for something else need another one.
 */
bool layerproof_fault_no_code(uint32_t region, uint32_t address, uint32_t bytes);

/* Sets the limits of both stacks, each the address of its lowest byte or 0. Does nothing before Armv8-M Mainline. */
void layerproof_fault_limit(uint32_t main_stack, uint32_t process_stack);

/*
 * The record that is kept, `total` bytes long, also after a reset; NULL when there is none. As long as there is one, a
 * later crash leaves it alone.
 */
const struct layerproof_record *layerproof_fault_record(void);
void layerproof_fault_clear(void);

/* Writes the record as lines of text, by layerproof_fault_putc. Nothing when there is none. */
void layerproof_fault_print(void);

/*
 * An assertion failed: a crash like any other, with the registers of the caller. For newlib's assert:
 *
 *     void __assert_func(const char *file, int line, const char *function, const char *expression)
 *     {
 *         layerproof_assert_failed(file, (uint32_t)line);
 *     }
 */
__attribute__((noreturn)) void layerproof_assert_failed(const char *file, uint32_t line);

/*
 * Copies memory of which nobody knows whether it is there; in words where both addresses and the length are multiples
 * of 4, otherwise in bytes. false: an access faulted; what comes before it was copied. Not from a handler whose
 * priority is that of the faults or above.
 */
bool layerproof_fault_copy(void *to, const void *from, uint32_t bytes);

/* The handler itself, for vector tables that do not use CMSIS's names; any exception may go to it. */
void layerproof_fault_entry(void);

/* ---- what to define if the default is not enough (each is weak) ---- */

/* Writes one character of the text, waiting until it is taken: interrupts are off. The default drops it. */
void layerproof_fault_putc(char character);

/*
 * Called once the record is kept, in thread mode wherever the architecture allows it, on the stack of the fault path
 * and with interrupts off. The default prints the record. After it the processor is reset, or stopped
 * (LAYERPROOF_FAULT_LOOP).
 */
void layerproof_fault_finished(void);

#ifdef __cplusplus
}
#endif

#endif
