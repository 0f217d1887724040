"""What goes wrong anywhere becomes one message."""

from __future__ import annotations

import errno
import os

import pytest

from harness.errors import ExitCode, HarnessError, InfrastructureError, ModelError, system_refusals


def test_an_error_says_where_what_and_what_to_do() -> None:
    assert (
        str(ModelError("is empty", where="a.tflite", hint="Export it again.")) == "a.tflite: is empty\nExport it again."
    )
    assert str(HarnessError("it broke")) == "it broke"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/x"),
            "/tmp/x: the system refuses: No space left on device",
        ),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "the system refuses: Too many open files\nRaise the limit"),
        (FileNotFoundError(errno.ENOENT, "gone", "a", None, "b"), "b: the system refuses: gone"),
        (OSError("no number at all"), "the system refuses: no number at all"),
        (MemoryError(), "not enough memory"),
        (MemoryError("Unable to allocate 45 GiB"), "not enough memory: Unable to allocate 45 GiB"),
    ],
)
def test_what_the_system_refuses_is_infrastructure(refusal: Exception, words: str) -> None:
    with pytest.raises(InfrastructureError) as caught, system_refusals():
        raise refusal
    assert str(caught.value).startswith(words)
    assert caught.value.exit_code is ExitCode.INFRASTRUCTURE
    assert caught.value.__cause__ is refusal


@pytest.mark.parametrize("other", [BrokenPipeError(), ValueError("a defect"), ModelError("bad"), KeyboardInterrupt()])
def test_nothing_else_is_touched(other: BaseException) -> None:
    with pytest.raises(type(other)) as caught, system_refusals():
        raise other
    assert caught.value is other
