"""Runs an interpreter in a process of its own, with a deadline; a worker that dies becomes a diagnosis."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import harness
from harness.compiler.graph import Graph, TensorId
from harness.errors import BadInput, OracleFailed, ToolMissing
from harness.oracle.answers import PACKAGES

_LONGEST_WORDS = 2000  # bytes of what a worker said that are looked at
_GRACE_SECONDS = 5  # CPU time beyond the deadline after which the kernel ends a worker whose parent is gone


_OTHERS = "choose another one with --oracle (numpy needs nothing installed)"


class Worker:
    """A running interpreter; a context manager, so that an interrupted harness leaves no process.

    Question and answer are files without a name: nothing of them stays behind, not even when the harness is killed.
    `kind` is a key of worker.KINDS; `inputs` one array (samples, *shape) per model input; `timeout` in seconds.
    """

    def __init__(
        self,
        kind: str,
        model: Path,
        inputs: Sequence[np.ndarray],
        tensors: Sequence[TensorId],
        timeout: float,
        command: Sequence[str] = (sys.executable, "-m", "harness.oracle.worker"),
    ) -> None:
        self.kind = kind
        self.model = model
        self.timeout = timeout
        with ExitStack() as stack:
            question, self._answer, self._output = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            request = {
                "tensors": list(tensors),
                "cpu_seconds": math.ceil(timeout) + _GRACE_SECONDS,
                "parent": os.getpid(),
            }
            arrays = {f"input_{j}": values for j, values in enumerate(inputs)}
            np.savez(question, request=np.array(json.dumps(request)), **arrays)
            question.seek(0)
            self._deadline = time.monotonic() + timeout
            # Its own session: Ctrl-C reaches the harness only, which then ends the worker in order.
            self._process = subprocess.Popen(
                [*command, kind, str(model.resolve())],
                stdin=question,
                stdout=self._answer,
                stderr=self._output,
                cwd=tempfile.gettempdir(),
                env=_environment(),
                start_new_session=True,
            )
            stack.callback(self._end)
            self._resources = stack.pop_all()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._resources.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def result(self) -> dict[TensorId, np.ndarray]:
        """The tensors asked for, each (samples, *shape). OracleFailed when the worker did not deliver them."""
        try:
            status = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise OracleFailed(
                f"the oracle {self.kind} did not finish within {self.timeout:g} s and was ended", where=str(self.model)
            ) from None
        if status < 0:
            name = signal.Signals(-status).name
            raise OracleFailed(
                f"the oracle {self.kind} was killed by {name} while it ran the model{self._words()}",
                where=str(self.model),
                hint=f"the interpreter itself crashed: {_OTHERS}",
            )
        self._answer.seek(0)
        if status != 0 and (refusal := self._answer.read()):
            self._raise_refusal(json.loads(refusal))
        if status != 0:
            raise OracleFailed(
                f"the oracle {self.kind} ended with status {status}{self._words()}", where=str(self.model)
            )
        with np.load(self._answer, allow_pickle=False) as file:
            return {int(name.removeprefix("tensor_")): file[name] for name in file.files}

    def _raise_refusal(self, refusal: dict[str, str | bool]) -> None:
        if refusal["missing"]:
            package = PACKAGES.get(self.kind, self.kind)
            raise ToolMissing(
                f"the oracle {self.kind} needs the package {package}: {refusal['message']}",
                hint=f"python -m pip install {package}, or choose another with --oracle",
            )
        raise OracleFailed(
            f"the oracle {self.kind} refuses the model: {refusal['message']}", where=str(self.model), hint=_OTHERS
        )

    def _words(self) -> str:
        """What the worker said last, if anything."""
        size = os.fstat(self._output.fileno()).st_size
        said = os.pread(self._output.fileno(), _LONGEST_WORDS, max(0, size - _LONGEST_WORDS))
        lines = said.decode(errors="replace").strip().splitlines()
        return f"; it said: {lines[-1]}" if lines else ""


def shaped(kind: str, graph: Graph, samples: int, answers: dict[TensorId, np.ndarray]) -> dict[TensorId, np.ndarray]:
    """`answers` in the graph's own shapes and dtypes; OracleFailed where an interpreter sees another tensor."""
    result = {}
    for tensor_id, values in answers.items():
        tensor = graph.tensor(tensor_id)
        if values.dtype != tensor.dtype.np or values.size != samples * tensor.elements:
            raise OracleFailed(
                f"the oracle {kind} gives tensor {tensor_id} as {values.dtype}{list(values.shape[1:])}, "
                f"the model says {tensor.dtype.value}{list(tensor.shape)}",
                where=graph.name,
            )
        result[tensor_id] = np.ascontiguousarray(values.reshape(samples, *tensor.shape))
    return result


def check_readable(model: Path) -> None:
    if not model.is_file():
        raise BadInput("no such model file", where=str(model))


def _environment() -> dict[str, str]:
    """The worker runs in another folder: it has to find this very copy of the package."""
    home = str(Path(harness.__file__).resolve().parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "2"}
