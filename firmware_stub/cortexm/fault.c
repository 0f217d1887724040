/*
 * The fault path. The handler only saves registers and then leaves for thread mode on the fault stack, where memory is
 * probed, the record is finished and sent: a fault there can still be handled, in a handler it would lock the core up.
 */
#include "fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "board.h"
#include "core.h"
#include "crc32.h"
#include "model_glue.h"
#include "platform.h"
#include "rpc.h"
#include "scb.h"

#define EXC_RETURN_BASIC   (1u << 4) /* FType: no floating-point registers in the frame */
#define EXC_RETURN_THREAD  (1u << 3)
#define EXC_RETURN_PROCESS (1u << 2) /* SPSEL */
#define XPSR_THUMB         (1u << 24)

#define FRAME_LR   5u /* word of an exception frame */
#define FRAME_PC   6u
#define FRAME_XPSR 7u

/* A fault of the fault path itself is survived this often; then only a reset is left. */
#define MOST_CRASHES 3u

/* The linker script keeps it out of what is cleared at reset, by its section's name .bss.harness_fault_record. */
struct {
    struct fault_record head;
    uint8_t stack[RECORD_STACK_BYTES];
} harness_fault_record;

static uint32_t crashes; /* since reset */

static struct fault_record *const record = &harness_fault_record.head;

static bool record_is_whole(void)
{
    return record->magic == FAULT_RECORD_MAGIC && record->total >= sizeof *record &&
           record->total <= sizeof harness_fault_record &&
           record->crc32 == crc32(0, &record->flags, record->total - offsetof(struct fault_record, flags));
}

struct rpc_bytes platform_record(void)
{
    return (struct rpc_bytes){(const uint8_t *)&harness_fault_record, record_is_whole() ? record->total : 0};
}

void platform_record_clear(void)
{
    record->magic = 0;
}

static bool between(uint32_t address, const uint8_t *bottom, const uint8_t *top)
{
    return address >= (uint32_t)bottom && address < (uint32_t)top;
}

static uint32_t frame_address(const struct fault_entry *entry)
{
    return entry->exc_return & EXC_RETURN_PROCESS ? entry->psp : entry->msp;
}

/* Whether platform_copy touched what is not there; if so it is told, and nothing has happened. */
static bool probe_failed(const struct fault_entry *entry)
{
    uint32_t address = frame_address(entry);
    if (!between(address, harness_stack_bottom, harness_stack_top) &&
        !between(address, harness_fault_stack_bottom, harness_fault_stack_top)) {
        return false;
    }
    uint32_t *frame = (uint32_t *)address;
    if (!between(frame[FRAME_PC], fault_probe_start, fault_probe_end)) {
        return false;
    }
    frame[FRAME_PC] = (uint32_t)fault_probe_failed & ~1u;
    return true;
}

/* All that is gone once the handler has been left. */
static void save_registers(const struct fault_entry *entry)
{
    memset(&harness_fault_record, 0, sizeof harness_fault_record);
    record->total = sizeof *record;
    memcpy(record->build_id, platform_build_id(), sizeof record->build_id);
    record->layer = harness_current_layer;
    record->exc_return = entry->exc_return;
    record->msp = entry->msp;
    record->psp = entry->psp;
    memcpy(record->r4_r11, entry->r4_r11, sizeof record->r4_r11);
    record->frame_address = frame_address(entry);
    __asm volatile("mrs %0, ipsr" : "=r"(record->exception));
    __asm volatile("mrs %0, control" : "=r"(record->control));
    __asm volatile("mrs %0, primask" : "=r"(record->primask));
    core_fault_status(record);
    record->msplim = entry->msplim;
    core_fault_float(record);
}

/* The exception frame and the stack above it, or the deepest part of the stack when the frame is not in it. */
static void save_memory(void)
{
    uint32_t words = record->exc_return & EXC_RETURN_BASIC ? FAULT_BASIC_FRAME : FAULT_EXTENDED_FRAME;
    uint32_t start = record->frame_address;
    if (platform_copy(record->frame, (const void *)start, 4u * words)) {
        record->flags |= FAULT_RECORD_FRAME;
        start += 4u * words;
    }
    if (!between(start, harness_stack_bottom, harness_stack_top)) {
        start = (uint32_t)harness_stack_bottom;
    }
    uint32_t bytes = (uint32_t)harness_stack_top - start;
    if (bytes > RECORD_STACK_BYTES) {
        bytes = RECORD_STACK_BYTES;
    }
    record->stack_address = start;
    if (platform_copy(harness_fault_record.stack, (const void *)start, bytes)) {
        record->flags |= FAULT_RECORD_STACK;
        record->total += bytes;
    }
}

static void send(void)
{
    const uint32_t most = RPC_MAX_PAYLOAD - (uint32_t)sizeof(struct rpc_fault);
    for (uint32_t offset = 0; offset < record->total; offset += most) {
        const struct rpc_fault fault = {.total = record->total, .offset = offset};
        uint32_t rest = record->total - offset;
        struct rpc_bytes piece = {(const uint8_t *)&harness_fault_record + offset, rest < most ? rest : most};
        rpc_event(RPC_FAULT, &fault, sizeof fault, piece);
    }
}

/* In thread mode on the empty fault stack. */
static _Noreturn void postmortem(void)
{
    if (!record_is_whole()) {
        if (crashes == 1) {
            save_memory();
        } else {
            record->flags |= FAULT_RECORD_PARTIAL;
        }
        record->crc32 = crc32(0, &record->flags, record->total - offsetof(struct fault_record, flags));
        record->magic = FAULT_RECORD_MAGIC;
    }
    send();
    rpc_serve(true);
}

void fault_taken(struct fault_entry *entry)
{
    if (probe_failed(entry)) {
        core_fault_status_clear();
        return;
    }
    crashes++;
    if (crashes > MOST_CRASHES) {
        platform_reset();
    }
    /* The first crash is the one that counts; one from before a reset is kept until the harness has it. */
    if (crashes == 1 && !record_is_whole()) {
        save_registers(entry);
    }
    core_fault_status_clear();

    uint32_t *frame = harness_fault_frame;
    memset(frame, 0, 4u * FAULT_BASIC_FRAME);
    frame[FRAME_PC] = (uint32_t)postmortem & ~1u;
    frame[FRAME_XPSR] = XPSR_THUMB;
    entry->msp = (uint32_t)frame;
    entry->msplim = (uint32_t)harness_fault_stack_bottom;
    entry->exc_return = (entry->exc_return | EXC_RETURN_BASIC | EXC_RETURN_THREAD) & ~EXC_RETURN_PROCESS;
}
