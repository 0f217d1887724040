"""Puts the printed layers together into a directory of C: what stands in which file, and how the files join.

model.h          sizes, offsets of inputs and outputs, model_run()
model.c          model_run(): the layers in order, each with its place in the arena
layers/NNN_x.c   one layer: its comment, its small tables, its function
layers/layers.h  the layers' prototypes
weights.h .c     the big constants
nn_math.h        the fixed-point functions the layers use
nn_kernels.h .c  the kernels in assembly that layers share, for cores that have them
model_layers.h.c a table of the layers for running them one at a time; an application need not build it
metadata.json    the map from all this back to the model
model_map.h      the same for the ELF file, which then explains a crash without the sources
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import PurePath

from harness.board import Target
from harness.compiler import metadata
from harness.compiler.arena import Plan
from harness.compiler.csource import Layer, Placement
from harness.compiler.graph import ABSENT, Graph, TensorId
from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.lanes import Access
from harness.compiler.loops import Program
from harness.compiler.render_asm import KernelFunction, kernels_of
from harness.compiler.render_c import WIDTH, array, intrinsics_of, render_function, signature, wrapped
from harness.compiler.scratch import scratch_of

ARENA_ALIGN = 16  # bytes
_CHARACTER = r"(?:[^\\]|\\u[0-9a-f]{4}|\\[^u])"  # of JSON, an escape whole
_PIECE = re.compile(rf"{_CHARACTER}{{1,96}}(?= |$)|{_CHARACTER}{{1,96}}")
_SPEAKS_BOOL = re.compile(r"\b(bool|true|false)\b")  # what C11 has from <stdbool.h>


def files_of(
    graph: Graph,
    target: Target,
    layers: Sequence[Layer],
    programs: Sequence[Program],
    plan: Plan,
    *,
    objective: str = "balanced",
    without: Sequence[str] = (),
) -> dict[str, str]:
    """Relative path to text, for everything needed to build the model. `without` names passes left out,
    `objective` what the schedules were chosen for."""
    calls = [_call(graph, layer, program, plan) for layer, program in zip(layers, programs, strict=True)]
    shared = [_shared(graph, layer, program, plan) for layer, program in zip(layers, programs, strict=True)]
    intrinsics = [intrinsics_of(program) for program in programs]
    kernels = [tuple(kernels_of(program)) for program in programs]
    described = metadata.describe(graph, target, layers, plan, objective, without)
    files = {
        "model.h": _model_h(graph, plan, len(layers)),
        "model.c": _model_c(calls),
        "model_layers.h": _MODEL_LAYERS_H,
        "model_layers.c": _model_layers_c(layers, calls, plan),
        "layers/layers.h": _layers_h(programs, shared),
        "nn_math.h": _nn_math_h(list(dict.fromkeys(chain(*intrinsics)))),
        "weights.h": _weights_h(programs),
        "weights.c": _weights_c(programs),
        metadata.NAME: json.dumps(described, indent=1) + "\n",
        "model_map.h": model_map_h(metadata.comments(described)),
    }
    if any(kernels):
        once = list({kernel.name: kernel for kernel in chain(*kernels)}.values())
        files["nn_kernels.h"] = _nn_kernels_h(once)
        files["nn_kernels.c"] = _nn_kernels_c(once)
    for layer, program, names, used, called in zip(layers, programs, shared, intrinsics, kernels, strict=True):
        headers = [*(["../nn_math.h"] if used else []), *(["../nn_kernels.h"] if called else [])]
        files[layer.file] = _layer_c(graph, layer, program, names, headers)
    return files


def weights_name(program: Program, buffer_name: str) -> str:
    """The C name of a constant that lives in weights.c."""
    return f"{program.name}_{buffer_name}"


def printable(name: str, limit: int = 60) -> str:
    """A name from the model file, fit to stand in a C comment: ASCII, one line, no way out of the comment."""
    text = re.sub(r"[^\x20-\x7e]", "?", name).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")
    text = text.replace("??", "? ?")  # no trigraphs
    return text if len(text) <= limit else text[: limit - 3] + "..."


def identifier(name: str) -> str:
    """A name from outside as a C identifier."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return text if text and not text[0].isdigit() else f"_{text}"


def _guard(name: str, body: Sequence[str]) -> str:
    return "\n".join([f"#ifndef {name}", f"#define {name}", "", *body, "", f"#endif /* {name} */", ""])


def _describe(graph: Graph, tensor: TensorId) -> str:
    t = graph.tensor(tensor)
    text = f"{t.dtype.value}[{', '.join(map(str, t.shape))}]"
    if t.quant is not None and len(t.quant.scales) == 1 and t.dtype.is_integer:
        text += f" scale {t.quant.scale:.9g} zero point {t.quant.zero_point}"
    elif t.quant is not None and len(t.quant.scales) > 1:
        low, high = min(t.quant.scales), max(t.quant.scales)
        text += f" scales {low:.9g} .. {high:.9g} along dimension {t.quant.axis}"
    kept = graph.kept.get(tensor)
    if kept is not None:
        text += f" ({len(kept.channels)} of {kept.shape[-1]} channels)"
    return f'{text} "{printable(t.name)}"'


def _comment(before: str, text: str, after: str = "") -> list[str]:
    """`text`, which ends with a name, in a comment: the name on a line of its own where both do not fit into one."""
    if len(before) + len(text) + len(after) <= WIDTH:
        return [before + text + after]
    facts, name = text.split(' "', 1)
    return [before + facts, " *".ljust(max(len(before), 3)) + f'"{name}{after}']


def _model_h(graph: Graph, plan: Plan, layers: int) -> str:
    lines = [
        "#include <stdint.h>",
        "",
        f'#define MODEL_NAME "{identifier(PurePath(graph.name).stem)}"',
        f"#define MODEL_LAYER_COUNT {layers}",
        f"#define MODEL_ARENA_BYTES {max(plan.bytes, 1)} /* lower bound: {plan.lower_bound} */",
        f"#define MODEL_ARENA_ALIGN {ARENA_ALIGN} /* bytes */",
    ]
    for kind, tensors in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
        for number, tensor in enumerate(tensors):
            place = plan.placements[tensor]
            lines += [
                "",
                *_comment("/* ", _describe(graph, tensor), " */"),
                f"#define MODEL_{kind}_{number}_OFFSET {place.offset} /* bytes from the start of the arena */",
                f"#define MODEL_{kind}_{number}_BYTES {place.bytes}",
            ]
    lines += [
        "",
        "/* Runs the whole model. Write the inputs into the arena before, read the outputs from it after; all else in",
        " * it is scratch. `arena` has MODEL_ARENA_BYTES bytes, aligned to MODEL_ARENA_ALIGN. */",
        "void model_run(uint8_t *arena);",
    ]
    return _guard("MODEL_H", lines)


def _call(graph: Graph, layer: Layer, program: Program, plan: Plan) -> str:
    """The call of one layer with its places in the arena, in the order of the function's parameters."""
    args = []
    places = (*_places(graph, layer, plan), *layer.scratch)
    buffers = (*program.of_space("input"), *program.of_space("output"), *scratch_of(program))
    for buffer, place in zip(buffers, places, strict=True):
        const = "const " if buffer.space == "input" else ""
        through = "(void *)" if buffer.dtype.bytes > 1 else ""  # the planner aligned it; the compiler cannot know
        args.append(f"({const}{buffer.dtype.c} *){through}(arena + {place.offset})")
    return f"{layer.name}({', '.join(args)});"


def _places(graph: Graph, layer: Layer, plan: Plan) -> list[Placement]:
    """Of the inputs and outputs of its function."""
    op = graph.ops[layer.index]
    return [plan.placements[t] for t in (*graph.activations(op), *op.outputs)]


def _shared(graph: Graph, layer: Layer, program: Program, plan: Plan) -> frozenset[str]:
    """The parameters of a layer that point to bytes of another one: an output, and inputs that it lies over."""
    inputs, outputs = program.of_space("input"), program.of_space("output")
    places = _places(graph, layer, plan)
    names: set[str] = set()
    for y, output in zip(outputs, places[len(inputs) :], strict=True):
        for x, input_ in zip(inputs, places[: len(inputs)], strict=True):
            if output.meets(input_):
                names |= {y.name, x.name}
    return frozenset(names)


def _model_c(calls: Sequence[str]) -> str:
    body = [line for call in calls for line in wrapped(f"    {call}")]
    return "\n".join(
        [
            '#include "model.h"',
            "",
            '#include "layers/layers.h"',
            '#include "model_map.h"',
            "",
            "void model_run(uint8_t *arena)",
            "{",
            *body,
            "}",
            "",
        ]
    )


_MODEL_LAYERS_H = _guard(
    "MODEL_LAYERS_H",
    [
        "#include <stdint.h>",
        "",
        "/* A part of the arena. */",
        "struct model_span {",
        "    uint32_t offset; /* bytes from its start */",
        "    uint32_t bytes;",
        "};",
        "",
        "/* One layer, run by itself. */",
        "struct model_layer {",
        "    void (*run)(uint8_t *arena);",
        "    const struct model_span *outputs;",
        "    uint32_t output_count;",
        "};",
        "",
        "extern const struct model_layer model_layers[]; /* MODEL_LAYER_COUNT of them */",
    ],
)


def _model_layers_c(layers: Sequence[Layer], calls: Sequence[str], plan: Plan) -> str:
    lines = ['#include "model_layers.h"', "", '#include "layers/layers.h"', '#include "model_map.h"', ""]
    for layer, call in zip(layers, calls, strict=True):
        lines += [f"static void run_{layer.index}(uint8_t *arena)", "{", *wrapped(f"    {call}"), "}", ""]
    for layer in layers:
        spans = ", ".join(f"{{{plan.placements[t].offset}, {plan.placements[t].bytes}}}" for t in layer.outputs)
        lines.append(f"static const struct model_span outputs_{layer.index}[] = {{{spans}}};")
    lines += ["", "const struct model_layer model_layers[] = {"]
    lines += [f"    {{run_{la.index}, outputs_{la.index}, {len(la.outputs)}}}, /* {la.name} */" for la in layers]
    return "\n".join([*lines, "};", ""])


def model_map_h(comments: Sequence[str]) -> str:
    """`metadata.comments` as C: a header for any file that is linked whenever the model is."""
    lines = [
        "/* The map from this code back to the model, in the ELF file: `harness crash decode` reads it there, and",
        " * `readelf -p .comment` shows it. It takes no memory of the device. */",
        "#if defined(__GNUC__) && defined(__ELF__)",
    ]
    for comment in comments:
        # a backslash is one to C and one to the assembler
        pieces = [piece.replace("\\", "\\" * 4) for piece in _PIECE.findall(comment)]
        lines += ['__asm__(".ident \\""', *(f'        "{piece}"' for piece in pieces), '        "\\"");']
    return _guard("MODEL_MAP_H", [*lines, "#endif"])


def _layers_h(programs: Sequence[Program], shared: Sequence[frozenset[str]]) -> str:
    prototypes = [f"{signature(p, names)};" for p, names in zip(programs, shared, strict=True)]
    headers = ["#include <stdbool.h>"] if any(_SPEAKS_BOOL.search(line) for line in prototypes) else []
    return _guard("LAYERS_H", [*headers, "#include <stdint.h>", "", *prototypes])


def _nn_math_h(needed: Sequence[Intrinsic | Access]) -> str:
    headers = {"stdint.h", *(i.header for i in needed if i.header)}
    headers |= {"stdbool.h" for i in needed if _SPEAKS_BOOL.search(i.c)}
    lines = [f"#include <{header}>" for header in sorted(headers)]
    for intrinsic in needed:
        lines += ["", intrinsic.c]
    return _guard("NN_MATH_H", lines)


def _nn_kernels_h(kernels: Sequence[KernelFunction]) -> str:
    return _guard("NN_KERNELS_H", ["#include <stdint.h>", "", *(f"{kernel.signature};" for kernel in kernels)])


def _nn_kernels_c(kernels: Sequence[KernelFunction]) -> str:
    lines = [
        "/* Each adds products to the sums it is given. They use every register there is: none is left for a frame",
        " * pointer, however the rest is compiled. */",
        '#include "nn_kernels.h"',
        "",
        '#define KERNEL __attribute__((noinline, optimize("O2", "omit-frame-pointer")))',
    ]
    for guard, group in groupby(sorted(kernels, key=lambda kernel: kernel.guard), lambda kernel: kernel.guard):
        lines += ["", f"#if {guard}", *(line for kernel in group for line in ("", kernel.text)), "", "#endif"]
    return "\n".join([*lines, ""])


def _weights_h(programs: Sequence[Program]) -> str:
    lines = ["#include <stdint.h>", ""]
    for program in programs:
        for b in program.of_space("const"):
            if b.in_flash:
                shape = " x ".join(map(str, b.shape))
                lines.append(f"extern const {b.dtype.c} {b.name}[{b.elements}]; /* {shape} */")
    return _guard("WEIGHTS_H", lines)


def _weights_c(programs: Sequence[Program]) -> str:
    parts = ['#include "weights.h"', ""]
    for program in programs:
        parts += [array(b, "const ") for b in program.of_space("const") if b.in_flash]
    return "\n".join(parts)


def _layer_c(graph: Graph, layer: Layer, program: Program, shared: frozenset[str], headers: Sequence[str]) -> str:
    head = [
        (
            f"/* Layer {layer.index}: {layer.op}, operator {', '.join(map(str, layer.ops))} of the model;"
            f" {layer.macs} MACs."
        ),
        " *",
    ]
    constants = [t for t in graph.ops[layer.index].inputs if t != ABSENT and graph.tensor(t).data is not None]
    for label, tensors in (("in", layer.inputs), ("const", constants), ("out", layer.outputs)):
        for tensor in tensors:
            head += _comment(f" * {label:<6}", _describe(graph, tensor))
    if shared:
        head += [
            " *",
            " * The output lies over an input: a value may be stored only when what it takes the place of is no longer",
            " * needed. The order of these loops sees to that.",
        ]
    head.append(" */")
    uses = [f'#include "{name}"' for name in ("layers.h", *headers)]
    if any(b.in_flash for b in program.of_space("const")):
        uses.append('#include "../weights.h"')
    function = render_function(program, shared)
    if _SPEAKS_BOOL.search(function):
        uses.insert(0, "#include <stdbool.h>")
    return "\n".join([*head, *uses, "", function])
