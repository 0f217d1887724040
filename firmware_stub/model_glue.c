#include "model_glue.h"

#include <string.h>

#include "crc32.h"
#include "layerproof_fault.h"
#include "model.h"
#include "model_layers.h"
#include "platform.h"

/* A model may need no arena or have no layer; C has no arrays of nothing. */
#define AT_LEAST(least, value) ((value) > (least) ? (value) : (least))

/* The linker script places it by its section's name, .bss.harness_arena. */
uint8_t harness_arena[AT_LEAST(MODEL_ARENA_ALIGN, MODEL_ARENA_BYTES)] __attribute__((aligned(MODEL_ARENA_ALIGN)));

const uint32_t harness_arena_bytes = MODEL_ARENA_BYTES;
const uint32_t harness_layer_count = MODEL_LAYER_COUNT;

volatile uint32_t harness_current_layer = LAYERPROOF_RECORD_NO_LAYER;

static struct rpc_layer_done results[AT_LEAST(1, MODEL_LAYER_COUNT)];

#define UNWRITTEN 0xA5

void model_start(void)
{
    memset(harness_arena, UNWRITTEN, sizeof harness_arena);
}

bool model_in_arena(uint32_t offset, uint32_t length)
{
    return offset <= MODEL_ARENA_BYTES && length <= MODEL_ARENA_BYTES - offset;
}

void model_run_layer(uint32_t index)
{
    const struct model_layer *layer = &model_layers[index];

    harness_current_layer = index;
    platform_stack_paint();
    uint32_t start = platform_cycles();
    layer->run(harness_arena);
    uint32_t cycles = platform_cycles() - start;
    uint32_t stack = platform_stack_used();
    harness_current_layer = LAYERPROOF_RECORD_NO_LAYER;

    uint32_t crc = 0;
    for (uint32_t i = 0; i < layer->output_count; i++) {
        crc = crc32(crc, harness_arena + layer->outputs[i].offset, layer->outputs[i].bytes);
    }
    results[index] = (struct rpc_layer_done){.index = index, .crc32 = crc, .cycles = cycles, .stack = stack};
}

const struct rpc_layer_done *model_layer_result(uint32_t index)
{
    return &results[index];
}

struct rpc_run_done model_run_whole(void)
{
    platform_stack_paint();
    uint32_t start = platform_cycles();
    model_run(harness_arena);
    uint32_t cycles = platform_cycles() - start;
    return (struct rpc_run_done){.cycles = cycles, .layers = MODEL_LAYER_COUNT, .stack = platform_stack_used()};
}
