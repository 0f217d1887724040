"""`python -m harness`: the command line, also where the `harness` script is not on PATH."""

from __future__ import annotations

import sys

from harness.cli import main

if __name__ == "__main__":
    sys.exit(main())
