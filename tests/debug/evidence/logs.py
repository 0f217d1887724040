"""What the fault handlers of other firmware would print of a crash: each format's own words around given values.

The forms follow the handlers' format strings; harness/debug/evidence/*.py say which. The values come from crashes whose
truth is known, so what a reader makes of a log can be held to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.cpustate import CpuState
from harness.debug.thumb import ReadCode, call_before
from tests.debug.evidence import core_dumps
from tests.debug.evidence.causes import CAUSES
from tests.debug.evidence.known import FRAME, SAVED, get, stacked


def _bit(state: CpuState, register: str, bit: int) -> bool:
    return bool(state.fault_status.get(register, 0) >> bit & 1)


def zephyr(state: CpuState, read: ReadCode, *, extra: bool = False, short: bool = False) -> str:
    number = {"hardfault": 3, "memmanage": 4, "busfault": 5, "usagefault": 6, "securefault": 7}.get(state.reason, 3)
    titles = {3: "HARD", 4: "MPU", 5: "BUS", 6: "USAGE", 7: "SECURE"}
    cfsr = state.fault_status.get("cfsr", 0)
    lines = []
    if short:
        lines.append(f"Fault! EXC #{number}")
        parts = cfsr & 0xFF, cfsr >> 8 & 0xFF, cfsr >> 16
        if "cfsr" in state.fault_status:
            lines.append("MMFSR: 0x{:x}, BFSR: 0x{:x}, UFSR: 0x{:x}".format(*parts))
    else:
        lines.append(f"***** {titles[number]} FAULT *****")
        if number == 3 and cfsr:
            lines.append("  Fault escalation (see below)")
            lines.append(f"***** {'MPU' if cfsr & 0xFF else 'BUS' if cfsr & 0xFF00 else 'USAGE'} FAULT *****")
        lines += [words[0] for bit, words in CAUSES.items() if cfsr >> bit & 1]
    if cfsr >> 7 & 1:
        lines.append(f"  MMFAR Address: 0x{state.fault_status['mmfar']:x}")
    if cfsr >> 15 & 1:
        lines.append(f"  BFAR Address: 0x{state.fault_status['bfar']:x}")
    lines.append(
        "r0/a1:  0x{:08x}  r1/a2:  0x{:08x}  r2/a3:  0x{:08x}".format(*(get(state, f"r{n}") for n in range(3)))
    )
    lines.append(
        f"r3/a4:  0x{get(state, 'r3'):08x} r12/ip:  0x{get(state, 'r12'):08x} r14/lr:  0x{get(state, 'lr'):08x}"
    )
    lines.append(f" xpsr:  0x{get(state, 'xpsr'):08x}")
    if extra:
        v = [get(state, name) for name in SAVED]
        lines.append("r4/v1:  0x{:08x}  r5/v2:  0x{:08x}  r6/v3:  0x{:08x}".format(*v[:3]))
        lines.append("r7/v4:  0x{:08x}  r8/v5:  0x{:08x}  r9/v6:  0x{:08x}".format(*v[3:6]))
        lines.append("r10/v7: 0x{:08x}  r11/v8: 0x{:08x}    psp:  0x{:08x}".format(*v[6:], get(state, "psp")))
        lines.append(f"EXC_RETURN: 0x{get(state, 'exc_return'):x}")
    lines.append(f"Faulting instruction address (r15/pc): 0x{get(state, 'pc'):08x}")
    lines += [">>> ZEPHYR FATAL ERROR 0: CPU exception on CPU 0", "Current thread: 0x20000280 (main)", "Halting system"]
    return "\n".join(f"[00:00:0{n // 10}.{n % 10}34,000] <err> os: {line}" for n, line in enumerate(lines)) + "\n"


def zephyr_dump(state: CpuState, read: ReadCode) -> str:
    dump = core_dumps.lines(core_dumps.binary(state, thread=bytes(40)))
    return zephyr(state, read) + "".join(f"[00:00:02.034,000] <err> coredump: {line}\n" for line in dump)


def zephyr_extra(state: CpuState, read: ReadCode) -> str:
    return zephyr(state, read, extra=True)


def zephyr_short(state: CpuState, read: ReadCode) -> str:
    return zephyr(state, read, short=True)


def scanned(state: CpuState, read: ReadCode) -> list[int]:
    """The list that CmBacktrace makes: PC, LR, and every word of the stack after a call."""
    found = [get(state, "pc"), (get(state, "lr") - 1) & 0xFFFFFFFF]
    words = [word for _, word in stacked(state)]
    return (found + [word - 1 for word in words if word & 1 and call_before(read, word)])[:16]


_FIRMWARE = (
    "Firmware name: lab, hardware version: V1.0.0, software version: V0.1.0",
    "固件名称：lab，硬件版本号：V1.0.0，软件版本号：V0.1.0",
)


def cmbacktrace(state: CpuState, read: ReadCode, *, chinese: bool = False, dump: bool = True) -> str:
    cfsr = state.fault_status.get("cfsr", 0)
    word = 2 if chinese else 1
    lines = ["", _FIRMWARE[chinese]]
    lines.append("在线程(sensor)中发生错误异常" if chinese else "Fault on thread sensor")
    if dump:
        lines.append("=========== 线程堆栈信息 ===========" if chinese else "===== Thread stack information =====")
        lines += [f"  addr: {address:08x}    data: {value:08x}" for address, value in stacked(state)]
        lines.append("====================================")
    lines.append("=================== Registers information ====================")
    frame = [get(state, name) for name in FRAME]
    lines.append("  R0 : {:08x}  R1 : {:08x}  R2 : {:08x}  R3 : {:08x}".format(*frame[:4]))
    lines.append("  R12: {:08x}  LR : {:08x}  PC : {:08x}  PSR: {:08x}".format(*frame[4:]))
    lines.append("==============================================================")
    lines += [words[word] for bit, words in CAUSES.items() if cfsr >> bit & 1]
    if cfsr >> 7 & 1:
        name = "发生存储器管理错误的地址：" if chinese else "The memory management fault occurred address is "
        lines.append(f"{name}{state.fault_status['mmfar']:08x}")
    if cfsr >> 15 & 1:
        name = "发生总线错误的地址：" if chinese else "The bus fault occurred address is "
        lines.append(f"{name}{state.fault_status['bfar']:08x}")
    called = " ".join(f"{address:08x}" for address in scanned(state, read))
    told = "查看更多函数调用栈信息，请运行：" if chinese else "Show more call stack info by run: "
    return "\r\n".join([*lines, f"{told}addr2line -e lab.elf -afpiC {called} "]) + "\r\n"


def cmbacktrace_chinese(state: CpuState, read: ReadCode) -> str:
    return cmbacktrace(state, read, chinese=True)


def cmbacktrace_without_stack(state: CpuState, read: ReadCode) -> str:
    return cmbacktrace(state, read, dump=False).replace(" -afpiC ", " -a -f ")


def mbed(state: CpuState, read: ReadCode) -> str:
    kinds = {"memmanage": "MemManageFault", "busfault": "BusFault", "usagefault": "UsageFault"}
    lines = ["", "++ MbedOS Fault Handler ++", "", f"FaultType: {kinds.get(state.reason, 'HardFault')}", "", "Context:"]
    lines += [f"R{n:<4d}: {get(state, f'r{n}'):08X}" for n in range(13)]
    lines += [f"{label:<5}: {get(state, name):08X}" for label, name in
              (("SP", "sp"), ("LR", "lr"), ("PC", "pc"), ("xPSR", "xpsr"), ("PSP", "psp"), ("MSP", "msp"))]  # fmt: skip
    lines.append("CPUID: 410FC241")
    if "cfsr" in state.fault_status:
        cfsr = state.fault_status["cfsr"]
        shown = {"HFSR": state.fault_status["hfsr"], "MMFSR": cfsr & 0xFF, "BFSR": cfsr >> 8 & 0xFF, "UFSR": cfsr >> 16}
        lines += [f"{name:<5}: {value:08X}" for name, value in shown.items()]
        lines += ["DFSR : 00000000", "AFSR : 00000000"]
        lines += [f"MMFAR: {state.fault_status['mmfar']:08X}"] if cfsr >> 7 & 1 else []
        lines += [f"BFAR : {state.fault_status['bfar']:08X}"] if cfsr >> 15 & 1 else []
    psp = get(state, "exc_return") & 4
    lines += [
        "Mode : Thread",
        "Priv : Privileged",
        f"Stack: {'PSP' if psp else 'MSP'}",
        "",
        "-- MbedOS Fault Handler --",
    ]
    lines += [
        "",
        "++ MbedOS Error Info ++",
        "Error Status: 0x80FF013D Code: 317 Module: 255",
        "Error Message: Fault exception",
    ]
    lines += [
        "Location: 0x1234",
        "Error Value: 0x20001000",
        "Current Thread: main Id: 0x20002C88 Entry: 0x1235 SP: 0x2000FF18",
    ]
    lines.append("-- MbedOS Error Info --")
    return "\n".join(lines) + "\n"


def nuttx(state: CpuState, read: ReadCode) -> str:
    kind = {"memmanage": "Memory", "busfault": "Bus", "usagefault": "Usage"}.get(state.reason, "Hard")
    lines = [f"arm_{kind.lower()}fault: PANIC!!! {kind} Fault!:", "arm_fault: \tIRQ: 3 regs: 0x20001e40"]
    status = [state.fault_status.get(name, 0) for name in ("cfsr", "hfsr", "bfar")]
    lines.append("arm_fault: \tBASEPRI: 00000000 PRIMASK: 00000000 IPSR: 00000003 CONTROL: 00000000")
    if "cfsr" in state.fault_status:
        lines.append(
            "arm_fault: \tCFSR: {:08x} HFSR: {:08x} DFSR: 00000000 BFAR: {:08x} AFSR: 00000000".format(*status)
        )
    lines.append("dump_assert_info: Assertion failed panic: at file: :0 task: sensor process: sensor 0x1235")
    r = {name: get(state, name) for name in (*FRAME, *SAVED, "exc_return")}
    # its SP is that before the frame, but for the padding
    sp = state.registers["sp"] - (4 if r["xpsr"] & 1 << 9 else 0)
    rows = (
        "R0: {r0:08x} R1: {r1:08x} R2: {r2:08x}  R3: {r3:08x}",
        "R4: {r4:08x} R5: {r5:08x} R6: {r6:08x}  FP: {r7:08x}",
        "R8: {r8:08x} SB: {r9:08x} SL: {r10:08x} R11: {r11:08x}",
        "IP: {r12:08x} SP: {sp:08x} LR: {lr:08x}  PC: {pc:08x}",
        "xPSR: {xpsr:08x} BASEPRI: 00000000 CONTROL: 00000000",
        "EXC_RETURN: {exc_return:08x}",
    )
    lines += [f"up_dump_register: {row.format(sp=sp, **r)}" for row in rows]
    lines += ["dump_stackinfo: User Stack:", "dump_stackinfo:   base: 0x20001000"]
    frame = struct.pack("<8I", *(r[name] for name in FRAME))
    if r["xpsr"] & 1 << 9:
        frame += bytes(4)
    if not r["exc_return"] & 16:
        frame = frame[:32] + bytes(72) + frame[32:]
    below = struct.unpack(f"<{len(frame) // 4}I", frame)
    words = [(state.registers["sp"] - len(frame) + 4 * n, word) for n, word in enumerate(below)] + stacked(state)
    for first in range(0, len(words), 8):
        row = words[first : first + 8]
        lines.append(f"stack_dump: 0x{row[0][0]:08x}: " + " ".join(f"{word:08x}" for _, word in row))
    return "\n".join(lines) + "\n"


def nuttx_old(state: CpuState, read: ReadCode) -> str:
    r = [get(state, f"r{n}") for n in range(13)] + [get(state, name) for name in ("sp", "lr", "pc")]
    lines = ["up_assert: Assertion failed at file:armv7-m/arm_hardfault.c line: 135 task: sensor"]
    lines += [f"up_registerdump: R{n}: " + " ".join(f"{value:08x}" for value in r[n : n + 8]) for n in (0, 8)]
    lines.append(f"up_registerdump: xPSR: {get(state, 'xpsr'):08x} PRIMASK: 00000000 CONTROL: 00000000")
    return "\n".join([*lines, f"up_registerdump: EXC_RETURN: {get(state, 'exc_return'):08x}"]) + "\n"


def rtthread(state: CpuState, read: ReadCode) -> str:
    lines = [
        f"psr: 0x{get(state, 'xpsr'):08x}",
        *(f"r{n:02}: 0x{get(state, f'r{n}'):08x}" for n in range(13)),
    ]
    lines += [
        f" lr: 0x{get(state, 'lr'):08x}",
        f" pc: 0x{get(state, 'pc'):08x}",
        "hard fault on thread: sensor",
        "",
    ]
    cfsr = state.fault_status.get("cfsr", 0)
    if cfsr >> 16:
        lines += ["usage fault:", f"SCB_CFSR_UFSR:0x{cfsr >> 16:02X} "]
    if cfsr >> 8 & 0xFF:
        bfar = f"SCB->BFAR:{state.fault_status['bfar']:08X}" if cfsr >> 15 & 1 else ""
        lines += ["bus fault:", f"SCB_CFSR_BFSR:0x{cfsr >> 8 & 0xFF:02X} PRECISERR {bfar}"]
    if cfsr & 0xFF:
        mmar = f"SCB->MMAR:{state.fault_status['mmfar']:08X}" if cfsr >> 7 & 1 else ""
        lines += ["mem manage fault:", f"SCB_CFSR_MFSR:0x{cfsr & 0xFF:02X} DACCVIOL {mmar}"]
    return "msh />" + "\n".join(lines) + "\n"


def riot(state: CpuState, read: ReadCode) -> str:
    lines = ["", "Context before hardfault:"]
    lines += [f"{'psr' if name == 'xpsr' else name:>5}: 0x{get(state, name):08x}" for name in FRAME]
    lines.append("")
    if "cfsr" in state.fault_status:
        lines += [
            "FSR/FAR:",
            f" CFSR: 0x{state.fault_status['cfsr']:08x}",
            f" HFSR: 0x{state.fault_status['hfsr']:08x}",
        ]
        lines += [" DFSR: 0x00000000", " AFSR: 0x00000000"]
        lines += [f" BFAR: 0x{state.fault_status['bfar']:08x}"] if _bit(state, "cfsr", 15) else []
        lines += [f"MMFAR: 0x{state.fault_status['mmfar']:08x}"] if _bit(state, "cfsr", 7) else []
    lines += ["Misc", f"EXC_RET: 0x{get(state, 'exc_return'):08x}", 'Active thread: 3 "sensor"']
    lines += [
        "Attempting to reconstruct state for debugging...",
        "In GDB:",
        f"  set $pc=0x{get(state, 'pc'):x}",
        "  frame 0",
    ]
    return "\n".join(f"2026-01-02 10:34:52,{n:03} # {line}" for n, line in enumerate(lines)) + "\n"


def handler(state: CpuState, read: ReadCode) -> str:
    """The handler that many hand-written ones come from."""
    names = {"lr": "LR [R14]", "pc": "PC [R15]", "xpsr": "PSR"}
    lines = ["", "", "[Hard fault handler - all numbers in hex]"]
    lines += [f"{names.get(name, name.upper())} = 0x{get(state, name):08X}" for name in FRAME]
    status = (("BFAR", "bfar"), ("CFSR", "cfsr"), ("HFSR", "hfsr"))
    lines += [f"{label} = 0x{state.fault_status.get(name, 0):X}" for label, name in status if state.fault_status]
    return "\r\n".join(lines) + "\r\n"


def handler_unpadded(state: CpuState, read: ReadCode) -> str:
    """In another order, without 0x and leading zeros, on few lines."""
    names = ("pc", "lr", "r0", "r1", "r2", "r3", "r12", "xpsr")
    first = " ".join(f"{name}={get(state, name):x}" for name in names)
    status = " ".join(f"{name}={value:x}" for name, value in state.fault_status.items() if name != "shcsr")
    return f"!! HardFault {first}\n!! {status}\n"


def memfault(state: CpuState, read: ReadCode) -> str:
    """gdb's print of the structure that fault handlers after Memfault's article are given."""
    names = {"pc": "return_address"}
    inside = ", ".join(f"{names.get(name, name)} = 0x{get(state, name):x}" for name in FRAME)
    status = f"\nCFSR: 0x{state.fault_status['cfsr']:08x}" if "cfsr" in state.fault_status else ""
    return f"HardFault\n(gdb) p/x *frame\n$1 = {{{inside}}}{status}\n"


def gdb(state: CpuState, read: ReadCode) -> str:
    names = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr")
    lines = ["(gdb) info registers"]
    for name in names:
        value = get(state, name)
        told = f"0x{value:x}" if name in ("sp", "lr", "pc") else str(value)
        lines.append(f"{name:<15}0x{value:<18x}{told}" + (" <poke+4>" if name == "pc" else ""))
    lines.append("(gdb) x/400wx $sp")
    words = stacked(state)
    for first in range(0, len(words), 4):
        row = words[first : first + 4]
        lines.append(f"0x{row[0][0]:08x} <stack+{first * 4}>:\t" + "\t".join(f"0x{word:08x}" for _, word in row))
    return "\n".join(lines) + "\n"


def _halted(state: CpuState) -> CpuState:
    """As if the processor had been stopped there: the stack pointer in use is MSP or PSP itself."""
    active = "psp" if get(state, "exc_return") & 4 else "msp"
    return replace(state, registers={**state.registers, active: get(state, "sp")})


def openocd(state: CpuState, read: ReadCode) -> str:
    state = _halted(state)
    names = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr", "msp", "psp")
    lines = ["target halted due to debug-request, current mode: Thread"]
    lines += ["===== arm v7m registers"]
    lines += [
        f"({n}) {'xPSR' if name == 'xpsr' else name} (/32): 0x{get(state, name):08x}" for n, name in enumerate(names)
    ]
    words = stacked(state)
    for first in range(0, len(words), 8):
        row = words[first : first + 8]
        lines.append(f"0x{row[0][0]:08x}: " + " ".join(f"{word:08x}" for _, word in row) + " ")
    return "\n".join(lines) + "\n"


def jlink(state: CpuState, read: ReadCode) -> str:
    state = _halted(state)
    r = {name: get(state, name) for name in (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr", "msp", "psp")}
    rows = (
        "PC = {pc:08X}, CycleCnt = 00000000",
        "R0 = {r0:08X}, R1 = {r1:08X}, R2 = {r2:08X}, R3 = {r3:08X}",
        "R4 = {r4:08X}, R5 = {r5:08X}, R6 = {r6:08X}, R7 = {r7:08X}",
        "R8 = {r8:08X}, R9 = {r9:08X}, R10= {r10:08X}, R11= {r11:08X}",
        "R12= {r12:08X}",
        "SP(R13)= {sp:08X}, MSP= {msp:08X}, PSP= {psp:08X}, R14(LR) = {lr:08X}",
        "XPSR = {xpsr:08X}: APSR = nZCvq, EPSR = 01000000, IPSR = 000 (NoException)",
    )
    lines = [row.format(**r) for row in rows]
    words = stacked(state)
    for first in range(0, len(words), 4):
        row = words[first : first + 4]
        lines.append(f"{row[0][0]:08X} = " + " ".join(f"{word:08X}" for _, word in row) + " ")
    return "\n".join(lines) + "\n"


Render = Callable[[CpuState, ReadCode], str]


def given(render: Render, state: CpuState) -> Mapping[str, int]:
    """The registers that a log of this form is made from."""
    return (_halted(state) if render in (openocd, jlink) else state).registers


FAULT_LOGS: dict[Render, str] = {
    zephyr: "Zephyr log",
    zephyr_extra: "Zephyr log",
    zephyr_short: "Zephyr log",
    zephyr_dump: "Zephyr log",
    cmbacktrace: "CmBacktrace log",
    cmbacktrace_chinese: "CmBacktrace log",
    cmbacktrace_without_stack: "CmBacktrace log",
    mbed: "Mbed OS log",
    nuttx: "NuttX log",
    nuttx_old: "NuttX log",
    rtthread: "RT-Thread log",
    riot: "RIOT log",
    handler: "register list",
    handler_unpadded: "register list",
    memfault: "register list",
}
HALTED_LOGS: dict[Render, str] = dict.fromkeys((gdb, openocd, jlink), "debugger's registers")
LOGS = {**FAULT_LOGS, **HALTED_LOGS}
