"""The operators of `tests.models.Net` that only move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.bare_net import BareNet, TensorIndex
from tests.tflite_writer import OptionsSpec, QuantSpec


class Moving(BareNet):
    """Each method adds one operator and gives its output's tensor index, or those of all its outputs."""

    def reshape(self, x: TensorIndex, shape: tuple[int, ...] | None = None) -> TensorIndex:
        """Same elements in another shape; without `shape`, flattened to (n, rest)."""
        first, *rest = self.shape(x)
        shape = shape or (first, int(np.prod(rest)))
        spec = OptionsSpec("ReshapeOptions", {"NewShape": list(shape)})
        return self._moved("RESHAPE", (x, self._numbers("shape", shape)), shape, spec)

    def pad(
        self, x: TensorIndex, paddings: Sequence[tuple[int, int]] = ((0, 0), (1, 1), (1, 1), (0, 0))
    ) -> TensorIndex:
        """`paddings` are elements before and after along each dimension."""
        return self._moved("PAD", (x, self._numbers("pad", paddings)), self._padded(x, paddings), None)

    def padv2(
        self,
        x: TensorIndex,
        paddings: Sequence[tuple[int, int]] = ((0, 0), (1, 1), (1, 1), (0, 0)),
        *,
        value: float = 0,
    ) -> TensorIndex:
        """`value` as an element of x."""
        scale, zero_point = self._quant(x)
        quant = QuantSpec((scale,), (zero_point,)) if self.dtype == "int8" else None
        element = self.constant(np.array(value, self.dtype), name=f"value_{len(self.tensors)}", quant=quant)
        inputs = (x, self._numbers("pad", paddings), element)
        return self._moved("PADV2", inputs, self._padded(x, paddings), None)

    def transpose(self, x: TensorIndex, permutation: Sequence[int] | None = None) -> TensorIndex:
        """Without `permutation` the dimensions in reverse."""
        shape = self.shape(x)
        order = tuple(range(len(shape)))[::-1] if permutation is None else tuple(permutation)
        return self._moved("TRANSPOSE", (x, self._numbers("order", order)), tuple(shape[p] for p in order), None)

    def concatenation(self, *operands: TensorIndex, axis: int = -1) -> TensorIndex:
        """Operands of equal quantisation, for int8."""
        shape = list(self.shape(operands[0]))
        shape[axis] = sum(self.shape(x)[axis] for x in operands)
        spec = OptionsSpec("ConcatenationOptions", {"Axis": axis})
        return self._moved("CONCATENATION", operands, tuple(shape), spec)

    def split(self, x: TensorIndex, axis: int = -1, pieces: int = 2) -> tuple[TensorIndex, ...]:
        """Equal pieces."""
        shape = list(self.shape(x))
        shape[axis] //= pieces
        spec = OptionsSpec("SplitOptions", {"NumSplits": pieces})
        inputs = (self._numbers("axis", axis), x)
        return self._operators("SPLIT", inputs, [tuple(shape)] * pieces, self._quant(x), spec)

    def split_v(self, x: TensorIndex, axis: int = -1, sizes: Sequence[int] = (1, -1)) -> tuple[TensorIndex, ...]:
        """Pieces of `sizes`; -1 is what the others leave."""
        shape = self.shape(x)
        rest = shape[axis] - sum(size for size in sizes if size > 0)
        shapes = []
        for size in sizes:
            piece = list(shape)
            piece[axis] = rest if size == -1 else size
            shapes.append(tuple(piece))
        spec = OptionsSpec("SplitVOptions", {"NumSplits": len(sizes)})
        inputs = (x, self._numbers("sizes", sizes), self._numbers("axis", axis))
        return self._operators("SPLIT_V", inputs, shapes, self._quant(x), spec)

    def squeeze(self, x: TensorIndex, dimensions: Sequence[int] = ()) -> TensorIndex:
        """Without `dimensions` all of size 1 go."""
        shape = self.shape(x)
        gone = {d % len(shape) for d in dimensions} or {d for d, n in enumerate(shape) if n == 1}
        spec = OptionsSpec("SqueezeOptions", {"SqueezeDims": list(dimensions)})
        return self._moved("SQUEEZE", (x,), tuple(n for d, n in enumerate(shape) if d not in gone), spec)

    def expand_dims(self, x: TensorIndex, axis: int = 0) -> TensorIndex:
        """A dimension of size 1 at `axis` of the result."""
        shape = list(self.shape(x))
        shape.insert(axis % (len(shape) + 1), 1)
        return self._moved("EXPAND_DIMS", (x, self._numbers("axis", axis)), tuple(shape), None)

    def slice(
        self, x: TensorIndex, begin: Sequence[int] | None = None, size: Sequence[int] | None = None
    ) -> TensorIndex:
        """Without `begin` and `size`, everything."""
        extents = self.shape(x)
        first, wanted = begin or (0,) * len(extents), size or (-1,) * len(extents)
        shape = tuple(n - b if s == -1 else s for n, b, s in zip(extents, first, wanted, strict=True))
        return self._moved("SLICE", (x, self._numbers("begin", first), self._numbers("size", wanted)), shape, None)

    def strided_slice(
        self,
        x: TensorIndex,
        begin: Sequence[int] | None = None,
        end: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
        *,
        begin_mask: int = 0,
        end_mask: int = 0,
        shrink_mask: int = 0,
    ) -> TensorIndex:
        """x[begin:end:stride]; without them, everything."""
        extents = self.shape(x)
        first, last = tuple(begin or (0,) * len(extents)), tuple(end or extents)
        steps = tuple(stride or (1,) * len(extents))
        shape = []
        for d, n in enumerate(extents):
            if not shrink_mask >> d & 1:
                bounds = [None if begin_mask >> d & 1 else first[d], None if end_mask >> d & 1 else last[d]]
                shape.append(len(range(*slice(*bounds, steps[d]).indices(n))))
        values = {"BeginMask": begin_mask, "EndMask": end_mask, "ShrinkAxisMask": shrink_mask}
        bounds_of = (self._numbers("begin", first), self._numbers("end", last), self._numbers("stride", steps))
        return self._moved("STRIDED_SLICE", (x, *bounds_of), tuple(shape), OptionsSpec("StridedSliceOptions", values))

    def pack(self, *operands: TensorIndex, axis: int = 0) -> TensorIndex:
        """Tensors of one shape and, for int8, one quantisation."""
        shape = list(self.shape(operands[0]))
        shape.insert(axis % (len(shape) + 1), len(operands))
        spec = OptionsSpec("PackOptions", {"ValuesCount": len(operands), "Axis": axis})
        return self._moved("PACK", operands, tuple(shape), spec)

    def unpack(self, x: TensorIndex, axis: int = 0) -> tuple[TensorIndex, ...]:
        """One output for each position of the axis."""
        shape = list(self.shape(x))
        count = shape.pop(axis)
        spec = OptionsSpec("UnpackOptions", {"Num": count, "Axis": axis})
        return self._operators("UNPACK", (x,), [tuple(shape)] * count, self._quant(x), spec)

    def resize_nearest_neighbor(
        self,
        x: TensorIndex,
        size: tuple[int, int] | None = None,
        *,
        align_corners: bool = False,
        half_pixel_centers: bool = False,
    ) -> TensorIndex:
        """`size` is (height, width); without it, twice as large."""
        n, h, w, c = self.shape(x)
        out = size or (2 * h, 2 * w)
        values = {"AlignCorners": align_corners, "HalfPixelCenters": half_pixel_centers}
        spec = OptionsSpec("ResizeNearestNeighborOptions", values)
        return self._moved("RESIZE_NEAREST_NEIGHBOR", (x, self._numbers("size", out)), (n, *out, c), spec)

    def shape_of(self, x: TensorIndex) -> TensorIndex:
        """int32 (rank of x,)."""
        outside, self.dtype = self.dtype, "int32"
        made = self._moved("SHAPE", (x,), (len(self.shape(x)),), OptionsSpec("ShapeOptions", {"OutType": 2}))
        self.dtype = outside
        return made

    def flatten(self, x: TensorIndex) -> TensorIndex:
        """As Keras does it for a free batch size: reshaped to (the first extent of x, the rest)."""
        first, *rest = self.shape(x)
        outside, self.dtype = self.dtype, "int32"
        batch = self.strided_slice(self.shape_of(x), (0,), (1,), (1,), shrink_mask=1)
        target = self.pack(batch, self._numbers("rest", int(np.prod(rest))))
        self.dtype = outside
        return self._moved("RESHAPE", (x, target), (first, int(np.prod(rest))), OptionsSpec("ReshapeOptions", {}))

    def _moved(
        self, kind: str, inputs: tuple[TensorIndex, ...], shape: tuple[int, ...], options: OptionsSpec | None
    ) -> TensorIndex:
        (output,) = self._operators(kind, inputs, [shape], self._quant(inputs[0]), options)
        return output

    def _padded(self, x: TensorIndex, paddings: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        return tuple(n + sum(pair) for n, pair in zip(self.shape(x), paddings, strict=True))

    def _numbers(self, name: str, values: object) -> TensorIndex:
        """A constant of int32."""
        return self.constant(np.array(values, np.int32), name=f"{name}_{len(self.tensors)}")
