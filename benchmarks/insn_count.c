/*
 * A TCG plugin for QEMU (plugin API version 1) that counts the instructions of one call of one function.
 *
 *   -plugin FILE,start=ADDRESS,stop=ADDRESS[,stop=ADDRESS...],out=PATH
 *
 * `start` is the address of the function's first instruction, `stop` the address its call returns to (bit 0 clear);
 * there is one `stop` for every place that calls it. Each time an instruction at a `stop` is about to run after one at
 * `start` ran, one line with the number of instructions executed in between, the first of the function included and the
 * one at `stop` not, is appended to `out`. Calls of the function by itself are not supported: counting restarts.
 *
 * QEMU's qemu-plugin.h is in no Debian package; the few declarations used here are written from its documentation.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT    __attribute__((visibility("default")))
#define MAX_STOPS 16
#define UNSET     UINT64_MAX

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info; /* not looked into */
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*executed)(unsigned, void *),
                                            enum qemu_plugin_cb_flags flags, void *user);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, enum qemu_plugin_op op, void *counter,
                                                uint64_t amount);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv);

static uint64_t executed;      /* instructions since the machine started; added to by translated code itself */
static uint64_t begin = UNSET; /* `executed` when `start` was about to run; UNSET outside the function */
static uint64_t start_address = UNSET;
static uint64_t stop_addresses[MAX_STOPS];
static size_t stop_count;
static const char *out_path;

static void enter(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    begin = executed;
}

static void leave(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    if (begin == UNSET) {
        return;
    }
    FILE *out = fopen(out_path, "a");
    if (out == NULL || fprintf(out, "%" PRIu64 "\n", executed - begin) < 0 || fclose(out) != 0) {
        fprintf(stderr, "insn_count: cannot write %s\n", out_path);
        exit(EXIT_FAILURE);
    }
    begin = UNSET;
}

static bool is_stop(uint64_t address)
{
    for (size_t i = 0; i < stop_count; i++) {
        if (stop_addresses[i] == address) {
            return true;
        }
    }
    return false;
}

/* On one instruction QEMU runs callbacks before inline additions: `enter` and `leave` see the count before it. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        if (address == start_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, enter, QEMU_PLUGIN_CB_NO_REGS, NULL);
        } else if (is_stop(address)) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, leave, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        size_t name_length = value == NULL ? 0 : (size_t)(value++ - argv[i]);
        if (name_length == 5 && strncmp(argv[i], "start", name_length) == 0) {
            start_address = strtoull(value, NULL, 0);
        } else if (name_length == 4 && strncmp(argv[i], "stop", name_length) == 0 && stop_count < MAX_STOPS) {
            stop_addresses[stop_count++] = strtoull(value, NULL, 0);
        } else if (name_length == 3 && strncmp(argv[i], "out", name_length) == 0) {
            out_path = strdup(value);
        } else {
            fprintf(stderr, "insn_count: not an argument of this plugin: %s\n", argv[i]);
            return -1;
        }
    }
    if (start_address == UNSET || stop_count == 0 || out_path == NULL) {
        fprintf(stderr, "insn_count: start, stop and out are all needed\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
