"""Run the float model over the calibration pictures and watch the tensors to be quantised."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

from edgemtl.engine.halves import computable
from edgemtl.errors import CalibrationError
from edgemtl.graph.qdq import corrected_inputs, quantisable_tensors
from edgemtl.manifest import Manifest
from edgemtl.metrics.agreement import SCORE_SLACK
from edgemtl.ops import select
from edgemtl.quantize.histogram import HistogramObserver, Rule
from edgemtl.quantize.observe import ChannelMean, Observer
from edgemtl.records import NetOutputs, RawOutputs, named_outputs


def open_onnx(
    model: onnx.ModelProto, *, emulate: bool = False, threads: int = 0
) -> onnxruntime.InferenceSession:
    """A session on a graph in memory. ``emulate`` computes Q/DQ in float instead of fusing it.

    Emulation is how an INT8 graph of another backend is judged here: the host's own integer
    kernels may saturate where the target's do not.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if emulate:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        computable(model.SerializeToString()), options, providers=["CPUExecutionProvider"]
    )


@dataclass(frozen=True, slots=True)
class Statistics:
    """observers: of each tensor; means: tensor -> mean of each channel."""

    observers: dict[str, Observer]
    means: dict[str, tuple[float, ...]]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Tensor -> (low, high), as its observer says."""
        return {name: observer.range() for name, observer in self.observers.items()}

    def ranges_by(self, rule: Rule) -> dict[str, tuple[float, float]]:
        """As another rule would choose. Raises TypeError if the observers counted nothing."""
        found = {}
        for name, observer in self.observers.items():
            if not isinstance(observer, HistogramObserver):
                raise TypeError(f"observers: expected histograms, '{name}' has {observer.name}")
            found[name] = observer.range_by(rule)
        return found


def watch(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy whose outputs are these tensors."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return watched


def collect(
    model: onnx.ModelProto,
    batches: Iterable[NDArray[Any]],
    make: Callable[[], Observer],
    threads: int = 0,
) -> Statistics:
    """What INT8 needs to know of a float model, over all batches.

    All watched activations of one batch are in memory at once, nothing of earlier batches.
    Raises CalibrationError, naming the tensor, for activations that are not finite.
    """
    observers = {name: make() for name in quantisable_tensors(model)}
    averages = {name: ChannelMean() for name in corrected_inputs(model)}
    names = list(dict.fromkeys([*observers, *averages]))
    session = open_onnx(watch(model, names), threads=threads)
    entry = session.get_inputs()[0].name
    for batch in batches:
        for name, value in zip(names, session.run(names, {entry: batch}), strict=True):
            try:
                if name in observers:
                    observers[name].update(value)
            except CalibrationError as error:
                raise CalibrationError(f"tensor '{name}': {error.message}", error.hint) from error
            if name in averages:
                averages[name].update(value)
    return Statistics(observers, {name: average.means() for name, average in averages.items()})


def infer(
    session: onnxruntime.InferenceSession, manifest: Manifest, images: NDArray[Any]
) -> NetOutputs:
    """The manifest's outputs for images [N, 3, h, w]; tasks that it lacks give empty arrays.

    An adopted detector's rows reach down to what a comparison at its ``min_score`` looks at.
    """
    names = list(manifest.expected_outputs())
    values = session.run(names, {session.get_inputs()[0].name: images})
    outputs = named_outputs(dict(zip(names, values, strict=True)), manifest)
    if isinstance(outputs, RawOutputs):
        return select(outputs, manifest.min_score - SCORE_SLACK)
    return outputs
