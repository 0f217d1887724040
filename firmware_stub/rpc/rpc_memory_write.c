#include "platform.h"

enum rpc_status rpc_memory_write(const struct rpc_memory_write *request, struct rpc_bytes data, bool again)
{
    static enum rpc_status status; /* of the last write: a register may act on being written, so it is written once */

    if (!again) {
        bool written = platform_copy((void *)(uintptr_t)request->address, data.data, data.length);
        status = written ? RPC_OK : RPC_BAD_ADDRESS;
    }
    return status;
}
