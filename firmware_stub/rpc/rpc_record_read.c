#include "board.h"
#include "platform.h"

/* The answer is shorter than asked for where the record ends. */
enum rpc_status rpc_record_read(const struct rpc_record_read *request, struct rpc_bytes *data)
{
    const struct rpc_bytes record = platform_record();
    if (record.length == 0) {
        return RPC_NO_RECORD;
    }
    if (request->length > RPC_MAX_PAYLOAD) {
        return RPC_TOO_LONG;
    }
    if (request->offset > record.length) {
        return RPC_BAD_RANGE;
    }
    uint32_t rest = record.length - request->offset;
    *data = (struct rpc_bytes){record.data + request->offset, request->length < rest ? request->length : rest};
    return RPC_OK;
}
