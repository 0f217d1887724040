"""Printed C means what the program means: brackets, casts and line breaks included."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.compiler.interpret import run
from harness.compiler.loops import Binary, Buffer, Cast, Const, Expr, For, Program, Select, Store, Var, cast, load
from harness.compiler.render_c import WIDTH, wrapped
from harness.compiler.verify import verify
from harness.dtypes import DType
from tests.native import run_native

BYTES = Buffer("bytes", DType.I8, (8,), "input")
WORDS = Buffer("words", DType.I32, (8,), "input")
I = Var("i")
COMPARISONS = ["lt", "le", "gt", "ge", "eq", "ne"]
INPUTS = {
    "bytes": np.array([-128, 127, 0, -1, 3, -77, 100, 1], np.int8),
    "words": np.array([-9, 9, 0, -1, 2, -7, 5, 1], np.int32),
}


def expression(chance: random.Random, depth: int) -> Expr:
    """Of the kinds the compiler makes. Values stay far inside int32: factors are masked, shifts are to the right."""
    if depth == 0:
        words, narrow = load(WORDS, I), cast(load(BYTES, I), DType.I32)
        return chance.choice([Const(chance.randint(-5, 5)), I, words, narrow])

    def part() -> Expr:
        return expression(chance, chance.randrange(depth))

    def test() -> Expr:
        return Binary(chance.choice(COMPARISONS), part(), part())

    def masked(mask: int) -> Expr:
        return Binary("and", part(), Const(mask))

    kinds: list[Callable[[], Expr]] = [
        lambda: Binary(chance.choice(["add", "sub"]), part(), part()),
        lambda: Binary(chance.choice(["add", "sub", "min", "max", "and", "or"]), part(), part()),
        lambda: Binary("mul", masked(15), masked(15)),
        lambda: Binary(chance.choice(["div", "rem"]), part(), Const(chance.randint(1, 7))),
        lambda: Binary("shr", part(), Const(chance.randint(0, 9))),
        lambda: Select(test(), part(), part()),
        lambda: Select(Binary(chance.choice(["and", "or"]), test(), test()), part(), part()),
        lambda: Cast(Cast(masked(63), DType.I8), DType.I32),
    ]
    return chance.choice(kinds)()


@pytest.mark.parametrize("seed", range(4))
def test_expressions_keep_their_value(seed: int, tmp_path: Path) -> None:
    """A hundred in one function: `a - (b - c)`, `(a & 15) * b`, `c ? a : b`, casts, shifts."""
    chance = random.Random(seed)
    expressions = [expression(chance, 4) for _ in range(100)]
    outputs = Buffer("output", DType.I32, (len(expressions), 8), "output")
    body = tuple(Store(outputs, (Const(n), I), e) for n, e in enumerate(expressions))
    program = Program("layer_0", (BYTES, WORDS, outputs), (For("i", Const(0), Const(8), body, parallel=True),))
    verify(program, "test")
    got = run_native(program, INPUTS, tmp_path, "-Wno-tautological-compare")  # chance compares x with x
    assert np.array_equal(got["output"], run(program, INPUTS)["output"])


LONG = [
    "output[oy * 320 + ox * 64 + c + 1] = nn_saturate_i8(nn_requantise(acc_1, multiplier[c + 1], shift[c + 1]) - 12);",
    "acc_1 += (input[oy * 320 + ky * 320 + ox * 64 + kx * 64 + c - 383] + 128) * weights[ky * 192 + kx * 64 + c + 1];",
    "for (int32_t kx = nn_max_i32(0, 1 - ox * 1234567); kx < nn_min_i32(31234567, 6 - ox * 1234567); kx += 12345678) {",
    "add_1((const float *)(void *)(arena + 123456), (const float *)(void *)(arena + 123456), (float *)(arena + 123));",
]


@pytest.mark.parametrize("line", LONG)
def test_a_long_line_is_broken_and_says_the_same(line: str) -> None:
    parts = wrapped(" " * 24 + line)
    assert len(parts) > 1
    assert max(map(len, parts)) <= WIDTH
    assert " ".join(part.strip() for part in parts) == line
    assert all(len(part) - len(part.lstrip()) > 24 for part in parts[1:])


def test_a_line_that_fits_is_left_alone() -> None:
    line = "x" * WIDTH
    assert wrapped(line) == [line]


def test_a_line_without_a_place_to_break_is_left_whole() -> None:
    line = "    " + "x" * 2 * WIDTH
    assert wrapped(line) == [line]
