"""A board and the part of it that the compiler may know.

A board is one TOML file in `boards/`: its core, its memory, its UART, and how it is started. Files are read strictly:
an unknown key, a wrong type or regions that overlap are one `BoardError` that names the file and the key.

    Board  = name, description, cpu: Cpu, memory: Region*, sections: Sections?, stub: Stub, uart: Uart, runner: Run
    Run    = HostRun | QemuRun | RenodeRun | SerialRun  told apart by `kind`
    Target = core, features, flash_bytes?, ram_bytes?   what a model may take of it
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from harness.errors import BadInput, BoardError
from harness.resources import boards_dir, firmware_stub_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Target:
    """What the compiler knows of the machine: its instruction set and how much memory the model may take."""

    core: str  # "cortex-m3" … or "host"
    features: frozenset[str]  # of "dsp", "fpu", "mve"
    flash_bytes: int | None = None  # None: no limit known
    ram_bytes: int | None = None

    @property
    def instructions(self) -> frozenset[str]:
        """The features, and "thumb2" for what every Cortex-M from the M3 on has.

        MLA, products of 64 bits, division, CLZ, SSAT, words at any address.
        """
        return self.features if self.core in ("cortex-m0", "host") else self.features | {"thumb2"}


@dataclass(frozen=True)
class Core:
    """A processor core: the folder of the stub that fits it, and what it has when nothing was left out of it."""

    architecture: Literal["armv6m", "armv7m", "armv8m", "host"]
    features: frozenset[str] = frozenset()


CORES: Mapping[str, Core] = {
    "cortex-m0": Core("armv6m"),
    "cortex-m3": Core("armv7m"),
    "cortex-m4": Core("armv7m", frozenset({"dsp", "fpu"})),
    "cortex-m7": Core("armv7m", frozenset({"dsp", "fpu"})),
    "cortex-m33": Core("armv8m", frozenset({"dsp", "fpu"})),
    "cortex-m55": Core("armv8m", frozenset({"dsp", "fpu", "mve"})),
    "host": Core("host"),
}

# Most that the stub takes beside what a board's `stub` table states, in bytes; the firmware's tests hold these.
STUB_FLASH_BYTES = 6144
STUB_STATE_BYTES = 480
LAYER_STATE_BYTES = 16  # and for each layer of the model


def core_target(core: str) -> Target:
    """The target of `--target CORE`: everything the core can have, and no limit of memory. BadInput: unknown core."""
    if core not in CORES:
        raise BadInput(f"no core is called {core!r}", hint="Known cores: " + ", ".join(CORES))
    return Target(core, CORES[core].features)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# Nothing that names a file or a program: gcc runs what -wrapper and -fplugin say.
_Flag = Annotated[str, Field(pattern=r"^-m[a-z0-9-]+(=[A-Za-z0-9.+_-]+)?$")]
_Flags = Annotated[tuple[_Flag, ...], Field(strict=False)]  # TOML has arrays only: a tuple is the same thing there
_Address = Annotated[int, Field(ge=0, lt=1 << 32)]
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=31)]
_FOLDER = "folder"  # key of the validation's context: where the board's file lies
_PLATFORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.repl\Z")


class Cpu(_Strict):
    core: Literal["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "host"]
    features: Annotated[frozenset[Literal["dsp", "fpu", "mve"]], Field(strict=False)] = frozenset()
    flags: _Flags = ()  # of the C compiler: which core, which float ABI

    @field_serializer("features")
    def _in_order(self, features: frozenset[str]) -> list[str]:
        return sorted(features)  # the same text in every process: firmware is cached by it

    @property
    def architecture(self) -> str:
        return CORES[self.core].architecture


class Region(_Strict):
    """A piece of the address map that the linker may fill."""

    name: _Name
    kind: Literal["flash", "ram"]
    address: _Address
    bytes: Annotated[int, Field(gt=0, le=1 << 32)]

    @property
    def end(self) -> int:
        """Address of the first byte after it."""
        return self.address + self.bytes


class Sections(_Strict):
    """Which region holds what."""

    code: str  # code, constants, and the initial values of data
    data: str  # variables and both stacks
    arena: str  # the model's tensors


class Stub(_Strict):
    """What the firmware stub is allowed. Bytes, all multiples of 8."""

    stack_bytes: Annotated[int, Field(ge=512, multiple_of=8)]  # grows by itself where a model is known to need more
    fault_stack_bytes: Annotated[int, Field(ge=384, multiple_of=8)]
    record_stack_bytes: Annotated[int, Field(ge=64, multiple_of=8)]  # of the stack, kept in a fault record
    max_payload: Annotated[int, Field(ge=64, le=4096, multiple_of=8)]  # of one message over the UART


class Uart(_Strict):
    kind: _Name  # the driver is firmware_stub/uart/<kind>.c
    address: _Address = 0
    options: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], _Address] = {}  # the driver sees UART_<KEY>


class HostRun(_Strict):
    """A native program; its UART is standard input and output."""

    kind: Literal["host"]


class QemuRun(_Strict):
    kind: Literal["qemu"]
    machine: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]  # qemu-system-arm -M
    serial: Annotated[int, Field(ge=0, le=15)] = 0  # which of the machine's serial ports the UART is


class RenodeRun(_Strict):
    kind: Literal["renode"]
    platform: Annotated[str, Field(min_length=1)]  # what a .repl says; in the TOML that, or the name of one beside it
    uart: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]  # what the platform calls the UART

    @field_validator("platform")
    @classmethod
    def _read_platform(cls, name: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get(_FOLDER)
        if folder is None or "\n" in name.strip():
            return name
        if not _PLATFORM.match(name):
            raise ValueError(f"runner.platform: not the name of a .repl file beside the board's: {name!r}")
        try:
            return Path(folder, name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise ValueError(f"runner.platform: cannot read {name!r} beside the board's file: {why}") from error


class SerialRun(_Strict):
    kind: Literal["serial"]
    baud: Annotated[int, Field(gt=0)]
    url: str | None = None  # pyserial's port name or URL; None: the user names it


class Board(_Strict):
    name: _Name
    description: Annotated[str, Field(min_length=1)]
    cpu: Cpu
    memory: Annotated[tuple[Region, ...], Field(strict=False)] = ()
    sections: Sections | None = None  # None: the linker of the host decides
    stub: Stub
    uart: Uart
    runner: Annotated[HostRun | QemuRun | RenodeRun | SerialRun, Field(discriminator="kind")]

    @property
    def target(self) -> Target:
        """What a model may take: the regions of code and arena without the stub's share."""
        if self.sections is None:
            return Target(self.cpu.core, self.cpu.features)
        code, arena = self.region(self.sections.code), self.region(self.sections.arena)
        stub = self.stub_ram_bytes if self.sections.arena == self.sections.data else 0
        flash = code.bytes - STUB_FLASH_BYTES
        return Target(self.cpu.core, self.cpu.features, flash_bytes=max(0, flash), ram_bytes=max(0, arena.bytes - stub))

    @property
    def stub_ram_bytes(self) -> int:
        """RAM that the firmware takes beside the arena: both stacks, fault record, receive buffer, variables."""
        s = self.stub
        return s.stack_bytes + s.fault_stack_bytes + s.record_stack_bytes + s.max_payload + STUB_STATE_BYTES

    def to_toml(self) -> str:
        """The description as a file that `load_board` reads back as an equal board."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return "\n".join([*_toml_table(fields), ""])

    def region(self, name: str) -> Region:
        (found,) = (region for region in self.memory if region.name == name)
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Board:
        _check_memory(self.memory)
        if self.cpu.core == "host":
            if self.memory or self.sections is not None:
                raise ValueError("memory: the board host has no memory map of its own")
        else:
            _check_sections(self)
        missing = self.cpu.features - CORES[self.cpu.core].features
        if missing:
            raise ValueError(f"cpu.features: {self.cpu.core} never has {', '.join(sorted(missing))}")
        return self


def _check_memory(memory: tuple[Region, ...]) -> None:
    for index, region in enumerate(memory):
        if region.end > 1 << 32:
            raise ValueError(f"memory.{index}: region {region.name!r} ends beyond the 32-bit address space")
        for other in memory[:index]:
            if other.name == region.name:
                raise ValueError(f"memory.{index}.name: two regions are called {region.name!r}")
            if region.address < other.end and other.address < region.end:
                raise ValueError(
                    f"memory.{index}: region {region.name!r} ({region.address:#010x}..{region.end:#010x}) overlaps "
                    f"{other.name!r} ({other.address:#010x}..{other.end:#010x})"
                )


def _check_sections(board: Board) -> None:
    if board.sections is None:
        raise ValueError("sections: say which region holds code, data and arena")
    kinds = {region.name: region.kind for region in board.memory}
    for key, kind in (("code", "flash"), ("data", "ram"), ("arena", "ram")):
        name = getattr(board.sections, key)
        if name not in kinds:
            raise ValueError(f"sections.{key}: no memory region is called {name!r}")
        if kinds[name] != kind:
            raise ValueError(f"sections.{key}: region {name!r} is {kinds[name]}, not {kind}")


def _toml_table(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Lines of TOML. What JSON writes for strings, integers and lists of them is TOML as well."""
    for key, value in fields.items():
        if not isinstance(value, dict) and not (isinstance(value, list) and value and isinstance(value[0], dict)):
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            yield f"{key} = {text}"
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from ("", f"[{prefix}{key}]", *_toml_table(value, f"{prefix}{key}."))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for each in value:
                yield from ("", f"[[{prefix}{key}]]", *_toml_table(each))


def load_board(name: str | Path) -> Board:
    """The board called `name`, or the one that the TOML file at `name` describes. BoardError: unknown or wrong."""
    text = str(name)
    if isinstance(name, Path) or text.endswith(".toml") or "/" in text:
        return _read(Path(name))
    known = board_names()
    if text not in known:
        near = difflib.get_close_matches(text, known, n=1)
        guess = f"Did you mean {near[0]}? " if near else ""
        raise BoardError(f"no board is called {text!r}", hint=f"{guess}Known boards: {', '.join(known)}")
    return _read(boards_dir() / f"{text}.toml")


def board_names() -> list[str]:
    """Names of all boards that come with the harness, sorted."""
    return sorted(path.stem for path in boards_dir().glob("*.toml"))


def all_boards() -> list[Board]:
    """Every board that comes with the harness, by name. BoardError: one of the files is wrong."""
    return [load_board(name) for name in board_names()]


def _read(path: Path) -> Board:
    if path.exists() and not path.is_file():  # a pipe may never end
        raise BoardError("cannot read the board file: it is a folder or a device", where=str(path))
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BoardError("no such board file", where=str(path)) from error
    except OSError as error:
        raise BoardError(f"cannot read the board file: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise BoardError(f"not UTF-8 at byte {error.start}", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"not TOML: {error}", where=str(path)) from error
    except RecursionError as error:
        raise BoardError("not a board: tables or arrays within one another without end", where=str(path)) from error
    try:
        board = Board.model_validate(data, context={_FOLDER: path.parent})
    except ValidationError as error:
        raise BoardError("; ".join(_explain(problem) for problem in error.errors()), where=str(path)) from error
    if board.name != path.stem:
        raise BoardError(f"name: {board.name!r} is not the file's own name {path.stem!r}", where=str(path))
    driver = firmware_stub_dir() / "uart" / f"{board.uart.kind}.c"
    if not driver.is_file():
        kinds = ", ".join(sorted(file.stem for file in driver.parent.glob("*.c")))
        raise BoardError(
            f"uart.kind: there is no driver for {board.uart.kind!r}",
            where=str(path),
            hint=f"Drivers in {driver.parent}: {kinds}",
        )
    return board


def _explain(problem: Mapping[str, Any]) -> str:
    """One of pydantic's findings as `key: what is wrong`. Ours already say which key they are about."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    # A union's tag stands in the path of keys although nobody wrote it as a key.
    keys = [str(part) for part in problem["loc"]]
    if keys[:1] == ["runner"] and len(keys) > 2:
        del keys[1]
    if problem["type"] == "extra_forbidden":
        message = "unknown key"
    elif problem["type"] not in ("value_error", "missing") and problem["input"] is not None:
        message += f", not {_shorten(repr(problem['input']))}"
    return f"{'.'.join(keys)}: {message}" if keys else message


def _shorten(text: str) -> str:
    return re.sub(r"^(.{60}).+", r"\1…", text, flags=re.DOTALL)
