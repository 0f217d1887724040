"""Firmware in QEMU: started with the processor stopped, connected, and only then released.

UART and monitor are socket pairs that QEMU inherits: nothing in the file system, nothing on the network, nobody else
can connect, and no byte can come before somebody listens.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass

from harness.cpustate import CpuState
from harness.errors import RunnerFailed, ToolMissing
from harness.runners.base import ExitKind, Image, SocketTransport, TargetExit
from harness.runners.process import GuardedProcess
from harness.runners.qmp import QmpClient, QmpRefused
from harness.runners.target import PAGE, ProcessTarget, halted_state

MEMORY_LIMIT = 4 << 30  # bytes of address space; mps3-an547 reserves 2.4 GiB, 2 of them for memory nobody uses
TRANSLATION_BUFFER = 64  # MiB that QEMU keeps translated code in; its default is a fraction of the memory of the host

_LOCKUP = re.compile(r"qemu: fatal: (Lockup: .*)")
_NOISE = re.compile(r".*warning: nic \S+ has no peer\n?")  # boards with a network chip that nobody plugs in


@dataclass(frozen=True)
class QemuRunner:
    """Runs an ELF on one machine of qemu-system-arm.

    `serial` is which of the machine's serial ports the UART is; `options` are further arguments, such as a TCG plugin.
    """

    machine: str
    serial: int = 0
    options: tuple[str, ...] = ()
    emulator: str = "qemu-system-arm"
    memory_limit: int = MEMORY_LIMIT

    def start(self, image: Image) -> QemuTarget:
        """ToolMissing: QEMU is not installed. RunnerFailed: it does not start; with its own words."""
        program = shutil.which(self.emulator)
        if program is None:
            raise ToolMissing(
                f"{self.emulator} is not installed, and board machine {self.machine} runs in it",
                hint="On Debian and Ubuntu: apt install qemu-system-arm",
            )
        with ExitStack() as stack:
            uart, uart_peer = _socket_pair(stack)
            monitor, monitor_peer = _socket_pair(stack)
            memory = stack.enter_context(tempfile.TemporaryFile())
            command = [
                program,
                *("-machine", self.machine, "-accel", f"tcg,tb-size={TRANSLATION_BUFFER}"),
                *("-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-S"),
                *("-chardev", f"socket,id=uart,fd={uart_peer.fileno()}"),
                *(("-serial", "null") * self.serial + ("-serial", "chardev:uart")),
                *("-chardev", f"socket,id=monitor,fd={monitor_peer.fileno()}"),
                *("-mon", "chardev=monitor,mode=control"),
                *self.options,
                *("-kernel", str(image.elf)),
            ]
            process = GuardedProcess(
                command,
                pass_fds=(uart_peer.fileno(), monitor_peer.fileno(), memory.fileno()),
                memory_limit=self.memory_limit,
            )
            stack.callback(process.close)
            uart_peer.close()
            monitor_peer.close()
            target = QemuTarget(process, uart, QmpClient(monitor), memory.fileno())
            target.release()
            target.own(stack.pop_all())
        return target


class QemuTarget(ProcessTarget):
    """Firmware that runs in a QEMU of its own."""

    def __init__(self, process: GuardedProcess, uart: socket.socket, monitor: QmpClient, memory: int) -> None:
        super().__init__(process, SocketTransport(uart, nudge=monitor.nudge))
        self._monitor = monitor
        self._memory = memory  # descriptor of an unnamed file that QEMU has too, under the same number
        self._halted = False

    @property
    def stderr(self) -> str:
        return _NOISE.sub("", super().stderr)

    def release(self) -> None:
        """Let the stopped processor run from reset."""
        try:
            self._monitor.negotiate()
            self._monitor.execute("cont")
        except EOFError as error:
            gone = self.exit_reason(timeout=5.0)
            raise RunnerFailed(
                f"QEMU did not start: it {self._process.poll()}",
                where=self._process.command[0],
                hint=gone.detail if gone is not None else "",
            ) from error
        except TimeoutError as error:
            raise RunnerFailed(str(error), where=self._process.command[0]) from error

    def exit_reason(self, timeout: float = 0.0) -> TargetExit | None:
        status = self._process.poll(timeout)
        if status is None:
            return None
        text = self.stderr.strip()
        lockup = _LOCKUP.search(text)
        if lockup and status.signal == signal.SIGABRT:
            state = CpuState(parse_registers(text), reason="lockup")
            return TargetExit(ExitKind.LOCKUP, lockup[1], state, text)
        return TargetExit(ExitKind.LOST, f"QEMU {status}", detail=text)

    def halt(self) -> CpuState | None:
        """Stop the processor; what `halted_state` tells, or None when QEMU is gone.

        Of the two stack pointers QEMU shows only the one in use.
        """
        try:
            self._monitor.execute("stop")
            self._halted = True
            return halted_state(parse_registers(self._monitor.monitor("info registers")), self.read_memory)
        except EOFError:
            return None
        except TimeoutError as error:
            raise RunnerFailed(str(error), where=self._process.command[0]) from error

    def read_memory(self, address: int, length: int) -> bytes:
        """Memory as the processor sees it, peripherals included; protection by the MPU does not hide it."""
        if not self._halted:
            raise RunnerFailed("memory can be read through QEMU only while the processor is halted")
        parts = []
        end = address + length
        while address < end:
            page_end = min(end, (address // PAGE + 1) * PAGE)
            parts.append(self._read_page(address, page_end - address))
            address = page_end
        return b"".join(parts)

    def _read_page(self, address: int, length: int) -> bytes:
        """Bytes within one page: first as the processor would read them, then past the MPU."""
        try:
            self._monitor.execute("memsave", val=address, size=length, filename=f"/dev/fd/{self._memory}")
            return os.pread(self._memory, length, 0)
        except QmpRefused:
            text = self._monitor.monitor(f"xp /{length}xb {address:#x}")
        values = re.findall(r"\b0x([0-9a-f]{2})\b", text)
        if len(values) != length:
            raise RunnerFailed(f"nothing readable at {address:#010x}, {length} bytes", hint=text.strip())
        return bytes.fromhex("".join(values))


def parse_registers(text: str) -> dict[str, int]:
    """The registers in what QEMU prints for `info registers` and in the dump of a lockup, by CpuState's names."""
    names = {"r13": "sp", "r14": "lr", "r15": "pc"}
    registers = {}
    for name, value in re.findall(r"\b(R\d\d|XPSR|s\d\d|FPSCR)(?:=|: )([0-9a-f]{8})\b", text):
        key = re.sub(r"(?<=[rs])0(?=\d)", "", name.lower())
        registers[names.get(key, key)] = int(value, 16)
    if registers.get("xpsr", 0) & 0x1FF and "sp" in registers:  # an exception is active: handlers use MSP
        registers["msp"] = registers["sp"]
    return registers


def _socket_pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    return stack.enter_context(ours), stack.enter_context(theirs)
