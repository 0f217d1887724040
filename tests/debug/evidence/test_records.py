"""The firmware's own record: as a file, in what a serial line carried, and pasted as text."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.debug.evidence import crashes_in, read_evidence
from harness.errors import BadInput
from harness.rpc.framing import Frame, encode
from harness.rpc.messages import Fault, Log
from tests.debug.conftest import Crashes
from tests.debug.evidence.samples import record_of, sealed

Get = Callable[[str, str], Crashes]


def _xxd(data: bytes) -> str:
    """As xxd prints it: an offset, groups of two bytes, and the characters."""
    rows = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        groups = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        rows.append(f"{at:08x}: {groups:<39}  {''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}")
    return "\n".join(rows)


def _hexdump(data: bytes) -> str:
    """As hexdump -C prints it."""
    rows = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        left, right = (" ".join(f"{b:02x}" for b in half) for half in (row[:8], row[8:]))
        rows.append(f"{at:08x}  {left:<23}  {right:<23}  |{''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}|")
    return "\n".join(rows)


def _lines(data: bytes, count: int, form: Callable[[bytes], str]) -> str:
    return "\n".join(form(data[at : at + count]) for at in range(0, len(data), count))


FORMS: dict[str, Callable[[bytes], str]] = {
    "plain": bytes.hex,
    "lines": lambda data: _lines(data, 32, bytes.hex),
    "upper case": lambda data: _lines(data, 32, lambda row: row.hex(" ").upper()),
    "C": lambda data: _lines(data, 12, lambda row: ", ".join(f"0x{b:02x}" for b in row) + ","),
    "log lines": lambda data: _lines(data, 32, lambda row: f"[00:00:01] <err> app: {row.hex()}"),
    "xxd": _xxd,
    "hexdump": _hexdump,
    "base64": lambda data: base64.encodebytes(data).decode(),
    "base64 in one line": lambda data: "crash: " + base64.b64encode(data).decode(),
}


@pytest.fixture
def record(crashes: Get) -> bytes:
    return sealed(record_of(crashes("m3", "-O2").of("store"), bytes(range(1, 21))))


def test_a_record_is_read_with_its_build_id(record: bytes, crashes: Get) -> None:
    evidence = read_evidence(record, "crash.bin")
    assert evidence.format == "layerproof record"
    assert evidence.build_id == bytes(range(1, 21))
    assert evidence.state.registers["pc"] == crashes("m3", "-O2").of("store").state.registers["pc"]


def test_a_build_id_of_zeros_is_none(crashes: Get) -> None:
    assert read_evidence(sealed(record_of(crashes("m3", "-O2").of("store"))), "x").build_id is None


@pytest.mark.parametrize("form", FORMS)
def test_a_record_pasted_as_text_is_the_same_record(form: str, record: bytes) -> None:
    text = f"boot: v1.2\nhello\n{FORMS[form](record)}\nbye\n"
    assert read_evidence(text.encode(), "log") == read_evidence(record, "log")
    assert read_evidence(text.replace("\n", "\r\n").encode(), "log") == read_evidence(record, "log")


@pytest.mark.skipif(shutil.which("xxd") is None, reason="xxd is not installed")
def test_a_record_as_xxd_prints_it(record: bytes) -> None:
    printed = subprocess.run(["xxd"], input=record, capture_output=True, check=True).stdout
    assert read_evidence(printed, "log") == read_evidence(record, "log")


def test_a_recorded_serial_line_has_the_record_in_pieces(record: bytes) -> None:
    frames = [encode(Frame(Log.code, 0, 0, Log(2, b"hello").pack()))]
    for at in range(0, len(record), 200):
        piece = Fault(offset=at, total=len(record), data=record[at : at + 200])
        frames.append(encode(Frame(Fault.code, 0, 0, piece.pack())))
    assert read_evidence(b"\xffnoise" + b"".join(frames), "log") == read_evidence(record, "log")


def test_records_amid_other_bytes_are_all_found(record: bytes, crashes: Get) -> None:
    second = sealed(record_of(crashes("m3", "-O2").of("division")))
    found = crashes_in(bytes(100) + record + bytes(37) + second + b"tail", "flash.bin")
    assert len(found) == 2
    assert "2 crashes were found; this is number 1." in found[0].notes


@pytest.mark.parametrize("form", FORMS)
def test_a_record_with_one_wrong_digit_is_refused(form: str, record: bytes) -> None:
    damaged = bytearray(record)
    damaged[60] ^= 1
    for data in (bytes(damaged), record[:-4]):
        with pytest.raises(BadInput, match="damaged fault record|the record is cut off"):
            read_evidence(FORMS[form](data).encode(), "log")


@pytest.mark.parametrize("length", [4, 60, 400])
def test_a_record_cut_off_says_how_much_of_it_is_here(length: int, record: bytes) -> None:
    assert len(record) > 400
    total = len(record) if length >= 8 else 368  # the least, where the length itself is not here
    for data in (record[:length], b"boot\n" + record[:length]):
        with pytest.raises(BadInput, match=f"the record is cut off: {length} of {total} bytes are here"):
            read_evidence(data, "crash.bin")


def test_the_program_in_the_place_of_the_log_is_told(crashes: Get) -> None:
    with pytest.raises(BadInput) as error:
        read_evidence(crashes("m3", "-O2").elf.read_bytes(), "firmware.elf")
    assert (error.value.what, error.value.where) == ("this is an ELF program, not a log", "firmware.elf")
    assert "--elf" in error.value.hint


def test_the_record_goes_before_the_words_of_another_handler(record: bytes) -> None:
    text = f"HardFault\nR0 = 0x00000001\nPC = 0x08000200\n{FORMS['lines'](record)}\n"
    assert read_evidence(text.encode(), "log").format == "layerproof record"


def test_partial_records_stay_partial(crashes: Get) -> None:
    record = record_of(crashes("m3", "-O2").of("store"))
    assert read_evidence(sealed(replace(record, flags=record.flags | 64)), "x").state.partial
