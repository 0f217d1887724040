"""From evidence and ELF files to the crash: which file it is, whether it is the right one, and what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.board import Board
from harness.compiler.csource import CSource
from harness.compiler.metadata import has_map, read_comments
from harness.debug.crash import Crash, explain
from harness.debug.evidence import Evidence
from harness.debug.identity import Identity, identify
from harness.debug.image import Image
from harness.debug.places import quoted
from harness.errors import BadInput

_BUILD = "build with -g for lines and variables."
_HINT = "Give the ELF of the firmware that crashed, or --any-elf to decode with this one all the same."


@dataclass(frozen=True)
class Decoded:
    """A crash, explained from evidence alone."""

    crash: Crash
    evidence: Evidence
    image: Image
    identity: Identity
    foreign: str = ""  # the model that the given sources are of, where the ELF has another map

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the whole report may be wrong, the worst first."""
        told = []
        if self.identity.match == "no":
            told.append(f"{_mismatch(self.evidence, self.image)} Names and lines below may all be wrong.")
        elif self.identity.against:
            told.append(f"This ELF does not look like the firmware that crashed. {' '.join(self.identity.against)}")
        if self.foreign:
            told.append(
                f"The sources are of {quoted(self.foreign)} as it was not built into this ELF: lines of the model may "
                "be wrong. Layers and tensors are those that the ELF names."
            )
        if self.evidence.cut:
            told.append(f"The {self.evidence.format} is incomplete: what it lacks is not in this report.")
        return tuple(told)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is doubtful, or not known, about evidence and ELF."""
        notes = (*self.evidence.notes, *self._lacking())
        if self.identity.match != "unknown":
            return notes
        lacking = "The evidence" if self.evidence.build_id is None else "The ELF"
        fits = ""
        if not self.identity.against and self.identity.tried:
            fits = f", but all that can be tried fits: {', '.join(self.identity.tried)}"
        return (*notes, f"{lacking} has no build ID: whether the two belong together is not known{fits}.")

    def _lacking(self) -> Iterator[str]:
        """What the ELF does not have, and what that costs."""
        if not self.image.has_symbols:
            yield "The ELF has no symbols: functions and callers are not known. Give the file as it was before strip."
        elif not self.image.has_debug_information:
            yield f"The ELF has no debug information: {_BUILD}"
        elif not self._has_lines():
            # of the C library's assembly there often is some in a firmware that was built without
            yield f"The ELF has no debug information of where it crashed: {_BUILD}"
        if not self.image.has_code:
            yield "The ELF has no code, only what describes it: most callers are not found. Give the file as linked."
        unusable = has_map(self.image.comments) and read_comments(self.image.comments) is None
        if unusable and self.crash.running is None:
            yield "The ELF has maps of several models, or a damaged one: layers are not named. --sources names them."

    def _has_lines(self) -> bool:
        """Whether a frame has a line, or none is in the code of the ELF."""
        own = [f for f in self.crash.frames if f.pc is not None and self.image.is_code(f.pc & ~1)]
        return not own or any(frame.line is not None for frame in own)

    def to_json(self) -> dict[str, Any]:
        """`crash` is that of `harness verify --json`."""
        evidence, build_id = self.evidence, self.image.build_id
        return {
            "crash": self.crash.to_json(),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "evidence": {
                "format": evidence.format,
                "line": evidence.line,
                "build_id": evidence.build_id.hex() if evidence.build_id is not None else None,
                "partial": evidence.cut or evidence.state.partial,
                "context": list(evidence.context),
            },
            "elf": {
                "path": str(self.image.path),
                "build_id": build_id.hex() if build_id is not None else None,
                "match": self.identity.match,
            },
        }


def decode(
    evidence: Evidence,
    elfs: Sequence[Path],
    *,
    source: CSource | None = None,
    search: Sequence[Path] = (),
    board: Board | None = None,
    any_elf: bool = False,
) -> Decoded:
    """What `evidence` says with the one of `elfs` that it fits.

    `source`, `search` and `board` are those of `explain`; the ELF's own map of its model comes before `source`.
    BadInput: a file is no ELF; none has the evidence's build ID, unless `any_elf`, which then takes the first; or,
    without a build ID, several fit or none does.
    """
    images = [Image(path) for path in elfs]
    identities = [identify(evidence.build_id, evidence.state, evidence.listed, image) for image in images]
    image, identity = _chosen(evidence, images, identities, any_elf)
    own = read_comments(image.comments)
    foreign = source.name if own is not None and source is not None and not _same(own, source) else ""
    crash = explain(evidence.state, image, source=own or source, search=search, listed=evidence.listed, board=board)
    return Decoded(crash, evidence, image, identity, foreign)


def _same(one: CSource, other: CSource) -> bool:
    """Whether two maps lead to the same model by the same code."""
    return (one.name, one.layers, one.placements) == (other.name, other.layers, other.placements)


def _chosen(
    evidence: Evidence, images: Sequence[Image], identities: Sequence[Identity], any_elf: bool
) -> tuple[Image, Identity]:
    pairs = list(zip(images, identities))
    right = [pair for pair in pairs if pair[1].match == "yes"]
    if right:
        return right[0]
    left = [pair for pair in pairs if pair[1].match != "no"]
    if not left:
        if any_elf:
            return pairs[0]
        told = " ".join(dict.fromkeys(_mismatch(evidence, image) for image in images))
        raise BadInput(told, where=", ".join(str(image.path) for image in images), hint=_HINT)
    if len(left) > 1:
        fitting = [pair for pair in left if pair[1].plausible]
        if len(fitting) != 1:
            what = "several of the ELF files fit it" if fitting else "none of the ELF files fits it"
            raise BadInput(
                f"it has no build ID, and {what}",
                where=evidence.format,
                hint="Give the one ELF of the firmware that crashed.",
            )
        return fitting[0]
    return left[0]


def _mismatch(evidence: Evidence, image: Image) -> str:
    if not image.is_arm:
        return "This ELF is no program for a Cortex-M."
    ours = evidence.build_id.hex() if evidence.build_id is not None else "none"
    theirs = image.build_id.hex() if image.build_id is not None else "none"
    return f"This is not the ELF of the firmware that crashed: build ID {theirs}, where the evidence has {ours}."
