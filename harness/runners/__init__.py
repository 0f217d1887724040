"""How firmware is run: natively, in QEMU, in Renode, or on a board behind a serial port.

One class each, and one contract for all.
"""

from __future__ import annotations

from serial.tools import list_ports

from harness.board import Board, HostRun, QemuRun, RenodeRun, SerialRun
from harness.errors import BadInput
from harness.runners.base import Runner
from harness.runners.host import HostRunner
from harness.runners.qemu import QemuRunner
from harness.runners.renode import RenodeRunner
from harness.runners.serial import BAUD_RATE, SerialRunner


def runner_for(board: Board, url: str | None = None) -> Runner:
    """What runs firmware of `board`. A `url` (a port's name or anything pyserial knows) stands above the board's own.

    BadInput: the board is behind a serial port and nobody says which.
    """
    run = board.runner
    if not isinstance(run, SerialRun):
        return SerialRunner(url, BAUD_RATE) if url is not None else _own_runner(board, run)
    url = url or run.url
    if url is None:
        ports = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        raise BadInput(
            f"board {board.name} is behind a serial port; say which",
            hint=f"--board-url PORT, where PORT is a port's name or a pyserial URL. Ports here: {ports}",
        )
    return SerialRunner(url, run.baud)


def _own_runner(board: Board, run: HostRun | QemuRun | RenodeRun) -> Runner:
    if isinstance(run, HostRun):
        return HostRunner()
    if isinstance(run, QemuRun):
        return QemuRunner(run.machine, run.serial)
    memory = tuple(range(region.address, region.end) for region in board.memory)
    return RenodeRunner(run.platform, run.uart, memory)
