"""Models whose elements are moved about, on emulated cores: every layer exact, faults found where they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.debug.comparison import Status
from harness.verdict import Verdict
from harness.verification import verify
from tests.compiler.moving_nets import NETS
from tests.edited_sources import FLIP, insert, sources

MATCH, LOCAL, PROPAGATED = Status.MATCH, Status.LOCAL, Status.PROPAGATED


def model(net: str, folder: Path) -> Path:
    path = folder / f"{net}.tflite"
    path.write_bytes(NETS[net]().build())
    return path


@pytest.mark.parametrize("board", ["qemu_cortex_m3", "qemu_cortex_m55"])
@pytest.mark.parametrize(
    "net", ["padded_convolutions", "pieces_of_rows", "pieces_of_channels", "pieces_that_need_care", "nothing_but_moves"]
)
def test_every_layer_is_exact(net: str, board: str, tmp_path: Path) -> None:
    report = verify(model(net, tmp_path), board, samples=2)
    assert report.verdict is Verdict.MATCH, report.to_json()
    assert report.comparison.whole_model_agrees is not False


def test_a_wrong_piece_is_told_from_the_whole_that_a_later_layer_completes(tmp_path: Path) -> None:
    """pieces_of_rows: layer 0 makes the first piece, layer 1 the second and with it the whole; three layers read it."""
    path = model("pieces_of_rows", tmp_path)
    for wrong in (0, 1):
        folder = tmp_path / f"layer_{wrong}"
        insert(sources(path, folder, "qemu_cortex_m3"), folder, wrong, FLIP, at_end=True)
        report = verify(path, "qemu_cortex_m3", sources=folder)
        found = [result.status for result in report.comparison.layers]
        assert found[wrong] is LOCAL
        assert found[:wrong] == [MATCH] * wrong
        assert LOCAL not in found[wrong + 1 :]
        assert PROPAGATED in found
        assert {result.note for result in report.comparison.layers} == {""}
