"""Frames: what goes in comes out, whatever happens on the way is noticed."""

from __future__ import annotations

import itertools
import zlib

from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from harness.rpc.framing import LONGEST, Frame, FrameDecoder, encode

frames = st.builds(
    Frame,
    type=st.integers(0, 255),
    status=st.integers(-128, 127),
    sequence=st.integers(0, 0xFFFF),
    payload=st.binary(max_size=600) | st.binary(max_size=4).map(lambda piece: piece * 300),
)


def decode(*pieces: bytes) -> list[Frame | None]:
    decoder = FrameDecoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def test_bytes_on_the_wire() -> None:
    """Worked out by hand, so that Python and C cannot agree on something else."""
    body = bytes([0x81, 0xFF, 0x02, 0x01]) + b"\x00a"
    frame = Frame(type=0x81, status=-1, sequence=0x0102, payload=b"\x00a")
    crc = zlib.crc32(body).to_bytes(4, "little")
    assert 0 not in crc
    assert encode(frame) == b"\0" + b"\x05\x81\xff\x02\x01" + b"\x06a" + crc + b"\0"


@given(st.lists(frames, max_size=4), st.lists(st.integers(0, 5000), max_size=8))
def test_frames_survive_however_the_stream_is_cut(sent: list[Frame], places: list[int]) -> None:
    assert decode(*cut(b"".join(map(encode, sent)), places)) == sent


@given(frames)
def test_stuffing_costs_a_byte_in_254_and_two_zeros(frame: Frame) -> None:
    body = 4 + len(frame.payload) + 4
    wire = encode(frame)
    assert wire[0] == wire[-1] == 0
    assert 0 not in wire[1:-1]
    assert len(wire) <= body + body // 254 + 1 + 2


@given(frames, st.data())
def test_a_flipped_bit_never_makes_another_frame(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(encode(frame))
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    received = decode(bytes(wire))
    assert [found for found in received if found is not None] in ([], [frame])
    if 8 <= bit < 8 * (len(wire) - 1):
        assert frame not in received


@given(frames, frames, st.data())
def test_bytes_lost_anywhere_cost_no_more_than_the_frames_they_were_in(
    first: Frame, second: Frame, data: st.DataObject
) -> None:
    wire = encode(first) + encode(second)
    start = data.draw(st.integers(0, len(wire) - 1))
    end = data.draw(st.integers(start + 1, len(wire)))
    received = decode(wire[:start] + wire[end:], encode(first))
    assert received[-1] == first  # what comes after is whole again
    assert set(received) <= {first, second, None}


@given(frames, frames)
def test_frames_that_run_together_are_damaged(first: Frame, second: Frame) -> None:
    wire = encode(first)[:-1] + encode(second)[1:]
    assert decode(wire) == [None]


@given(st.lists(frames, min_size=1, max_size=3), st.binary(max_size=200))
def test_noise_before_frames_costs_none_of_them(sent: list[Frame], noise: bytes) -> None:
    received = decode(noise, *map(encode, sent))
    assert received[-len(sent) :] == sent
    assert all(frame is None for frame in received[: -len(sent)])


def test_damage_is_counted_and_silence_is_not() -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(b"\0\0\0")) == []
    assert decoder.damaged == 0
    short = cobs.encode(b"abc" + zlib.crc32(b"abc").to_bytes(4, "little"))  # a right CRC over half a header
    assert list(decoder.feed(b"\xff\x01\0" + short + b"\0")) == [None, None]
    assert decoder.damaged == 2


def test_endless_noise_takes_no_memory() -> None:
    decoder = FrameDecoder()
    for _ in range(8):
        list(decoder.feed(b"\x55" * LONGEST))
    assert len(decoder._pending) <= LONGEST
    assert list(decoder.feed(encode(Frame(1, 0, 1, b"x"))))[-1] == Frame(1, 0, 1, b"x")
