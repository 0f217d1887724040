"""Operators that move elements, with shapes and options drawn at random, against TFLite's reference kernels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.compiler.ops import OPERATORS, Case
from tests.compiler.ops.test_cases import SEEDS, agree, drawn

DTYPES = st.sampled_from(["int8", "int8", "float32", "int32"])
SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
IMAGES = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
ONE_QUANT = ((0.05, 3),)


@st.composite
def pads(draw: st.DrawFn, value: bool) -> Case:
    shape = draw(SHAPES)
    amounts = tuple(draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in shape)
    options = {"paddings": amounts} | ({"value": draw(st.integers(-128, 127))} if value else {})
    return Case("drawn", (shape,), options, dtype=draw(DTYPES), seed=draw(SEEDS))


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    shape = draw(SHAPES)
    return Case("drawn", (shape,), {"permutation": draw(st.permutations(range(len(shape))))}, dtype=draw(DTYPES))


@st.composite
def joined(draw: st.DrawFn) -> Case:
    shape = draw(SHAPES)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    shapes = []
    for _ in range(draw(st.integers(1, 4))):
        piece = list(shape)
        piece[axis] = draw(st.integers(1, 6))
        shapes.append(tuple(piece))
    return Case("drawn", tuple(shapes), {"axis": axis}, ONE_QUANT * len(shapes), draw(DTYPES))


@st.composite
def packed(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
    count = draw(st.integers(1, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return Case("drawn", (shape,) * count, {"axis": axis}, ONE_QUANT * count, draw(DTYPES))


@st.composite
def splits(draw: st.DrawFn) -> Case:
    shape = list(draw(SHAPES))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    shape[axis] = sum(sizes)
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return Case("drawn", (tuple(shape),), {"axis": axis, "sizes": tuple(sizes)}, dtype=draw(DTYPES))


@st.composite
def strided_slices(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    begin, end, stride = [], [], []
    for extent in shape:
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        first, last = sorted(draw(st.tuples(st.integers(0, extent - 1), st.integers(0, extent - 1))))
        if step > 0:
            begin.append(draw(st.sampled_from([first, first - extent])))
            end.append(last + 1)
        else:
            begin.append(last)
            end.append(first - 1 if first else -extent - 1)
        stride.append(step)
    mask = st.integers(0, 2 ** len(shape) - 1)
    shrink = draw(mask) if len(shape) > 1 else 0
    shrink &= ~1  # something has to be left
    shrink = sum(1 << d for d in range(len(shape)) if shrink >> d & 1 and stride[d] == 1)
    masks = {"begin_mask": draw(mask) & ~shrink, "end_mask": draw(mask) & ~shrink, "shrink_mask": shrink}
    options = {"begin": tuple(begin), "end": tuple(end), "stride": tuple(stride), **masks}
    return Case("drawn", (tuple(shape),), options, dtype=draw(DTYPES))


@st.composite
def enlargements(draw: st.DrawFn) -> Case:
    shape = draw(IMAGES)
    size = (shape[1] * draw(st.integers(1, 4)), shape[2] * draw(st.integers(1, 4)))
    options = {"size": size, "half_pixel_centers": draw(st.booleans())}
    return Case("drawn", (shape,), options, dtype=draw(st.sampled_from(["int8", "float32"])))


@drawn
@given(pads(value=False), SEEDS)
def test_drawn_pad(case: Case, seed: int) -> None:
    agree(OPERATORS["PAD"], case, seed)


@drawn
@given(pads(value=True), SEEDS)
def test_drawn_padv2(case: Case, seed: int) -> None:
    agree(OPERATORS["PADV2"], case, seed)


@drawn
@given(transposes(), SEEDS)
def test_drawn_transpose(case: Case, seed: int) -> None:
    agree(OPERATORS["TRANSPOSE"], case, seed)


@drawn
@given(joined(), SEEDS)
def test_drawn_concatenation(case: Case, seed: int) -> None:
    agree(OPERATORS["CONCATENATION"], case, seed)


@drawn
@given(packed(), SEEDS)
def test_drawn_pack(case: Case, seed: int) -> None:
    agree(OPERATORS["PACK"], case, seed)


@drawn
@given(splits(), SEEDS)
def test_drawn_split(case: Case, seed: int) -> None:
    agree(OPERATORS["SPLIT_V"], case, seed)


@drawn
@given(strided_slices(), SEEDS)
def test_drawn_strided_slice(case: Case, seed: int) -> None:
    agree(OPERATORS["STRIDED_SLICE"], case, seed)


@drawn
@given(enlargements(), SEEDS)
def test_drawn_enlargement(case: Case, seed: int) -> None:
    agree(OPERATORS["RESIZE_NEAREST_NEIGHBOR"], case, seed)
