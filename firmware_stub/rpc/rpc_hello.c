#include <string.h>

#include "board.h"
#include "model_glue.h"
#include "platform.h"
#include "rpc.h"

_Static_assert(sizeof BOARD_NAME <= sizeof((struct rpc_hello_reply *)0)->board, "the board's name is too long");

enum rpc_status rpc_hello(struct rpc_hello_reply *reply)
{
    *reply = (struct rpc_hello_reply){
        .protocol = RPC_PROTOCOL_VERSION,
        .max_payload = RPC_MAX_PAYLOAD,
        .schema = RPC_SCHEMA_HASH,
        .board = BOARD_NAME,
        .arena_address = (uint32_t)(uintptr_t)harness_arena,
        .arena_bytes = harness_arena_bytes,
        .layer_count = harness_layer_count,
        .stack_bottom = platform_stack_bottom(),
        .stack_top = platform_stack_top(),
        .record_bytes = platform_record().length,
        .crashed = rpc_crashed(),
    };
    memcpy(reply->build_id, platform_build_id(), sizeof reply->build_id);
    return RPC_OK;
}
