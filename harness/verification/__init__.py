"""Takes a model from file to device and says, layer by layer, whether what runs there is right."""

from __future__ import annotations

from harness.verification.report import Report
from harness.verification.run import verify

__all__ = ["Report", "verify"]
