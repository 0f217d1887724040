"""TensorFlow Lite files: bytes → Graph.

The structure is verified first (`flatbuffer`), then tensors are read (`tflite_tensors`), then operators, in file order,
which is execution order. Everything a later stage may rely on is checked here: indices, order, one producer for each
tensor, quantisation where integers stand for reals, and each operator's own rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tflite

from harness.compiler.frontends.flatbuffer import verify
from harness.compiler.frontends.tflite_schema import SCHEMA
from harness.compiler.frontends.tflite_tensors import as_list, describe, printable, read_tensors
from harness.compiler.graph import ABSENT, Graph, Op, TensorId
from harness.compiler.ops import OPERATORS
from harness.dtypes import DType
from harness.errors import ModelError

VERSION = 3  # of the schema; the only one ever in use
MAX_OPERANDS = 4096  # of one operator, or of the model
_KINDS = {code: kind for kind, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}


MARK = "the bytes TFL3 at offset 4"


def recognises(data: bytes) -> bool:
    """Whether the file claims to be a TFLite model; `MARK` in words."""
    return data[4:8] == SCHEMA.identifier


def load(data: bytes, name: str) -> Graph:
    """The graph of a TFLite file. `name` is the file's, for messages and for `Graph.name`.

    Constants are read-only views of `data`. Raises `ModelError` for anything malformed or not supported.
    """
    verify(data, SCHEMA, where=name)
    model = tflite.Model.GetRootAs(data, 0)
    if model.Version() != VERSION:
        raise ModelError(f"schema version {model.Version()} is not supported, only {VERSION}", where=name)
    if model.SubgraphsLength() != 1:
        hint = "Models with control flow or state have more than one; export the inference function alone."
        raise ModelError(f"has {model.SubgraphsLength()} subgraphs, not one", where=name, hint=hint)
    return _Loader(model, name).graph()


class _Loader:
    def __init__(self, model: tflite.Model, name: str) -> None:
        self.model = model
        self.subgraph: tflite.SubGraph = model.Subgraphs(0)
        self.name = name
        self.kinds = self.read_kinds()  # first, so that a model for a newer compiler is told so, not something obscure
        self.tensors = read_tensors(model, self.subgraph, name)

    def graph(self) -> Graph:
        inputs = self.boundary("input", self.subgraph.InputsAsNumpy())
        outputs = self.boundary("output", self.subgraph.OutputsAsNumpy())
        known = {index for index, tensor in enumerate(self.tensors) if tensor.data is not None}
        for index in inputs:
            if index in known:
                what = "is an input of the model, but a constant or an input already"
                raise ModelError(what, where=f"{self.name}, {self.tensor(index)}")
            known.add(index)
        ops = tuple(self.op(index, kind, known) for index, kind in enumerate(self.kinds))
        written = dict.fromkeys(index for op in ops for index in op.outputs)
        for index in outputs:
            if index not in written and index not in inputs:
                what = "is an output of the model, but neither an input of it nor written by an operator"
                raise ModelError(what, where=f"{self.name}, {self.tensor(index)}")
        for index in (*inputs, *written):
            quant = self.tensors[index].quant
            if quant is not None and quant.axis is not None:
                what = "is quantised per channel, which only constants can be"
                raise ModelError(what, where=f"{self.name}, {self.tensor(index)}")
        graph = Graph(self.name, self.tensors, ops, inputs, outputs, len(self.tensors))
        for op in ops:
            with self.naming(op.sources[0], op.kind):
                OPERATORS[op.kind].check(graph, op)
        return graph

    def read_kinds(self) -> list[str]:
        """The kind of each operator; all kinds that are not supported are named in one error."""
        codes = [self.opcode(index) for index in range(self.model.OperatorCodesLength())]
        kinds = []
        unsupported: dict[str, list[int]] = {}
        for index in range(self.subgraph.OperatorsLength()):
            code = self.subgraph.Operators(index).OpcodeIndex()
            if code >= len(codes):
                what = f"refers to operator code {code}; the file has {len(codes)}"
                raise ModelError(what, where=f"{self.name}, operator {index}")
            kinds.append(codes[code])
            if codes[code] not in OPERATORS:
                unsupported.setdefault(codes[code], []).append(index)
        if unsupported:
            uses = [f"{kind} (operator {_listed(indices)})" for kind, indices in unsupported.items()]
            hint = f"Supported operators: {', '.join(sorted(OPERATORS))}."
            raise ModelError(f"unknown operator {_listed(uses)}", where=self.name, hint=hint)
        if not kinds:
            raise ModelError("has no operators", where=self.name)
        return kinds

    def opcode(self, index: int) -> str:
        """Name of a kind. Codes above 127 are in the newer of two fields, so the larger of the two holds."""
        table = self.model.OperatorCodes(index)
        code = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
        if code == tflite.BuiltinOperator.CUSTOM:
            return f"CUSTOM {printable(table.CustomCode())[:80]!r}"
        return _KINDS.get(code, f"number {code}")

    def boundary(self, what: str, vector: object) -> tuple[TensorId, ...]:
        """The model's inputs or outputs."""
        indices = _indices(vector, self.name)
        if not indices:
            raise ModelError(f"has no {what}s", where=self.name)
        for index in indices:
            if not 0 <= index < len(self.tensors):
                raise ModelError(f"{what} is tensor {index}; the file has {len(self.tensors)}", where=self.name)
        return indices

    def op(self, index: int, kind: str, known: set[TensorId]) -> Op:
        """One operator; what it writes is added to `known`, the tensors that have a value so far."""
        where = f"{self.name}, operator {index} ({kind})"
        table = self.subgraph.Operators(index)
        inputs = _indices(table.InputsAsNumpy(), where)
        outputs = _indices(table.OutputsAsNumpy(), where)
        present = [tensor for tensor in inputs if tensor != ABSENT]
        for tensor in (*present, *outputs):
            if not 0 <= tensor < len(self.tensors):
                raise ModelError(f"refers to tensor {tensor}; the file has {len(self.tensors)}", where=where)
        for tensor in present:
            if tensor not in known:
                hint = "Operators must stand in execution order."
                raise ModelError(f"reads {self.tensor(tensor)} before anything writes it", where=where, hint=hint)
        for tensor in outputs:
            if tensor in known:
                raise ModelError(f"writes {self.tensor(tensor)}, which has a value already", where=where)
            known.add(tensor)
        for tensor in (*present, *outputs):
            if self.tensors[tensor].dtype is DType.I8 and self.tensors[tensor].quant is None:
                what = f"{self.tensor(tensor)} is int8 without quantisation: scale and zero point are missing"
                raise ModelError(what, where=where)
        self.refuse_hybrid(where, present)
        with self.naming(index, kind):
            attrs = OPERATORS[kind].parse(table)
        return Op(kind, inputs, outputs, attrs, (index,))

    def refuse_hybrid(self, where: str, inputs: Sequence[TensorId]) -> None:
        """Float activations with int8 weights: such a kernel quantises activations at run time, by their range."""
        activations = any(self.tensors[i].dtype is DType.F32 and self.tensors[i].data is None for i in inputs)
        weights = [i for i in inputs if self.tensors[i].dtype is DType.I8 and self.tensors[i].data is not None]
        if activations and weights:
            raise ModelError(
                f"hybrid operator, float32 activations but int8 weights in {self.tensor(weights[0])}: not supported",
                where=where,
                hint="Convert with a representative dataset (all int8), or without optimizations (all float32).",
            )

    def tensor(self, index: TensorId) -> str:
        return describe(index, self.tensors[index].name)

    @contextmanager
    def naming(self, index: int, kind: str) -> Iterator[None]:
        """Adds the file, and the operator where it is not named, to what an operator's own rules raise."""
        try:
            yield
        except ModelError as error:
            where = error.where or f"operator {index} ({kind})"
            raise ModelError(error.what, where=f"{self.name}, {where}", hint=error.hint) from error


def _indices(vector: object, where: str) -> tuple[int, ...]:
    """A vector of tensor indices, not yet checked against the tensors."""
    if isinstance(vector, np.ndarray) and vector.size > MAX_OPERANDS:
        raise ModelError(f"lists {vector.size} tensors, more than {MAX_OPERANDS}", where=where)
    return tuple(as_list(vector))


def _listed(items: Sequence[object]) -> str:
    shown = ", ".join(str(item) for item in items[:5])
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} more"
