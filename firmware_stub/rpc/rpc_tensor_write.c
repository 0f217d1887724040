#include <string.h>

#include "model_glue.h"

enum rpc_status rpc_tensor_write(const struct rpc_tensor_write *request, struct rpc_bytes data)
{
    if (!model_in_arena(request->offset, data.length)) {
        return RPC_BAD_RANGE;
    }
    memcpy(harness_arena + request->offset, data.data, data.length);
    return RPC_OK;
}
