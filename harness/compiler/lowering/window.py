"""Sliding windows along one dimension: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]  # "SAME", "VALID", or elements ((above, below), (left, right))


@dataclass(frozen=True)
class Window:
    """A kernel that slides along one dimension; all lengths in elements.

    Output o reads input o * stride + tap * dilation - pad_before for the taps 0 .. kernel - 1; positions outside
    0 .. size - 1 are padding.
    """

    size: int  # of the input
    kernel: int  # taps
    stride: int
    dilation: int
    pad_before: int
    out: int  # of the output

    @classmethod
    def of(cls, padding: str | Pair, size: int, kernel: int, stride: int, dilation: int = 1) -> Window:
        """TFLite's rule (`kernels/padding.h`): "SAME" pads so that out = ceil(size / stride), the odd element after.

        A pair says how many elements lie before and after the input. `out` is 0 or less when a kernel is longer than
        the input and its padding.
        """
        reach = (kernel - 1) * dilation + 1
        if not isinstance(padding, str):
            before, after = padding
            return cls(size, kernel, stride, dilation, before, (before + size + after + stride - reach) // stride)
        out = -(-size // stride) if padding == "SAME" else (size + stride - reach) // stride
        return cls(size, kernel, stride, dilation, max((out - 1) * stride + reach - size, 0) // 2, out)

    @property
    def pad_after(self) -> int:
        """Elements past the end of the input that the last output reads."""
        last = (self.out - 1) * self.stride + (self.kernel - 1) * self.dilation - self.pad_before
        return max(last - (self.size - 1), 0)

    @property
    def padded(self) -> bool:
        return self.pad_before > 0 or self.pad_after > 0

    def taps(self, out: int) -> range:
        """The taps of output `out` that read the input, not the padding; may be empty."""
        origin = out * self.stride - self.pad_before
        first = max(-(origin // self.dilation), 0)
        end = min(-((origin - self.size) // self.dilation), self.kernel)
        return range(min(first, end), end) if end > 0 else range(0)

    @property
    def inner(self) -> range:
        """The outputs none of whose taps fall in the padding; may be empty."""
        first = -(-self.pad_before // self.stride)
        room = self.size - 1 + self.pad_before - (self.kernel - 1) * self.dilation
        end = min(room // self.stride + 1, self.out)
        return range(first, max(end, first))


def windows_2d(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], stride: Pair, dilation: Pair = (1, 1)
) -> tuple[Window, Window]:
    """The windows along height and width; every pair is (height, width)."""
    rows, columns = (padding, padding) if isinstance(padding, str) else padding
    h = Window.of(rows, size[0], kernel[0], stride[0], dilation[0])
    return h, Window.of(columns, size[1], kernel[1], stride[1], dilation[1])


def tap_view(x: np.ndarray, h: Window, w: Window, tap: Pair) -> np.ndarray:
    """What one tap reads for every output: from x (n, H, W, c), already padded, a view (n, h.out, w.out, c)."""
    y, z = tap[0] * h.dilation, tap[1] * w.dilation
    return x[:, y : y + (h.out - 1) * h.stride + 1 : h.stride, z : z + (w.out - 1) * w.stride + 1 : w.stride, :]


def pad_2d(x: np.ndarray, h: Window, w: Window, value: float) -> np.ndarray:
    """x (n, H, W, c) with the padding of both windows filled with `value`; x itself when there is none."""
    if not (h.padded or w.padded):
        return x
    return np.pad(x, ((0, 0), (h.pad_before, h.pad_after), (w.pad_before, w.pad_after), (0, 0)), constant_values=value)
