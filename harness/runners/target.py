"""What targets that are programs of this computer have in common: a guarded process, a UART to it, and their end.

A stopped processor is looked at in the same way in each emulator, by `halted_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from harness.cpustate import FAULT_STATUS_ADDRESSES, CpuState, MemorySpan
from harness.errors import RunnerFailed
from harness.runners.base import SocketTransport
from harness.runners.process import GuardedProcess

PAGE = 1024  # bytes that are readable or not as a whole: QEMU checks the MPU once a page in its debug reads
STACK_SNAPSHOT = 4096  # bytes above the stack pointer kept with the state of a halted processor
STATUS_REGISTERS = ("cfsr", "hfsr", "mmfar", "bfar", "shcsr")  # those that every core but Armv6-M has

ReadMemory = Callable[[int, int], bytes]  # (address, length); RunnerFailed: nothing is readable there
Self = TypeVar("Self", bound="ProcessTarget")


class ProcessTarget:
    """A process and its UART. `close` ends it with everything that was handed over by `own`."""

    def __init__(self, process: GuardedProcess, transport: SocketTransport) -> None:
        self._process = process
        self._resources = ExitStack()
        self.transport = transport

    @property
    def pid(self) -> int:
        """The process id of the program or the emulator."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        return self._process.stderr

    def own(self, resources: ExitStack) -> None:
        """Take over what `close` has to end."""
        self._resources = resources

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._resources.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def halted_state(registers: Mapping[str, int], read: ReadMemory, reason: str = "halted") -> CpuState:
    """What is known of a stopped processor: `registers`, the fault status when a fault was ever taken, and the stack as
    far as it can be read."""
    status = {name: int.from_bytes(read(FAULT_STATUS_ADDRESSES[name], 4), "little") for name in STATUS_REGISTERS}
    taken = status["cfsr"] or status["hfsr"]
    return CpuState(registers, status if taken else {}, _stack(registers["sp"], read), reason=reason)


def _stack(pointer: int, read: ReadMemory) -> tuple[MemorySpan, ...]:
    data = b""
    end = pointer + STACK_SNAPSHOT
    while pointer + len(data) < end:
        address = pointer + len(data)
        try:
            data += read(address, min(PAGE - address % PAGE, end - address))
        except RunnerFailed:  # the end of the RAM, or a stack pointer that points nowhere
            break
    return (MemorySpan(pointer, data),) if data else ()
