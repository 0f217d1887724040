"""What every refusal of a malformed model must be like."""

from __future__ import annotations

import pytest

from harness.compiler.frontends import parse_model
from harness.errors import ExitCode, ModelError


def well_formed(error: ModelError, name: str) -> ModelError:
    """The same error, after checking that it names the file and is one line that no terminal obeys."""
    assert error.where.startswith(name)
    assert error.exit_code is ExitCode.USAGE
    assert f"{error.where}: {error.what}".isprintable()
    str(error).encode("utf-8")
    return error


def refused(data: bytes, name: str = "m.tflite") -> ModelError:
    """The error for a malformed file."""
    with pytest.raises(ModelError) as raised:
        parse_model(data, name)
    return well_formed(raised.value, name)
