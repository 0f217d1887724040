"""Renode's monitor over XML-RPC, as `renode --robot-server-port` serves it for Robot Framework.

run_keyword("ExecuteCommand", [command])  ->  {"status": "PASS", "return": text}
                                          or  {"status": "FAIL", "error": text, "traceback": text}
"""

from __future__ import annotations

import http.client
import re
import xmlrpc.client
from collections.abc import Mapping
from typing import Any
from xml.parsers.expat import ExpatError

from harness.errors import RunnerFailed


class RenodeRefused(RunnerFailed):
    """Renode understood a command and said no."""


class RobotClient:
    """Commands to the Renode whose robot server is on `port` of this computer; each has `seconds` for its answer."""

    def __init__(self, port: int, seconds: float) -> None:
        self._seconds = seconds
        self._server = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/", transport=_Transport(seconds))

    def execute(self, command: str) -> str:
        """What the monitor prints for `command`.

        RenodeRefused: with the command and Renode's own error. RunnerFailed: what came is no answer. TimeoutError: none
        came. EOFError: Renode is gone.
        """
        try:
            answer = self._server.run_keyword("ExecuteCommand", [command])
        except TimeoutError as error:
            raise TimeoutError(f"Renode did not answer `{command}` within {self._seconds:g} s") from error
        except ConnectionError as error:
            raise EOFError("Renode closed its robot server") from error
        except xmlrpc.client.Fault as fault:
            raise RenodeRefused(f"Renode refuses `{command}`: {fault.faultString}") from fault
        except (xmlrpc.client.Error, http.client.HTTPException, ExpatError) as error:
            raise RunnerFailed(f"Renode answers `{command}` out of protocol: {error!r}") from error
        if isinstance(answer, Mapping):
            if answer.get("status") == "PASS":
                return str(answer.get("return", ""))
            if answer.get("status") == "FAIL":
                raise RenodeRefused(f"Renode refuses `{command}`: {_words(str(answer.get('error', '')), command)}")
        raise RunnerFailed(f"Renode answers `{command}` out of protocol: {answer!r}")

    def close(self) -> None:
        self._server("close")()


class _Transport(xmlrpc.client.Transport):
    """Over HTTP, with a deadline."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self._seconds
        return connection


def _words(error: str, command: str) -> str:
    """Renode's error without its exception's name and the command, which it repeats."""
    return error.strip().removeprefix("KeywordException: ").removeprefix(f"Could not execute command '{command}': ")


def number(text: str) -> int:
    """The one number that a property's value is. RunnerFailed: it is none."""
    try:
        return int(text.strip(), 0)
    except ValueError:
        raise RunnerFailed(f"Renode answers {text.strip()!r} where a number was asked for") from None


def octets(text: str, count: int) -> bytes:
    """The `count` bytes of an array as the monitor prints it. RunnerFailed: there are others."""
    values = re.findall(r"\b0x([0-9A-Fa-f]{2})\b", text)
    if len(values) != count:
        raise RunnerFailed(f"Renode answers with {len(values)} bytes where {count} were asked for")
    return bytes.fromhex("".join(values))


_REGISTER = re.compile(r"\|\s*(\S+)(?: / \S+)?\s*\|\s*\d+\s*\|\s*(0x[0-9A-Fa-f]+)\s*\|")
_NAMES = {"cpsr": "xpsr"}  # of an M-profile core Renode shows xPSR under that name
_KEPT = {
    *(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr", "control", "basepri", "primask", "faultmask",
    *(f"s{n}" for n in range(32)), "fpscr",
}  # fmt: skip


def registers(table: str) -> dict[str, int]:
    """The registers in the table that GetRegistersValues prints, by CpuState's names.

    Of the two stack pointers only the one in use has a register of its own in Renode; CurrentSP says which it is.
    """
    shown = {_NAMES.get(name.lower(), name.lower()): int(value, 16) for name, value in _REGISTER.findall(table)}
    if not {"sp", "pc", "currentsp", "othersp"} <= shown.keys():
        raise RunnerFailed(f"Renode's table of registers lacks some: {sorted(shown)}")
    found = {name: value for name, value in shown.items() if name in _KEPT}
    in_use, other = ("psp", "msp") if shown["currentsp"] else ("msp", "psp")
    return {**found, in_use: shown["sp"], other: shown["othersp"]}
