/* The harness's side of the fault path: the record goes out over the RPC, then a dead firmware still answers. */
#include "board.h"
#include "layerproof_fault.h"
#include "platform.h"
#include "rpc.h"

struct rpc_bytes platform_record(void)
{
    const struct layerproof_record *record = layerproof_fault_record();
    return (struct rpc_bytes){(const uint8_t *)record, record == NULL ? 0 : record->total};
}

void platform_record_clear(void)
{
    layerproof_fault_clear();
}

bool platform_copy(void *to, const void *from, uint32_t bytes)
{
    return layerproof_fault_copy(to, from, bytes);
}

void layerproof_fault_finished(void)
{
    const uint32_t most = RPC_MAX_PAYLOAD - (uint32_t)sizeof(struct rpc_fault);
    const struct rpc_bytes record = platform_record();
    for (uint32_t offset = 0; offset < record.length; offset += most) {
        const struct rpc_fault fault = {.total = record.length, .offset = offset};
        uint32_t rest = record.length - offset;
        rpc_event(RPC_FAULT, &fault, sizeof fault, (struct rpc_bytes){record.data + offset, rest < most ? rest : most});
    }
    rpc_serve(true);
}
