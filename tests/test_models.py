"""The project's own models, each through the whole job."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.resources import models_dir
from harness.verdict import Verdict
from harness.verification import verify

MODELS = sorted(models_dir().glob("*.tflite"))

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_layer_matches(path: Path) -> None:
    report = verify(path, "qemu_cortex_m3", samples=2)
    assert report.verdict is Verdict.MATCH
    if path.stem.endswith("_int8"):  # for float32 the tolerance decides
        assert [result.difference.mismatches for result in report.comparison.layers] == [0] * len(report.source.layers)


def test_models_in_the_checkout_cover_what_they_are_for() -> None:
    if len(MODELS) == 1:
        pytest.skip("the wheel holds the demo's model only")
    assert {path.stem for path in MODELS} == {"keywords_int8", "residual_int8", "talk_float", "talk_int8"}
