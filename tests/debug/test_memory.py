"""Memory in pieces, held to a dictionary of its bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.cpustate import MemorySpan
from harness.debug.memory import Memory, joined

TOP = 1 << 32
_ADDRESSES = st.integers(0, 60) | st.integers(TOP - 12, TOP - 1)
_SPANS = st.lists(st.builds(MemorySpan, _ADDRESSES, st.binary(max_size=24)), max_size=24)


class NoImage:
    def constant(self, address: int, length: int) -> None:
        return None


def _bytes_of(spans: list[MemorySpan]) -> dict[int, int]:
    """By address. Of bytes that are given twice the first counts, and none lies past the end of memory."""
    known: dict[int, int] = {}
    for span in spans:
        for address, byte in enumerate(span.data, span.address):
            if address < TOP:
                known.setdefault(address, byte)
    return known


@given(spans=_SPANS)
def test_runs_are_all_that_is_known_in_order_and_apart(spans: list[MemorySpan]) -> None:
    known = _bytes_of(spans)
    runs = joined(iter(spans))
    assert {at: byte for start, data in runs for at, byte in enumerate(data, start)} == known
    assert [start for start, _ in runs] == sorted(at for at in known if at - 1 not in known)


@given(spans=_SPANS, address=_ADDRESSES, length=st.integers(1, 40))
def test_a_read_gives_what_is_known_and_only_whole(spans: list[MemorySpan], address: int, length: int) -> None:
    known = _bytes_of(spans)
    image: Any = NoImage()
    memory = Memory(image, spans)
    wanted = [known.get(at) for at in range(address, address + length)]
    assert memory.read(address, length) == (None if None in wanted else bytes(byte or 0 for byte in wanted))
    above = range(address + 1, address + length + 1)
    assert memory.next_span(address, length) == next((at for at in above if at in known and at - 1 not in known), None)
