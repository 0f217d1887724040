"""Processors that stand still, for gdb: serves the registers and memory of states over gdb's remote protocol; and gdb,
asked for the variables of what it has opened.

The server is written apart from what the harness itself serves to gdb, and from what it reads of a state.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from harness.cpustate import CpuState

SCRIPT = Path(__file__).with_name("gdb_variables.py")
_CORE = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr")


def _features(fpu: bool) -> str:
    registers = "".join(
        f'<reg name="{name}" bitsize="32"{f" type={chr(34)}{kind}{chr(34)}" if kind else ""}/>'
        for name, kind in [
            *((n, "") for n in _CORE[:13]),
            ("sp", "data_ptr"),
            ("lr", ""),
            ("pc", "code_ptr"),
            ("xpsr", ""),
        ]
    )
    double = "".join(f'<reg name="d{n}" bitsize="64" type="ieee_double"/>' for n in range(16))
    vfp = f'<feature name="org.gnu.gdb.arm.vfp">{double}<reg name="fpscr" bitsize="32" type="int"/></feature>'
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>arm</architecture>'
        f'<feature name="org.gnu.gdb.arm.m-profile">{registers}</feature>{vfp if fpu else ""}</target>'
    )


class Still:
    """Answers one connection for each state, in their order; use in a `with` block."""

    def __init__(self, states: Sequence[CpuState], fpu: bool) -> None:
        self._states = states
        self._fpu = fpu
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Still:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    def _serve(self) -> None:
        for state in self._states:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(connection, state)

    def _converse(self, connection: socket.socket, state: CpuState) -> None:
        received = b""
        while data := connection.recv(4096):
            received += data
            while (end := received.find(b"#")) >= 0 and len(received) >= end + 3:
                start = received.find(b"$")
                command = received[start + 1 : end].decode()
                received = received[end + 3 :]
                body = self._answer(command, state).encode()
                connection.sendall(b"+$%s#%02x" % (body, sum(body) & 255))

    def _answer(self, command: str, state: CpuState) -> str:
        if command.startswith("qSupported"):
            return "PacketSize=1000;qXfer:features:read+"
        if command.startswith("qXfer:features:read:target.xml:"):
            offset, length = (int(number, 16) for number in command.rpartition(":")[2].split(","))
            text = _features(self._fpu)[offset : offset + length]
            return ("m" if offset + length < len(_features(self._fpu)) else "l") + text
        if command == "?":
            return "S05"
        if command == "g":
            return self._registers(state)
        if command.startswith("m"):
            address, length = (int(number, 16) for number in command[1:].split(","))
            for span in state.memory:
                if span.address <= address and address + length <= span.address + len(span.data):
                    return span.data[address - span.address :][:length].hex()
            return "E01"
        if command in ("qAttached",):
            return "1"
        return "OK" if command[:1] in "HD" else ""

    def _registers(self, state: CpuState) -> str:
        def word(name: str) -> str:
            value = state.registers.get(name)
            return "xxxxxxxx" if value is None else value.to_bytes(4, "little").hex()

        core = "".join(word(name) for name in _CORE)
        return core + ("".join(word(f"s{n}") for n in range(32)) + word("fpscr") if self._fpu else "")


def gdb_says(elf: Path, states: Sequence[CpuState], folder: Path, fpu: bool) -> list[list[dict[str, Any]]]:
    """For each state its frames as gdb finds them, each with its variables: see `gdb_variables.py`."""
    with Still(states, fpu) as still:
        opens = [f"target remote 127.0.0.1:{still.port}"] * len(states)
        # code and constants come from the file
        return gdb_shows(elf, opens, folder, "set trust-readonly-sections on")


def gdb_shows(elf: Path, opens: Sequence[str], folder: Path, *settings: str) -> list[list[dict[str, Any]]]:
    """As `gdb_says`, of the targets that the commands `opens` open one after the other."""
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed")
    answer = folder / f"{elf.stem}.json"
    answer.unlink(missing_ok=True)
    commands = (*settings, f"python opens, answer = {list(opens)!r}, {str(answer)!r}")
    options = [part for command in commands for part in ("-ex", command)]
    done = subprocess.run(
        [gdb, "-nx", "-batch", *options, "-x", str(SCRIPT), str(elf)],
        capture_output=True, text=True, timeout=250, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert answer.is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    found: list[list[dict[str, Any]]] = json.loads(answer.read_text())
    return found
