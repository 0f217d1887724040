"""`python -m harness` and the `harness` script: the command line, from its very first moment."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    for descriptor in range(3):
        _occupy(descriptor)
    # While modules are imported there is nothing to clean up, and an exception in their midst only confuses them.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli import main as run

    signal.signal(signal.SIGINT, before)
    return run()


def _occupy(descriptor: int) -> None:
    """Open the null device as `descriptor` if that is closed: pipes and files must not take the place of a stream."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)


if __name__ == "__main__":
    sys.exit(main())
