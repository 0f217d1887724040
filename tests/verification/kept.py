"""Runs of the small four-layer model that fail in known ways, kept as bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.compiler.csource import CSource
from harness.verification import Report, verify
from tests.edited_sources import FLIP, SPIN, four_layers, insert, sources

NOWHERE = {"qemu_cortex_m0": 0xB0000000}  # where the board has nothing and no code may stand; the others have it here:
NOWHERE_ELSEWHERE = 0xF4000000
CALL = "{ void (*volatile nobody)(void) = (void (*)(void))%s; nobody(); }"


@dataclass(frozen=True)
class Fault:
    """One statement at the beginning of a layer's function, and what the processor makes of it."""

    statement: str  # LAYER stands for the function's own name, NOWHERE for an address without anything
    instruction: str  # beginning of the mnemonic that gdb must stop at; of several by |
    at_end: bool = False


FAULTS = {
    "store": Fault("*(volatile int32_t *)NOWHERE = 1;", "str"),
    "null": Fault("{ volatile int8_t *volatile p = 0; p[4] = input[0]; }", "strb"),
    "undefined": Fault('__asm volatile("udf #3");', "udf"),
    "null_call": Fault(CALL % "0", "blx"),
    "jump": Fault(CALL % "(NOWHERE + 1u)", "blx"),
    "overflow": Fault(
        "volatile uint8_t kept[64]; kept[0] = (uint8_t)input[0]; "
        "void (*volatile again)(const int8_t *restrict, int8_t *restrict) = LAYER; again(input, output); "
        "output[0] = (int8_t)kept[0];",
        "str|push|sub|stmdb",
    ),
    # each layer runs twice a sample: once by itself, once in the whole model
    "second_sample": Fault(
        "{ static volatile int32_t calls; calls = calls + 1; if (calls == 3) { *(volatile int32_t *)NOWHERE = 1; } }",
        "str",
    ),
    "whole_model": Fault(
        "{ static volatile int32_t calls; calls = calls + 1; if (calls == 2) { *(volatile int32_t *)NOWHERE = 1; } }",
        "str",
    ),
    "hot_loop": Fault(
        "for (volatile uint32_t i = 0;; i++) { "
        "*(volatile int32_t *)(i < 200000u ? (uintptr_t)output & ~3u : NOWHERE) = 1; }",
        "str",
    ),
    # a fault where faults are masked is a lockup (Armv7-M manual, B1.5.15)
    "lockup": Fault('__asm volatile("cpsid f"); *(volatile int32_t *)NOWHERE = 1;', ""),
    "mismatch": Fault(FLIP, "", at_end=True),
    "timeout": Fault(SPIN, ""),
}


@dataclass(frozen=True)
class Kept:
    report: Report
    source: CSource  # as it was compiled, before the edit
    layer: int
    line: int  # of the edit, from 1
    bundle: Path


def keep_run(kind: str, board: str, folder: Path, *, layer: int = 1, zipped: bool = False) -> Kept:
    """Verify the model with the fault `kind` in `layer`, two samples, and keep the run below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = four_layers(folder / "four.tflite")
    edited = folder / "edited"
    source = sources(model, edited, board)
    fault = FAULTS[kind]
    nowhere = f"0x{NOWHERE.get(board, NOWHERE_ELSEWHERE):08X}u"
    statement = fault.statement.replace("LAYER", source.layers[layer].name).replace("NOWHERE", nowhere)
    line = insert(source, edited, layer, statement, at_end=fault.at_end)
    bundle = folder / ("kept.zip" if zipped else "kept")
    report = verify(model, board, sources=edited, samples=2, seed=3, timeout=1, artifacts=bundle)
    return Kept(report, source, layer, line, bundle)
