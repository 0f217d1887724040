#include "rpc_frame.h"

#include <stdbool.h>
#include <string.h>

#include "crc32.h"
#include "uart.h"

#define LONGEST_RUN 254u /* bytes without a zero that one COBS code can announce */
#define PIECES      4u

/* The bytes of a frame before stuffing, which lie in several places. */
struct cursor {
    const struct rpc_bytes *pieces;
    uint32_t piece;
    uint32_t at; /* in the piece */
};

/* The next byte; -1 at the end. */
static int32_t next(struct cursor *cursor)
{
    while (cursor->piece < PIECES && cursor->at == cursor->pieces[cursor->piece].length) {
        cursor->piece++;
        cursor->at = 0;
    }
    if (cursor->piece == PIECES) {
        return -1;
    }
    return cursor->pieces[cursor->piece].data[cursor->at++];
}

static void send_stuffed(const struct rpc_bytes *pieces)
{
    struct cursor behind = {.pieces = pieces};
    struct cursor ahead = behind;
    int32_t byte;

    do {
        uint32_t run = 0;
        do {
            byte = next(&ahead);
        } while (byte > 0 && ++run < LONGEST_RUN);
        uart_write((uint8_t)(run + 1u));
        for (uint32_t i = 0; i < run; i++) {
            uart_write((uint8_t)next(&behind));
        }
        behind = ahead;
        /* A run of the longest kind stands for itself; should nothing follow it, the frame ends here. */
        if (run == LONGEST_RUN) {
            struct cursor peek = ahead;
            byte = next(&peek);
        }
    } while (byte >= 0);
}

void rpc_frame_send(struct rpc_header header, struct rpc_bytes fixed, struct rpc_bytes tail)
{
    uint32_t crc = crc32(0, &header, sizeof header);
    crc = crc32(crc, fixed.data, fixed.length);
    crc = crc32(crc, tail.data, tail.length);
    const struct rpc_bytes pieces[PIECES] = {
        {(const uint8_t *)&header, sizeof header},
        fixed,
        tail,
        {(const uint8_t *)&crc, sizeof crc},
    };
    uart_write(0);
    send_stuffed(pieces);
    uart_write(0);
    uart_flush();
}

/* Unstuffs up to the next zero on the wire. Returns the bytes stored in `frame`; -1: not COBS, or too long. */
static int32_t receive_stuffed(struct rpc_frame *frame)
{
    uint8_t *to = (uint8_t *)frame;
    uint32_t length = 0;
    uint32_t left = 0; /* bytes until the next code */
    bool zero = false; /* that code also stands for a zero */
    bool any = false;
    bool too_long = false;

    for (;;) {
        uint8_t byte = uart_read();
        if (byte == 0) {
            if (any) {
                return too_long || left != 0 ? -1 : (int32_t)length;
            }
            continue; /* nothing between two zeros */
        }
        any = true;
        bool store = true;
        uint8_t value = byte;
        if (left == 0) {
            store = zero;
            value = 0;
            left = byte - 1u;
            zero = byte != LONGEST_RUN + 1u;
        } else {
            left--;
        }
        if (store && length < sizeof *frame) {
            to[length++] = value;
        } else if (store) {
            too_long = true;
        }
    }
}

int32_t rpc_frame_receive(struct rpc_frame *frame, uint32_t *crc)
{
    int32_t length = receive_stuffed(frame) - (int32_t)(sizeof frame->header + RPC_CRC_BYTES);
    if (length < 0) {
        return -1;
    }
    uint32_t covered = (uint32_t)sizeof frame->header + (uint32_t)length;
    memcpy(crc, (const uint8_t *)frame + covered, RPC_CRC_BYTES);
    return crc32(0, frame, covered) == *crc ? length : -1;
}
