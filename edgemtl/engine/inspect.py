"""What an engine says of itself: its inputs and outputs, its layers, how long they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgemtl.manifest import TensorInfo


def inspect_engine(
    trt: Any, engine: Any, context: Any, run: Callable[[], object], rounds: int
) -> tuple[str, dict[str, float]]:
    """The inspector's JSON, and name of a layer -> its mean milliseconds in ``rounds`` of ``run``.

    An engine tells details only if it was built with them. While they are timed the layers run one
    after the other, so their sum is more than a run takes.
    """
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    told = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    sums: dict[str, float] = {}

    class Sums(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            sums[layer_name] = sums.get(layer_name, 0.0) + ms

    run()  # the first run of a shape allocates, and would be timed
    profiler = Sums()  # TensorRT keeps no reference of its own
    context.profiler = profiler
    try:
        for _ in range(rounds):
            run()
    finally:
        context.profiler = None
    return str(told), {name: total / rounds for name, total in sums.items()}


def engine_tensors(trt: Any, engine: Any) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Inputs and outputs, as the engine itself tells them."""
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(TensorInfo(name, dtype, shape))
    return inputs, outputs
