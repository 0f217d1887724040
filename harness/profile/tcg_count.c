/*
 * A TCG plugin for QEMU (plugin API version 1): where the instructions of one call of one function were executed.
 *
 *   -plugin FILE,start=ADDRESS,stack_low=ADDRESS,stack_high=ADDRESS,out=PATH
 *
 * `start` is the address of the function's first instruction (bit 0 clear). Counting begins when a call reaches it and
 * ends when that call returns; then the following is appended to `out`, all numbers in decimal:
 *
 *   run TOTAL LOWEST                          instructions executed; lowest address within the stack that was written
 *   context ID PARENT SITE ENTRY TIMES        a chain of calls: entered TIMES times from PARENT, at ENTRY, by the call
 *                                             that ends the block at SITE. The function counted is context 0, its own
 * parent block CONTEXT START LENGTH COUNT THROUGH  a run of LENGTH instructions from START, executed COUNT times;
 * THROUGH times what came next was the instruction behind it end
 *
 * Contexts and blocks come in the order in which they were first executed. A jump into another function is no call:
 * its blocks belong to the context that jumped.
 *
 * Two ways of counting must agree, or QEMU is ended: one addition per instruction that the translated code makes by
 * itself, and the blocks, of which a callback is told when each begins. They would differ if a block were left halfway,
 * as by a fault. Interrupts are not expected: the firmware stub has none enabled while a model runs.
 *
 * QEMU's qemu-plugin.h is in no Debian package; the few declarations used here are written from its documentation.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT  __attribute__((visibility("default")))
#define DEEPEST 1024u   /* calls within one another */
#define BUCKETS 65536u  /* of the table of records: a power of two */
#define BLOCKS  262144u /* block descriptions: one for each translation of a block that differs from the others */
#define UNSET   UINT64_MAX
#define OPTIONS (sizeof options / sizeof options[0])

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info; /* not looked into */
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*executed)(unsigned, void *),
                                          enum qemu_plugin_cb_flags flags, void *user);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, enum qemu_plugin_op op, void *counter,
                                                uint64_t amount);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
                                      void (*accessed)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                      enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw which, void *user);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv);

/* How a block may leave other than to the instruction behind it. */
enum leaving {
    BY_JUMP, /* to an address in the code, or not at all */
    BY_CALL,
    BY_VALUE /* to an address in a register or in memory: only this can be a return */
};

struct context;

struct record { /* of one block in one context */
    struct context *context;
    const struct block *block;
    uint64_t count;
    uint64_t through;
    struct record *same_bucket;
    struct record *later;
};

struct block {
    uint64_t start;
    uint64_t end; /* address behind its last instruction */
    size_t length;
    enum leaving leaving;
    struct record *recent; /* the one last counted: nearly always the next one, too */
};

struct context {
    unsigned number;
    struct context *parent;
    uint64_t site;
    uint64_t entry;
    uint64_t times;
    struct context *children;
    struct context *sibling;
    struct context *later;
};

static uint64_t start_address = UNSET;
static uint64_t stack_low = UNSET;
static uint64_t stack_high = UNSET;
static const char *out_path;

static struct block *blocks[BLOCKS];
static size_t block_count;
static struct record *buckets[BUCKETS];
static struct record *first_record, **last_record = &first_record;
static struct context root;
static struct context **last_context = &root.later;
static unsigned context_count = 1;

static uint64_t executed; /* instructions since the machine started; added to by translated code itself */
static bool counting;
static uint64_t executed_before;
static uint64_t lowest;
static struct {
    uint64_t back; /* address it returns to */
    struct context *context;
} calls[DEEPEST];
static size_t depth;
static const struct block *previous;   /* block that was executed last */
static struct record *previous_record; /* and what it was counted in; NULL outside */

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("tcg_count: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

static void *zeroed(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        fail("out of memory");
    }
    return memory;
}

/* ---- what is executed */

static struct context *child(struct context *parent, uint64_t site, uint64_t entry)
{
    struct context **place = &parent->children;
    while (*place != NULL && ((*place)->site != site || (*place)->entry != entry)) {
        place = &(*place)->sibling;
    }
    if (*place == NULL) {
        struct context *fresh = zeroed(sizeof *fresh);
        *fresh = (struct context){.number = context_count++, .parent = parent, .site = site, .entry = entry};
        *place = fresh;
        *last_context = fresh;
        last_context = &fresh->later;
    }
    return *place;
}

static struct record *record_of(struct context *context, struct block *block)
{
    uint64_t hash = ((uint64_t)context->number * 0x9E3779B97F4A7C15u) ^ (block->start * 0xC2B2AE3D27D4EB4Fu);
    struct record **place = &buckets[(hash >> 32) % BUCKETS];
    while (*place != NULL && ((*place)->context != context || (*place)->block != block)) {
        place = &(*place)->same_bucket;
    }
    if (*place == NULL) {
        struct record *fresh = zeroed(sizeof *fresh);
        fresh->context = context;
        fresh->block = block;
        *place = fresh;
        *last_record = fresh;
        last_record = &fresh->later;
    }
    return *place;
}

static void enter(uint64_t back, struct context *context)
{
    if (depth == DEEPEST) {
        fail("more than %u calls within one another", DEEPEST);
    }
    calls[depth].back = back;
    calls[depth].context = context;
    depth++;
    context->times++;
}

/* Gives up the calls that end when execution goes on at `address`: usually one, none for a jump through a table. */
static void leave(uint64_t address)
{
    for (size_t level = depth; level-- > 0;) {
        if (calls[level].back == address) {
            depth = level;
            return;
        }
    }
}

static void begin(void)
{
    if (previous == NULL || previous->leaving != BY_CALL) {
        fail("the function at %#" PRIx64 " was reached by a jump: it returns to its caller's caller", start_address);
    }
    counting = true;
    executed_before = executed;
    lowest = stack_high;
    depth = 0;
    root.entry = start_address;
    enter(previous->end, &root);
    previous_record = NULL;
}

static void finish(void)
{
    counting = false;
    previous_record = NULL;
    uint64_t total = executed - executed_before;
    uint64_t in_blocks = 0;
    for (const struct record *record = first_record; record != NULL; record = record->later) {
        in_blocks += record->count * record->block->length;
    }
    if (in_blocks != total) {
        fail("%" PRIu64 " instructions were counted one by one, %" PRIu64 " in blocks", total, in_blocks);
    }
    FILE *out = fopen(out_path, "a");
    if (out == NULL) {
        fail("cannot open %s", out_path);
    }
    fprintf(out, "run %" PRIu64 " %" PRIu64 "\n", total, lowest);
    for (struct context *context = &root; context != NULL; context = context->later) {
        if (context->times != 0) {
            fprintf(out, "context %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", context->number,
                    context->parent == NULL ? 0 : context->parent->number, context->site, context->entry,
                    context->times);
            context->times = 0;
        }
    }
    for (struct record *record = first_record; record != NULL; record = record->later) {
        if (record->count != 0) {
            fprintf(out, "block %u %" PRIu64 " %zu %" PRIu64 " %" PRIu64 "\n", record->context->number,
                    record->block->start, record->block->length, record->count, record->through);
            record->count = record->through = 0;
        }
    }
    fputs("end\n", out);
    if (ferror(out) || fclose(out) != 0) {
        fail("cannot write %s", out_path);
    }
}

static void block_begins(unsigned cpu, void *user)
{
    (void)cpu;
    struct block *block = user;
    if (counting) {
        if (block->start == previous->end) {
            if (previous_record != NULL) {
                previous_record->through++;
            }
        } else if (previous->leaving == BY_CALL) {
            enter(previous->end, child(calls[depth - 1].context, previous->start, block->start));
        } else if (previous->leaving == BY_VALUE) {
            leave(block->start);
            if (depth == 0) {
                finish();
            }
        }
    } else if (block->start == start_address) {
        begin();
    }
    if (counting) {
        struct context *context = calls[depth - 1].context;
        struct record *record = block->recent;
        if (record == NULL || record->context != context) {
            record = block->recent = record_of(context, block);
        }
        record->count++;
        previous_record = record;
    }
    previous = block;
}

static void written(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *user)
{
    (void)cpu;
    (void)info;
    (void)user;
    if (counting && address >= stack_low && address < lowest) {
        lowest = address;
    }
}

/* ---- what is translated */

/* Encodings of the Armv7-M manual (DDI 0403E), A5.2.3, A5.3.4 and A7.7. */
static enum leaving leaving_of(const struct qemu_plugin_insn *insn)
{
    uint16_t half[2] = {0, 0};
    size_t size = qemu_plugin_insn_size(insn);
    memcpy(half, qemu_plugin_insn_data(insn), size < sizeof half ? size : sizeof half);
    if (size == 2) {
        if ((half[0] & 0xFF80) == 0x4780) { /* BLX, BLXNS */
            return BY_CALL;
        }
        bool bx = (half[0] & 0xFF80) == 0x4700;
        bool pop = (half[0] & 0xFF00) == 0xBD00;
        bool mov_or_add = (half[0] & 0xFD87) == 0x4487; /* to PC */
        return bx || pop || mov_or_add ? BY_VALUE : BY_JUMP;
    }
    if ((half[0] & 0xF800) == 0xF000 && (half[1] & 0xD000) == 0xD000) { /* BL */
        return BY_CALL;
    }
    bool load_multiple = (half[0] & 0xFE50) == 0xE810 && (half[1] & 0x8000) != 0;
    bool load = (half[0] & 0xFF70) == 0xF850 && (half[1] & 0xF000) == 0xF000;
    bool table = (half[0] & 0xFFF0) == 0xE8D0 && (half[1] & 0xFFE0) == 0xF000;
    return load_multiple || load || table ? BY_VALUE : BY_JUMP;
}

/* One description for all translations of the same block: a record stays the same when QEMU translates anew. */
static struct block *describe(uint64_t start, uint64_t end, size_t length, enum leaving leaving)
{
    size_t slot = (size_t)(start >> 1) % BLOCKS;
    for (; blocks[slot] != NULL; slot = (slot + 1) % BLOCKS) {
        struct block *known = blocks[slot];
        if (known->start == start && known->end == end && known->length == length && known->leaving == leaving) {
            return known;
        }
    }
    if (++block_count == BLOCKS) {
        fail("more than %u blocks of code", BLOCKS);
    }
    struct block *fresh = blocks[slot] = zeroed(sizeof *fresh);
    *fresh = (struct block){.start = start, .end = end, .length = length, .leaving = leaving};
    return fresh;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(tb);
    struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, length - 1);
    uint64_t start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    uint64_t end = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last);
    struct block *block = describe(start, end, length, leaving_of(last));
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block_begins, QEMU_PLUGIN_CB_NO_REGS, block);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
        qemu_plugin_register_vcpu_mem_cb(insn, written, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W, NULL);
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    const struct {
        const char *name;
        uint64_t *value;
    } options[] = {{"start=", &start_address}, {"stack_low=", &stack_low}, {"stack_high=", &stack_high}};

    for (int i = 0; i < argc; i++) {
        size_t which = 0;
        while (which < OPTIONS && strncmp(argv[i], options[which].name, strlen(options[which].name)) != 0) {
            which++;
        }
        if (which < OPTIONS) {
            *options[which].value = strtoull(argv[i] + strlen(options[which].name), NULL, 0);
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out_path = strdup(argv[i] + 4);
        } else {
            fprintf(stderr, "tcg_count: not an argument of this plugin: %s\n", argv[i]);
            return -1;
        }
    }
    if (start_address == UNSET || stack_low == UNSET || stack_high == UNSET || out_path == NULL) {
        fprintf(stderr, "tcg_count: start, stack_low, stack_high and out are all needed\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
