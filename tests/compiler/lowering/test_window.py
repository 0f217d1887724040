"""Window geometry against its definition, position by position."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.compiler.lowering.window import Pair, Window, pad_2d, tap_view, windows_2d

LENGTHS = st.integers(1, 20)
SMALL = st.integers(1, 6)


EXPLICIT = st.tuples(st.integers(0, 7), st.integers(0, 7))


@given(st.one_of(st.sampled_from(["SAME", "VALID"]), EXPLICIT), LENGTHS, SMALL, SMALL, SMALL)
def test_taps_padding_and_inner_outputs(
    padding: str | Pair, size: int, kernel: int, stride: int, dilation: int
) -> None:
    window = Window.of(padding, size, kernel, stride, dilation)
    reach = (kernel - 1) * dilation + 1
    around = sum(padding) if isinstance(padding, tuple) else 0
    if window.out <= 0:
        assert padding != "SAME"
        assert reach > size + around
        return
    reads = [[out * stride + tap * dilation - window.pad_before for tap in range(kernel)] for out in range(window.out)]
    for out, positions in enumerate(reads):
        assert list(window.taps(out)) == [tap for tap, p in enumerate(positions) if 0 <= p < size]
    whole = [out for out, positions in enumerate(reads) if all(0 <= p < size for p in positions)]
    assert list(window.inner) == whole
    assert window.pad_after == max(max(map(max, reads)) - (size - 1), 0)
    assert window.padded == any(not 0 <= p < size for positions in reads for p in positions)
    if isinstance(padding, tuple):
        assert window.pad_before == padding[0]
        assert window.out == len(range(0, size + around - reach + 1, stride))
    elif padding == "VALID":
        assert not window.padded
        assert window.out * stride + reach > size >= (window.out - 1) * stride + reach  # not one more would fit
    else:
        assert window.out == -(-size // stride)
        total = max((window.out - 1) * stride + reach - size, 0)
        assert window.pad_before == total // 2


def test_even_kernels_pad_after() -> None:
    assert Window.of("SAME", 8, 3, 2) == Window(size=8, kernel=3, stride=2, dilation=1, pad_before=0, out=4)
    assert Window.of("SAME", 8, 3, 2).pad_after == 1
    assert Window.of("SAME", 5, 2, 1).pad_before == 0
    assert Window.of("SAME", 49, 10, 2).pad_before == 4


@given(st.sampled_from(["SAME", "VALID"]), st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL))
def test_tap_view_of_padded_input(padding: str, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
    h, w = windows_2d(padding, (7, 9), kernel, stride)
    x = np.arange(2 * 7 * 9 * 3).reshape(2, 7, 9, 3)
    padded = pad_2d(x, h, w, -1)
    for ky in range(h.kernel):
        for kx in range(w.kernel):
            view = tap_view(padded, h, w, (ky, kx))
            assert view.shape == (2, h.out, w.out, 3)
            for oy in range(h.out):
                for ox in range(w.out):
                    inside = ky in h.taps(oy) and kx in w.taps(ox)
                    y, z = oy * h.stride + ky - h.pad_before, ox * w.stride + kx - w.pad_before
                    expected = x[:, y, z] if inside else np.full((2, 3), -1)
                    np.testing.assert_array_equal(view[:, oy, ox], expected)
