"""Takes the picture of the README: the second and third act of `harness demo`, as a terminal shows them.

python docs/picture.py        writes docs/demo.svg; fails when an act does not come out as it should
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from harness.demo import acts

WIDTH = 126  # characters


def main() -> int:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=False, highlight=False)
    for number, act in enumerate(acts(console)):
        if act.complaints:
            print(*act.complaints, sep="\n", file=sys.stderr)
            return 1
        if number == 0:
            console.export_text(clear=True)  # forgets the first act: everything right is no sight
    svg = console.export_svg(title="harness demo")
    # The reader's own fixed-width font will do: a picture should fetch nothing from anywhere.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    Path(__file__).with_name("demo.svg").write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
