"""20,000 damaged records and logs: each is an error or a report, and no report calls certain what is not.

What must hold of a report says `consistent`. Where the damage leaves the data intact that the chain of calls follows
from, more is known: the frames that are not called a guess are the true ones, whatever was planted elsewhere.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import pytest

from harness.cpustate import MemorySpan
from harness.debug.crash import Crash, explain
from harness.debug.evidence import Evidence, read_evidence
from harness.debug.identity import identify
from harness.debug.image import Image
from harness.debug.memory import Memory
from harness.debug.thumb import call_before, fetch, jump_target
from harness.errors import BadInput
from harness.rpc.fault_record import FaultRecord
from tests.debug import lab
from tests.debug.conftest import Crashes
from tests.debug.evidence import logs
from tests.debug.evidence.samples import record_of, sealed, sound, stale, truth, unwound

CORES = ("m3", "m4", "m33", "m0")
LEVEL = "-O2"
Get = Callable[[str, str], Crashes]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Subject:
    """The firmware of one core and what is known of its crashes."""

    image: Image
    crashes: list[lab.Crashed]

    @cached_property
    def whole(self) -> list[tuple[lab.Crashed, FaultRecord, set[int]]]:
        """The crashes whose record alone gives the whole chain, without a guess; and the words it follows from."""
        found = []
        for crashed in self.crashes:
            record = record_of(crashed)
            chain, asked = unwound(self.image, record)
            crash = explain(record.cpu_state(), self.image)
            if chain.complete and [f.function for f in crash.frames[1:]] == truth(crashed):
                found.append((crashed, record, asked))
        return found

    @cached_property
    def interesting(self) -> list[int]:
        """Words that mislead: functions, return addresses, EXC_RETURN values, ends of the address space."""
        entries = [function.address | 1 for function in self.image.functions]
        return [*entries, *stale(self.image, []), 0, 0xFFFFFFFF, 0xFFFFFFF9, 0xFFFFFFFD, 0xFFFFFFED, 0xFEFA125A]

    def read(self, address: int, length: int) -> bytes | None:
        return self._memory.code(address, length)

    @cached_property
    def _memory(self) -> Memory:
        return Memory(self.image)


@pytest.fixture(scope="module")
def subjects(crashes: Get) -> dict[str, Subject]:
    found = {core: crashes(core, LEVEL) for core in CORES}
    return {core: Subject(f.image, sound(f)) for core, f in found.items()}


def explained(data: bytes, subject: Subject) -> tuple[Evidence, Crash] | None:
    """The report, held to what must be true of every one; None where the data was refused."""
    try:
        evidence = read_evidence(data, "fuzz")
    except BadInput:
        return None
    identify(evidence.build_id, evidence.state, evidence.listed, subject.image)
    crash = explain(evidence.state, subject.image, listed=evidence.listed)
    consistent(crash, subject)
    return evidence, crash


def consistent(crash: Crash, subject: Subject) -> None:
    json.dumps(crash.to_json(), allow_nan=False)
    assert crash.kind
    assert crash.sentence
    assert len(crash.frames) < 600
    guessed = False
    for number, frame in enumerate(crash.frames):
        guessed = guessed or frame.via == "scan"
        assert (frame.via == "scan") is guessed, "what rests on a guess is one"
        assert ("guessed" in frame.label) is guessed
        if frame.via in ("lr", "cfi") and number and not frame.inlined:
            # a tail call's own place is a jump; every other caller stands after its call
            assert frame.pc is not None
            assert call_before(subject.read, frame.pc) is not None or _jumps(subject, frame.pc)
    if guessed:
        assert any("guessed" in note for note in crash.notes)


def _jumps(subject: Subject, address: int) -> bool:
    instruction = fetch(subject.read, address)
    return instruction is not None and jump_target(*instruction, address) is not None


def certain(crash: Crash) -> list[str]:
    return [frame.function for frame in crash.frames if frame.via != "scan" and frame.pc is not None]


# ---- records

RECORDS = 8_000
_FIXED = ("magic", "total", "crc32", "version")  # what a record must have to be read at all


@pytest.mark.parametrize("core", CORES)
def test_a_damaged_record_is_refused(core: str, subjects: dict[str, Subject]) -> None:
    """CRC-32 sees every change of this size."""
    rng = random.Random(f"damaged {core}")
    subject = subjects[core]
    records = [sealed(record_of(crashed)) for crashed in subject.crashes]
    states = [record_of(crashed).cpu_state() for crashed in subject.crashes]
    for _ in range(RECORDS // 4 // 4):
        data = bytearray(rng.choice(records))
        match rng.randrange(4):
            case 0:
                for _ in range(rng.randint(1, 3)):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[rng.randrange(1, len(data)) :]
            case 2:
                other = rng.choice(records)
                cut = rng.randrange(16, min(len(data), len(other)))
                data[cut:] = other[cut:]
            case 3:
                at = rng.randrange(len(data))
                data[at:at] = rng.randbytes(rng.randint(1, 8))
        found = explained(bytes(data), subject)
        # what was inserted before or after a record leaves it whole
        assert found is None or any(found[0].state == state for state in states)


@pytest.mark.parametrize("core", CORES)
def test_left_overs_on_the_stack_give_no_certain_frame(core: str, subjects: dict[str, Subject]) -> None:
    """Every word that the chain does not follow from becomes a return address into a function that was not running."""
    rng = random.Random(f"stale {core}")
    subject = subjects[core]
    assert len(subject.whole) > len(subject.crashes) / 2
    planted = {crashed.scenario.name: stale(subject.image, truth(crashed)) for crashed, _, _ in subject.whole}
    for _ in range(RECORDS // 4 // 2):
        crashed, record, asked = rng.choice(subject.whole)
        (stack,) = record.spans()
        words = [
            word if stack.address + 4 * n in asked or rng.random() < 0.2 else rng.choice(planted[crashed.scenario.name])
            for n, (word,) in enumerate(struct.iter_unpack("<I", stack.data))
        ]
        changed = record.sealed((replace(stack, data=struct.pack(f"<{len(words)}I", *words)),))
        found = explained(changed.pack(), subject)
        assert found is not None
        assert certain(found[1]) == truth(crashed), found[1].lines()
        assert all(frame.via != "scan" for frame in found[1].frames)


@pytest.mark.parametrize("core", CORES)
def test_a_record_of_a_wild_crash_is_explained(core: str, subjects: dict[str, Subject]) -> None:
    """Registers, status and stack are anything; the seal is right, as the firmware would make it."""
    rng = random.Random(f"wild {core}")
    subject = subjects[core]
    for _ in range(RECORDS // 4 // 4):
        record = record_of(rng.choice(subject.crashes))
        found = explained(_wild(record, subject, rng).pack(), subject)
        assert found is not None


def _wild(record: FaultRecord, subject: Subject, rng: random.Random) -> FaultRecord:
    word = lambda: rng.choice((rng.getrandbits(32), rng.choice(subject.interesting), rng.choice(record.frame)))  # noqa: E731
    changes: dict[str, Any] = {}
    for _ in range(rng.randint(1, 8)):
        name = rng.choice([field.name for field in fields(record) if field.name not in _FIXED])
        value = getattr(record, name)
        if isinstance(value, int):
            changes[name] = word()
        elif isinstance(value, tuple):
            changes[name] = tuple(word() if rng.random() < 0.3 else old for old in value)
        elif name == "memory":
            spans = tuple(_wild_span(span, word, rng) for span in record.spans())
            record = record.sealed(spans * rng.randint(0, 2))
    changed = replace(record, **changes)
    return changed.sealed(tuple(changed.spans()))


def _wild_span(span: MemorySpan, word: Callable[[], int], rng: random.Random) -> MemorySpan:
    data = bytearray(span.data)
    for _ in range(rng.randint(1, 40)):
        at = rng.randrange(max(1, len(data) // 4)) * 4
        data[at : at + 4] = word().to_bytes(4, "little")
    end = rng.choice((len(data), rng.randrange(len(data) // 4 + 1) * 4))
    return MemorySpan(rng.choice((span.address, word())), bytes(data[:end]))


# ---- logs

LOST = DAMAGED = 340  # of each form of log
all_logs = pytest.mark.parametrize("render", logs.LOGS, ids=lambda render: render.__name__)


def test_there_are_as_many_as_was_said() -> None:
    assert RECORDS + (LOST + DAMAGED) * len(logs.LOGS) >= 20_000


def _lines_lost(lines: list[str], rng: random.Random) -> list[str]:
    return [line for line in lines if rng.random() > 0.1]


def _lines_added(lines: list[str], rng: random.Random) -> list[str]:
    noise = ("[00:01:02.003] <inf> net: up", "\x1b[32mtemperature 21.5\x1b[0m", "", "--- idle 98% ---", "\ufffd\ufffd")
    return [part for line in lines for part in ([line] if rng.random() > 0.2 else [line, rng.choice(noise)])]


def _cut(lines: list[str], rng: random.Random) -> list[str]:
    return lines[: rng.randrange(len(lines) + 1)]


LOSSES = (_lines_lost, _lines_added, _cut)


def _lost_the_top_of_its_stack(before: list[str], after: list[str]) -> bool:
    """CmBacktrace's SP is the first address of its stack, which nothing but its alignment tells from another."""
    first = next((line for line in before if "addr: " in line), None)
    return first is not None and first not in after


@all_logs
def test_a_log_that_lost_lines_says_nothing_false(render: logs.Render, subjects: dict[str, Subject]) -> None:
    """What is left of it is true, so every frame that is not called a guess is in the true chain, in its order."""
    rng = random.Random(f"lost {render.__name__}")
    told = 0
    while told < LOST:
        subject = subjects[rng.choice(CORES)]
        crashed = rng.choice(subject.crashes)
        lines = render(crashed.state, subject.read).splitlines()
        damaged = rng.choice(LOSSES)(lines, rng)
        if _lost_the_top_of_its_stack(lines, damaged):
            continue
        told += 1
        found = explained("\n".join([*damaged, ""]).encode(), subject)
        if found is None:
            continue
        given = logs.given(render, crashed.state)
        assert {n: v for n, v in found[0].state.registers.items() if given.get(n, v) != v} == {}
        ours = certain(found[1])
        assert ours == truth(crashed)[: len(ours)], (crashed.scenario.name, found[1].lines(), damaged)


_NUMBER = re.compile(rb"\b(?:0x)?[0-9a-fA-F]{4,8}\b")
Damage = Callable[[bytearray, Subject, random.Random], bytearray]


def _flip(data: bytearray, subject: Subject, rng: random.Random) -> bytearray:
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _truncate(data: bytearray, subject: Subject, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))] or data


def _splice(data: bytearray, subject: Subject, rng: random.Random) -> bytearray:
    """The beginning of one log and the end of another, of any form and crash."""
    other = rng.choice(list(logs.LOGS))(rng.choice(subject.crashes).state, subject.read).encode()
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]


def _shuffle(data: bytearray, subject: Subject, rng: random.Random) -> bytearray:
    lines = data.split(b"\n")
    for _ in range(rng.randint(1, 5)):
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[a], lines[b] = lines[b], lines[a]
    return bytearray(b"\n".join(lines))


def _renumber(data: bytearray, subject: Subject, rng: random.Random) -> bytearray:
    """Some numbers become others: any, such as mislead, or too long ones."""

    def other(found: re.Match[bytes]) -> bytes:
        if rng.random() > 0.3:
            return found[0]
        value = rng.choice((rng.getrandbits(32), rng.choice(subject.interesting), rng.getrandbits(rng.randint(1, 80))))
        return rng.choice((b"%08x", b"%x", b"0x%08X", b"%d")) % value

    return bytearray(_NUMBER.sub(other, bytes(data)))


def _insert(data: bytearray, subject: Subject, rng: random.Random) -> bytearray:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randint(1, 40)) + data[at:]


DAMAGES: tuple[Damage, ...] = (_flip, _truncate, _splice, _shuffle, _renumber, _insert)


@all_logs
def test_a_damaged_log_is_an_error_or_a_report(render: logs.Render, subjects: dict[str, Subject]) -> None:
    rng = random.Random(f"damaged {render.__name__}")
    reports = 0
    for _ in range(DAMAGED):
        subject = subjects[rng.choice(CORES)]
        data = bytearray(render(rng.choice(subject.crashes).state, subject.read).encode())
        for _ in range(rng.randint(1, 3)):
            data = rng.choice(DAMAGES)(data, subject, rng)
        reports += explained(bytes(data), subject) is not None
    assert reports > DAMAGED / 4, "most of the damage should not end at the first look"
