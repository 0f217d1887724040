"""Firmware in Renode: loaded with the processor stopped, connected, and only then started.

Renode is driven by its robot server (`robot.py`) and gives its UART to a server socket. It binds both ports on all
interfaces and asks for no password: each run has its own, and they close with it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.cpustate import CpuState
from harness.errors import RunnerFailed, ToolMissing
from harness.runners.base import ExitKind, Image, SocketTransport, TargetExit
from harness.runners.process import GuardedProcess
from harness.runners.robot import RenodeRefused, RobotClient, number, octets, registers
from harness.runners.target import ProcessTarget, halted_state

VARIABLE = "RENODE"  # of the environment: the program, where it is not `renode` on PATH
HOW_TO_GET = (
    "Unpack a portable package from https://github.com/renode/renode/releases and put its `renode` on PATH, or name it "
    f"in {VARIABLE}."
)
START_SECONDS = 60.0  # until the robot server listens; 3 on an idle machine
ANSWER_SECONDS = 60.0  # for one command of the monitor; they take well below one, the first of them the longest
PORT_TRIES = 5  # a port that was free may be taken when Renode binds it
LARGEST_LOG = 64 << 20  # bytes; a warning for each access to memory that is not there adds up
LOG_TAIL = 30  # lines of Renode's log that are told when it ends by itself
SYSTEM_SPACE = range(0xE000E000, 0xE000F000)  # Armv7-M Architecture Reference Manual, B3.1.1: registers of the core

_LISTENING = re.compile(r"remote server is listening on port (\d+)")
_ABORT = re.compile(rb"CPU abort \[PC=0x[0-9A-Fa-f]+\]: [^\r\n]*")


def find_renode() -> str | None:
    """The program that the environment names, else `renode` on PATH; None: there is none."""
    program = shutil.which(os.environ.get(VARIABLE) or "renode")
    return None if program is None else os.path.abspath(program)


def absence() -> str:
    """Why there is none."""
    named = os.environ.get(VARIABLE)
    return f"{VARIABLE} names {named}, which is no program" if named else "renode is not on PATH"


@dataclass(frozen=True)
class RenodeRunner:
    """Runs an ELF on the machine that `platform` describes, in Renode's own language.

    `uart` is what the description calls the UART, `memory` the addresses that can be read. `commands` are given to the
    monitor before the processor starts.
    """

    platform: str
    uart: str
    memory: tuple[range, ...]
    commands: tuple[str, ...] = ()

    def start(self, image: Image) -> RenodeTarget:
        """ToolMissing: Renode is not installed. RunnerFailed: it does not start or refuses a command; in its words."""
        program = find_renode()
        if program is None:
            raise ToolMissing(f"{absence()}, and this board runs in Renode", hint=HOW_TO_GET)
        with ExitStack() as stack:
            # Renode may still be writing there when it is killed.
            temporary = tempfile.TemporaryDirectory(prefix="layerproof-renode-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
            (folder / "board.repl").write_text(self.platform, encoding="utf-8")
            shutil.copyfile(image.elf, folder / "firmware.elf")
            process = GuardedProcess(
                [program, "--disable-gui", "--plain", "--robot-server-port", "0"],  # 0: a port that is free
                log_stdout=True,
                folder=folder,
                environment={**os.environ, "TMPDIR": str(folder)},  # it cleans up only when it ends in peace
                file_limit=None,  # it keeps translated code in memory files of up to gigabytes
            )
            stack.callback(process.close)
            robot = RobotClient(_robot_port(process), ANSWER_SECONDS)
            stack.callback(robot.close)
            try:
                uart = stack.enter_context(self._prepare(robot))
                robot.execute("start")
            except (EOFError, TimeoutError) as error:
                ended = process.poll(1.0)
                what = str(error) if ended is None else f"Renode did not start: it {ended}"
                raise RunnerFailed(what, where=program, hint=tail(process.stderr)) from error
            target = RenodeTarget(process, uart, robot, self.memory)
            target.own(stack.pop_all())
        return target

    def _prepare(self, robot: RobotClient) -> socket.socket:
        """All but the start; a connection to the UART."""
        robot.execute('mach create "dut"')
        robot.execute("machine LoadPlatformDescription $CWD/board.repl")
        robot.execute("sysbus LoadELF $CWD/firmware.elf")
        port = _open_terminal(robot)
        robot.execute(f"connector Connect sysbus.{self.uart} term")
        for command in self.commands:
            robot.execute(command)
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS)
        except OSError as error:
            raise RunnerFailed(f"cannot connect to the UART that Renode gives out on port {port}: {error}") from error


class RenodeTarget(ProcessTarget):
    """Firmware that runs in a Renode of its own.

    Where a real core would lock up, or takes a fault that Renode does not know, Renode aborts the processor and lives
    on; its log says so. That is looked for whenever the UART has been silent for a moment.
    """

    def __init__(
        self, process: GuardedProcess, uart: socket.socket, robot: RobotClient, memory: tuple[range, ...]
    ) -> None:
        super().__init__(process, SocketTransport(uart, nudge=self._watch))
        self._robot = robot
        self._memory = memory
        self._halted = False
        self._looked_at = 0  # bytes of the log
        self._abort = ""

    def alive(self) -> bool:
        return super().alive() and not self._abort and not self._complains

    def exit_reason(self, timeout: float = 0.0) -> TargetExit | None:
        with suppress(EOFError):
            self._watch()
        if self._abort:
            return TargetExit(ExitKind.LOCKUP, self._abort, self._aborted_state(), tail(self.stderr))
        if self._complains:
            what = f"Renode's log has grown beyond {LARGEST_LOG:,} bytes"
            return TargetExit(ExitKind.LOST, what, detail=tail(self.stderr))
        status = self._process.poll(timeout)
        return None if status is None else TargetExit(ExitKind.LOST, f"Renode {status}", detail=tail(self.stderr))

    def halt(self) -> CpuState | None:
        """Stop the processor; what `halted_state` tells, or None when Renode is gone."""
        try:
            self._robot.execute("pause")
            self._halted = True
            return halted_state(self._registers(), self.read_memory)
        except EOFError:
            return None
        except TimeoutError as error:
            raise RunnerFailed(str(error), where=self._process.command[0], hint=tail(self.stderr)) from error

    def read_memory(self, address: int, length: int) -> bytes:
        """Memory of the board, or words of the core's own registers.

        Anywhere else Renode would read zeros, which is not what is there.
        """
        if not self._halted:
            raise RunnerFailed("memory can be read through Renode only while the processor is halted")
        end = address + length
        if any(region.start <= address and end <= region.stop for region in self._memory):
            return octets(self._robot.execute(f"sysbus ReadBytes {address:#x} {length}"), length)
        if address in SYSTEM_SPACE and end <= SYSTEM_SPACE.stop and not (address | length) & 3:
            words = [number(self._robot.execute(f"sysbus ReadDoubleWord {at:#x}")) for at in range(address, end, 4)]
            return b"".join(word.to_bytes(4, "little") for word in words)
        raise RunnerFailed(f"nothing readable at {address:#010x}, {length} bytes")

    @property
    def _complains(self) -> bool:
        """Whether Renode writes to its log without end."""
        return self._looked_at > LARGEST_LOG

    def _registers(self) -> dict[str, int]:
        return registers(self._robot.execute("sysbus.cpu GetRegistersValues"))

    def _aborted_state(self) -> CpuState | None:
        self._halted = True
        with suppress(RunnerFailed, EOFError, TimeoutError):
            found = self._registers()
            with suppress(RunnerFailed, EOFError, TimeoutError):
                return halted_state(found, self.read_memory, reason="lockup")
            return CpuState(found, reason="lockup")
        return None

    def _watch(self) -> None:
        """EOFError: the processor was aborted, or Renode complains without end."""
        new = self._process.stderr_since(self._looked_at)
        self._looked_at += new.rfind(b"\n") + 1  # the rest is looked at again when its line is whole
        found = _ABORT.search(new)
        if found and not self._abort:
            self._abort = found[0].decode(errors="replace")
        if self._abort or self._complains:
            raise EOFError("the processor runs no more")


def _robot_port(process: GuardedProcess) -> int:
    """The port of the robot server, which Renode chooses and writes to its log."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        found = _LISTENING.search(process.stderr)
        if found:
            return int(found[1])
        ended = process.poll(0.05)
        if ended is not None or time.monotonic() > deadline:
            what = f"it {ended}" if ended else f"its robot server does not listen after {START_SECONDS:.0f} s"
            raise RunnerFailed(f"Renode did not start: {what}", where=process.command[0], hint=tail(process.stderr))


def _open_terminal(robot: RobotClient) -> int:
    """Let Renode open a server socket for the UART; its port. RenodeRefused: it cannot."""
    for _ in range(PORT_TRIES - 1):
        with suppress(RenodeRefused):
            return _try_terminal(robot)
    return _try_terminal(robot)


def _try_terminal(robot: RobotClient) -> int:
    port = free_port()
    robot.execute(f'emulation CreateServerSocketTerminal {port} "term" false')
    return port


def free_port() -> int:
    """A port that nobody listens on, at this moment."""
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def tail(log: str) -> str:
    """The last lines of Renode's log."""
    return "\n".join(log.strip().splitlines()[-LOG_TAIL:])
