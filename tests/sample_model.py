"""A three-layer toy model whose C is written by hand: int8[16] + weights, times two, summed to one int32.

It lets the firmware, the runners and the debugger be tested without the compiler. `with_kernel` replaces a layer's
body, which is how tests make a layer crash, hang or compute nonsense.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.board import Target
from harness.compiler.csource import CSource, Layer, Placement
from harness.compiler.graph import Graph, Tensor
from harness.dtypes import DType

INPUT, WEIGHTS, ADDED, DOUBLED, SUM = range(5)  # tensor ids
LAYERS = ("add_0", "double_1", "sum_2")

_SIGNATURES = {
    "add_0": "void add_0(const int8_t *restrict input, int8_t *restrict output)",
    "double_1": "void double_1(const int8_t *restrict input, int8_t *restrict output)",
    "sum_2": "void sum_2(const int8_t *restrict input, int32_t *restrict output)",
}
_BODIES = {
    "add_0": """    for (int32_t i = 0; i < 16; i++) {
        output[i] = (int8_t)(input[i] + add_0_weights[i]);
    }
""",
    "double_1": """    for (int32_t i = 0; i < 16; i++) {
        output[i] = (int8_t)(input[i] * 2);
    }
""",
    "sum_2": """    int32_t sum = 0;
    for (int32_t i = 0; i < 16; i++) {
        sum += input[i];
    }
    output[0] = sum;
""",
}
_MODEL_H = """#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define MODEL_NAME "sample"
#define MODEL_LAYER_COUNT 3
#define MODEL_ARENA_BYTES {arena_bytes}
#define MODEL_ARENA_ALIGN 16
void model_run(uint8_t *arena);
#endif
"""
_MODEL_C = """#include "model.h"
#include "layers.h"
void model_run(uint8_t *arena)
{
    add_0((const int8_t *)(arena + 0), (int8_t *)(arena + 16));
    double_1((const int8_t *)(arena + 16), (int8_t *)(arena + 32));
    sum_2((const int8_t *)(arena + 32), (int32_t *)(void *)(arena + 48));
}
"""
_MODEL_LAYERS_H = """#ifndef MODEL_LAYERS_H
#define MODEL_LAYERS_H
#include <stdint.h>
struct model_span { uint32_t offset; uint32_t bytes; };
struct model_layer { void (*run)(uint8_t *arena); const struct model_span *outputs; uint32_t output_count; };
extern const struct model_layer model_layers[];
#endif
"""
_MODEL_LAYERS_C = """#include "model_layers.h"
#include "layers.h"
static void run_0(uint8_t *arena) { add_0((const int8_t *)(arena + 0), (int8_t *)(arena + 16)); }
static void run_1(uint8_t *arena) { double_1((const int8_t *)(arena + 16), (int8_t *)(arena + 32)); }
static void run_2(uint8_t *arena) { sum_2((const int8_t *)(arena + 32), (int32_t *)(void *)(arena + 48)); }
static const struct model_span outputs_0[] = {{16, 16}};
static const struct model_span outputs_1[] = {{32, 16}};
static const struct model_span outputs_2[] = {{48, 4}};
const struct model_layer model_layers[] = {
    {run_0, outputs_0, 1}, {run_1, outputs_1, 1}, {run_2, outputs_2, 1},
};
"""


def _layer_text(name: str, body: str) -> str:
    return f'#include "layers.h"\n#include "weights.h"\n{_SIGNATURES[name]}\n{{\n{body}}}\n'


def _guarded(guard: str, text: str) -> str:
    return f"#ifndef {guard}\n#define {guard}\n#include <stdint.h>\n{text}#endif\n"


def sample(core: str = "cortex-m3", *, arena_bytes: int = 64) -> CSource:
    """The toy for `core`. An arena larger than the 64 bytes it needs gives a test room to move bytes about."""
    files = {
        "model.h": _MODEL_H.format(arena_bytes=arena_bytes),
        "model.c": _MODEL_C,
        "model_layers.h": _MODEL_LAYERS_H,
        "model_layers.c": _MODEL_LAYERS_C,
        "layers.h": _guarded("LAYERS_H", "".join(f"{_SIGNATURES[name]};\n" for name in LAYERS)),
        "weights.h": _guarded("WEIGHTS_H", "extern const int8_t add_0_weights[16];\n"),
        "weights.c": '#include "weights.h"\n'
        f"const int8_t add_0_weights[16] = {{{', '.join(str(n) for n in range(1, 17))}}};\n",
    }
    for index, name in enumerate(LAYERS):
        files[f"layers/{index:03}_{name}.c"] = _layer_text(name, _BODIES[name])
    weights = np.arange(1, 17, dtype=np.int8)
    tensors = (
        Tensor("in", (16,), DType.I8),
        Tensor("w", (16,), DType.I8, data=weights),
        Tensor("a", (16,), DType.I8),
        Tensor("b", (16,), DType.I8),
        Tensor("s", (1,), DType.I32),
    )
    layers = (
        Layer(0, "add_0", "ADD", (0,), (INPUT,), (ADDED,), "layers/000_add_0.c", 16),
        Layer(1, "double_1", "MUL", (1,), (ADDED,), (DOUBLED,), "layers/001_double_1.c", 16),
        Layer(2, "sum_2", "SUM", (2,), (DOUBLED,), (SUM,), "layers/002_sum_2.c", 16),
    )
    return CSource(
        name="sample",
        target=Target(core, frozenset()),
        graph=Graph("sample", tensors, (), (INPUT,), (SUM,), len(tensors)),
        files=files,
        layers=layers,
        placements={
            INPUT: Placement(0, 16),
            ADDED: Placement(16, 16),
            DOUBLED: Placement(32, 16),
            SUM: Placement(48, 4),
        },
        arena_bytes=arena_bytes,
        arena_lower_bound=64,
        constant_bytes=16,
    )


def with_kernel(source: CSource, layer: int, body: str) -> CSource:
    """`source` with the body of layer function `layer` replaced; `body` sees `input` and `output`."""
    name = LAYERS[layer]
    path = f"layers/{layer:03}_{name}.c"
    return replace(source, files={**source.files, path: _layer_text(name, body)})


def expected(values: np.ndarray) -> dict[int, np.ndarray]:
    """What the unmodified model computes from int8[16] `values`, by tensor id; all arithmetic wraps as in C."""
    added = (values + np.arange(1, 17, dtype=np.int8)).astype(np.int8)
    doubled = (added * np.int8(2)).astype(np.int8)
    return {INPUT: values, ADDED: added, DOUBLED: doubled, SUM: np.array([doubled.sum(dtype=np.int32)], np.int32)}
