"""Imports point one way, and no module knows more than its place allows. Held by parsing, so lazy imports count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import harness

PACKAGE = Path(harness.__file__).parent

# From the ground up: a module may import from its own row and from the rows above it in this table. A name stands for
# the module or for everything in the package; the longest name that fits decides.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "dtypes", "layout", "cpustate", "verdict", "resources"),
    ("board",),
    ("compiler",),
    ("toolchain",),
    ("firmware", "oracle", "seeding"),
    ("runners",),
    ("rpc",),
    ("session",),
    ("debug",),
    ("verification", "profile"),
    ("report",),
    ("doctor", "demo"),
    ("cli", "pytest_plugin", "__main__"),
)
# Within the order, a neighbour that is off limits altogether.
FORBIDDEN = (("runners", "compiler"),)
# Of a board the compiler may know the target and nothing else.
ONLY = {("compiler", "harness.board"): {"Target"}}
FACADE = "harness"  # harness/__init__.py gathers the public names from everywhere; nothing inside imports from it


@dataclass(frozen=True)
class Import:
    module: str  # importing module, such as "harness.compiler.arena"
    line: int
    target: str  # imported module
    names: frozenset[str]  # what is taken from it; empty for a plain `import`

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "_data" not in path.parts}


def imports(module: str, path: Path) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, frozenset())
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            submodules = {alias.name for alias in node.names if f"{target}.{alias.name}" in SOURCES}
            for name in sorted(submodules):
                yield Import(module, node.lineno, f"{target}.{name}", frozenset())
            names = frozenset(alias.name for alias in node.names) - submodules
            if names:
                yield Import(module, node.lineno, target, names)


SOURCES = sources()
IMPORTS = [
    found
    for module, path in SOURCES.items()
    for found in imports(module, path)
    if found.target == "harness" or found.target.startswith("harness.")
]


def part(module: str) -> str:
    """First name below `harness`: "harness.compiler.arena" → "compiler"."""
    return module.split(".")[1] if "." in module else ""


def row(module: str) -> int:
    for index, names in enumerate(ROWS):
        if part(module) in names:
            return index
    raise AssertionError(f"{module} has no place in the order of imports: give it one in ROWS")


def test_there_is_something_to_hold() -> None:
    assert len(SOURCES) > 20
    assert len(IMPORTS) > 50


def test_every_module_has_a_place() -> None:
    for module in SOURCES:
        if module != FACADE:
            row(module)


def test_imports_point_one_way() -> None:
    inside = [found for found in IMPORTS if found.module != FACADE]
    wrong = [str(found) for found in inside if found.target != FACADE and row(found.target) > row(found.module)]
    assert not wrong, "\n".join(wrong)


def test_nothing_inside_imports_the_facade() -> None:
    wrong = [str(found) for found in IMPORTS if found.target == FACADE and found.module != FACADE and found.names]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("importer", "imported"), FORBIDDEN)
def test_neighbours_that_must_not_know_each_other(importer: str, imported: str) -> None:
    wrong = [str(found) for found in IMPORTS if part(found.module) == importer and part(found.target) == imported]
    assert not wrong, "\n".join(wrong)


def test_the_compiler_knows_a_target_but_no_board() -> None:
    for (importer, target), allowed in ONLY.items():
        taken = [found for found in IMPORTS if part(found.module) == importer and found.target == target]
        wrong = [
            f"{found}: {sorted(found.names - allowed)}" for found in taken if not found.names or found.names - allowed
        ]
        assert taken, f"{importer} no longer imports {target}: the rule holds nothing"
        assert not wrong, "\n".join(wrong)


def test_no_cycles_between_modules() -> None:
    """A module is loaded before what imports it, whichever is imported first; __init__ files count as modules."""
    edges: dict[str, set[str]] = {module: set() for module in SOURCES}
    for found in IMPORTS:
        if found.target in SOURCES and found.module != FACADE and found.target != found.module:
            edges[found.module].add(found.target)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            raise AssertionError("import cycle: " + " → ".join([*trail[trail.index(module) :], module]))
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in sorted(SOURCES):
        visit(module, ())


def test_files_have_one_job() -> None:
    """Past 400 lines a file has two jobs."""
    long = [f"{path}: {count} lines" for path in SOURCES.values() if (count := path.read_text().count("\n")) > 400]
    assert not long, "\n".join(long)
