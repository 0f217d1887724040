"""The files a compilation leaves: complete, clean under strict warnings, and closed to names from the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tflite import TensorType

from harness.board import Target
from harness.compiler import compile_model, load_sources
from harness.compiler.csource import CSource
from harness.compiler.emit import printable
from harness.compiler.frontends import parse_model
from harness.compiler.pipeline import compile_graph
from harness.errors import BadInput
from tests.models import Net, classifier
from tests.native import STRICT

HOST = Target("host", frozenset())
HOSTILE = ["a*/ int x; /*", 'quote " and \\', "line\nbreak", "Überraschung ☃", "", "\x00\x1b[31m", "??/", "x" * 500]


def write(source: CSource, folder: Path) -> Path:
    for name, text in source.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def compiles(folder: Path) -> None:
    for path in sorted(folder.rglob("*.c")):
        command = [
            "gcc",
            *STRICT,
            "-Wshadow",
            "-Wstrict-prototypes",
            "-ffreestanding",
            "-I",
            str(folder),
            "-fsyntax-only",
        ]
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def every_operator() -> Net:
    net = Net(3)
    x = net.conv2d(net.input((1, 8, 8, 3)), (3, 3), 4, stride=(2, 2))
    y = net.add(net.depthwise_conv2d(x, (3, 3)), x)
    y = net.average_pool(net.max_pool(y), (2, 2))
    net.softmax(net.fully_connected(net.reshape(y), 5))
    return net


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_all_files_compile_without_a_warning(dtype: str, tmp_path: Path) -> None:
    net = every_operator() if dtype == "int8" else classifier(dtype=dtype)
    compiles(write(compile_graph(parse_model(net.build(), "net.tflite"), HOST), tmp_path))


@pytest.mark.parametrize("code", ["BOOL", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "FLOAT32"])
def test_every_type_has_the_headers_it_needs(code: str, tmp_path: Path) -> None:
    net = Net(1)
    x = net.input((2, 3))
    y = net.reshape(x, (6,))  # alone in the model it is a copy
    for tensor in (x, y):
        net.tensors[tensor] = replace(net.tensors[tensor], type=getattr(TensorType, code), quant=None)
    source = compile_graph(parse_model(net.build(), "net.tflite"), HOST)
    compiles(write(source, tmp_path))
    uses_bool = {path: "bool" in text.replace("<stdbool.h>", "") for path, text in source.files.items()}
    assert ("<stdbool.h>" in source.files["layers/layers.h"]) == uses_bool["layers/layers.h"] == (code == "BOOL")
    assert "<stdbool.h>" not in source.files["nn_math.h"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_the_model_stay_inside_their_comment(name: str, tmp_path: Path) -> None:
    net = classifier()
    net.tensors[:] = [replace(t, name=name) for t in net.tensors]
    source = compile_graph(parse_model(net.build(), f"{name.strip(chr(0))[:40]}.tflite"), HOST)
    for path, text in source.files.items():
        assert all(32 <= ord(c) < 127 or c == "\n" for c in text), path
        assert path in ("metadata.json", "model_map.h") or "int x;" not in text.replace(printable(name), "")
    compiles(write(source, tmp_path))
    tensors = json.loads(source.files["metadata.json"])["tensors"]
    assert all(t["name"] == source.graph.tensor(t["id"]).name for t in tensors)


def test_layers_are_numbered_alike_everywhere() -> None:
    source = compile_graph(parse_model(every_operator().build(), "net.tflite"), HOST)
    layers = json.loads(source.files["metadata.json"])["layers"]
    assert [layer["index"] for layer in layers] == list(range(len(source.layers)))
    for layer in source.layers:
        assert layer.file == f"layers/{layer.index:03d}_{layer.name}.c"
        assert layer.name.endswith(f"_{layer.index}")
        assert f"void {layer.name}(" in source.files[layer.file]
    model_operators = [op for layer in source.layers for op in layer.ops]
    assert sorted(model_operators) == list(range(len(source.graph.ops)))


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_no_line_is_longer_than_a_screen(dtype: str) -> None:
    net = Net(3, dtype)
    x = net.conv2d(net.input((1, 40, 41, 33), name="x" * 90), (3, 3), 33)
    y = net.depthwise_conv2d(net.depthwise_conv2d(x, (3, 3)), (2, 2), dilation=(3, 3))
    z = net.add(net.add(y, x), net.softmax(x))
    net.max_pool(z, (3, 3), padding="SAME")
    for path, text in compile_graph(parse_model(net.build(), "net.tflite"), HOST, check=False).files.items():
        assert path == "metadata.json" or max(map(len, text.splitlines())) <= 120, path


def test_a_layer_says_what_it_reads_and_writes() -> None:
    source = compile_graph(parse_model(every_operator().build(), "net.tflite"), HOST)
    head = source.files["layers/000_conv2d_0.c"].partition("*/")[0]
    assert "in    int8[1, 8, 8, 3] scale " in head
    assert "const int8[4, 3, 3, 3] scales " in head
    assert "const int32[4] scales " in head
    assert "out   int8[1, 4, 4, 4] scale " in head


def test_scratch_memory_is_a_parameter_and_a_part_of_the_arena() -> None:
    net = Net(3)
    net.conv2d(net.input((1, 6, 6, 16)), (3, 3), 4)
    source = compile_graph(parse_model(net.build(), "net.tflite"), Target("cortex-m3", frozenset()))
    layers = json.loads(source.files["metadata.json"])["layers"]
    (layer,) = [layer for layer in source.layers if layer.scratch]
    (place,) = layer.scratch
    assert layers[layer.index]["scratch"] == [{"offset": place.offset, "bytes": place.bytes}]
    assert place.offset + place.bytes <= source.arena_bytes
    assert not any(place.meets(source.placements[t]) for t in (*layer.inputs, *layer.outputs))
    prototype = f"void {layer.name}(const int8_t *input, int8_t *output, int8_t *restrict patch)"
    assert f"{prototype};" in source.files["layers/layers.h"]
    assert f"{prototype}\n" in source.files[layer.file]
    for file in ("model.c", "model_layers.c"):
        assert f"(int8_t *)(arena + {place.offset}));" in source.files[file]


def test_without_shared_memory_every_parameter_is_restrict() -> None:
    graph, target = parse_model(every_operator().build(), "net.tflite"), Target("cortex-m3", frozenset())
    apart = compile_graph(graph, target, disabled=frozenset({"share-memory"}))
    shared = compile_graph(graph, target)
    assert apart.arena_bytes > shared.arena_bytes
    for source in (apart, shared):
        lines = source.files["layers/layers.h"].splitlines()
        prototypes = "".join(line for line in lines if line.startswith("void"))
        assert (prototypes.count("*") == prototypes.count("*restrict ")) == (source is apart)
        for layer in source.layers:
            over = any(source.placements[x].meets(source.placements[y]) for x in layer.inputs for y in layer.outputs)
            text = source.files[layer.file]
            assert ("lies over an input" in text) == over == ("int8_t *output" in text)


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d", "max_pool", "average_pool", "add"])
def test_a_layer_whose_clamp_leaves_one_value_is_clean_c(kind: str, tmp_path: Path) -> None:
    """Zero point 127 under RELU: every element is 127, and nothing is computed that nobody reads."""
    net = Net(1)
    x = net.input((1, 5, 5, 4), quant=(0.05, 127))
    operands = (x, x) if kind == "add" else (x,)
    quant = {} if kind.endswith("pool") else {"quant": (0.05, 127)}
    getattr(net, kind)(*operands, activation="RELU", **quant)
    source = compile_graph(parse_model(net.build(), "net.tflite"), HOST)
    assert "acc" not in source.files[source.layers[0].file]
    compiles(write(source, tmp_path))


@pytest.mark.slow
def test_compiling_twice_gives_the_same_text(tmp_path: Path) -> None:
    """In processes of their own: the order of a set of strings differs between them."""
    model = tmp_path / "net.tflite"
    model.write_bytes(every_operator().build())
    script = (
        "import sys; from pathlib import Path; from harness.board import Target;"
        "from harness.compiler import compile_model;"
        "source = compile_model(Path(sys.argv[1]), Target('host', frozenset()), check=False);"
        "print(sorted(source.files.items()), source.layers, source.placements)"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script, str(model)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(texts) == 1


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    model = tmp_path / "net.tflite"
    model.write_bytes(classifier().build())
    return model, write(compile_model(model, HOST), tmp_path / "c")


def test_edited_sources_come_back(saved: tuple[Path, Path]) -> None:
    model, folder = saved
    layer = folder / "layers/000_conv2d_0.c"
    layer.write_text("/* by hand */\n" + layer.read_text())
    source = load_sources(model, folder, HOST)
    assert source.files["layers/000_conv2d_0.c"].startswith("/* by hand */")
    assert source.layers == compile_model(model, HOST).layers


def test_sources_in_another_encoding_are_refused(saved: tuple[Path, Path]) -> None:
    model, folder = saved
    layer = folder / "layers/000_conv2d_0.c"
    layer.write_bytes(b"/* caf\xe9 */" + layer.read_bytes())
    with pytest.raises(BadInput, match=r"000_conv2d_0\.c: not UTF-8 at byte 6"):
        load_sources(model, folder, HOST)


def test_sources_of_another_model_or_core_are_refused(saved: tuple[Path, Path], tmp_path: Path) -> None:
    model, folder = saved
    other = tmp_path / "other.tflite"
    other.write_bytes(classifier(seed=6).build())
    with pytest.raises(BadInput, match=r"metadata\.json differs"):
        load_sources(other, folder, HOST)
    with pytest.raises(BadInput, match=r"metadata\.json differs"):
        load_sources(model, folder, Target("cortex-m3", frozenset()))
    (folder / "weights.c").unlink()
    with pytest.raises(BadInput, match=r"lacks weights\.c"):
        load_sources(model, folder, HOST)
    with pytest.raises(BadInput, match="not a directory"):
        load_sources(model, tmp_path / "nowhere", HOST)


GOLDEN = Path(__file__).parent / "golden"
PICTURED = (
    "000_conv2d_0",
    "001_depthwise_conv2d_1",
    "002_add_2",
    "003_max_pool_3",
    "005_fully_connected_5",
    "006_softmax_6",
)


@pytest.mark.parametrize("layer", PICTURED)
def test_the_c_is_as_reviewed(layer: str, request: pytest.FixtureRequest) -> None:
    """A change of the generated C shows in the diff of a golden file; `--update-golden` writes them anew."""
    source = compile_graph(parse_model(every_operator().build(), "net.tflite"), Target("cortex-m3", frozenset()))
    text, path = source.files[f"layers/{layer}.c"], GOLDEN / f"{layer}.c"
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    assert text == path.read_text()


def test_sources_know_which_passes_they_were_made_without(tmp_path: Path) -> None:
    model = tmp_path / "net.tflite"
    model.write_bytes(classifier().build())
    folder = write(compile_model(model, HOST, without=["fold-views"]), tmp_path / "c")
    source = load_sources(model, folder, HOST)
    assert source.without == ("fold-views",)
    assert source.layers == compile_model(model, HOST, without=["fold-views"]).layers


@pytest.mark.parametrize("damage", ["", "[]", '{"without": 3}', '{"without": [["fold-views"], "no-such"]}'])
def test_metadata_that_tells_nothing_of_passes_is_refused(saved: tuple[Path, Path], damage: str) -> None:
    model, folder = saved
    (folder / "metadata.json").write_text(damage)
    with pytest.raises(BadInput, match=r"metadata\.json differs"):
        load_sources(model, folder, HOST)
