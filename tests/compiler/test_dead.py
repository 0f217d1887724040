"""What no output depends on is gone; what one depends on stays, whatever lies between."""

from __future__ import annotations

from harness.compiler.dead import drop_dead
from harness.compiler.loops import Alloc, Block, Buffer, Const, For, If, Let, Note, Var, accumulate, load, store
from harness.dtypes import DType

I, K = Var("i"), Var("k")
X = Buffer("input", DType.I32, (4,), "input")
Y = Buffer("output", DType.I32, (4,), "output")
ACC = Buffer("acc", DType.I32, (), "register")
TOP = Buffer("top", DType.I32, (), "register")


def loop(var: str, *body) -> For:
    return For(var, Const(0), Const(4), body)


def test_a_sum_that_only_feeds_itself_goes_with_its_loop() -> None:
    dead: Block = (Alloc(ACC), store(ACC, value=0), loop("k", accumulate(ACC, load(X, K))))
    assert drop_dead((loop("i", *dead, store(Y, I, value=7)),)) == (loop("i", store(Y, I, value=7)),)


def test_what_only_the_dead_needed_goes_too() -> None:
    a = Let("a", load(X, I))
    b = Let("b", a.var + 1)
    chain = (a, b, Alloc(ACC), store(ACC, value=b.var), Alloc(TOP), store(TOP, value=load(ACC)), store(Y, I, value=7))
    assert drop_dead((loop("i", *chain),)) == (loop("i", store(Y, I, value=7)),)


def test_what_an_output_needs_stays() -> None:
    end = Let("end", Const(3))
    used = Let("used", load(X, I))
    live: Block = (
        Alloc(ACC),
        store(ACC, value=0),
        end,
        For("k", Const(0), end.var, (used, accumulate(ACC, used.var))),
        If(I < 2, (store(Y, I, value=load(ACC)),), (store(Y, I, value=0),)),
    )
    body: Block = (loop("i", *live),)
    assert drop_dead(body) == body


def test_a_name_that_another_scope_uses_does_not_save_this_one() -> None:
    one, other = Let("a", load(X, I)), Let("a", load(X, I) + 1)
    body: Block = (loop("i", If(I < 2, (one, store(Y, I, value=7)), (other, store(Y, I, value=other.var)))),)
    assert drop_dead(body) == (loop("i", If(I < 2, (store(Y, I, value=7),), (other, store(Y, I, value=other.var)))),)


def test_a_branch_or_loop_of_nothing_goes() -> None:
    empty = If(I < 2, (Let("a", load(X, I)),), (loop("k", Note("nothing")),))
    assert drop_dead((loop("i", empty, store(Y, I, value=1)),)) == (loop("i", store(Y, I, value=1)),)
