"""Compares what every layer computes on the device with what it should.

A first pass runs layer by layer and looks only at the CRC-32 that the device takes of each layer's outputs. Where one
is not what the expected tensors give, a second pass stops in front of that layer, reads the inputs it is about to get
(later layers reuse their memory), runs it and reads what it made of them:

    inputs as expected, outputs not                                     local        the fault was born here
    outputs are not what the layer's reference makes of its inputs      local        (and something was wrong before)
    outputs are what the reference makes of these wrong inputs          propagated   right for what it got

A layer can also be wrong by writing where it must not. When an input is wrong that was right when it was computed, the
layers in between are run once more, with a look at that tensor after each: the one that changes it is local, too.

A channel that the compiler took for one value is not on the device. Its value is held to the expected tensors in every
sample, whatever the checksum says, and a layer of which it is wrong is local.

At the end of each sample `model_run` runs the whole model as an application does; its outputs are the model's outputs
in the report, and they have to be those of the run layer by layer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from harness.compiler.csource import CSource, Layer
from harness.compiler.graph import TensorId
from harness.debug.comparison import Comparison, LayerResult, OutputResult, Status, worse
from harness.debug.layer_reference import Reference, Values, reference_for
from harness.debug.yardstick import Yardstick
from harness.errors import InfrastructureError
from harness.oracle import Difference, Expected, Tolerance
from harness.oracle.tolerance import NOTHING
from harness.verdict import TargetStopped

Progress = Callable[[str, int, int], None]  # what is being done, how many steps are, how many there will be


class LayerEvent(Protocol):
    """What the device says when a layer is done."""

    @property
    def index(self) -> int: ...
    @property
    def crc32(self) -> int: ...


class Device(Protocol):
    """The part of a session that a comparison uses."""

    def write_tensor(self, tensor: TensorId, values: np.ndarray) -> None: ...
    def read_tensor(self, tensor: TensorId) -> np.ndarray: ...
    def run_layers(self, first: int = 0, end: int | None = None) -> Sequence[LayerEvent]: ...
    def run(self) -> object: ...
    def reset(self) -> None: ...


def compare(
    device: Device,
    source: CSource,
    expected: Expected,
    inputs: Sequence[np.ndarray],
    *,
    tolerance: Tolerance | None = None,
    isolated: bool = False,
    reference: Reference | None = None,
    on_stop: Callable[[TargetStopped], None] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run all samples and judge every layer; a target that stops ends the run and is part of the result.

    `inputs` holds one array (samples, *shape) per input of the model. `isolated` gives every layer the inputs it should
    get instead of what the layers before it made. `on_stop` is called while the stopped target can still be examined:
    afterwards it is started afresh to look at the layers that were through.
    """
    comparer = _Comparer(
        device,
        source,
        expected,
        inputs,
        Yardstick(source.graph, source.kept, tolerance or Tolerance()),
        reference or reference_for(source.graph, source.alike),
        on_stop or (lambda stopped: None),
        progress or (lambda what, done, total: None),
    )
    sample = 0
    try:
        for sample in range(comparer.samples):
            comparer.sample(sample, isolated)
    except TargetStopped as stopped:
        return comparer.comparison(sample, stopped=stopped)
    except InfrastructureError as error:
        return comparer.comparison(sample, broken=error)
    return comparer.comparison(sample)


@dataclass(frozen=True)
class _Sample:
    number: int
    given: Values  # the inputs of the model
    wanted: Values  # every tensor, inputs included
    isolated: bool  # feed each layer what it should get


@dataclass
class _Comparer:
    device: Device
    source: CSource
    expected: Expected
    inputs: Sequence[np.ndarray]
    yardstick: Yardstick
    reference: Reference
    on_stop: Callable[[TargetStopped], None]
    progress: Progress
    results: dict[int, LayerResult] = field(default_factory=dict)
    outputs: dict[TensorId, tuple[int, Difference]] = field(default_factory=dict)
    crcs: dict[int, int] = field(default_factory=dict)  # by layer: those that are through in this sample's first pass
    lost: dict[TensorId, int] = field(
        default_factory=dict
    )  # right when computed, wrong when this layer comes to read it
    whole_model_agrees: bool | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return self.inputs[0].shape[0] if self.inputs else 1

    # ---- one sample ----------------------------------------------------------------------------------------------

    def sample(self, number: int, isolated: bool) -> None:
        given = dict(zip(self.source.graph.inputs, (values[number] for values in self.inputs), strict=True))
        wanted = {t: values[number] for t, values in self.expected.tensors.items()} | given
        sample = _Sample(number, given, wanted, isolated)
        self.crcs, self.lost = {}, {}
        try:
            self._first_pass(sample)
        except TargetStopped as stopped:
            self.on_stop(stopped)
            self._examine_afresh(sample, self._settle(sample))
            raise
        except InfrastructureError:
            self._presume(sample, self._settle(sample))
            raise
        suspects = self._settle(sample)
        try:
            self._examine(sample, suspects)
            self._whole_model(sample)
            self._find_overwriters(sample)
        except TargetStopped as stopped:
            self.on_stop(stopped)
            self._presume(sample, suspects)
            raise
        except InfrastructureError:
            self._presume(sample, suspects)
            raise

    def _first_pass(self, sample: _Sample) -> None:
        """Every layer once, keeping its checksum."""
        count = len(self.source.layers)
        self._write(sample.given)
        for layer in self.source.layers:
            self.progress("run", sample.number * count + layer.index, self.samples * count)
            if sample.isolated:
                self._write({t: sample.wanted[t] for t in layer.inputs})
            self.crcs[layer.index] = self._run(layer)

    def _settle(self, sample: _Sample) -> list[Layer]:
        """Record the layers whose checksum is right; what is left are the suspects, in order."""
        suspects = []
        for index, crc in sorted(self.crcs.items()):
            layer = self.source.layers[index]
            if crc == self._crc(sample.wanted, layer.outputs):
                # The device's checksum stands for its bytes: they are what was wanted.
                same = self.yardstick.difference(layer.outputs, sample.wanted, sample.wanted)
                self._record(LayerResult(layer, Status.MATCH, same), sample)
            else:
                suspects.append(layer)
        return suspects

    def _examine(self, sample: _Sample, suspects: list[Layer]) -> None:
        """The second pass. Takes a layer off `suspects` when it is judged: what is left then was not reached."""
        if suspects:
            self._write(sample.given)
        cursor = 0
        while suspects:
            layer = suspects[0]
            if sample.isolated:
                self._write({t: sample.wanted[t] for t in layer.inputs})
            elif cursor < layer.index:
                self.device.run_layers(cursor, layer.index)
            self._record(self._judge(layer, sample.wanted), sample)
            cursor = layer.index + 1
            del suspects[0]

    def _examine_afresh(self, sample: _Sample, suspects: list[Layer]) -> None:
        """The layers that were through before the target stopped are judged on a target started anew."""
        if not suspects:
            return
        try:
            self.device.reset()
            self._examine(sample, suspects)
        except (TargetStopped, InfrastructureError) as error:
            self.notes.append(f"the target could not be run a second time to look at wrong layers: {error}")
            self._presume(sample, suspects)

    def _presume(self, sample: _Sample, suspects: Sequence[Layer]) -> None:
        """Without a second look the first wrong layer is the one to suspect; how wrong it is remains unknown."""
        for layer in suspects:
            first = all(self._matched(before) for before in self.crcs if before < layer.index)
            status = Status.LOCAL if first else Status.PROPAGATED
            self._record(LayerResult(layer, status, note="only its checksum is known, and it is wrong"), sample)

    def _matched(self, index: int) -> bool:
        result = self.results.get(index)
        return result is not None and result.status is Status.MATCH

    # ---- one layer -----------------------------------------------------------------------------------------------

    def _judge(self, layer: Layer, wanted: Values) -> LayerResult:
        """Run `layer` on what the device holds now, and say whose fault its outputs are."""
        got = self._read(layer.inputs)
        unstable = self._run(layer) != self.crcs[layer.index]
        made = self._read(layer.outputs)
        difference = self.yardstick.difference(layer.outputs, wanted, made)
        if unstable:
            note = "its outputs change from run to run: it reads memory that nothing wrote"
            return LayerResult(layer, Status.LOCAL, difference, note=note)
        if difference.mismatches == 0:
            return LayerResult(layer, Status.MATCH, difference)
        wrong = [t for t in layer.inputs if not self.yardstick.equal(t, wanted[t], got[t])]
        self.lost |= {t: layer.index for t in wrong if t not in self.lost and self._was_right(t, wanted)}
        if not wrong and self.yardstick.constants(layer.inputs, wanted).mismatches == 0:
            return LayerResult(layer, Status.LOCAL, difference)
        right = self.reference(layer, got)
        if self.yardstick.difference(layer.outputs, right, made).mismatches == 0:
            return LayerResult(layer, Status.PROPAGATED, difference)
        return LayerResult(layer, Status.LOCAL, difference, note="wrong also for the wrong inputs it got")

    def _was_right(self, tensor: TensorId, wanted: Values) -> bool:
        """Whether the tensor was as it should be when it was computed, or is an input of the model."""
        layer = self.source.maker(tensor)
        return layer is None or self.crcs.get(layer.index) == self._crc(wanted, layer.outputs)

    def _find_overwriters(self, sample: _Sample) -> None:
        """Name the layers that changed the tensors in `lost`."""
        if sample.isolated:  # every layer was given what it should get
            return
        for tensor, reader in self.lost.items():
            overwriter = self._overwriter(tensor, reader, sample)
            if overwriter is not None:
                self._accuse(overwriter, tensor, reader, sample)
            elif reader == len(self.source.layers):  # right layer by layer, wrong in one go
                self.whole_model_agrees = False

    def _overwriter(self, tensor: TensorId, reader: int, sample: _Sample) -> Layer | None:
        """The layer before `reader` that changes `tensor`, which it does not compute."""
        maker = self.source.maker(tensor)
        first = 0 if maker is None else maker.index + 1
        if first == reader:
            return None
        self._write(sample.given)
        if first:
            self.device.run_layers(0, first)
        for layer in self.source.layers[first:reader]:
            self._run(layer)
            if not self.yardstick.equal(tensor, sample.wanted[tensor], self._read([tensor])[tensor]):
                return layer
        return None

    def _accuse(self, layer: Layer, tensor: TensorId, reader: int, sample: _Sample) -> None:
        spec = self.source.graph.tensor(tensor)
        use = f"layer {reader} reads" if reader < len(self.source.layers) else "is an output of the model"
        note = f"writes over tensor {tensor} {spec.name!r}, which {use}"
        known = self.results[layer.index]
        if note in known.note:  # from an earlier sample
            return
        note = f"{known.note}; {note}" if known.note else note
        first = sample.number if known.sample is None else known.sample
        self.results[layer.index] = replace(known, status=Status.LOCAL, note=note, sample=first)

    def _run(self, layer: Layer) -> int:
        (done,) = self.device.run_layers(layer.index, layer.index + 1)
        return done.crc32

    def _crc(self, values: Values, tensors: Sequence[TensorId]) -> int:
        """CRC-32 (zlib) of the tensors' bytes one after the other, as the device takes it of a layer's outputs."""
        crc = 0
        for tensor in tensors:
            held = self.yardstick.computed(tensor, values[tensor])
            crc = zlib.crc32(np.ascontiguousarray(held).tobytes(), crc)
        return crc

    def _record(self, result: LayerResult, sample: _Sample) -> None:
        """Keep what was found of a layer on the device, with what is to be said of the channels that are not there."""
        constants = self.yardstick.constants(result.layer.outputs, sample.wanted)
        result = replace(result, constants=constants)
        if constants.mismatches:
            note = self.yardstick.contradiction(result.layer, sample.wanted)
            notes = result.note if note in result.note else "; ".join(filter(None, (result.note, note)))
            result = replace(result, status=Status.LOCAL, note=notes)
        if result.status is not Status.MATCH:
            result = replace(result, sample=sample.number)
        self._merge(result)

    def _merge(self, result: LayerResult) -> None:
        before = self.results.get(result.layer.index)
        self.results[result.layer.index] = result if before is None else worse(before, result)

    # ---- the whole model -----------------------------------------------------------------------------------------

    def _whole_model(self, sample: _Sample) -> None:
        self._write(sample.given)
        self.device.run()
        for tensor, values in self._read(self.source.graph.outputs).items():
            crc, difference = self.outputs.get(tensor, (0, NOTHING))
            difference += self.yardstick.difference([tensor], sample.wanted, {tensor: values})
            difference += self.yardstick.constants([tensor], sample.wanted)
            self.outputs[tensor] = (zlib.crc32(values.tobytes(), crc), difference)
            layerwise = [self.crcs[layer.index] for layer in self.source.layers if layer.outputs == (tensor,)]
            wrong = not self.yardstick.equal(tensor, sample.wanted[tensor], values)
            if wrong and not sample.isolated and self._was_right(tensor, sample.wanted):
                self.lost.setdefault(tensor, len(self.source.layers))
            elif layerwise and not sample.isolated:
                agrees = layerwise[-1] == self._crc({tensor: values}, [tensor])
                self.whole_model_agrees = agrees and self.whole_model_agrees is not False

    # ---- tensors -------------------------------------------------------------------------------------------------

    def _write(self, values: Values) -> None:
        for tensor, array in values.items():
            self.device.write_tensor(tensor, array)

    def _read(self, tensors: Sequence[TensorId]) -> dict[TensorId, np.ndarray]:
        return {t: self.device.read_tensor(t) for t in dict.fromkeys(tensors)}

    def comparison(
        self, sample: int, *, stopped: TargetStopped | None = None, broken: InfrastructureError | None = None
    ) -> Comparison:
        ended = stopped is not None or broken is not None
        for layer in self.source.layers:
            if layer.index not in self.results or (ended and layer.index not in self.crcs):
                self._merge(LayerResult(layer, Status.NOT_RUN, sample=sample))
        return Comparison(
            tuple(self.results[layer.index] for layer in self.source.layers),
            tuple(OutputResult(tensor, *found) for tensor, found in self.outputs.items()),
            stopped,
            broken,
            sample,
            self.whole_model_agrees,
            tuple(self.notes),
        )
