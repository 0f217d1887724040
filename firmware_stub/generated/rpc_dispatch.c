/* Written by `python -m harness.rpc.generate` from harness/rpc. */
/* clang-format off */

#include "rpc_messages.h"

enum rpc_status rpc_dispatch(uint8_t type, struct rpc_bytes request, bool again, union rpc_reply *reply,
                             uint32_t *reply_bytes, struct rpc_bytes *tail)
{
    *reply_bytes = 0;
    *tail = (struct rpc_bytes){0};
    switch (type) {
    case RPC_HELLO:
        if (request.length != 0u) {
            return RPC_BAD_LENGTH;
        }
        *reply_bytes = 88u;
        return rpc_hello(&reply->hello_reply);
    case RPC_RESET:
        if (request.length != 0u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_reset();
    case RPC_TENSOR_WRITE:
        if (request.length < 4u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_tensor_write((const struct rpc_tensor_write *)(const void *)request.data, (struct rpc_bytes){request.data + 4, request.length - 4u});
    case RPC_TENSOR_READ:
        if (request.length != 8u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_tensor_read((const struct rpc_tensor_read *)(const void *)request.data, tail);
    case RPC_CHECKSUM:
        if (request.length != 8u) {
            return RPC_BAD_LENGTH;
        }
        *reply_bytes = 4u;
        return rpc_checksum((const struct rpc_checksum *)(const void *)request.data, &reply->checksum_reply);
    case RPC_RUN_LAYERS:
        if (request.length != 8u) {
            return RPC_BAD_LENGTH;
        }
        *reply_bytes = 12u;
        return rpc_run_layers((const struct rpc_run_layers *)(const void *)request.data, again, &reply->run_done);
    case RPC_RUN_MODEL:
        if (request.length != 0u) {
            return RPC_BAD_LENGTH;
        }
        *reply_bytes = 12u;
        return rpc_run_model(again, &reply->run_done);
    case RPC_MEMORY_READ:
        if (request.length != 8u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_memory_read((const struct rpc_memory_read *)(const void *)request.data, tail);
    case RPC_MEMORY_WRITE:
        if (request.length < 4u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_memory_write((const struct rpc_memory_write *)(const void *)request.data, (struct rpc_bytes){request.data + 4, request.length - 4u}, again);
    case RPC_RECORD_READ:
        if (request.length != 8u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_record_read((const struct rpc_record_read *)(const void *)request.data, tail);
    case RPC_RECORD_CLEAR:
        if (request.length != 0u) {
            return RPC_BAD_LENGTH;
        }
        return rpc_record_clear();
    default:
        return RPC_UNKNOWN_COMMAND;
    }
}

bool rpc_postmortem(uint8_t type)
{
    switch (type) {
    case RPC_HELLO:
    case RPC_RESET:
    case RPC_MEMORY_READ:
    case RPC_RECORD_READ:
    case RPC_RECORD_CLEAR:
        return true;
    default:
        return false;
    }
}
