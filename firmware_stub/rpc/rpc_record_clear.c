#include "platform.h"

enum rpc_status rpc_record_clear(void)
{
    platform_record_clear();
    return RPC_OK;
}
