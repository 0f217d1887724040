#include "platform.h"
#include "rpc.h"

enum rpc_status rpc_reset(void)
{
    rpc_after_answer(platform_reset);
    return RPC_OK;
}
