"""The stand-in for Renode, held to what a real Renode 1.16.1 was recorded to answer."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import pytest

from harness.board import load_board
from harness.firmware import build
from harness.resources import boards_dir
from harness.runners.renode import free_port
from tests import sample_model
from tests.runners.renode import counting_plugin, recording, shape, stand_in

BOARD = "renode_cortex_m4"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


@contextmanager
def running(folder: Path) -> Iterator[ServerProxy]:
    """The robot server of a stand-in that runs in `folder`, where board.repl and firmware.elf lie."""
    board = load_board(BOARD)
    shutil.copyfile(boards_dir() / f"{BOARD}.repl", folder / "board.repl")
    shutil.copyfile(build(sample_model.sample(board.cpu.core), board).elf, folder / "firmware.elf")
    program = stand_in(folder, FAKE_RENODE_COUNTER=counting_plugin(folder))
    command = [program, "--disable-gui", "--plain", "--robot-server-port", "0"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(line for line in process.stdout if "listening" in line).split()[-1]
            with ServerProxy(f"http://127.0.0.1:{port}/") as server:
                yield server
        finally:
            process.kill()


def test_every_recorded_command_is_answered_in_the_recorded_form(tmp_path: Path) -> None:
    events = recording("robot_xmlrpc.json")["events"]
    last = next(index for index, event in enumerate(events) if event.get("command") == "machine Reset")
    with running(tmp_path) as server:
        for event in events[:last]:
            command = event["command"].replace(" 3458 ", f" {free_port()} ")
            answer: Any = server.run_keyword("ExecuteCommand", [command])
            wanted = event["response"]
            assert answer.keys() == wanted.keys(), command
            for key in wanted.keys() - {"traceback"}:
                assert shape(answer[key]) == shape(wanted[key]), command
    assert last == 15


def test_a_keyword_that_is_not_there(tmp_path: Path) -> None:
    (fault,) = (e["response"] for e in recording("robot_xmlrpc.json")["events"] if "xmlrpc_fault" in e["response"])
    with running(tmp_path) as server, pytest.raises(Fault) as caught:
        server.run_keyword("NoSuchKeyword", [])
    assert (caught.value.faultCode, caught.value.faultString) == (fault["xmlrpc_fault"], fault["message"])


def test_the_table_of_registers(tmp_path: Path) -> None:
    texts = [event.get("recv", "") for event in recording("monitor_plain.json")["events"]]
    (text,) = (text for text in texts if "CurrentSP" in text)
    table = text.partition("\n")[2].rpartition("(dut)")[0]
    setup = [event["command"] for event in recording("robot_xmlrpc.json")["events"][1:7]]
    assert setup[-1] == "start"
    with running(tmp_path) as server:
        for command in setup:
            server.run_keyword("ExecuteCommand", [command.replace(" 3458 ", f" {free_port()} ")])
        answer: Any = server.run_keyword("ExecuteCommand", ["sysbus.cpu GetRegistersValues"])
    assert shape(answer["return"]) == shape(table)
