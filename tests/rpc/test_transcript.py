"""Recorded traffic read back as messages."""

from __future__ import annotations

import json

from harness.rpc import messages as m
from harness.rpc.framing import Frame, encode
from harness.rpc.transcript import FROM_TARGET, TO_TARGET, transcript
from harness.runners.base import Traffic


def frame(code: int, payload: bytes = b"", *, status: int = 0, sequence: int = 7) -> bytes:
    return encode(Frame(code, status, sequence, payload))


def test_messages_with_their_fields() -> None:
    traffic = [
        Traffic(0.25, True, frame(m.TensorWrite.code, m.TensorWrite(4, b"\x00\xff").pack())),
        Traffic(0.5, False, frame(m.TensorWrite.code | m.REPLY)),
        Traffic(0.75, False, frame(m.Log.code, m.Log(2, "größe".encode()).pack())),
    ]
    assert list(transcript(traffic)) == [
        {"time": 0.25, "direction": TO_TARGET, "message": "TensorWrite", "sequence": 7, "offset": 4, "data": "00ff"},
        {"time": 0.5, "direction": FROM_TARGET, "message": "TensorWrite answer", "sequence": 7, "status": 0},
        {"time": 0.75, "direction": FROM_TARGET, "message": "Log", "sequence": 7, "level": 2, "text": "größe"},
    ]


def test_frames_cut_into_pieces_and_mixed_directions() -> None:
    out, back = frame(m.Hello.code, sequence=1), frame(m.LayerDone.code, m.LayerDone(3, 0xDEADBEEF, 9, 40).pack())
    traffic = [
        Traffic(1.0, True, out[:3]),
        Traffic(2.0, False, back[:-1]),
        Traffic(3.0, True, out[3:]),
        Traffic(4.0, False, back[-1:]),
    ]
    first, second = transcript(traffic)
    assert (first["time"], first["message"], first["sequence"]) == (3.0, "Hello", 1)
    assert (second["time"], second["message"], second["index"], second["crc32"]) == (4.0, "LayerDone", 3, 0xDEADBEEF)


def test_what_cannot_be_read_is_shown_all_the_same() -> None:
    broken = bytearray(frame(m.Hello.code))
    broken[2] ^= 0x40
    pieces = [
        bytes(broken),
        frame(m.MemoryRead.code | m.REPLY, b"", status=m.Status.BAD_ADDRESS),
        frame(m.LayerDone.code, b"\x01\x02"),  # shorter than its layout
        frame(0x3F, b"\xab"),  # a command of another version
    ]
    entries = list(transcript(Traffic(0.0, False, piece) for piece in pieces))
    assert [entry["message"] for entry in entries] == ["damaged", "MemoryRead answer", "LayerDone", "type 0x3f"]
    assert entries[1]["status"] == m.Status.BAD_ADDRESS
    assert entries[2]["payload"] == "0102"
    assert entries[3]["payload"] == "ab"
    json.dumps(entries)
