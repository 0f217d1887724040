#include "rpc.h"

#include "harness_log.h"
#include "rpc_frame.h"
#include "uart.h"

#include <string.h>

#define INFORMATION 2u

static struct rpc_frame frame __attribute__((aligned(4)));
static uint16_t sequence; /* of the request being worked on */
static bool crashed;
static void (*after_answer)(void);

/* The last request, to know a repetition by. A CRC of another request with the same number differs. */
static struct {
    bool any;
    uint16_t sequence;
    uint32_t crc;
} last;

uint8_t *rpc_scratch(void)
{
    return frame.payload;
}

bool rpc_crashed(void)
{
    return crashed;
}

void rpc_after_answer(void (*action)(void))
{
    after_answer = action;
}

void rpc_event(enum rpc_type type, const void *fixed, uint32_t bytes, struct rpc_bytes tail)
{
    struct rpc_header header = {.type = (uint8_t)type, .status = RPC_OK, .sequence = sequence};
    rpc_frame_send(header, (struct rpc_bytes){fixed, bytes}, tail);
}

void rpc_start(void)
{
    const struct rpc_started started = {.protocol = RPC_PROTOCOL_VERSION};
    rpc_event(RPC_STARTED, &started, sizeof started, (struct rpc_bytes){0});
}

void harness_log(const char *text)
{
    const struct rpc_log log = {.level = INFORMATION};
    uint32_t length = (uint32_t)strlen(text);
    uint32_t most = RPC_MAX_PAYLOAD - (uint32_t)sizeof log;
    rpc_event(RPC_LOG, &log, sizeof log, (struct rpc_bytes){(const uint8_t *)text, length < most ? length : most});
}

static void answer(uint32_t length, uint32_t crc)
{
    const uint8_t type = frame.header.type;
    bool again = last.any && last.sequence == frame.header.sequence && last.crc == crc;
    sequence = frame.header.sequence;
    last.any = true;
    last.sequence = sequence;
    last.crc = crc;

    union rpc_reply reply;
    uint32_t reply_bytes = 0;
    struct rpc_bytes tail = {0};
    enum rpc_status status = RPC_CRASHED;
    if (!crashed || rpc_postmortem(type)) {
        status = rpc_dispatch(type, (struct rpc_bytes){frame.payload, length}, again, &reply, &reply_bytes, &tail);
    }
    if (status < 0) {
        reply_bytes = 0;
        tail.length = 0;
    }
    struct rpc_header header = {.type = type | RPC_REPLY, .status = (int8_t)status, .sequence = sequence};
    rpc_frame_send(header, (struct rpc_bytes){(const uint8_t *)&reply, reply_bytes}, tail);
}

void rpc_serve(bool after_crash)
{
    crashed = after_crash;
    after_answer = NULL;
    for (;;) {
        uint32_t crc = 0;
        int32_t length = rpc_frame_receive(&frame, &crc);
        if (length < 0) {
            rpc_event(RPC_DAMAGED, NULL, 0, (struct rpc_bytes){0});
            continue;
        }
        answer((uint32_t)length, crc);
        if (after_answer != NULL) {
            after_answer();
        }
    }
}
