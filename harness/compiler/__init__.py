"""The compiler: model file to C. See `pipeline` for the stages."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from harness.board import Target
from harness.compiler.choose import Objective
from harness.compiler.csource import CSource, Trade
from harness.compiler.frontends import read_model
from harness.compiler.pipeline import STAGES, compile_graph, trades
from harness.compiler.proofs import ProofStore
from harness.compiler.source_cache import SourceCache
from harness.errors import BadInput
from harness.resources import cache_dir


def compile_model(
    path: Path | str,
    target: Target,
    *,
    check: bool = True,
    objective: Objective = Objective.BALANCED,
    without: Collection[str] = (),
) -> CSource:
    """The model at `path` as C for `target`, optimised for `objective`, without the passes named in `without`.

    Raises ModelError for a file that cannot be used and BadInput for a pass there is not. With `check`, the interpreter
    proves every schedule equal to the plain loops it was made from; what it has compiled and proved before it remembers
    in the user's cache.
    """
    graph, model = read_model(Path(path))
    if not check:
        return compile_graph(graph, target, check=False, disabled=frozenset(without), objective=objective)
    compiled = SourceCache(cache_dir() / "sources")
    source = compiled.load(model, graph, target, objective, without)
    if source is None:
        proofs = ProofStore(cache_dir() / "proofs")
        source = compile_graph(graph, target, proofs=proofs, disabled=frozenset(without), objective=objective)
        compiled.save(model, source)
    return source


def trades_of(path: Path | str, target: Target, *, without: Collection[str] = ()) -> list[Trade]:
    """What the model at `path` would cost for each objective, estimated. Raises as `compile_model` does."""
    graph, _ = read_model(Path(path))
    return trades(graph, target, frozenset(without))


def load_sources(path: Path | str, directory: Path | str, target: Target) -> CSource:
    """What `harness compile` wrote into `directory`, perhaps edited since, as the source of the model at `path`.

    The map back to the model comes from compiling it again, for the objective and without the passes that the directory
    was made for and without. Raises BadInput when it was made from another model, for another core or by another
    version of the compiler, so that the map would not fit.
    """
    root = Path(directory)
    source = compile_model(path, target, objective=_objective(root), without=_left_out(root))
    if not root.is_dir():
        raise BadInput("is not a directory", where=str(root), hint="Make it with `harness compile MODEL -o DIR`.")
    missing = sorted(name for name in source.files if not (root / name).is_file())
    if missing and not _is_of_another(root, source):
        raise BadInput(
            f"lacks {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}",
            where=str(root),
            hint="Was it made from this model? Make it anew with `harness compile MODEL -o DIR`.",
        )
    if _is_of_another(root, source):
        raise BadInput(
            "was compiled from another model, for another core or by another version: its metadata.json differs",
            where=str(root),
            hint="Compile the model again and carry your edits over.",
        )
    return replace(source, files={name: _text(root / name) for name in source.files})


def _left_out(root: Path) -> list[str]:
    """The passes that the sources in `root` were made without; none where there is no telling."""
    names = _metadata(root).get("without")
    known = set(STAGES)
    return sorted(known.intersection(map(str, names))) if isinstance(names, list) else []


def _objective(root: Path) -> Objective:
    """What the sources in `root` were made for; the default where there is no telling."""
    name = _metadata(root).get("optimize")
    return next((each for each in Objective if each.value == name), Objective.BALANCED)


def _metadata(root: Path) -> dict[str, object]:
    try:
        metadata = json.loads(_text(root / "metadata.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _is_of_another(root: Path, source: CSource) -> bool:
    """Whether the map in `root` is there and leads to something else."""
    metadata = root / "metadata.json"
    return metadata.is_file() and _text(metadata) != source.files["metadata.json"]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 at byte {error.start}", where=str(path)) from error
