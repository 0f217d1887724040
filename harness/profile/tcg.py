"""The QEMU plugin of this room: built with the host's gcc when it is first needed, and its findings read.

`tcg_count.c` says what it counts and what it writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.debug.image import Image
from harness.debug.unwinding.stacks import STACK_BOTTOM, STACK_TOP
from harness.errors import BadInput, InfrastructureError
from harness.toolchain.gcc import Gcc, host_compiler
from harness.toolchain.store import Store, digest

SOURCE = Path(__file__).with_name("tcg_count.c")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fvisibility=hidden", "-shared", "-fPIC")


@dataclass(frozen=True)
class Context:
    """A chain of calls, by the last of them. The outermost is its own parent."""

    parent: int  # index among the contexts
    site: int  # address of the block that ends with the call
    entry: int  # address of the first instruction called
    times: int  # how often it was entered


@dataclass(frozen=True)
class Block:
    """Consecutive instructions that are executed one after the other, as part of one context."""

    context: int
    start: int  # address of the first
    length: int  # instructions
    count: int  # how often it was executed
    through: int  # after how many of them the instruction behind it came next: its last one did not jump


@dataclass(frozen=True)
class Execution:
    """Every instruction of one call of a function, in the order in which code was first reached."""

    instructions: int
    lowest: int  # address within the stack that was written
    contexts: tuple[Context, ...]
    blocks: tuple[Block, ...]


def plugin() -> Path:
    """The plugin as a shared object, from the cache where it was built before. ToolMissing, ToolFailed."""
    gcc = host_compiler()
    store = Store()
    key = digest([gcc.version, SOURCE.read_bytes(), *FLAGS])
    built = store.object(key, ".so")
    if not built.is_file():
        with store.lock(key):
            _build(gcc, store, built)
    store.used(built)
    return built


def _build(gcc: Gcc, store: Store, place: Path) -> None:
    with store.workspace() as folder:
        made = folder / "tcg_count.so"
        gcc.run([*FLAGS, str(SOURCE), "-o", made.name], folder, str(SOURCE), [made])
        store.publish_file(made, place)


def options(image: Image, function: str, out: Path) -> tuple[str, ...]:
    """Arguments for QEMU that append to `out` what each call of `function` executed. BadInput: it is not in the image.

    Both paths reach QEMU inside a list separated by commas; a comma in them is doubled.
    """
    symbols = {name: image.symbol(name) for name in (function, STACK_BOTTOM, STACK_TOP)}
    missing = [name for name, symbol in symbols.items() if symbol is None]
    if missing:
        raise BadInput(f"there is no {' and no '.join(missing)}", where=str(image.path))
    start, low, high = (symbol.address for symbol in symbols.values() if symbol is not None)
    values = f"start={start:#x},stack_low={low:#x},stack_high={high:#x}"
    return ("-plugin", f"{_quoted(plugin())},{values},out={_quoted(out)}")


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")


def read(out: Path) -> list[Execution]:
    """What each call executed so far, in order. InfrastructureError: the plugin's text ends in the middle."""
    if not out.exists():
        return []
    return list(_runs([line.split() for line in out.read_text(encoding="ascii").splitlines()], out))


def _runs(lines: Sequence[Sequence[str]], out: Path) -> Iterator[Execution]:
    total = lowest = 0
    contexts: dict[int, Context] = {}
    blocks: list[Block] = []
    for number, (kind, *words) in enumerate(lines, 1):
        values = [int(word) for word in words]
        if kind == "run":
            (total, lowest), contexts, blocks = values, {}, []
        elif kind == "context":
            contexts[values[0]] = Context(*values[1:])
        elif kind == "block":
            blocks.append(Block(*values))
        elif kind == "end":
            yield _numbered(total, lowest, contexts, blocks)
        else:
            raise InfrastructureError(f"the QEMU plugin wrote {kind!r} in line {number}", where=str(out))
    if lines and lines[-1] != ["end"]:
        raise InfrastructureError("the QEMU plugin did not finish what it wrote", where=str(out))


def _numbered(total: int, lowest: int, contexts: dict[int, Context], blocks: list[Block]) -> Execution:
    """With contexts numbered as they come: those of an earlier call that this one did not enter leave no gaps."""
    index = {number: position for position, number in enumerate(contexts)}
    moved = [Context(index[c.parent], c.site, c.entry, c.times) for c in contexts.values()]
    placed = [Block(index[b.context], b.start, b.length, b.count, b.through) for b in blocks]
    return Execution(total, lowest, tuple(moved), tuple(placed))
