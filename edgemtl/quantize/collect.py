"""Run the float model over the calibration pictures and watch the tensors to be quantised."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgemtl.errors import CalibrationError
from edgemtl.manifest import Manifest
from edgemtl.quantize.observe import Observer
from edgemtl.records import NetOutputs


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
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def collect_ranges(
    model: onnx.ModelProto,
    tensors: tuple[str, ...],
    batches: Iterable[NDArray[Any]],
    make: Callable[[], Observer],
) -> dict[str, tuple[float, float]]:
    """Range of each tensor over all batches. Raises CalibrationError, naming the tensor."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = open_onnx(watched)
    observers = {name: make() for name in tensors}
    entry = session.get_inputs()[0].name
    for batch in batches:
        values = session.run(list(tensors), {entry: batch})
        for (name, observer), value in zip(observers.items(), values, strict=True):
            try:
                observer.update(value)
            except CalibrationError as error:
                raise CalibrationError(f"tensor '{name}': {error.message}", error.hint) from error
    return {name: observer.range() for name, observer in observers.items()}


def infer(
    session: onnxruntime.InferenceSession, manifest: Manifest, images: NDArray[Any]
) -> NetOutputs:
    """The manifest's outputs for images [N, 3, h, w]; tasks that it lacks give empty arrays."""
    names = list(manifest.expected_outputs())
    values = session.run(names, {session.get_inputs()[0].name: images})
    found = dict(zip(names, values, strict=True))
    count = len(images)
    return NetOutputs(
        found.get("boxes", np.zeros((count, 0, 4), np.float32)),
        found.get("scores", np.zeros((count, 0), np.float32)),
        found.get("labels", np.zeros((count, 0), np.int32)),
        found.get("embeddings"),
        found.get("image_probs"),
    )
