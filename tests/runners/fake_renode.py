"""A stand-in for Renode: robot server and log as recorded of Renode 1.16.1, a real QEMU in the place of the core.

    fake_renode.py --disable-gui --plain --robot-server-port PORT

FAKE_RENODE_REQUESTS names a file to which each command is appended, FAKE_RENODE_COUNTER the plugin that counts
instructions (see count.c); without it there is nothing that could be counted. Commands that were never recorded are
AddHook and a mistaken one: what is known of those is said where they are.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from harness.cpustate import CpuState
from harness.errors import RunnerFailed
from harness.runners.base import ExitKind
from harness.runners.qemu import QemuRunner, QemuTarget
from tests.debug.gdb.gdbstub import Connection
from tests.runners.repl import memories, uart

MACHINE = "mps2-an386"
MEMORIES = {range(4 << 20), range(0x20000000, 0x20000000 + (4 << 20))}
UART = ("UART.CMSDK_APB_UART", 0x40004000, 0, 1)
VERSION = "Renode, version 1.16.1 (d66b0c2a-202611221959)"
REGISTERS = (  # in Renode's order, with Renode's numbers
    *((f"R{n}", n) for n in range(13)), ("SP / R13", 13), ("LR / R14", 14), ("PC / R15", 15), ("Control", 18),
    ("BasePri", 19), ("VecBase", 20), ("CurrentSP", 21), ("OtherSP", 22), ("FPCCR", 23), ("FPCAR", 24), ("CPSR", 25),
    ("FPDSCR", 26), ("CPACR", 27), ("PRIMASK", 28), ("FAULTMASK", 30), *((f"D{n}", 42 + n) for n in range(32)),
    ("FPSCR", 74), *((f"S{n}", 75 + n) for n in range(32)),
)  # fmt: skip


def log(level: str, text: str) -> None:
    print(f"{datetime.now():%H:%M:%S.%f}"[:-2], f"[{level}] {text}", flush=True)


class No(Exception):
    """What Renode's monitor says of a command that it refuses."""


class Elf:
    def __init__(self, path: Path) -> None:
        self.elf = path


class Machine:
    """QEMU, with what Renode's monitor can be asked of a machine."""

    def __init__(self) -> None:
        self.image: Elf | None = None
        self.terminal: socket.socket | None = None
        self.connected = False
        self.hooks: dict[int, list[str]] = {}
        self.counter = Path.cwd() / "executed"
        self._target: QemuTarget | None = None
        self._state: CpuState | None = None  # of a processor that was paused or is no more

    @property
    def target(self) -> QemuTarget:
        if self._target is None:
            raise No("the machine has not been started")
        return self._target

    def start(self) -> None:
        assert self.image is not None
        assert self.terminal is not None
        assert self.connected
        options: tuple[str, ...] = ()
        plugin = os.environ.get("FAKE_RENODE_COUNTER")
        if plugin:
            options += ("-plugin", f"{plugin},out={self.counter}")
        if self.hooks:
            options += ("-chardev", "socket,id=gdb,path=gdb,server=on,wait=off", "-gdb", "chardev:gdb")
        self._target = QemuRunner(MACHINE, options=options).start(self.image)
        if self.hooks:
            threading.Thread(target=self._run_hooks, args=(self._gdb(),), daemon=True).start()
        threading.Thread(target=self._serve, daemon=True).start()
        log("INFO", "dut: Machine started.")

    def pause(self) -> None:
        self._state = self.target.halt()

    @property
    def registers(self) -> dict[str, int]:
        if self._state is None:
            self.pause()
        assert self._state is not None
        return dict(self._state.registers)

    @property
    def executed(self) -> int:
        if not self.counter.exists():
            raise No("nothing counts: FAKE_RENODE_COUNTER names no plugin")
        return int.from_bytes(self.counter.read_bytes(), "little")

    def read(self, address: int, length: int) -> bytes:
        if not self.target.alive():
            raise No("the memory of this stand-in ended with its processor; Renode's would not have")
        try:
            return self.target.read_memory(address, length)
        except (RunnerFailed, EOFError):  # Renode reads zeros where nothing is
            log("WARNING", f"sysbus: [cpu: 0x0] ReadDoubleWord from non existing peripheral at 0x{address:X}.")
            return bytes(length)

    def _serve(self) -> None:
        """Bytes between the terminal's one client and the UART."""
        assert self.terminal is not None
        client, _ = self.terminal.accept()
        threading.Thread(target=self._receive, args=(client,), daemon=True).start()
        try:
            while True:
                client.sendall(self.target.transport.read(4096, time.monotonic() + 60))
        except (BrokenPipeError, ConnectionResetError):
            return
        except EOFError:
            gone = self.target.exit_reason(10)
        if gone is None or gone.kind is not ExitKind.LOCKUP or gone.state is None:
            log("ERROR", f"QEMU is gone: {gone}")
            os._exit(1)
        self._state = gone.state
        log("ERROR", f"cpu: CPU abort [PC=0x{gone.state.registers['pc']:X}]: {gone.what}.")

    def _receive(self, client: socket.socket) -> None:
        try:
            while data := client.recv(4096):
                self.target.transport.write(data)
        except (EOFError, OSError):
            return

    def _gdb(self) -> Connection:
        """A stub that has stopped the processor at a breakpoint for every hook."""
        self.target.halt()  # the stub would, too, but tell of it in between
        stream = socket.socket(socket.AF_UNIX)
        stream.connect("gdb")
        gdb = Connection(stream)
        for address in self.hooks:
            assert gdb.ask(f"Z0,{address:x},2") == "OK"
        return gdb

    def _run_hooks(self, gdb: Connection) -> None:
        """Renode runs a hook, a piece of Python, before the instruction at its address. Its `self` is the core."""
        while gdb.ask("c").startswith("T05"):
            registers = gdb.registers()
            address = registers["pc"]
            for script in self.hooks[address]:
                exec(script, {"self": Core(registers, self.executed)})
            for command in (f"z0,{address:x},2", "s", f"Z0,{address:x},2"):
                gdb.ask(command)


class Register:
    """Printed as Renode prints a register's value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __str__(self) -> str:
        return f"0x{self.value:x}"


class Core:
    """The core as a hook sees it."""

    def __init__(self, registers: dict[str, int], executed: int) -> None:
        self.PC, self.LR = Register(registers["pc"]), Register(registers["lr"])
        self.ExecutedInstructions = executed

    def InfoLog(self, text: str) -> None:
        log("INFO", f"cpu: {text}")


class Monitor:
    """Renode's monitor. A method's docstring is the pattern of the commands that it carries out."""

    def __init__(self) -> None:
        self.machine = Machine()
        commands = [value for name, value in vars(Monitor).items() if name.startswith("do_")]
        self.commands: list[tuple[str, Callable[..., str]]] = [(str(method.__doc__), method) for method in commands]

    def run_keyword(self, name: str, arguments: list[Any]) -> dict[str, str]:
        if name != "ExecuteCommand":
            raise Fault(1, f'Keyword "{name}" not found')
        (command,) = arguments
        requests = os.environ.get("FAKE_RENODE_REQUESTS")
        if requests:
            with open(requests, "a", encoding="utf-8") as file:
                file.write(command + "\n")
        try:
            return {"return": self.execute(command), "status": "PASS"}
        except No as no:
            error = f"KeywordException: Could not execute command '{command}': {no}\n"
            return {"status": "FAIL", "error": error, "traceback": "KeywordException:   at …\n"}

    def execute(self, command: str) -> str:
        for pattern, method in self.commands:
            found = re.fullmatch(pattern, command)
            if found:
                return method(self, *found.groups())
        raise No(f"No such command or device: {command.split()[0]}")

    def do_version(self) -> str:
        r"version"
        return f"{VERSION}\n\n"

    def do_create(self) -> str:
        r'mach create "dut"'
        return ""

    def do_platform(self, name: str) -> str:
        r"machine LoadPlatformDescription \$CWD/(.*)"
        path = Path.cwd() / name
        refusal = f"There was an error executing command 'machine LoadPlatformDescription @{path}'"
        if not path.exists():
            raise No(f"{refusal}Could not find file '{path}'.")
        text = path.read_text(encoding="utf-8")
        if memories(text) != MEMORIES or uart(text, "uart0") != UART:  # Renode would take it; here is one machine only
            raise No(f"{refusal}it describes no {MACHINE}")
        return ""

    def do_load(self, name: str) -> str:
        r"sysbus LoadELF \$CWD/(.*)"
        path = Path.cwd() / name
        if not path.exists():
            raise No(
                f"There was an error executing command 'sysbus LoadELF @{path}'Parameters did not match the signature"
            )
        self.machine.image = Elf(path)
        return ""

    def do_terminal(self, port: str) -> str:
        r'emulation CreateServerSocketTerminal (\d+) "term" false'
        try:
            self.machine.terminal = socket.create_server(("127.0.0.1", int(port)))
        except OSError as error:
            raise No(f"There was an error executing command '…'{error.strerror}") from error
        return ""

    def do_connect(self) -> str:
        r"connector Connect sysbus\.uart0 term"
        self.machine.connected = True
        return ""

    def do_start(self) -> str:
        r"start"
        self.machine.start()
        return "Starting emulation...\n\n"

    def do_pause(self) -> str:
        r"pause"
        self.machine.pause()
        return "Pausing emulation...\n\n"

    def do_pc(self) -> str:
        r"sysbus\.cpu PC"
        return f"0x{self.machine.registers['pc']:x}\n\n"

    def do_executed(self) -> str:
        r"sysbus\.cpu ExecutedInstructions"
        return f"0x{self.machine.executed:016X}\n\n"

    def do_registers(self) -> str:
        r"sysbus\.cpu GetRegistersValues"
        known = self.machine.registers
        names = {"CPSR": "xpsr"}
        values = {name: known.get(names.get(name, name.split()[0].lower()), 0) for name, _ in REGISTERS}
        values |= {f"D{n}": values[f"S{2 * n}"] | values[f"S{2 * n + 1}"] << 32 for n in range(16)}
        line = "-" * 42
        rows = [f"| {name:<9} | {number:<5} | {f'0x{values[name]:X}':<18} |" for name, number in REGISTERS]
        return "\n\n".join([line, "| Name      | Index | Value              |", line, *rows, line]) + "\n\n"

    def do_word(self, address: str) -> str:
        r"sysbus ReadDoubleWord (0x[0-9a-f]+)"
        return f"0x{int.from_bytes(self.machine.read(int(address, 0), 4), 'little'):08X}\n\n"

    def do_bytes(self, address: str, length: str) -> str:
        r"sysbus ReadBytes (0x[0-9a-f]+) (\d+)"
        data = self.machine.read(int(address, 0), int(length))
        rows = ["".join(f"0x{byte:02X}, " for byte in data[at : at + 10]) for at in range(0, len(data), 10)]
        return "\n\n".join(["[", *rows, "]"]) + "\n\n"

    def do_hook(self, address: str, script: str) -> str:
        r'sysbus\.cpu AddHook (0x[0-9a-f]+) "([^"]*)"'
        # Never recorded. The command's form and what a script can do are those of Renode's own tests, hooks.robot and
        # instructions-counting.robot.
        self.machine.hooks.setdefault(int(address, 0), []).append(script)
        return ""

    def do_unknown(self, name: str) -> str:
        r"sysbus\.cpu (\w+)"
        raise No(
            f"There was an error executing command 'sysbus.cpu {name}'sysbus.cpu does not provide a field, method or "
            f"property {name}."
        )


class Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ()  # every path
    protocol_version = "HTTP/1.1"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--disable-gui", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--robot-server-port", type=int)
    parser.add_argument("--version", action="version", version="Renode v1.16.1\n  build: none")
    options = parser.parse_args()
    # What Renode takes by its sources: a memory file for translated code, and a folder that stays when it is killed.
    os.ftruncate(os.memfd_create("code_gen_buffer"), 512 << 20)
    tempfile.mkdtemp(prefix="renode-")
    server = SimpleXMLRPCServer(("127.0.0.1", options.robot_server_port), Handler, logRequests=False)
    server.register_instance(Monitor())
    log("INFO", "Loaded monitor commands from: /nowhere/scripts/monitor.py")
    log("INFO", f"Robot Framework remote server is listening on port {server.server_address[1]}")
    server.serve_forever()


if __name__ == "__main__":
    main()
