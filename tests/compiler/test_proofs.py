"""A proof is believed for the two programs it was made for, and for nothing else."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.board import Target
from harness.compiler import compile_model, proofs
from harness.compiler.frontends import parse_model
from harness.compiler.loops import Buffer, Const, Expr, For, Load, Program, Var, rewrite_block, store
from harness.compiler.pipeline import CompiledLayer, programs_of, prove
from harness.compiler.proofs import ProofStore
from harness.compiler.schedules import contraction
from harness.dtypes import DType
from harness.errors import CompilerBug
from tests.models import classifier

PACKAGE = Path(harness.__file__).parent
NO_JUDGES = {Path("errors")}  # what a refusal is called

M3 = Target("cortex-m3", frozenset())


def copying(table: list[int], *, backwards: bool = False) -> Program:
    """output = table, or the table from its end."""
    w = Buffer("w", DType.I32, (len(table),), "const", np.array(table, np.int32), in_flash=True)
    y = Buffer("output", DType.I32, (len(table),), "output")
    i = Var("i")
    body = store(y, i, value=Load(w, ((len(table) - 1) - i if backwards else i,)))
    return Program("layer_0", (y, w), (For("i", Const(0), Const(len(table)), (body,), parallel=True),))


def spoilt(program: Program) -> Program:
    """The program with every constant halved: the same loops, other results."""
    new = {b: replace(b, data=b.data // 2) for b in program.of_space("const") if b.data is not None}

    def from_new(node: Expr) -> Expr:
        return Load(new[node.buffer], node.index) if isinstance(node, Load) and node.buffer in new else node

    body = rewrite_block(program.body, from_new)
    return replace(program, body=body, buffers=tuple(new.get(b, b) for b in program.buffers))


def test_a_proof_is_for_its_two_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_of_proofs = ProofStore(tmp_path / "proofs")
    one, other = copying([1, 2, 3]), copying([3, 2, 1], backwards=True)
    assert not store_of_proofs.holds(one, other)
    store_of_proofs.add(one, other)
    assert store_of_proofs.holds(one, other)
    assert store_of_proofs.holds(copying([1, 2, 3]), copying([3, 2, 1], backwards=True))  # equal text, equal proof
    assert not store_of_proofs.holds(other, one)
    assert not store_of_proofs.holds(one, copying([3, 2, 1]))
    assert not store_of_proofs.holds(one, copying([3, 2, 0], backwards=True))  # a constant that no line of C shows
    monkeypatch.setattr(proofs, "_judge", lambda: "another judge")
    assert not store_of_proofs.holds(one, other)


def test_everything_that_the_interpreter_rests_on_is_part_of_the_judge() -> None:
    """Otherwise a proof would outlive what it was made by."""
    judging = {path.relative_to(PACKAGE) for path in proofs.judges()}
    assert Path("compiler/interpret.py") in judging
    for path in proofs.judges():
        if path.name == "render_c.py":
            continue  # what it prints is part of each proof's name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
                below = Path(*str(node.module).split(".")[1:])
                places = {below.with_suffix(".py"), below / "__init__.py"}
                assert places & judging or below in NO_JUDGES, f"{path.name} imports {node.module}"


def test_a_wrong_program_is_found_whatever_else_was_proved(tmp_path: Path) -> None:
    graph = parse_model(classifier().build(), "net.tflite")
    store_of_proofs = ProofStore(tmp_path)
    right = programs_of(graph, M3)[0]
    prove(right, store_of_proofs)
    wrong = CompiledLayer(right.layer, right.unscheduled, spoilt(right.program))
    with pytest.raises(CompilerBug, match="the schedule changes"):
        prove(wrong, store_of_proofs)


def test_compiling_asks_for_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule that changes one constant never becomes C, also when the right one was proved before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tmp_path / "net.tflite"
    model.write_bytes(classifier().build())
    compile_model(model, M3)
    assert list((tmp_path / "cache" / "layerproof" / "proofs").iterdir())

    tidy = contraction.tidy
    monkeypatch.setattr(contraction, "tidy", lambda program: spoilt(tidy(program)))
    monkeypatch.setattr("harness.compiler.source_cache._compiler", lambda: "spoilt")
    with pytest.raises(CompilerBug, match="the schedule changes"):
        compile_model(model, M3)
