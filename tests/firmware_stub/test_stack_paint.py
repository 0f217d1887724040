"""The painted stack against assembly whose depth is written in it."""

from __future__ import annotations

import shutil

import pytest

from harness.board import load_board
from harness.firmware import build
from harness.session import open_session
from tests import sample_model

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)

# Moves the stack pointer down, writes the lowest word, and comes back.
REACH = '    __asm volatile("sub sp, #{0}\\n\\tstr r0, [sp]\\n\\tadd sp, #{0}" ::: "memory");\n'


@pytest.mark.parametrize("board", ["qemu_cortex_m0", "qemu_cortex_m3", "qemu_cortex_m33", "qemu_cortex_m55"])
def test_the_depth_of_each_layer_and_of_the_model(board: str) -> None:
    where = load_board(board)
    source = sample_model.sample(where.target.core)
    for layer, depth in enumerate((8, 96, 200)):
        source = sample_model.with_kernel(source, layer, REACH.format(depth) + "    output[0] = input[0];\n")
    with open_session(build(source, where), where) as session:
        done = session.run_layers()
        first = done[0].stack
        assert 8 <= first <= 8 + 16  # and what the wrapper around the layer pushes
        assert [layer.stack - first for layer in done] == [0, 96 - 8, 200 - 8]
        assert session.run_layers(0, 1)[0].stack == first  # what a deeper layer wrote is painted over
        whole = session.run().stack
        assert 200 <= whole <= 200 + 32
        assert session.run().stack == whole


def test_a_layer_that_needs_none() -> None:
    where = load_board("qemu_cortex_m3")
    with open_session(build(sample_model.sample(where.target.core), where), where) as session:
        assert session.run_layers(2, 3)[0].stack <= 8  # sum_2 is a leaf; its wrapper may push a pair


def test_the_host_says_that_it_does_not_know() -> None:
    where = load_board("host")
    with open_session(build(sample_model.sample("host"), where), where) as session:
        assert [layer.stack for layer in session.run_layers()] == [0, 0, 0]
