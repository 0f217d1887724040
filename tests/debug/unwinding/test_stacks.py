"""Stacks that a user's own linker script and variables name."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cpustate import CpuState
from harness.debug.crash import explain
from tests.debug.linked import linked


@pytest.fixture(scope="module")
def st_like(tmp_path_factory: pytest.TempPathFactory, toolchain: None) -> Path:
    """The main stack has an end and no beginning in the symbols, and the stack of a task lies right above it."""
    folder = tmp_path_factory.mktemp("st_like")
    text = (
        'char task_stack[1024] __attribute__((section(".task")));\n'
        "void entry(void) { task_stack[0] = 1; for (;;) {} }\n"
    )
    script = "SECTIONS { . = 0x100; .text : { *(.text) } . = 0x20001000; _estack = .; .task (NOLOAD) : { *(.task) } }\n"
    return linked(folder, text, "-O2", "-g", script=script)


@pytest.mark.parametrize("status", [{"cfsr": 1 << 25}, {"cfsr": 1 << 9 | 1 << 15, "bfar": 0x60000000}])
def test_a_pointer_in_the_main_stack_has_not_overflowed_the_stack_above(status: dict[str, int], st_like: Path) -> None:
    crash = explain(CpuState({"sp": 0x20000F80, "pc": 0x104}, status, reason="usagefault"), st_like)
    assert crash.kind in ("divide_by_zero", "precise_bus_fault")
    assert "task_stack" not in crash.sentence


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, toolchain: None) -> Path:
    """A program whose linker script names a main stack of 1 KB at 0x20000000."""
    folder = tmp_path_factory.mktemp("bare")
    text = "char idle_stack[256] = {1};\nvoid entry(void) { idle_stack[0]++; for (;;) {} }\n"
    script = (
        "SECTIONS { . = 0x100; .text : { *(.text) } . = 0x20000000; __StackLimit = .; . += 0x400; _estack = .;\n"
        ". = 0x20003000; .data : { *(.data) } }\n"
    )
    return linked(folder, text, "-O2", "-g", script=script)


def test_the_ends_of_a_stack_may_have_names_of_two_kinds(bare: Path) -> None:
    on_it = explain(CpuState({"sp": 0x20000010, "pc": 0x104}, {"cfsr": 1 << 25}, reason="usagefault"), bare)
    past_it = explain(CpuState({"sp": 0x1FFFFFF0, "pc": 0x104}, {"cfsr": 1 << 25}, reason="usagefault"), bare)
    assert (on_it.kind, past_it.kind) == ("divide_by_zero", "stack_overflow")
    assert "16 bytes past the end of the stack of 1024 bytes" in past_it.sentence


@pytest.mark.parametrize(("cause", "kind"), [(1 << 25, "divide_by_zero"), (1 << 9, "stack_overflow")])
def test_a_variable_called_a_stack_is_one_only_where_memory_failed(cause: int, kind: str, bare: Path) -> None:
    registers = {"sp": 0x20002FC0, "pc": 0x104, "exc_return": 0xFFFFFFFD}
    crash = explain(CpuState(registers, {"cfsr": cause | 1 << 15, "bfar": 0x60000000}, reason="busfault"), bare)
    assert crash.kind == kind


def test_a_log_without_status_registers_is_not_of_a_core_without_them(bare: Path) -> None:
    crash = explain(CpuState({"pc": 0x104, "sp": 0x20000040}), bare)
    assert "This core records no cause" not in crash.sentence
    assert "status registers are not known" in crash.sentence
