#include "crc32.h"
#include "model_glue.h"

enum rpc_status rpc_checksum(const struct rpc_checksum *request, struct rpc_checksum_reply *reply)
{
    if (!model_in_arena(request->offset, request->length)) {
        return RPC_BAD_RANGE;
    }
    reply->crc32 = crc32(0, harness_arena + request->offset, request->length);
    return RPC_OK;
}
