"""Functions, files, lines and inlined calls, against addr2line and gdb over every instruction."""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.debug.image import Image
from harness.debug.symbolise import Place, Symboliser
from harness.errors import BadInput
from tests.debug import lab

Chain = list[tuple[str | None, str | None, int | None]]


def _addr2line(elf: Path, addresses: list[int]) -> dict[int, Chain]:
    command = ["arm-none-eabi-addr2line", "-a", "-f", "-i", "-e", str(elf)]
    done = subprocess.run(command, input="\n".join(map(hex, addresses)), capture_output=True, text=True, timeout=60)
    lines = iter(done.stdout.splitlines())
    chains: dict[int, Chain] = {}
    for line in lines:
        if line.startswith("0x"):
            chain = chains[int(line, 16)] = []
            continue
        file, _, number = next(lines).split(" (discriminator")[0].rpartition(":")
        where = (posixpath.normpath(file), int(number)) if number not in ("?", "0") else (None, None)
        chain.append((line if line != "??" else None, *where))
    return chains


def _gdb_lines(elf: Path, addresses: list[int]) -> dict[int, int]:
    """gdb prefers, of several lines for one address, the one where a statement begins."""
    script = [part for address in addresses for part in ("-ex", f"info line *{address}")]
    done = subprocess.run(
        ["gdb-multiarch", "-batch", "-nx", str(elf), *script], capture_output=True, text=True, timeout=60
    )
    found = [int(m[1]) for m in re.finditer(r"^Line (\d+) of", done.stdout, re.M)]
    assert len(found) == len(addresses), done.stdout
    return dict(zip(addresses, found, strict=True))


def _chain(places: tuple[Place, ...]) -> Chain:
    return [(place.function, place.file if place.line else None, place.line) for place in places]


@pytest.mark.parametrize("dwarf", [4, 5])
@pytest.mark.parametrize(("core", "level"), [("m0", "-Os"), ("m3", "-O2"), ("m4", "-O0"), ("m33", "-O3")])
def test_every_instruction_is_where_addr2line_and_gdb_say(
    core: str, level: str, dwarf: int, program: Callable[[str, str, int], Path]
) -> None:
    elf = program(core, level, dwarf)
    image = Image(elf)
    symbols = Symboliser(image)
    names: dict[int, set[str]] = {}
    for symbol in image.functions:
        names.setdefault(symbol.address, set()).add(symbol.name)
    one_name = {name: min(aliases) for aliases in names.values() for name in aliases}  # of a function that has several

    def functions(chain: Chain) -> list[tuple[str | None, str | None]]:
        return [(one_name.get(function or "", function), file) for function, file, _ in chain]

    text = next(section for section in image.sections if section.name == ".text")
    addresses = [
        address
        for address in range(text.address, text.address + text.size, 2)
        if image.is_code(address) and any(f.covers(address) for f in image.functions)
    ]
    truth = _addr2line(elf, addresses)
    several_lines = []
    for address in addresses:
        ours, theirs = _chain(symbols.at(address)), truth[address]
        if ours == theirs:
            continue
        assert ours, hex(address)
        if address in names and ours[-1][0] in names[address]:
            # addr2line names the function before: the assembler put the Thumb bit into the function's start
            continue
        assert functions(ours) == functions(theirs), hex(address)
        assert [line for *_, line in ours[1:]] == [line for *_, line in theirs[1:]], hex(address)
        if ours[0][2] != theirs[0][2] and str(lab.FIRMWARE) in str(ours[0][1]):
            several_lines.append(address)
    assert len(several_lines) < len(addresses) / 20
    if several_lines and shutil.which("gdb-multiarch"):
        gdb = _gdb_lines(elf, several_lines)
        assert {a: symbols.at(a)[0].line for a in several_lines} == gdb
    assert max(len(symbols.at(address)) for address in addresses) == 3
    assert len(addresses) > 1000


def test_a_discarded_function_does_not_hide_what_stands_at_the_start_of_the_flash(
    toolchain: None, tmp_path: Path
) -> None:
    """--gc-sections leaves the description of a discarded function behind, at address 0."""
    (tmp_path / "a.c").write_text(
        "int unused(int a) { int s = 0; for (int i = 0; i < a; i++) { s += i * a; s ^= a; } return s; }\n"
        "int used(int a) { int s = 0; for (int i = 0; i < a; i++) { s += i * a; s ^= a; s -= a << i; } return s; }\n"
        "int entry(int a) { return used(a) + 2; }\n"
    )
    elf = tmp_path / "a.elf"
    subprocess.run(
        ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-O0", "-g3", "-gdwarf-4", "-ffunction-sections",
         "-nostdlib", "-Wl,--gc-sections,-e,entry,-Ttext=0x8", "a.c", "-o", str(elf)],
        cwd=tmp_path, check=True, timeout=60,
    )  # fmt: skip
    image = Image(elf)
    symbols = Symboliser(image)
    assert image.symbol("unused") is None
    for name, line in (("used", 2), ("entry", 3)):
        symbol = image.symbol(name)
        assert symbol is not None
        for address in range(symbol.address, symbol.address + symbol.size, 2):
            assert symbols.at(address) == (Place(name, str(tmp_path / "a.c"), line),)


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_functions_of_classes_within_a_function_have_their_names(level: str, toolchain: None, tmp_path: Path) -> None:
    """Lambdas, for one: their description stands within that of the function around them."""
    (tmp_path / "a.cpp").write_text(
        'extern "C" void entry(volatile int *at) {\n'
        "  struct Local { static void run(volatile int *at) { at[1] = 1; } };\n"
        "  auto closure = [=] { at[2] = 2; };\n"
        "  auto generic = [](auto *at) { at[3] = 3; };\n"
        "  closure();\n"
        "  generic(at);\n"
        "  Local::run(at);\n"
        "}\n"
    )
    elf = tmp_path / "a.elf"
    subprocess.run(
        ["arm-none-eabi-g++", "-mcpu=cortex-m3", "-mthumb", level, "-g", "-nostdlib", "-Wl,-e,entry", "a.cpp",
         "-o", str(elf)],
        cwd=tmp_path, check=True, timeout=60,
    )  # fmt: skip
    image = Image(elf)
    symbols = Symboliser(image)
    places = {
        (place.function, place.line)
        for function in image.functions
        for address in range(function.address, function.address + function.size, 2)
        for place in symbols.at(address)[:1]
    }
    assert places >= {("run", 2), ("operator()", 3), ("operator()<int volatile>", 4)}


def test_the_thumb_bit_and_what_is_no_code(program: Callable[[str, str], Path]) -> None:
    image = Image(program("m3", "-O2"))
    symbols = Symboliser(image)
    poke = image.symbol("poke")
    assert poke is not None
    assert symbols.at(poke.address | 1) == symbols.at(poke.address) != ()
    assert symbols.at(0) == ()  # the vector table
    assert symbols.at(0x20000000) == ()
    assert symbols.at(0xFFFFFFFE) == ()


def test_without_debug_information_there_is_the_name_of_the_symbol(
    program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    elf = tmp_path / "stripped.elf"
    subprocess.run(["arm-none-eabi-strip", "-g", str(program("m3", "-O2")), "-o", str(elf)], check=True, timeout=60)
    image = Image(elf)
    poke = image.symbol("poke")
    assert poke is not None
    assert Symboliser(image).at(poke.address + 2) == (Place("poke", None, None),)


def test_a_file_in_a_folder_of_the_users_is_the_one_that_is_named(
    program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    image = Image(program("m3", "-O2"))
    poke = image.symbol("poke")
    assert poke is not None
    own = tmp_path / "firmware" / "program.c"
    own.parent.mkdir()
    own.write_text("/* edited by hand */")
    assert Symboliser(image, [tmp_path]).at(poke.address)[0].file == str(own)
    assert Symboliser(image, [tmp_path / "elsewhere"]).at(poke.address)[0].file == str(lab.FIRMWARE / "program.c")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not an ELF file at all" * 20])
def test_what_is_no_elf_file_is_refused_with_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "firmware.elf"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="firmware.elf"):
        Image(path)
    with pytest.raises(BadInput, match="cannot read"):
        Image(tmp_path / "none.elf")


def test_a_damaged_elf_file_is_refused_or_read_in_part_but_never_more_than_that(
    program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    content = bytearray(program("m3", "-O2").read_bytes())
    path = tmp_path / "damaged.elf"
    for seed in range(60):
        damaged = bytearray(content)
        for k in range(40):
            damaged[(seed * 7919 + k * 104729 + 52) % len(damaged)] ^= 1 + (seed * 31 + k) % 255
        path.write_bytes(damaged[: len(damaged) - seed * len(damaged) // 80])
        try:
            image = Image(path)
        except BadInput:
            continue
        symbols = Symboliser(image)
        for address in range(0, 0x1000, 64):
            for place in symbols.at(address):
                assert place.function is None or isinstance(place.function, str)
