"""Instructions in words, against objdump's on whole images."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.board import load_board
from harness.compiler import compile_model
from harness.debug.disassembly import Disassembler
from harness.debug.image import Image
from harness.firmware import build
from harness.resources import models_dir
from tests.debug import lab

_LINE = re.compile(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{4} ?)+)\s*\t(.*)$", re.MULTILINE)
_CONDITIONS = "eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"


def objdump(elf: Path) -> dict[int, tuple[int, str]]:
    """Address to bytes and text. With the architecture that has every instruction: the ELF's own leaves MVE out."""
    command = ["arm-none-eabi-objdump", "-d", "-w", "-z", "-M", "reg-names-std", "-m", "armv8.1-m.main", str(elf)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return {int(place, 16): (2 * len(code.split()), words) for place, code, words in _LINE.findall(text)}


def _registers(operands: str) -> str:
    """Lists without ranges."""

    def whole(found: re.Match[str]) -> str:
        kind, first, last = found[1], int(found[2]), int(found[4])
        return ",".join(f"{kind}{n}" for n in range(first, last + 1))

    return re.sub(r"([rsd])(\d+)-([rsd])(\d+)", whole, operands)


def _real(code: int) -> float:
    """The number that eight bits of a VMOV stand for (DDI 0403E, A6.4.1)."""
    exponent = (code >> 4 & 3) + (-3 if code & 0x40 else 1)
    return (-1.0 if code & 0x80 else 1.0) * (16 + (code & 15)) / 16 * 2.0**exponent


def spelt(text: str, hexadecimal: bool) -> tuple[str, str]:
    """Mnemonic and operands in the one spelling that both are brought to. `hexadecimal`: targets of branches are."""
    text = re.sub(r"<.*?>", "", re.split(r"[@;]", text)[0]).strip().lower().replace("\t", " ")
    mnemonic, _, operands = text.partition(" ")
    mnemonic = re.sub(r"\.(n|w)$", "", mnemonic)
    operands = _registers(operands.replace("#", "").replace(" ", ""))
    if hexadecimal and re.fullmatch(
        rf"b({_CONDITIONS}|cc|cs)?|bl({_CONDITIONS})?|cbn?z|le|letp|wls|wlstp(\.\d+)?", mnemonic
    ):
        operands = re.sub(r"([0-9a-f]+)$", lambda found: str(int(found[1], 16)), operands)
    operands = re.sub(r"(?<![0-9a-f])0x([0-9a-f]+)", lambda found: str(int(found[1], 16)), operands)
    operands = re.sub(r",-?0\]", "]", operands)
    mnemonic = re.sub(r"^((?!i?te?$).*)cc$", r"\1lo", re.sub(r"^((?!vpt).*)cs$", r"\1hs", mnemonic))
    operands = {"cc": "lo", "cs": "hs"}.get(operands, operands)
    mnemonic = re.sub(r"^(ldm|stm|vldm|vstm)ia", r"\1", mnemonic)
    if (mnemonic, operands[:4]) == ("ldm", "sp!,"):
        mnemonic, operands = "pop", operands[4:]
    elif (mnemonic, operands[:4]) == ("stmdb", "sp!,"):
        mnemonic, operands = "push", operands[4:]
    elif mnemonic == "ldr" and operands.endswith(",[sp],4"):
        mnemonic, operands = "pop", "{" + operands.removesuffix(",[sp],4") + "}"
    elif mnemonic == "str" and operands.endswith(",[sp,-4]!"):
        mnemonic, operands = "push", "{" + operands.removesuffix(",[sp,-4]!") + "}"
    shifted = re.fullmatch(r"(\w+,\w+),(lsl|lsr|asr|ror)(\w+)", operands)
    if shifted and re.fullmatch(rf"movs?({_CONDITIONS})?", mnemonic):
        mnemonic, operands = shifted[2] + mnemonic[3:], f"{shifted[1]},{shifted[3]}"
    if mnemonic.startswith("neg"):
        mnemonic, operands = "rsb" + mnemonic[3:], operands + ",0"
    if mnemonic.startswith("mul") and operands.count(",") == 1:
        operands += "," + operands.split(",")[0]
    if mnemonic == "add" and re.fullmatch(r"\w+,pc,\d+", operands):
        mnemonic, operands = "adr", operands.replace("pc,", "")
    if mnemonic in ("mrs", "msr"):
        operands = re.sub(r"\bxpsr\b", "psr", operands)
    if (mnemonic, operands) == ("mov", "r8,r8"):
        mnemonic, operands = "nop", ""
    if mnemonic.startswith("rrx"):
        mnemonic, operands = "mov" + mnemonic[3:], operands + ",rrx"
    if mnemonic == "add" and re.fullmatch(r"r\d+,sp", operands):
        operands += "," + operands.split(",")[0]
    real = re.fullmatch(r"(\w+),(\d+)", operands)
    if mnemonic in ("vmov.f32", "vmov.f64") and real:
        operands = f"{real[1]},{_real(int(real[2])):e}"
    lane = re.search(r"d(\d+)\[(\d)\]", operands)
    if mnemonic == "vmov.32" and lane:
        number = int(lane[1])
        operands = operands.replace(lane[0], f"q{number // 2}[{number % 2 * 2 + int(lane[2])}]")
    return mnemonic, operands


def compare(elf: Path) -> int:
    """How many instructions were compared."""
    image, theirs = Image(elf), objdump(elf)
    compared = 0
    for section in image.sections:
        if not section.executable:
            continue
        for ours in Disassembler(image).decode(section.address, section.address + section.size):
            size, text = theirs[ours.address]
            assert len(ours.code) == size, hex(ours.address)
            assert spelt(ours.text, False) == spelt(text, True), f"{ours.address:#x} {ours.code.hex()}"
            compared += 1
    return compared


@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("core", lab.CORES)
def test_the_crash_programs_read_as_objdump_reads_them(
    core: str, level: str, program: Callable[[str, str], Path]
) -> None:
    assert compare(program(core, level)) > 1000


@pytest.mark.parametrize("core", [0, 3, 4, 7, 33, 55])
def test_a_models_firmware_reads_as_objdump_reads_it(core: int, toolchain: None) -> None:
    """On the M55 most of it is of the vector extension and in low-overhead loops."""
    board = load_board(f"qemu_cortex_m{core}")
    source = compile_model(models_dir() / "keywords_int8.tflite", board.target, check=False)
    assert compare(build(source, board).elf) > 2000


def test_an_encoding_without_meaning_is_shown_as_such_and_the_next_one_is_right(
    toolchain: None, tmp_path: Path
) -> None:
    (tmp_path / "a.s").write_text(
        ".syntax unified\n.thumb\n.thumb_func\n.type f, %function\nf: nop\n.inst.w 0xec000000 + 0xff\nmovs r0, #1\n"
        "it eq\nmoveq r0, #2\nbx lr\n.size f, . - f\n"
    )
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-nostdlib", "-Wl,-Ttext=0x100,-e,f", "a.s", "-o", "a.elf"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    found = Disassembler(Image(tmp_path / "a.elf")).around(0x106, 5, 5)
    assert [i.text for i in found] == ["nop", ".inst 0xec0000ff", "movs r0, #1", "it eq", "moveq r0, #2", "bx lr"]
