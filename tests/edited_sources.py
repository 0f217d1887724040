"""Generated C, written to a folder and edited as somebody tuning a kernel would: the edit is the truth of the fault."""

from __future__ import annotations

from pathlib import Path

from harness.board import load_board
from harness.compiler import compile_model
from harness.compiler.csource import CSource
from harness.compiler.export import c_directory
from tests.models import Net

FLIP = "output[0] = (int8_t)(output[0] ^ 1);"  # one element wrong by one
SPOIL = "for (int32_t i = 0; i < 5; i++) { output[i] = (int8_t)(output[i] ^ 0x40); }"
READ_NOWHERE = "(void)*(const volatile int8_t *)0x60000000u;"  # nothing is there on the emulated boards
SPIN = "for (volatile int32_t spin = 1; spin != 0;) { }"


def four_layers(path: Path, dtype: str = "int8") -> Path:
    """A model of conv2d, depthwise_conv2d, fully_connected (with a reshape folded in) and softmax."""
    net = Net(seed=2, dtype=dtype)
    x = net.conv2d(net.input((1, 6, 6, 2)), out_channels=4, activation="RELU")
    x = net.depthwise_conv2d(x)
    net.softmax(net.fully_connected(net.reshape(x), 5))
    path.write_bytes(net.build())
    return path


def sources(model: Path, folder: Path, board: str) -> CSource:
    source = compile_model(model, load_board(board).target, check=False)
    c_directory.write(source, folder)
    return source


def insert(source: CSource, folder: Path, layer: int, statement: str, *, at_end: bool = False) -> int:
    """Put `statement` at the beginning or end of a layer's function; the line it stands on, from 1."""
    path = folder / source.layers[layer].file
    lines = path.read_text().splitlines()
    definition = next(n for n, line in enumerate(lines) if line.startswith(f"void {source.layers[layer].name}("))
    place = lines.index("}", definition) if at_end else lines.index("{", definition) + 1
    lines.insert(place, f"    {statement}")
    path.write_text("\n".join(lines) + "\n")
    return place + 1
