"""Counts in Renode: the arithmetic on call trees nobody thought of, the rest against the counts of QEMU's plugin."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board import load_board
from harness.errors import ExitCode, InfrastructureError
from harness.profile import Profile, profile, renode_counter
from harness.profile.renode_counter import RenodeCounter, Visit, executed, return_addresses
from harness.profile.run import DidNotReturn, counter_for
from harness.runners.renode import VARIABLE, find_renode
from harness.toolchain.disassembly import disassemble
from tests.edited_sources import SPIN, four_layers, insert, sources
from tests.runners.renode import counting_plugin, stand_in

BOARD = "renode_cortex_m4"
INSTALLED = find_renode()
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gcc"))),
    reason="needs arm-none-eabi-gcc, qemu-system-arm and gcc",
)


# ---- from visits to counts

NAMES = {0x1000 * n: f"f{n}" for n in range(1, 5)}


@dataclass(frozen=True)
class Call:
    """A function that executes `before` instructions, its calls, and `after` more; the last call may be a jump."""

    entry: int
    before: int
    calls: tuple[Call, ...]
    after: int
    jumps: bool

    def visits(self, link: int, start: int, site: Iterator[int]) -> tuple[list[Visit], int]:
        """Its visits up to its end, and the instructions executed by then. It returns to `link`."""
        found, now = [Visit(self.entry, link, start)], start + self.before
        for number, call in enumerate(self.calls, 1):
            if self.jumps and number == len(self.calls):
                more, now = call.visits(link, now, site)
                return found + more, now
            back = next(site)
            more, now = call.visits(back, now, site)
            found += [*more, Visit(back, 0xFFFFFFFE, now)]
        return found, now + self.after

    def count(self) -> int:
        own = self.before if self.jumps and self.calls else self.before + self.after
        return own + sum(call.count() for call in self.calls)

    def everyone(self) -> Iterator[Call]:
        yield self
        for call in self.calls:
            yield from call.everyone()


numbers = st.integers(1, 1 << 40)
calls = st.recursive(
    st.builds(Call, st.sampled_from(sorted(NAMES)), numbers, st.just(()), numbers, st.booleans()),
    lambda below: st.builds(
        Call, st.sampled_from(sorted(NAMES)), numbers, st.lists(below, max_size=4).map(tuple), numbers, st.booleans()
    ),
    max_leaves=8,
)


@given(calls, numbers)
def test_each_function_gets_what_was_executed_within_its_calls(call: Call, start: int) -> None:
    site = iter(range(0x100000, 0x200000, 4))
    back = next(site)
    visits, end = call.visits(back, start, site)
    wanted: Counter[str] = Counter()
    for one in call.everyone():
        wanted[NAMES[one.entry]] += one.count()
    assert executed([*visits, Visit(back, 0, end)], NAMES) == wanted


def test_what_has_not_returned_has_no_count_yet() -> None:
    inner = [Visit(0x1000, 0x500, 10), Visit(0x2000, 0x1010, 15), Visit(0x1010, 0, 35)]
    assert executed(inner, NAMES) == {"f2": 20}
    assert executed([*inner, Visit(0x500, 0, 50)], NAMES) == {"f1": 40, "f2": 20}


# ---- on firmware


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_layers(tmp_path_factory.mktemp("model") / "four.tflite")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def changed(tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a stand-in with this change, a piece of Python, in the place of Renode."""
    return lambda change: monkeypatch.setenv(VARIABLE, stand_in(tmp_path, change, FAKE_RENODE_COUNTER=plugin))


def assert_equal_counts(found: Profile, model: Path) -> None:
    theirs = profile(model, "qemu_cortex_m4").measurement
    ours = found.measurement
    assert ours.total.instructions == theirs.total.instructions
    assert [layer.instructions for layer in ours.layers] == [layer.instructions for layer in theirs.layers]
    assert all(layer.instructions for layer in ours.layers)
    data = found.to_json()
    assert (data["counter"], data["timing"], data["total"]["cycles_estimate"]) == (
        "Renode ExecutedInstructions", None, None,
    )  # fmt: skip


def test_counts_are_those_of_the_qemu_plugin(model: Path, changed: Callable[[str], None]) -> None:
    changed("")
    assert_equal_counts(profile(model, BOARD), model)


@pytest.mark.skipif(INSTALLED is None, reason="Renode is not installed: see `harness doctor`")
def test_counts_of_a_real_renode_are_those_of_the_qemu_plugin(model: Path) -> None:
    assert_equal_counts(profile(model, BOARD), model)


def test_runs_that_differ_are_refused(model: Path, changed: Callable[[str], None]) -> None:
    changed("import random\nfake_renode.Machine.executed = property(lambda self: random.getrandbits(40))")
    with pytest.raises(InfrastructureError, match="cannot be relied on"):
        profile(model, BOARD)


def test_hooks_that_say_nothing(model: Path, changed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renode_counter, "LOG_SECONDS", 0.2)
    changed("fake_renode.Core.InfoLog = lambda self, text: None")
    with pytest.raises(InfrastructureError, match="does not tell when model_run was entered") as caught:
        profile(model, BOARD)
    assert "Machine started" in caught.value.hint


def test_firmware_that_does_not_return(model: Path, tmp_path: Path, changed: Callable[[str], None]) -> None:
    changed("")
    insert(sources(model, tmp_path / "c", BOARD), tmp_path / "c", 2, SPIN)
    with pytest.raises(DidNotReturn, match="timeout in layer 2") as caught:
        profile(model, BOARD, sources=tmp_path / "c", timeout=0.5)
    assert caught.value.exit_code is ExitCode.TIMEOUT


def test_addresses_behind_calls(model: Path, changed: Callable[[str], None]) -> None:
    """Against binutils' text, read in another way."""
    changed("")
    firmware = profile(model, BOARD).firmware
    names = "|".join(["model_run", *(layer.name for layer in firmware.source.layers)])
    command = ["arm-none-eabi-objdump", "-d", str(firmware.elf)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.splitlines() if re.match(r"\s+[0-9a-f]+:", line)]
    calls = [number for number, line in enumerate(lines) if re.search(rf"\tbl\t.*<({names})>", line)]
    symbols = re.findall(rf"^([0-9a-f]+) <({names})>:$", text, re.MULTILINE)
    assert len(symbols) == 5
    behind = {int(lines[number + 1].split(":")[0], 16) for number in calls}
    assert return_addresses(disassemble(firmware.elf), [int(address, 16) for address, _ in symbols]) == behind
    assert len(behind) >= 4  # the last layer is reached by a jump


def test_what_counts_on_the_board() -> None:
    counter = counter_for(load_board(BOARD))
    assert isinstance(counter, RenodeCounter)
