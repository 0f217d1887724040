#include "board.h"
#include "platform.h"
#include "rpc.h"

enum rpc_status rpc_memory_read(const struct rpc_memory_read *request, struct rpc_bytes *data)
{
    const uint32_t length = request->length;
    if (length > RPC_MAX_PAYLOAD) {
        return RPC_TOO_LONG;
    }
    if (!platform_copy(rpc_scratch(), (const void *)(uintptr_t)request->address, length)) {
        return RPC_BAD_ADDRESS;
    }
    *data = (struct rpc_bytes){rpc_scratch(), length};
    return RPC_OK;
}
