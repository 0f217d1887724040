"""Layouts: against the C compiler's own idea of them, and against nonsense."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.layout import I8, U8, U16, U32, WORD, Array, LayoutError, Struct, Tail, describe, render_struct


@dataclass(frozen=True)
class Sample(Struct):
    kind: U8
    status: I8
    sequence: U16
    name: Annotated[bytes, Array(8)]
    words: Annotated[tuple[int, ...], Array(3, WORD)]
    last: U32
    rest: Tail


samples = st.builds(
    Sample,
    kind=st.integers(0, 255),
    status=st.integers(-128, 127),
    sequence=st.integers(0, 0xFFFF),
    name=st.binary(min_size=8, max_size=8),
    words=st.tuples(*[st.integers(0, 0xFFFFFFFF)] * 3),
    last=st.integers(0, 0xFFFFFFFF),
    rest=st.binary(max_size=40),
)


@given(samples)
def test_what_is_packed_is_unpacked(sample: Sample) -> None:
    assert Sample.unpack(sample.pack()) == sample


def test_bytes_are_little_endian_and_in_order() -> None:
    packed = Sample(1, -2, 0x0403, b"abcdefgh", (1, 2, 3), 0x08070605, b"!").pack()
    assert packed == bytes.fromhex("01fe0304 6162636465666768 010000000200000003000000 05060708 21")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_c_has_the_same_offsets(tmp_path: Path) -> None:
    layout = Sample.layout()
    prints = "".join(f'printf("%zu ", offsetof(struct sample, {field.name}));' for field in layout.fields)
    (tmp_path / "t.c").write_text(
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n"
        f'{render_struct(Sample, "sample")}\nint main(void) {{ {prints} printf("%zu", sizeof(struct sample)); }}\n'
    )
    subprocess.run(["gcc", "t.c", "-o", "t"], cwd=tmp_path, check=True)
    printed = subprocess.run(["./t"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert [int(word) for word in printed.split()] == [*(field.offset for field in layout.fields), layout.size]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_assertions_in_c_hold_the_offsets(tmp_path: Path) -> None:
    changed = render_struct(Sample, "sample").replace("uint8_t name[8];", "uint8_t name[12];")
    (tmp_path / "t.c").write_text(f"#include <stddef.h>\n#include <stdint.h>\n{changed}")
    done = subprocess.run(["gcc", "-c", "t.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "sample.words" in done.stderr


@pytest.mark.parametrize("data", [b"", bytes(27)])
def test_too_short(data: bytes) -> None:
    with pytest.raises(LayoutError, match=f"Sample: {len(data)} bytes where 28 belong"):
        Sample.unpack(data)


@dataclass(frozen=True)
class Fixed(Struct):
    word: U32


def test_too_long_without_a_tail() -> None:
    with pytest.raises(LayoutError, match="5 bytes where 4 belong"):
        Fixed.unpack(bytes(5))


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_a_value_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(LayoutError, match="Fixed"):
        Fixed(value).pack()


def test_an_array_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(LayoutError, match="name: 7 elements where 8 belong"):
        Sample(0, 0, 0, bytes(7), (0, 0, 0), 0, b"").pack()


@dataclass(frozen=True)
class Hole(Struct):
    byte: U8
    word: U32


@dataclass(frozen=True)
class Ragged(Struct):
    word: U32
    byte: U8


@dataclass(frozen=True)
class Behind(Struct):
    rest: Tail
    word: U32


@pytest.mark.parametrize(
    ("layout", "words"), [(Hole, "Hole.word"), (Ragged, "would pad"), (Behind, "nothing can follow the tail")]
)
def test_layouts_that_c_would_pad_cannot_be_described(layout: type[Struct], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        layout.layout()


def test_a_description_names_every_offset() -> None:
    assert describe(Fixed) == "Fixed(4): uint32_t word @0"
    assert describe(Sample).endswith("uint32_t last @24, rest[]")
