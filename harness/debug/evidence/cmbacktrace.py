"""What CmBacktrace prints, under FreeRTOS, RT-Thread, uC/OS or none, in English or Chinese.

    Firmware name: app, hardware version: V1.0.0, software version: V0.1.0
    Fault on thread sensor
    ===== Thread stack information =====
      addr: 20001a48    data: 08000d2d
    ====================================
    =================== Registers information ====================
      R0 : 00000000  R1 : 00000001  R2 : …  R3 : …
      R12: …         LR : 08000cd3  PC : 08000c88  PSR: 61000000
    ==============================================================
    Bus fault is caused by precise data access violation
    The bus fault occurred address is 60000000
    Show more call stack info by run: addr2line -e app.axf -afpiC 08000c88 08000cd2 08000d2c

cm_backtrace.c: the stack is printed from where it stood before the exception frame was pushed, so that its first
address is SP at the fault. The list is PC, LR, and every word of the stack before which a call stands: a guess of the
target's own.
"""

from __future__ import annotations

import re

from harness.cpustate import CpuState, MemorySpan
from harness.debug.evidence.base import Evidence, Format
from harness.debug.evidence.causes import REMARK, status_from, without_lost_frame
from harness.debug.evidence.crashes import Part, each
from harness.debug.evidence.dumps import pairs
from harness.debug.evidence.stacks import UNPROVEN
from harness.debug.evidence.words import resolve, words_in
from harness.rpc.fault_record import PADDED

NAME = "CmBacktrace log"

_WHERE = re.compile(
    r"(Fault|Assert) on (?:thread (?P<thread>.+)|interrupt or bare metal.*)"
    r"|在线程\((?P<zh_thread>.*?)\)中发生(?P<zh>错误异常|断言)|在中断或裸机环境下发生(?P<zh_bare>错误异常|断言)"
)
_FIRMWARE = re.compile(r"Firmware name: (.{0,200})|固件名称：(.{0,200})")
_LIST = re.compile(r"addr2line\s+-e\s+\S+(?:\s+-\w+)+((?:\s+[0-9a-f]{8})+)", re.IGNORECASE)
_OURS = re.compile(r"\b(?:R0 ?|R12): [0-9a-f]{8} ", re.IGNORECASE)
_FIRST_ADDRESS = re.compile(r"\baddr: *([0-9a-f]{8})\s+data:", re.IGNORECASE)
_OVERFLOW = re.compile(
    r"(?:Thread|Main) stack\(([0-9a-f]{8})\) was overflow|(?:线程|主)栈\(([0-9a-f]{8})\)发生溢出", re.IGNORECASE
)
_ADDRESS = re.compile(
    r"(?:(memory management|存储器管理)|bus|总线)(?: fault occurred address is |错误的地址：)([0-9a-f]{8})",
    re.IGNORECASE,
)

_MEMORY, _BUS, _USAGE = "Memory management fault is caused by ", "Bus fault is caused by ", "Usage fault is caused by "
_MEMORY_ZH, _BUS_ZH, _USAGE_ZH = "发生存储器管理错误，原因：", "发生总线错误，原因：", "发生用法错误，原因："
_DEBUG, _DEBUG_ZH = "Debug fault is caused by ", "发生调试错误，原因："
_CAUSES = (
    ("HFSR", "VECTTBL", "Hard fault is caused by failed vector fetch", "发生硬错误，原因：取中断向量时出错"),
    ("MMFSR", "IACCVIOL", f"{_MEMORY}instruction access violation", f"{_MEMORY_ZH}企图从不允许访问的区域取指令"),
    ("MMFSR", "DACCVIOL", f"{_MEMORY}data access violation", f"{_MEMORY_ZH}企图从不允许访问的区域读、写数据"),
    ("MMFSR", "MUNSTKERR", f"{_MEMORY}unstacking error", f"{_MEMORY_ZH}出栈时"),
    ("MMFSR", "MSTKERR", f"{_MEMORY}stacking error", f"{_MEMORY_ZH}入栈时"),
    ("MMFSR", "MLSPERR", f"{_MEMORY}floating-point lazy state", f"{_MEMORY_ZH}惰性保存浮点状态"),
    ("BFSR", "IBUSERR", f"{_BUS}instruction access violation", f"{_BUS_ZH}指令总线错误"),
    ("BFSR", "PRECISERR", f"{_BUS}precise data access violation", f"{_BUS_ZH}精确的数据总线错误"),
    ("BFSR", "IMPRECISERR", f"{_BUS}imprecise data access violation", f"{_BUS_ZH}不精确的数据总线错误"),
    ("BFSR", "UNSTKERR", f"{_BUS}unstacking error", f"{_BUS_ZH}出栈时"),
    ("BFSR", "STKERR", f"{_BUS}stacking error", f"{_BUS_ZH}入栈时"),
    ("BFSR", "LSPERR", f"{_BUS}floating-point lazy state", f"{_BUS_ZH}惰性保存浮点状态"),
    ("UFSR", "UNDEFINSTR", f"{_USAGE}attempts to execute an undefined", f"{_USAGE_ZH}企图执行未定义指令"),
    ("UFSR", "INVSTATE", f"{_USAGE}attempts to switch to an invalid state", f"{_USAGE_ZH}试图切换到 ARM 状态"),
    ("UFSR", "INVPC", f"{_USAGE}attempts to do an exception with a bad", f"{_USAGE_ZH}无效的异常返回码"),
    ("UFSR", "NOCP", f"{_USAGE}attempts to execute a coprocessor", f"{_USAGE_ZH}企图执行协处理器指令"),
    ("UFSR", "STKOF", f"{_USAGE}indicates that a stack overflow", f"{_USAGE_ZH}硬件检测到栈溢出"),
    ("UFSR", "UNALIGNED", f"{_USAGE}indicates that an unaligned", f"{_USAGE_ZH}企图执行非对齐访问"),
    ("UFSR", "DIVBYZERO", f"{_USAGE}Indicates a divide by zero", f"{_USAGE_ZH}企图执行除 0 操作"),
    ("DFSR", "HALTED", f"{_DEBUG}halt requested", f"{_DEBUG_ZH}NVIC"),
    ("DFSR", "BKPT", f"{_DEBUG}BKPT", f"{_DEBUG_ZH}执行 BKPT"),
    ("DFSR", "DWTTRAP", f"{_DEBUG}DWT", f"{_DEBUG_ZH}数据监测点"),
    ("DFSR", "VCATCH", f"{_DEBUG}Vector fetch", f"{_DEBUG_ZH}发生向量捕获"),
    ("DFSR", "EXTERNAL", f"{_DEBUG}EDBGRQ", f"{_DEBUG_ZH}外部调试请求"),
)


def _begins(line: str) -> bool:
    return bool(_FIRMWARE.search(line) or _WHERE.search(line) or _OURS.search(line))


def _read(part: Part, is_open: bool) -> Evidence | None:
    where = next((m for m in map(_WHERE.search, part.lines) if m), None)
    call_list = next((m for m in map(_LIST.search, part.lines) if m), None)
    ours = [line if _OURS.search(line) else "" for line in part.lines]
    found = resolve(words_in(ours, part.first, is_open and part.is_last))
    if call_list is None and (where is None or not found.values):
        return None
    notes = list(found.notes)
    status = status_from(_bits(part), _addresses(part))
    if status:
        notes.append(REMARK.format(names="CFSR and HFSR"))
    registers = without_lost_frame(dict(found.values), status, notes)
    memory, sp = _stack(part, registers.get("xpsr"), notes)
    if sp is not None:
        registers["sp"] = sp
    asserted = where is not None and ("Assert" in where[0] or "断言" in where[0])
    return Evidence(
        # it replaces the handler of hard faults, and names no other
        CpuState(registers, status, memory, reason="assert" if asserted else "hardfault"),
        NAME,
        None,
        listed=tuple(int(word, 16) for word in call_list[1].split()) if call_list else (),
        notes=tuple(notes),
        context=tuple(_context(part, where)),
        line=part.first + 1,
        cut=found.cut or call_list is None,
    )


def _bits(part: Part) -> list[tuple[str, str]]:
    return [
        (register, name)
        for register, name, english, chinese in _CAUSES
        if any(english in line or chinese in line for line in part.lines)
    ]


def _addresses(part: Part) -> dict[str, int]:
    found: dict[str, int] = {}
    for address in filter(None, map(_ADDRESS.search, part.lines)):
        found.setdefault("mmfar" if address[1] else "bfar", int(address[2], 16))
    return found


def _stack(part: Part, xpsr: int | None, notes: list[str]) -> tuple[tuple[MemorySpan, ...], int | None]:
    """The stack that was printed, and the stack pointer that it tells.

    Frames are aligned to 8 bytes (DDI 0403E B1.5.7): a first line that does not fit the padding is not the first.
    """
    memory = pairs(part.lines)
    overflow = next((m for m in map(_OVERFLOW.search, part.lines) if m), None)
    if overflow:
        pointer = int(overflow[1] or overflow[2], 16)
        notes.append(f"CmBacktrace found the stack pointer, 0x{pointer:08x}, outside the stack: a stack overflow.")
        return memory, pointer
    addresses = [int(m[1], 16) for m in map(_FIRST_ADDRESS.search, part.lines) if m]
    if not addresses:
        return memory, None
    padded = xpsr is not None and xpsr & PADDED
    if addresses[0] != min(addresses) or addresses[0] % 8 != (4 if padded else 0):
        notes.append(UNPROVEN)
        return memory, None
    return memory, addresses[0]


def _context(part: Part, where: re.Match[str] | None) -> list[str]:
    firmware = next((m for m in map(_FIRMWARE.search, part.lines) if m), None)
    told = [f"Firmware name: {(firmware[1] or firmware[2]).strip()}."] if firmware else []
    thread = ((where["thread"] or where["zh_thread"] or "") if where else "").rstrip()
    if thread:
        told.append(f"Thread: {thread[:40]}.")
    return told


FORMAT = Format(
    NAME,
    "CmBacktrace's (Fault on …, R0 : …, addr2line -e …)",
    each(_begins, lambda line: bool(_LIST.search(line)), _read),
)
