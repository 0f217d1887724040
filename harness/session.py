"""A conversation with running firmware, in terms of the model: tensors, layers, and what became of the target.

    Session ── owns ──> RunningTarget   a process or a port: ended when the `with` block is left, whatever happened
            └─ owns ──> RpcClient       the firmware's answers

The four ways in which a target does not come back are told apart here, once: its fault record arrived (TargetCrashed),
the processor locked up (TargetLockedUp), it did not return in time and was halted where it was (TargetTimedOut), or the
emulator or the port is gone (RunnerFailed).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.board import Board
from harness.compiler.csource import Placement
from harness.compiler.graph import Tensor, TensorId
from harness.cpustate import CpuState
from harness.errors import BadInput, RunnerFailed
from harness.firmware import Firmware
from harness.rpc.client import PATIENCE, NoAnswer, RpcClient
from harness.rpc.fault_record import NO_LAYER
from harness.rpc.messages import HelloReply, LayerDone, RunDone
from harness.rpc.transcript import transcript
from harness.runners import runner_for
from harness.runners.base import ExitKind, RecordingTransport, Runner, RunningTarget, TargetExit, Traffic
from harness.verdict import TargetCrashed, TargetLockedUp, TargetStopped, TargetTimedOut

LAYER_SECONDS = 30.0  # for one layer; the largest ones take about a second in QEMU
_END_SECONDS = 10.0  # from the end of the byte stream to the end of the process behind it


@dataclass(frozen=True)
class LogLine:
    """A line of text from the firmware."""

    level: int  # 0 error, 1 warning, 2 information
    text: str


class Session:
    """Firmware running on `runner`; to be used in a `with` block.

    `timeout` is the seconds that a layer may take, `patience` those for anything that takes the firmware no time. A
    target that stopped stays stopped: until `reset` every further command raises what stopped it once more, and only
    `read_memory` goes on as far as there is memory to read.
    """

    def __init__(
        self, firmware: Firmware, runner: Runner, *, timeout: float = LAYER_SECONDS, patience: float = PATIENCE
    ) -> None:
        self.firmware = firmware
        self.timeout = timeout
        self.log: list[LogLine] = []
        self._runner = runner
        self._patience = patience
        self._began = time.monotonic()
        self._traffic: list[Traffic] = []
        self._target: RunningTarget | None = None
        self._client: RpcClient | None = None
        self._hello: HelloReply | None = None
        self._stopped: TargetStopped | None = None
        self._halted = False
        self._layer: int | None = None  # that is running, as far as the events told

    # ---- begin and end

    def __enter__(self) -> Session:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the target. Log and transcript stay. Idempotent."""
        target, self._target, self._client = self._target, None, None
        if target is not None:
            target.close()

    def reset(self) -> None:
        """Start the firmware anew: by its own means where it still answers, otherwise by starting the runner anew."""
        crashed = isinstance(self._stopped, TargetCrashed)
        if self._target is not None and self._target.alive() and (crashed or self._stopped is None):
            self._stopped = None
            with self._watching():
                self._rpc().reset()
                self._hello = self._connect()
        else:
            self.close()
            self._start()

    # ---- tensors

    def write_tensor(self, tensor: TensorId, values: np.ndarray) -> None:
        """Write a tensor, of one that lost channels those that are left.

        BadInput: `values` has not exactly its shape and dtype, or it has no place in the arena.
        """
        spec, place = self._place(tensor)
        if values.shape != spec.shape or values.dtype != spec.dtype.np:
            raise BadInput(
                f"an array {values.dtype}{list(values.shape)} cannot be written to a tensor "
                f"{spec.dtype.value}{list(spec.shape)}",
                where=_name(tensor, spec),
            )
        kept = self.firmware.source.kept.get(tensor)
        held = values if kept is None else kept.project(values)
        with self._watching():
            self._rpc().tensor_write(place.offset, held.astype(_little(spec)).tobytes())

    def read_tensor(self, tensor: TensorId) -> np.ndarray:
        """A tensor as the arena holds it now, in its shape and dtype. BadInput: it has no place in the arena.

        Channels that are not computed show the constant they are, or 0 where nobody reads them.
        """
        spec, place = self._place(tensor)
        with self._watching():
            data = self._rpc().tensor_read(place.offset, place.bytes)
        held = np.frombuffer(data, _little(spec)).astype(spec.dtype.np)
        kept = self.firmware.source.kept.get(tensor)
        if kept is None:
            return held.reshape(spec.shape)
        return kept.restore(held.reshape(*spec.shape[:-1], len(kept.channels)))

    def checksum(self, tensor: TensorId) -> int:
        """zlib's CRC-32 of a tensor's bytes, computed on the device."""
        _, place = self._place(tensor)
        with self._watching():
            return self._rpc().checksum(place.offset, place.bytes)

    # ---- runs

    def run_layers(
        self,
        first: int = 0,
        end: int | None = None,
        *,
        timeout: float | None = None,
        on_layer: Callable[[LayerDone], None] = lambda done: None,
    ) -> list[LayerDone]:
        """Run the layers first … end - 1 (default: to the last), each within `timeout` seconds; what each reported."""

        def note(done: LayerDone) -> None:
            self._layer = done.index + 1
            on_layer(done)

        end = len(self.firmware.source.layers) if end is None else end
        self._layer = first
        with self._watching():
            return self._rpc().run_layers(
                first, end, timeout=self.timeout if timeout is None else timeout, on_layer=note
            )

    def run(self, *, timeout: float | None = None) -> RunDone:
        """Run the model whole, as an application would; `timeout` is by default that of all its layers together."""
        layers = max(1, len(self.firmware.source.layers))
        with self._watching():
            return self._rpc().run_model(timeout=layers * self.timeout if timeout is None else timeout)

    # ---- memory

    def read_memory(self, address: int, length: int) -> bytes:
        """Memory of the device, also after a crash (its post-mortem loop answers) and after it was halted.

        RunnerFailed: nothing can be read there, or there is nothing left that could be asked.
        """
        if self._stopped is None:
            with self._watching():
                return self._rpc().memory_read(address, length)
        for span in self._stopped.state.memory if self._stopped.state is not None else ():
            if span.address <= address and address + length <= span.address + len(span.data):
                return span.data[address - span.address :][:length]
        target = self._running()
        if self._halted:
            return target.read_memory(address, length)
        try:
            return self._rpc().memory_read(address, length)
        except EOFError as error:
            raise RunnerFailed(
                f"cannot read {length} bytes at {address:#010x}: the target is gone ({self._stopped.what})"
            ) from error

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory of the device. RunnerFailed: nothing can be written there."""
        with self._watching():
            self._rpc().memory_write(address, data)

    # ---- what was said

    @property
    def hello(self) -> HelloReply:
        """How the firmware introduced itself."""
        if self._hello is None:
            raise RunnerFailed("the firmware has not said hello: the session was not started")
        return self._hello

    @property
    def earlier_crash(self) -> CpuState | None:
        """A crash that the board kept the record of from before this session; None when there was none."""
        record = None if self._client is None else self._client.earlier_crash
        return None if record is None else record.cpu_state()

    @property
    def target(self) -> RunningTarget:
        """What runs the firmware."""
        return self._running()

    @property
    def repeats(self) -> int:
        """Requests that had to be sent again because a frame was lost or damaged."""
        return 0 if self._client is None else self._client.repeats

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Every piece of bytes that went over the line, in order."""
        return tuple(self._traffic)

    @property
    def uart_log(self) -> bytes:
        """Everything that came from the target, to the last byte, over all its starts."""
        return b"".join(piece.data for piece in self._traffic if not piece.outgoing)

    @property
    def transcript(self) -> list[dict[str, Any]]:
        """Every message in either direction; see `harness.rpc.transcript`."""
        return list(transcript(self._traffic))

    def write_transcript(self, path: Path) -> None:
        """Write the transcript as JSON lines."""
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(message) + "\n" for message in transcript(self._traffic))

    # ---- inside

    def _start(self) -> None:
        self._stopped, self._halted, self._layer = None, False, None
        with ExitStack() as stack:
            stack.callback(self.close)
            target = self._target = self._runner.start(self.firmware)
            self._client = RpcClient(
                RecordingTransport(target.transport, self._traffic, self._began),
                on_log=lambda level, text: self.log.append(LogLine(level, text)),
                patience=self._patience,
            )
            with self._watching():
                self._hello = self._connect()
            stack.pop_all()

    def _connect(self) -> HelloReply:
        client, expected = self._rpc(), self.firmware
        hello = client.connect(build_id=expected.build_id, board=expected.board.name)
        if hello.crashed:  # a board that nobody reset since its last crash
            client.reset()
            hello = client.connect(build_id=expected.build_id, board=expected.board.name)
        return hello

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Turn what may happen during a command into what it means."""
        if self._stopped is not None:
            raise self._stopped
        try:
            yield
        except TargetTimedOut as timeout:
            self._stopped = self._halt(timeout)
        except NoAnswer as silence:
            stopped = self._halt(TargetTimedOut(silence.what))
            if isinstance(stopped, TargetTimedOut) and stopped.state is None:
                raise  # a port: nothing says that there is firmware at its other end
            self._stopped = stopped
        except TargetStopped as stopped:
            if stopped.layer is None and stopped.state is None:
                stopped.layer = self._layer
            self._stopped = stopped
        except EOFError as error:
            self._stopped = self._ended(self._running().exit_reason(_END_SECONDS), error)
        if self._stopped is not None:
            raise self._stopped
        self._layer = None

    def _halt(self, timeout: TargetTimedOut) -> TargetStopped:
        """The same verdict with what can be found out about the processor; another one when the target has ended."""
        target = self._running()
        state = target.halt()
        if state is None and not target.alive():
            return self._ended(target.exit_reason(), timeout)
        layer = timeout.layer
        if state is not None:
            self._halted = True
            layer = self._layer_in_memory(timeout.layer)
            state = replace(state, layer=layer)
        return TargetTimedOut(timeout.what, state=state, layer=layer, detail=target.stderr)

    def _layer_in_memory(self, otherwise: int | None) -> int | None:
        """The layer that the stopped firmware says it is in; `otherwise` where it has no memory left to say so."""
        address = _symbol(self.firmware.elf, "harness_current_layer")
        if address is None:
            return otherwise
        try:
            number = int.from_bytes(self._running().read_memory(address, 4), "little")
        except (RunnerFailed, EOFError, TimeoutError):
            return otherwise
        return None if number == NO_LAYER else number

    def _ended(self, gone: TargetExit | None, cause: Exception) -> TargetStopped:
        """The verdict on a target that has ended. RunnerFailed: it is not its own doing."""
        if gone is None:
            raise RunnerFailed("the target closed its UART but did not end") from cause
        if gone.kind is ExitKind.LOST:
            raise RunnerFailed(gone.what, hint=gone.detail) from cause
        layer = self._layer_in_memory(self._layer)
        state = None if gone.state is None else replace(gone.state, layer=layer)
        kind = TargetLockedUp if gone.kind is ExitKind.LOCKUP else TargetCrashed
        return kind(gone.what, state=state, layer=layer, detail=gone.detail)

    def _place(self, tensor: TensorId) -> tuple[Tensor, Placement]:
        source = self.firmware.source
        if not 0 <= tensor < len(source.graph.tensors):
            raise BadInput(f"the model has no tensor {tensor}; it has 0 to {len(source.graph.tensors) - 1}")
        spec = source.graph.tensors[tensor]
        place = source.placements.get(tensor)
        if place is None:
            why = "it is a constant" if spec.data is not None else "the compiler left it out"
            raise BadInput(f"the tensor has no place in the arena: {why}", where=_name(tensor, spec))
        return spec, place

    def _running(self) -> RunningTarget:
        if self._target is None:
            raise RunnerFailed("there is no target: the session has ended or was not started")
        return self._target

    def _rpc(self) -> RpcClient:
        if self._client is None:
            raise RunnerFailed("there is no target: the session has ended or was not started")
        return self._client


def open_session(
    firmware: Firmware, board: Board, url: str | None = None, *, timeout: float = LAYER_SECONDS
) -> Session:
    """A session for `firmware` on `board`, started by entering it. `url` names a port or pyserial URL; `timeout` is the
    seconds that a layer may take."""
    return Session(firmware, runner_for(board, url), timeout=timeout)


def _name(tensor: TensorId, spec: Tensor) -> str:
    return f"tensor {tensor} {spec.name!r}"


def _little(spec: Tensor) -> np.dtype:
    return spec.dtype.np.newbyteorder("<")


def _symbol(path: Path, name: str) -> int | None:
    """The address of a symbol; None when the ELF has no such symbol."""
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        found = table.get_symbol_by_name(name) if isinstance(table, SymbolTableSection) else None
        return int(found[0]["st_value"]) if found else None
