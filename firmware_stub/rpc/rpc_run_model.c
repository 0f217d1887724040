#include "model_glue.h"

enum rpc_status rpc_run_model(bool again, struct rpc_run_done *reply)
{
    static struct rpc_run_done last;

    if (!again) {
        last = model_run_whole();
    }
    *reply = last;
    return RPC_OK;
}
