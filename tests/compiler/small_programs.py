"""Loop programs of a few statements, and both ways in which the interpreter runs them."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compiler import interpret
from harness.compiler.interpret import run
from harness.compiler.loops import (
    Buffer,
    Const,
    Expr,
    For,
    Program,
    Stmt,
    Var,
)
from harness.dtypes import DType

I, J, K = Var("i"), Var("j"), Var("k")
ACC = Buffer("acc", DType.I32, (), "register")


def output(*shape: int, dtype: DType = DType.I32) -> Buffer:
    return Buffer("output", dtype, shape, "output")


def const(name: str, values: object, dtype: DType = DType.I32) -> Buffer:
    data = np.array(values, dtype.np)
    return Buffer(name, dtype, data.shape, "const", data)


def serial(var: str, start: Expr | int, stop: Expr | int, *body: Stmt, step: int = 1) -> For:
    first = Const(start) if isinstance(start, int) else start
    last = Const(stop) if isinstance(stop, int) else stop
    return For(var, first, last, body, step)


def parallel(var: str, count: int, *body: Stmt) -> For:
    return For(var, Const(0), Const(count), body, parallel=True)


def both_ways(monkeypatch: pytest.MonkeyPatch, program: Program) -> np.ndarray:
    """The output as it is, and as it is when loops run step by step: equal."""
    at_once = run(program, {})["output"]
    with monkeypatch.context() as patched:
        patched.setattr(interpret, "batch_of", lambda loop: None)
        assert np.array_equal(run(program, {})["output"], at_once)
    return at_once


def program(y: Buffer, *body: Stmt, consts: tuple[Buffer, ...] = ()) -> Program:
    return Program("p", (y, *consts), body)
