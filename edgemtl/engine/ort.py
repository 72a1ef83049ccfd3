"""ONNX Runtime on the CPU: the embedded default. Input and output buffers are made once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgemtl.engine.session import Slot, Ticket
from edgemtl.engine.slots import SlotRing, named_outputs
from edgemtl.errors import EngineError, ModelError
from edgemtl.manifest import (
    Manifest,
    TensorInfo,
    check_against_graph,
    manifest_from_metadata,
)
from edgemtl.records import NetOutputs

SLOTS = 2
_DTYPES = {
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


def default_threads() -> int:
    """All cores but one, which decoding and sinks keep; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) - 1)


class OrtSession:
    """A network in ONNX Runtime; see ``engine.session.Session``.

    A thread of its own runs the network, so ``submit`` returns at once; the runtime releases the
    GIL. Raises ModelError for files that are not ours, EngineError for what it cannot run.
    """

    def __init__(
        self, path: Path, *, threads: int | None = None, batch: int = 1, slots: int = SLOTS
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch: expected at least 1, got {batch}")
        self._threads = threads or default_threads()
        self._session = _load(path, self._threads)
        meta = self._session.get_modelmeta().custom_metadata_map
        self._manifest = manifest_from_metadata(meta, str(path))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_against_graph(self._manifest, _infos(inputs), _infos(outputs), str(path))
        self._input_name = inputs[0].name
        self._names = [o.name for o in outputs]
        size = self._manifest.input.size_hw
        self._inputs = [
            np.zeros((batch, 3, *size), self._manifest.input.dtype) for _ in range(slots)
        ]
        expected = self._manifest.expected_outputs()
        self._outputs = [
            {name: np.zeros((batch, *shape), dtype) for name, (dtype, shape) in expected.items()}
            for _ in range(slots)
        ]
        self._ring = SlotRing(slots)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="edgemtl-ort")
        self._running: dict[int, tuple[Future[None], int]] = {}
        self._lock = threading.Lock()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def backend(self) -> str:
        return f"onnxruntime {onnxruntime.__version__} (CPU, {self._threads} threads)"

    @property
    def batch(self) -> int:
        return int(self._inputs[0].shape[0])

    def acquire(self) -> Slot:
        return self._ring.acquire()

    def input(self, slot: Slot) -> NDArray[Any]:
        return self._inputs[slot]

    def submit(self, slot: Slot, n_valid: int) -> Ticket:
        if not 1 <= n_valid <= self.batch:
            raise ValueError(f"n_valid: expected 1 to {self.batch}, got {n_valid}")
        future = self._worker.submit(self._run, slot, n_valid)
        with self._lock:
            self._running[slot] = (future, n_valid)
        return Ticket(int(slot))

    def collect(self, ticket: Ticket) -> NetOutputs:
        with self._lock:
            future, n_valid = self._running.pop(ticket)
        try:
            future.result()
        finally:
            self._ring.release(Slot(int(ticket)))
        return named_outputs({k: v[:n_valid] for k, v in self._outputs[ticket].items()})

    def infer(self, images: NDArray[Any]) -> NetOutputs:
        slot = self.acquire()
        self._inputs[slot][: len(images)] = images
        out = self.collect(self.submit(slot, len(images)))
        return NetOutputs(
            out.boxes_net.copy(),
            out.scores.copy(),
            out.labels.copy(),
            None if out.embeddings is None else out.embeddings.copy(),
            None if out.image_probs is None else out.image_probs.copy(),
        )

    def close(self) -> None:
        self._worker.shutdown(wait=True)

    def _run(self, slot: int, n_valid: int) -> None:
        binding = self._session.io_binding()
        _bind(binding.bind_input, self._input_name, self._inputs[slot][:n_valid])
        for name, buffer in self._outputs[slot].items():
            _bind(binding.bind_output, name, buffer[:n_valid])
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime raises classes of its own, without a base
            raise EngineError(f"onnxruntime failed: {_first_line(error)}") from error


def _bind(bind: Any, name: str, view: NDArray[Any]) -> None:
    bind(name, "cpu", 0, view.dtype.type, view.shape, view.ctypes.data)


def _infos(tensors: list[Any]) -> list[TensorInfo]:
    return [
        TensorInfo(
            t.name,
            _DTYPES.get(t.type, t.type),
            tuple(d if isinstance(d, int) else None for d in t.shape),
        )
        for t in tensors
    ]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _load(path: Path, threads: int) -> onnxruntime.InferenceSession:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}", "check the path") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # threads that spin between frames starve decoding on small machines
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads > 1 else "1")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see _run
        if not data:
            raise ModelError(f"{path}: the file is empty", "export the model again") from error
        raise ModelError(
            f"{path}: ONNX Runtime cannot load it: {_first_line(error)}",
            "it must be a whole .onnx file; export it again with 'edgemtl export'",
        ) from error
