"""A board behind a serial port without a board: firmware in QEMU whose UART is led to a pseudo terminal."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from contextlib import ExitStack

from harness.runners.base import Image, Runner
from harness.runners.qemu import QemuTarget
from harness.runners.serial import SerialRunner, SerialTarget


class Bridge:
    """Carries bytes between a running target and a pseudo terminal until it is closed or the target ends."""

    def __init__(self, target: QemuTarget) -> None:
        self._target = target
        self._far, self._near = pty.openpty()
        tty.setraw(self._near)
        self.port = os.ttyname(self._near)
        self._stop, self._stopping = os.pipe()
        self._threads = [threading.Thread(target=self._to_port), threading.Thread(target=self._to_target)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        os.write(self._stopping, b"xx")
        for thread in self._threads:
            thread.join()
        for descriptor in (self._stop, self._stopping):
            os.close(descriptor)

    def _stopped(self) -> bool:
        return bool(select.select([self._stop], [], [], 0)[0])

    def _to_port(self) -> None:
        while not self._stopped():
            try:
                data = self._target.transport.read(4096, time.monotonic() + 0.05)
            except EOFError:
                break
            while data:
                data = data[os.write(self._far, data) :]
        os.close(self._near)
        os.close(self._far)

    def _to_target(self) -> None:
        port = select.poll()
        port.register(self._far, select.POLLIN)
        port.register(self._stop, select.POLLIN)
        while True:
            events = dict(port.poll())
            if self._stop in events or events.get(self._far, 0) & (select.POLLNVAL | select.POLLERR):
                return
            try:
                self._target.transport.write(os.read(self._far, 4096))
            except (OSError, EOFError):
                return


class BridgedRunner:
    """Starts firmware with `runner` and gives it out through a serial port, as a board would be."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def start(self, image: Image) -> BridgedTarget:
        with ExitStack() as stack:
            board = stack.enter_context(self._runner.start(image))
            bridge = Bridge(board)
            stack.callback(bridge.close)
            return BridgedTarget(SerialRunner(bridge.port).start(image), board, stack.pop_all())


class BridgedTarget(SerialTarget):
    def __init__(self, port: SerialTarget, board: QemuTarget, resources: ExitStack) -> None:
        super().__init__(port._port, port._url)
        self.pid = board.pid
        self._resources = resources

    def close(self) -> None:
        super().close()
        self._resources.close()
