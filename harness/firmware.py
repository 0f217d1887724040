"""From C source and board to firmware: compiled in parallel, linked, measured, and kept for the next time.

    CSource + firmware_stub + Board  ──gcc──>  objects  ──ld──>  Firmware

Every file is compiled in a folder that looks like what the user is shown (`layers/003_conv2d_3.c`,
`firmware_stub/rpc/rpc_server.c`), and that folder stays beside the ELF, so a debugger can open each file it names.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.board import LAYER_STATE_BYTES, STUB_FLASH_BYTES, Board
from harness.compiler.csource import CSource
from harness.errors import BadInput, DoesNotFit, ToolFailed, system_refusals
from harness.resources import firmware_stub_dir
from harness.toolchain import elf as elf_file
from harness.toolchain.gcc import Gcc, compiler, overflow
from harness.toolchain.stack import INDIRECT, call_graph
from harness.toolchain.store import Store, digest

STUB = "firmware_stub"  # folder of the stub's files among the sources
ELF = "firmware.elf"
FACTS = "firmware.json"  # written last: a folder without it is not finished
_FACTS = {"build_id", "flash_bytes", "flash_code_bytes", "ram_bytes", "stack_bytes", "reserved_stack_bytes",
          "layer_stack_bytes"}  # fmt: skip
MAP = "firmware.map"  # the linker's account of what lies where
CODE_AT_ZERO_GUARD = 256  # bytes of the null guard where the vector table is at address 0
NULL_GUARD = 65536  # elsewhere: pointers to NULL with an offset, too
STACK_GUARD = 1 << 20  # bytes of the guard under the stack where nothing lies below its region
INNER_STACK_GUARD = 256  # bytes of the region itself where something does
EXCEPTION_BYTES = 112  # the largest exception frame, aligned
STACK_MARGIN = 256  # bytes; what the compiler cannot see must fit in it

_COMMON = (
    "-std=gnu11", "-g3", "-gdwarf-4", "-ffunction-sections", "-fdata-sections", "-fno-strict-aliasing",
    "-ffp-contract=off", "-fno-common", "-fcallgraph-info=su",
)  # fmt: skip
_WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion")
_EMBEDDED = ("-ffreestanding", "-fno-exceptions", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-no-pie")

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.MULTILINE)

Progress = Callable[[int, int], None]  # (files done, files in all)


@dataclass(frozen=True)
class Firmware:
    """A linked image. The figures are 0 for the host, where they would be the operating system's."""

    elf: Path
    board: Board
    source: CSource = field(repr=False)
    build_id: bytes  # 20 bytes; HELLO repeats it
    build_dir: Path  # what the paths in the debug information are relative to
    flash_bytes: int  # all that is stored
    flash_code_bytes: int  # of it, without the model's weights
    ram_bytes: int  # variables, stacks and arena
    stack_bytes: int  # deepest chain of model_run; where it has no bound, the stack that is reserved
    reserved_stack_bytes: int  # that the linker set aside for model and stub together
    layer_stack_bytes: tuple[int | None, ...]  # deepest chain of each layer; None: it has no bound


@dataclass(frozen=True)
class _Unit:
    """One file to compile."""

    path: str  # in the build folder
    key: str  # of the object in the store
    flags: tuple[str, ...]

    @property
    def name(self) -> str:
        """The object's name, which the linker script may ask for: model/weights.o"""
        return str(PurePosixPath(self.path).with_suffix(".o"))


@system_refusals()
def build(
    source: CSource,
    board: Board,
    *,
    level: str = "-O2",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Firmware:
    """Firmware of `source` for `board`, from the cache where the same was built before.

    `level` is how far gcc optimises the model; the stub is always built for size. Raises DoesNotFit with the numbers,
    ToolMissing without a compiler, ToolFailed with the compiler's words when it refuses a file.
    """
    _check_fit(source, board)
    gcc = compiler(board)
    store = Store(cache)
    files = _sources(source, board)
    units = list(_units(files, source, board, gcc, level))
    key = digest([gcc.version, board.model_dump_json(), *(unit.key for unit in units), *_link_flags(board)])
    firmware = _find(store, key, source, board)
    if firmware is not None:
        return firmware
    with store.lock(key):
        firmware = _find(store, key, source, board)
        if firmware is None:
            with store.workspace() as folder:
                _make(folder, files, units, source, board, gcc, store, progress)
                store.publish_folder(folder, store.firmware(key))
            store.sweep()
            firmware = _find(store, key, source, board)
    if firmware is None:
        raise ToolFailed("the firmware vanished from the cache while it was built", where=str(store.root))
    return firmware


def _check_fit(source: CSource, board: Board) -> None:
    target = board.target
    results = LAYER_STATE_BYTES * len(source.layers)
    if target.ram_bytes is not None and source.arena_bytes + results > target.ram_bytes:
        raise DoesNotFit(
            f"the model's arena takes {source.arena_bytes:,} bytes of RAM; {board.name} has "
            f"{max(0, target.ram_bytes - results):,} for it, beside {board.stub_ram_bytes + results:,} of stacks and "
            "firmware",
            where=source.name,
        )
    if target.flash_bytes is not None and source.constant_bytes > target.flash_bytes:
        raise DoesNotFit(
            f"the model's constants take {source.constant_bytes:,} bytes of flash; {board.name} has "
            f"{target.flash_bytes:,} for the model, beside {STUB_FLASH_BYTES:,} of firmware",
            where=source.name,
        )


# ---- what is compiled, and how


def _sources(source: CSource, board: Board) -> dict[str, str]:
    """Every text that takes part, by its path in the build folder."""
    files = {}
    for path, text in source.files.items():
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or parts[0] == STUB:
            raise BadInput(f"a source file cannot be called {path!r}", where=source.name)
        files[path] = text
    stub = firmware_stub_dir()
    for folder in _stub_folders(board):
        for file in sorted((stub / folder).iterdir()):
            if _takes_part(folder, file, board):
                files[str(PurePosixPath(STUB, folder, file.name))] = file.read_text(encoding="utf-8")
    at_zero = any(region.address == 0 for region in board.memory)
    null_guard = CODE_AT_ZERO_GUARD if at_zero else NULL_GUARD
    files[f"{STUB}/generated/board.h"] = _render(
        "board.h.j2", board=board, null_guard_bytes=null_guard, guard=_stack_guard(board)
    )
    return files


def _takes_part(folder: str, file: Path, board: Board) -> bool:
    if folder == "uart" and file.stem not in ("uart", board.uart.kind):
        return False
    if folder == "fault" and board.cpu.architecture == "host":
        return file.suffix == ".h"  # what faults there the sanitizers catch
    return file.suffix in (".c", ".h")


@dataclass(frozen=True)
class _Guard:
    bytes: int  # that no access reaches, ending where the stack begins
    inside: int  # of them, taken from the stack's region


def _stack_guard(board: Board) -> _Guard:
    """What catches an overflow of the stack, which lies at the bottom of its region, by the MPU of Armv7-M.

    Armv8-M has a register for the limit of the stack, Armv6-M has neither.
    """
    if board.sections is None or board.cpu.architecture != "armv7m":
        return _Guard(0, 0)
    start = board.region(board.sections.data).address
    below = range(start - STACK_GUARD, start)
    free = all(region.end <= below.start or region.address >= below.stop for region in board.memory)
    if below.start >= 0 and start % STACK_GUARD == 0 and free:
        return _Guard(STACK_GUARD, 0)
    return _Guard(INNER_STACK_GUARD, INNER_STACK_GUARD)


def _stub_folders(board: Board) -> tuple[str, ...]:
    common = (".", "rpc", "generated", "uart", "fault")
    if board.cpu.architecture == "host":
        return (*common, "host")
    return (*common, "cortexm", "armv6m" if board.cpu.architecture == "armv6m" else "mainline")


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(firmware_stub_dir()), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    return environment.get_template(template).render(**values)


def _units(files: Mapping[str, str], source: CSource, board: Board, gcc: Gcc, level: str) -> Iterator[_Unit]:
    """The files to compile. An object is named after all it can depend on, headers included."""
    host = board.cpu.architecture == "host"
    machine = (*board.cpu.flags, *(_SANITIZERS if host else _EMBEDDED))
    stub = tuple(str(PurePosixPath(STUB, folder)) for folder in _stub_folders(board))
    for path in sorted(files):
        if not path.endswith(".c"):
            continue
        optimised, folders = "-Os", stub
        if path in source.files:
            optimised, folders = level, (".", STUB)
        elif path == f"{STUB}/model_glue.c":
            folders = (".", *stub)
        flags = (*machine, *_COMMON, *_WARNINGS, optimised, *(f"-I{folder}" for folder in folders))
        included = [part for name in _included(path, files, folders) for part in (name, files[name])]
        yield _Unit(path, digest([gcc.version, path, files[path], *flags, "included", *included]), flags)


def _included(path: str, files: Mapping[str, str], folders: Sequence[str]) -> list[str]:
    """The files that `path` can include, itself or through others, with `folders` as the include path."""
    reached: set[str] = set()
    left = [path]
    while left:
        folder, text = posixpath.dirname(left[-1]), files[left.pop()].replace("\\\n", "")
        named = _INCLUDE.findall(text)
        if len(named) < text.count("include"):  # in another way than is read here: it can be any header
            headers = [PurePosixPath(name) for name in sorted(files) if not name.endswith(".c")]
            return [str(header) for header in headers if any(map(header.is_relative_to, folders))]
        found = {posixpath.normpath(posixpath.join(place, name)) for name in named for place in (folder, *folders)}
        left += (found - reached) & files.keys()
        reached |= found & files.keys()
    return sorted(reached)


def _link_flags(board: Board) -> tuple[str, ...]:
    common = ("-Wl,--gc-sections", "-Wl,--build-id=sha1", f"-Wl,-Map={MAP}")
    if board.cpu.architecture == "host":
        return (*board.cpu.flags, *_SANITIZERS, *common, "-lm")
    libraries = ("-Wl,--start-group", "-lc", "-lm", "-lgcc", "-Wl,--end-group")
    return (*board.cpu.flags, "-nostdlib", "-Wl,--fatal-warnings", "-Wl,--no-warn-rwx-segments", *common, *libraries)


# ---- making it


def _make(
    folder: Path,
    files: Mapping[str, str],
    units: Sequence[_Unit],
    source: CSource,
    board: Board,
    gcc: Gcc,
    store: Store,
    progress: Progress | None,
) -> None:
    """Fill `folder` with sources, ELF and facts."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    _compile(folder, units, gcc, store, progress)
    graphs = {unit.path: store.object(unit.key, ".ci").read_text(encoding="utf-8") for unit in units}
    stack = _stack(graphs, source, board)
    _link(folder, units, source, board, gcc, store, stack.reserved)
    host = board.cpu.architecture == "host"
    sizes = elf_file.Sizes(0, 0, 0) if host else elf_file.sizes(folder / ELF)
    facts = {
        "build_id": elf_file.build_id(folder / ELF).hex(),
        "flash_bytes": sizes.flash,
        "flash_code_bytes": sizes.code,
        "ram_bytes": sizes.ram,
        "stack_bytes": 0 if host else stack.model,
        "reserved_stack_bytes": 0 if host else stack.reserved,
        "layer_stack_bytes": [0 if host else depth for depth in stack.layers],
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _compile(folder: Path, units: Sequence[_Unit], gcc: Gcc, store: Store, progress: Progress | None) -> None:
    def one(unit: _Unit) -> None:
        place, graph_place = store.object(unit.key, ".o"), store.object(unit.key, ".ci")
        if elf_file.begins(place) and graph_place.is_file() and graph_place.stat().st_size > 0:
            store.used(place)
            return
        made = folder / "objects" / unit.name
        graph = made.with_suffix(".ci")
        made.parent.mkdir(parents=True, exist_ok=True)
        arguments = [*unit.flags, f"-fdebug-prefix-map={folder}=.", "-c", unit.path, "-o", str(made)]
        gcc.run(arguments, folder, unit.path, [made, graph])
        store.publish_file(graph, graph_place)
        store.publish_file(made, place)

    executor = ThreadPoolExecutor(os.cpu_count())
    try:
        for done, _ in enumerate(executor.map(one, units), 1):
            if progress is not None:
                progress(done, len(units))
    finally:
        executor.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Stack:
    """Bytes of the deepest chains of calls."""

    model: int  # of model_run; where it has no bound, what is reserved
    layers: tuple[int | None, ...]
    reserved: int


def _stack(graphs: Mapping[str, str], source: CSource, board: Board) -> _Stack:
    layers = call_graph([graphs["model_layers.c"]]).frames
    graph = call_graph(graphs.values(), {INDIRECT: layers})
    model, whole = graph.depth("model_run"), graph.depth("main")
    reserved = board.stub.stack_bytes
    if whole is not None:
        reserved = max(reserved, (whole + EXCEPTION_BYTES + STACK_MARGIN + 7) // 8 * 8)
    depths = tuple(graph.depth(layer.name) for layer in source.layers)
    return _Stack(reserved if model is None else model, depths, reserved)


def _link(
    folder: Path, units: Sequence[_Unit], source: CSource, board: Board, gcc: Gcc, store: Store, stack_bytes: int
) -> None:
    objects = []
    for unit in units:
        place = folder / "objects" / unit.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(store.object(unit.key, ".o"), place)
        objects.append(str(place.relative_to(folder)))
    script: tuple[str, ...] = ()
    if board.sections is not None:
        text = _render("link.ld.j2", board=board, stack_bytes=stack_bytes, guard=_stack_guard(board))
        (folder / "link.ld").write_text(text, encoding="utf-8")
        script = ("-T", "link.ld")
    try:
        gcc.run([*script, *objects, *_link_flags(board), "-o", ELF], folder, "the firmware", [folder / ELF])
    except ToolFailed as error:
        found = overflow(error.what)
        if found is None:
            store.forget(*(store.object(unit.key, ".o") for unit in units))  # one of them may be damaged
            raise
        region = board.region(found[0])
        raise DoesNotFit(
            f"the firmware needs {region.bytes + found[1]:,} bytes of {region.kind} {region.name!r}; {board.name} has "
            f"{region.bytes:,} there (arena {source.arena_bytes:,}, constants {source.constant_bytes:,}, stack "
            f"{stack_bytes:,})",
            where=source.name,
        ) from error
    shutil.rmtree(folder / "objects")


def _find(store: Store, key: str, source: CSource, board: Board) -> Firmware | None:
    """The finished firmware `key`; None when it is not there or not whole."""
    folder = store.firmware(key)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        store.used(folder)
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if facts.keys() != _FACTS:  # an earlier version wrote them
        return None
    if not elf_file.begins(folder / ELF):
        return None
    return Firmware(
        elf=folder / ELF,
        board=board,
        source=source,
        build_id=bytes.fromhex(facts["build_id"]),
        build_dir=folder,
        flash_bytes=facts["flash_bytes"],
        flash_code_bytes=facts["flash_code_bytes"],
        ram_bytes=facts["ram_bytes"],
        stack_bytes=facts["stack_bytes"],
        reserved_stack_bytes=facts["reserved_stack_bytes"],
        layer_stack_bytes=tuple(facts["layer_stack_bytes"]),
    )
