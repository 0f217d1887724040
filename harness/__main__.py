"""`python -m harness` and the `harness` script: the command line, from its very first moment."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    # While modules are imported there is nothing to clean up, and an exception in their midst only confuses them.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli import main as run

    signal.signal(signal.SIGINT, before)
    return run()


if __name__ == "__main__":
    sys.exit(main())
