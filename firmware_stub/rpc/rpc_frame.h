/*
 * Frames: 0x00 | COBS(type u8 | status i8 | sequence u16 | payload | CRC-32) | 0x00. COBS replaces each zero by the
 * distance to the next, so a zero on the wire is always the end of a frame.
 */
#ifndef RPC_FRAME_H
#define RPC_FRAME_H

#include <stdint.h>

#include "board.h"
#include "rpc_messages.h"

#define RPC_CRC_BYTES 4u

struct rpc_header {
    uint8_t type;
    int8_t status;
    uint16_t sequence;
};

struct rpc_frame {
    struct rpc_header header;
    uint8_t payload[RPC_MAX_PAYLOAD]; /* aligned to 4, since messages are read in place */
    uint8_t crc[RPC_CRC_BYTES];       /* where a frame of full length has it */
};
_Static_assert(sizeof(struct rpc_frame) == sizeof(struct rpc_header) + RPC_MAX_PAYLOAD + RPC_CRC_BYTES, "frame");

/* Sends one frame: header, `fixed`, `tail`. Nothing is buffered, so memory must not change meanwhile. */
void rpc_frame_send(struct rpc_header header, struct rpc_bytes fixed, struct rpc_bytes tail);

/*
 * Waits for the next frame. Returns its payload's length and, in `crc`, its CRC; or -1 when what arrived is damaged.
 * `frame` is aligned to 4.
 */
int32_t rpc_frame_receive(struct rpc_frame *frame, uint32_t *crc);

#endif
