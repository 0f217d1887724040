/* Written by `python -m harness.rpc.generate` from harness/rpc. */
/* clang-format off */

#ifndef RPC_MESSAGES_H
#define RPC_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RPC_PROTOCOL_VERSION 1u
#define RPC_SCHEMA_HASH 0xF9E680BCu
#define RPC_REPLY 0x80u /* set in the type of an answer */

enum rpc_status {
    RPC_OK = 0, /* done */
    RPC_UNKNOWN_COMMAND = -1, /* the firmware does not know this command */
    RPC_BAD_LENGTH = -2, /* the message is shorter or longer than its layout */
    RPC_BAD_RANGE = -3, /* the bytes asked for are not all inside the arena */
    RPC_BAD_LAYER = -4, /* the model has no such range of layers */
    RPC_BAD_ADDRESS = -5, /* nothing can be read or written at this address */
    RPC_TOO_LONG = -6, /* the answer would be longer than one message */
    RPC_CRASHED = -7, /* the firmware has crashed and only tells about it */
    RPC_NO_RECORD = -8, /* no fault record is kept */
};

enum rpc_type {
    RPC_HELLO = 0x01,
    RPC_RESET = 0x02,
    RPC_TENSOR_WRITE = 0x03,
    RPC_TENSOR_READ = 0x04,
    RPC_CHECKSUM = 0x05,
    RPC_RUN_LAYERS = 0x06,
    RPC_RUN_MODEL = 0x07,
    RPC_MEMORY_READ = 0x08,
    RPC_MEMORY_WRITE = 0x09,
    RPC_RECORD_READ = 0x0A,
    RPC_RECORD_CLEAR = 0x0B,
    RPC_STARTED = 0x40,
    RPC_LOG = 0x41,
    RPC_LAYER_DONE = 0x42,
    RPC_FAULT = 0x43,
    RPC_DAMAGED = 0x44,
};

/* Bytes that follow the fixed part of a message. */
struct rpc_bytes {
    const uint8_t *data;
    uint32_t length;
};

/* Who the firmware is. Its head, up to the schema, stays the same in all versions of the protocol. */
struct rpc_hello_reply {
    uint16_t protocol;
    uint16_t max_payload;
    uint32_t schema;
    uint8_t build_id[20];
    uint8_t board[32];
    uint32_t arena_address;
    uint32_t arena_bytes;
    uint32_t layer_count;
    uint32_t stack_bottom;
    uint32_t stack_top;
    uint32_t record_bytes;
    uint32_t crashed;
};
_Static_assert(offsetof(struct rpc_hello_reply, protocol) == 0, "rpc_hello_reply.protocol");
_Static_assert(offsetof(struct rpc_hello_reply, max_payload) == 2, "rpc_hello_reply.max_payload");
_Static_assert(offsetof(struct rpc_hello_reply, schema) == 4, "rpc_hello_reply.schema");
_Static_assert(offsetof(struct rpc_hello_reply, build_id) == 8, "rpc_hello_reply.build_id");
_Static_assert(offsetof(struct rpc_hello_reply, board) == 28, "rpc_hello_reply.board");
_Static_assert(offsetof(struct rpc_hello_reply, arena_address) == 60, "rpc_hello_reply.arena_address");
_Static_assert(offsetof(struct rpc_hello_reply, arena_bytes) == 64, "rpc_hello_reply.arena_bytes");
_Static_assert(offsetof(struct rpc_hello_reply, layer_count) == 68, "rpc_hello_reply.layer_count");
_Static_assert(offsetof(struct rpc_hello_reply, stack_bottom) == 72, "rpc_hello_reply.stack_bottom");
_Static_assert(offsetof(struct rpc_hello_reply, stack_top) == 76, "rpc_hello_reply.stack_top");
_Static_assert(offsetof(struct rpc_hello_reply, record_bytes) == 80, "rpc_hello_reply.record_bytes");
_Static_assert(offsetof(struct rpc_hello_reply, crashed) == 84, "rpc_hello_reply.crashed");
_Static_assert(sizeof(struct rpc_hello_reply) == 88, "rpc_hello_reply");

/* Writes bytes into the arena. */
struct rpc_tensor_write {
    uint32_t offset;
};
_Static_assert(offsetof(struct rpc_tensor_write, offset) == 0, "rpc_tensor_write.offset");
_Static_assert(sizeof(struct rpc_tensor_write) == 4, "rpc_tensor_write");

/* Reads bytes of the arena. */
struct rpc_tensor_read {
    uint32_t offset;
    uint32_t length;
};
_Static_assert(offsetof(struct rpc_tensor_read, offset) == 0, "rpc_tensor_read.offset");
_Static_assert(offsetof(struct rpc_tensor_read, length) == 4, "rpc_tensor_read.length");
_Static_assert(sizeof(struct rpc_tensor_read) == 8, "rpc_tensor_read");

/* Computes the CRC-32 of bytes of the arena. */
struct rpc_checksum {
    uint32_t offset;
    uint32_t length;
};
_Static_assert(offsetof(struct rpc_checksum, offset) == 0, "rpc_checksum.offset");
_Static_assert(offsetof(struct rpc_checksum, length) == 4, "rpc_checksum.length");
_Static_assert(sizeof(struct rpc_checksum) == 8, "rpc_checksum");

/* The CRC-32 (zlib's) of the bytes asked for. */
struct rpc_checksum_reply {
    uint32_t crc32;
};
_Static_assert(offsetof(struct rpc_checksum_reply, crc32) == 0, "rpc_checksum_reply.crc32");
_Static_assert(sizeof(struct rpc_checksum_reply) == 4, "rpc_checksum_reply");

/* Runs the layers first … end - 1; a `LayerDone` follows each of them. */
struct rpc_run_layers {
    uint32_t first;
    uint32_t end;
};
_Static_assert(offsetof(struct rpc_run_layers, first) == 0, "rpc_run_layers.first");
_Static_assert(offsetof(struct rpc_run_layers, end) == 4, "rpc_run_layers.end");
_Static_assert(sizeof(struct rpc_run_layers) == 8, "rpc_run_layers");

/* A run came to its end. */
struct rpc_run_done {
    uint32_t cycles;
    uint32_t layers;
    uint32_t stack;
};
_Static_assert(offsetof(struct rpc_run_done, cycles) == 0, "rpc_run_done.cycles");
_Static_assert(offsetof(struct rpc_run_done, layers) == 4, "rpc_run_done.layers");
_Static_assert(offsetof(struct rpc_run_done, stack) == 8, "rpc_run_done.stack");
_Static_assert(sizeof(struct rpc_run_done) == 12, "rpc_run_done");

/* Reads memory, in words where address and length are multiples of 4. An address that faults is refused. */
struct rpc_memory_read {
    uint32_t address;
    uint32_t length;
};
_Static_assert(offsetof(struct rpc_memory_read, address) == 0, "rpc_memory_read.address");
_Static_assert(offsetof(struct rpc_memory_read, length) == 4, "rpc_memory_read.length");
_Static_assert(sizeof(struct rpc_memory_read) == 8, "rpc_memory_read");

/* Writes memory, in words where address and length are multiples of 4. An address that faults is refused. */
struct rpc_memory_write {
    uint32_t address;
};
_Static_assert(offsetof(struct rpc_memory_write, address) == 0, "rpc_memory_write.address");
_Static_assert(sizeof(struct rpc_memory_write) == 4, "rpc_memory_write");

/* Reads the fault record that is kept, also one from before a reset. */
struct rpc_record_read {
    uint32_t offset;
    uint32_t length;
};
_Static_assert(offsetof(struct rpc_record_read, offset) == 0, "rpc_record_read.offset");
_Static_assert(offsetof(struct rpc_record_read, length) == 4, "rpc_record_read.length");
_Static_assert(sizeof(struct rpc_record_read) == 8, "rpc_record_read");

/* The firmware started: the first frame after every reset. */
struct rpc_started {
    uint32_t protocol;
};
_Static_assert(offsetof(struct rpc_started, protocol) == 0, "rpc_started.protocol");
_Static_assert(sizeof(struct rpc_started) == 4, "rpc_started");

/* A line of text for the user. */
struct rpc_log {
    uint32_t level;
};
_Static_assert(offsetof(struct rpc_log, level) == 0, "rpc_log.level");
_Static_assert(sizeof(struct rpc_log) == 4, "rpc_log");

/* A layer of a `RunLayers` came to its end. */
struct rpc_layer_done {
    uint32_t index;
    uint32_t crc32;
    uint32_t cycles;
    uint32_t stack;
};
_Static_assert(offsetof(struct rpc_layer_done, index) == 0, "rpc_layer_done.index");
_Static_assert(offsetof(struct rpc_layer_done, crc32) == 4, "rpc_layer_done.crc32");
_Static_assert(offsetof(struct rpc_layer_done, cycles) == 8, "rpc_layer_done.cycles");
_Static_assert(offsetof(struct rpc_layer_done, stack) == 12, "rpc_layer_done.stack");
_Static_assert(sizeof(struct rpc_layer_done) == 16, "rpc_layer_done");

/* A piece of the fault record, sent without being asked right after the crash. */
struct rpc_fault {
    uint32_t total;
    uint32_t offset;
};
_Static_assert(offsetof(struct rpc_fault, total) == 0, "rpc_fault.total");
_Static_assert(offsetof(struct rpc_fault, offset) == 4, "rpc_fault.offset");
_Static_assert(sizeof(struct rpc_fault) == 8, "rpc_fault");

/* The fixed part of any answer. */
union rpc_reply {
    struct rpc_hello_reply hello_reply;
    struct rpc_checksum_reply checksum_reply;
    struct rpc_run_done run_done;
};

/*
 * One handler a command, each in rpc/rpc_<command>.c. With `again` set the request is a repetition of the last one: it
 * is answered as before and not carried out a second time.
 */

/* Asks the firmware who it is. */
enum rpc_status rpc_hello(struct rpc_hello_reply *reply);

/* Starts the firmware anew once the answer is out. A fault record survives it. */
enum rpc_status rpc_reset(void);

/* Writes bytes into the arena. */
enum rpc_status rpc_tensor_write(const struct rpc_tensor_write *request, struct rpc_bytes data);

/* Reads bytes of the arena. */
enum rpc_status rpc_tensor_read(const struct rpc_tensor_read *request, struct rpc_bytes *data);

/* Computes the CRC-32 of bytes of the arena. */
enum rpc_status rpc_checksum(const struct rpc_checksum *request, struct rpc_checksum_reply *reply);

/* Runs the layers first … end - 1; a `LayerDone` follows each of them. */
enum rpc_status rpc_run_layers(const struct rpc_run_layers *request, bool again, struct rpc_run_done *reply);

/* Calls the whole model once, as an application would. */
enum rpc_status rpc_run_model(bool again, struct rpc_run_done *reply);

/* Reads memory, in words where address and length are multiples of 4. An address that faults is refused. */
enum rpc_status rpc_memory_read(const struct rpc_memory_read *request, struct rpc_bytes *data);

/* Writes memory, in words where address and length are multiples of 4. An address that faults is refused. */
enum rpc_status rpc_memory_write(const struct rpc_memory_write *request, struct rpc_bytes data, bool again);

/* Reads the fault record that is kept, also one from before a reset. */
enum rpc_status rpc_record_read(const struct rpc_record_read *request, struct rpc_bytes *data);

/* Forgets the fault record, so that the next crash is kept. */
enum rpc_status rpc_record_clear(void);

/* Calls the handler. `reply_bytes` and `tail` become the answer's fixed part and what follows it. */
enum rpc_status rpc_dispatch(uint8_t type, struct rpc_bytes request, bool again, union rpc_reply *reply,
                             uint32_t *reply_bytes, struct rpc_bytes *tail);

/* Whether a command is still answered after a crash. */
bool rpc_postmortem(uint8_t type);

#endif
