#include "board.h"
#include "model_glue.h"

enum rpc_status rpc_tensor_read(const struct rpc_tensor_read *request, struct rpc_bytes *data)
{
    if (request->length > RPC_MAX_PAYLOAD) {
        return RPC_TOO_LONG;
    }
    if (!model_in_arena(request->offset, request->length)) {
        return RPC_BAD_RANGE;
    }
    *data = (struct rpc_bytes){harness_arena + request->offset, request->length};
    return RPC_OK;
}
