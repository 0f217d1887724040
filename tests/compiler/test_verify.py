"""The verifier names the stage and the rule that a program breaks."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compiler.intrinsics.base import Intrinsic
from harness.compiler.intrinsics.fixed_point import HIGH_MUL
from harness.compiler.loops import (
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Const,
    For,
    If,
    Let,
    Load,
    Program,
    Store,
    Var,
    load,
    store,
)
from harness.compiler.verify import verify
from harness.dtypes import DType
from harness.errors import CompilerBug

I = Var("i")
X = Buffer("input", DType.I32, (4,), "input")
Y = Buffer("output", DType.I32, (4,), "output")
W = Buffer("w", DType.I32, (4,), "const", np.arange(4, dtype=np.int32))
R = Buffer("acc", DType.I32, (), "register")
MVE = Intrinsic("nn_mve", (("a", DType.I32),), DType.I32, lambda a: a, "", needs=frozenset({"mve"}))


def loop(*body, parallel: bool = False, count: int = 4) -> For:
    return For("i", Const(0), Const(count), body, parallel=parallel)


LEGAL = (
    Alloc(R),
    store(R, value=0),
    loop(Let("t", load(X, I) + load(W, I)), store(Y, I, value=Var("t"))),
)

BROKEN = {
    "name that is not in scope": (store(Y, 0, value=I),),
    "name that hides another": (loop(loop(store(Y, I, value=0))),),
    "not a C identifier": (Let("2x", Const(0)),),
    "never inside": (loop(store(Y, I + 4, value=0)),),
    "indices for": (Store(Y, (), Const(0)),),
    "index that is not int32": (store(Y, Const(0, DType.I64), value=0),),
    "store into read-only memory": (store(X, 0, value=0),),
    "not in scope": (store(R, value=0),),
    "store of another dtype": (Store(Y, (Const(0),), Const(0, DType.I8)),),
    "operands of different dtypes": (Store(Y, (Const(0),), Binary("add", Const(0), Const(0, DType.I64))),),
    "no such operation": (Store(Y, (Const(0),), Binary("pow", Const(0), Const(0))),),
    "output read inside a parallel loop": (loop(store(Y, I, value=load(Y, I)), parallel=True),),
    "condition that is not a bool": (If(Const(1), ()),),
    "does not advance": (For("i", Const(0), Const(4), (), step=0),),
    "loop bound that is not int32": (For("i", Const(0), Const(4, DType.I64), ()),),
    "constant outside int8": (store(Y, 0, value=Cast(Const(200, DType.I8), DType.I32)),),
    "arguments of nn_high_mul": (Store(Y, (Const(0),), Call(HIGH_MUL, (Const(1),))),),
    "needs other features": (Store(Y, (Const(0),), Call(MVE, (Const(1),))),),
    "cast to bool": (If(Cast(Const(1), DType.BOOL), ()),),
}


def test_a_legal_program_comes_back() -> None:
    program = Program("layer_0", (X, Y, W), LEGAL)
    assert verify(program, "test") is program


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named(rule: str) -> None:
    with pytest.raises(CompilerBug, match=rf"layer_0 after lowering: .*{rule}"):
        verify(Program("layer_0", (X, Y, W), BROKEN[rule]), "lowering")


def test_buffers_have_rules_too() -> None:
    for buffers, rule in (
        ((X, Buffer("input", DType.I8, (1,), "output")), "two buffers of one name"),
        ((Buffer("a", DType.I8, (0,), "input"),), "an empty dimension"),
        ((Buffer("a", DType.I8, (1,), "const"),), "constants, and only they"),
        ((Buffer("a", DType.I8, (2,), "const", np.zeros(3, np.int8)),), "another shape or dtype"),
        ((Buffer("a", DType.I8, (1,), "stack"),), "no such memory space"),
    ):
        with pytest.raises(CompilerBug, match=rule):
            verify(Program("layer_0", buffers, ()), "lowering")


def test_features_of_the_target_allow_their_intrinsics() -> None:
    program = Program("layer_0", (Y,), (Store(Y, (Const(0),), Call(MVE, (Const(1),))),))
    verify(program, "scheduling", frozenset({"mve"}))
    assert Load(Y, (Const(0),)).dtype is DType.I32
