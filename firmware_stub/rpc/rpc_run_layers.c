#include "model_glue.h"
#include "rpc.h"

enum rpc_status rpc_run_layers(const struct rpc_run_layers *request, bool again, struct rpc_run_done *reply)
{
    const uint32_t first = request->first;
    const uint32_t end = request->end;
    if (first > end || end > harness_layer_count) {
        return RPC_BAD_LAYER;
    }
    *reply = (struct rpc_run_done){.layers = end - first};
    for (uint32_t index = first; index < end; index++) {
        if (!again) {
            model_run_layer(index);
        }
        const struct rpc_layer_done *done = model_layer_result(index);
        reply->cycles += done->cycles;
        reply->stack = done->stack > reply->stack ? done->stack : reply->stack;
        rpc_event(RPC_LAYER_DONE, done, sizeof *done, (struct rpc_bytes){0});
    }
    return RPC_OK;
}
