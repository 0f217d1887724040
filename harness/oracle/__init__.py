"""What a model should compute, from named oracles: each a process of its own, checked against a second opinion.

    tflite-ref   tflite-runtime with its reference kernels (OpResolverType.BUILTIN_REF)
    litert-ref   the same through ai-edge-litert, where it is installed
    numpy        this project's own references
    FILE.npz     tensors somebody computed elsewhere: tensor_<id> and output_<n>, each (samples, *shape); may also hold
                 the inputs they belong to as input_<n>

The numpy references are the second opinion on every oracle and fill in the tensors that an oracle does not show.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from harness.compiler.graph import Graph, TensorId
from harness.errors import BadInput
from harness.oracle.agree import Disagreement, Expected, reconcile
from harness.oracle.answers import Answers, AnswerStore, key_of
from harness.oracle.expected_file import load_expected
from harness.oracle.inputs import FLOAT_RANGE, draw_inputs, load_inputs
from harness.oracle.process import Worker, check_readable, shaped
from harness.oracle.tolerance import Difference, Tolerance
from harness.resources import cache_dir

__all__ = [
    "FLOAT_RANGE",
    "NAMES",
    "Consultation",
    "Difference",
    "Disagreement",
    "Expected",
    "Tolerance",
    "check_name",
    "default_name",
    "draw_inputs",
    "load_inputs",
]

NAMES = ("tflite-ref", "litert-ref", "numpy")
_TIMEOUT_SECONDS = 60.0
_TIMEOUT_SECONDS_PER_SAMPLE = 5.0


def check_name(name: str) -> None:
    """BadInput unless `name` is an oracle's or that of an existing .npz file."""
    if name in NAMES:
        return
    if not name.endswith(".npz"):
        raise BadInput(f"unknown oracle {name!r}", hint=f"choose {', '.join(NAMES)} or a .npz file of expected tensors")
    if not Path(name).is_file():
        raise BadInput("no such file of expected tensors", where=name)


def default_name() -> str:
    """The best oracle installed: tflite-ref, else litert-ref, else the project's own references."""
    for name, package in (("tflite-ref", "tflite_runtime"), ("litert-ref", "ai_edge_litert")):
        if importlib.util.find_spec(package) is not None:
            return name
    return "numpy"


class Consultation:
    """An oracle at work beside the compiler: construct it, do something else, then ask for `expected()`.

    `inputs` holds one array (samples, *shape) per model input. A context manager: leaving it ends the workers.
    """

    def __init__(
        self,
        name: str,
        model: Path,
        graph: Graph,
        inputs: Sequence[np.ndarray],
        *,
        tolerance: Tolerance | None = None,
        timeout: float | None = None,
    ) -> None:
        check_name(name)
        check_readable(model)
        self._name = name
        self._graph = graph
        self._tolerance = tolerance or Tolerance()
        self._samples = inputs[0].shape[0] if inputs else 1
        seconds = timeout or _TIMEOUT_SECONDS + _TIMEOUT_SECONDS_PER_SAMPLE * self._samples
        wanted = variables(graph)
        kinds = ["numpy", *([name] if name in NAMES and name != "numpy" else [])]
        self._store = AnswerStore(cache_dir() / "answers")
        self._keys = {kind: key_of(kind, model.read_bytes(), inputs, wanted) for kind in kinds}
        self._known = {kind: self._store.load(key) for kind, key in self._keys.items()}
        with ExitStack() as stack:
            self._workers = {
                kind: stack.enter_context(Worker(kind, model, inputs, wanted, seconds))
                for kind in kinds
                if self._known[kind] is None
            }
            self._stack = stack.pop_all()

    def __enter__(self) -> Consultation:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def expected(self) -> Expected:
        """Wait for the answers. OracleFailed, ToolMissing, or BadInput for a file that does not fit the model."""
        if self._name == "numpy":
            first: Answers = {}
        elif self._name in NAMES:
            first = self._answers(self._name)
        else:
            first = load_expected(Path(self._name), self._graph, self._samples)
        return reconcile(self._name, self._graph, first, self._answers("numpy"), self._tolerance)

    def _answers(self, kind: str) -> Answers:
        """From the store, or from the worker and then into the store."""
        known = self._known[kind]
        if known is not None:
            return known
        answers = shaped(kind, self._graph, self._samples, self._workers[kind].result())
        self._store.save(self._keys[kind], answers)
        return answers


def variables(graph: Graph) -> list[TensorId]:
    """The tensors that operators compute, in order, each once."""
    return list(dict.fromkeys(t for op in graph.ops for t in op.outputs))
