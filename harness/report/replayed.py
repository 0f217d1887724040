"""A replay on the terminal: what came of the run now, and whether that is what came of it then."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from harness.report.console import body, headline
from harness.report.text import printable
from harness.verification.replay import Replay

_MOST_DEVIATIONS = 20  # listed one by one


def show_replay(found: Replay, console: Console, *, verbose: bool = False) -> None:
    """The report of now as `harness verify` prints it, then what is to be said of the replay, a line each."""
    console.print(body(found.report, console.width))
    for line in remarks(found, verbose=verbose):
        console.print(line, soft_wrap=True)
    console.print(headline(found.report), soft_wrap=True)
    console.print(conclusion(found), soft_wrap=True)


def remarks(found: Replay, *, verbose: bool) -> Iterator[Text]:
    if found.changed:
        yield Text(f"changed since the bundle was written: {printable(', '.join(found.changed))}", style="yellow")
    for deviation in (*found.versions, *(found.other_versions if verbose else ())):
        yield Text(printable(f"another version of {deviation}"), style="yellow")
    for deviation in found.deviations[:_MOST_DEVIATIONS]:
        yield Text(printable(str(deviation)), style="red")
    if len(found.deviations) > _MOST_DEVIATIONS:
        yield Text(f"… and {len(found.deviations) - _MOST_DEVIATIONS} more", style="red")


def conclusion(found: Replay) -> Text:
    """One line: reproduced, or not."""
    then = printable(str(found.then["verdict"]))
    if found.reproduced:
        return Text.assemble(("reproduced", "bold green"), f": the same {then} as then")
    count = len(found.deviations)
    differing = "1 thing differs" if count == 1 else f"{count} things differ"
    return Text.assemble(("not reproduced", "bold red"), f": {differing} from the {then} of then")
