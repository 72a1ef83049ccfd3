"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from edgemtl.engine.halves import computable
from edgemtl.engine.host import (
    HostSession,
    check_runnable,
    default_threads,
    first_line,
    manifest_in,
)
from edgemtl.engine.slots import SLOTS
from edgemtl.errors import EngineError, ModelError
from edgemtl.manifest import TensorInfo, check_against_graph
from edgemtl.onnx_file import model_bytes

_DTYPES = {
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class OrtSession(HostSession):
    """A network in ONNX Runtime; see ``engine.session.Session``.

    A thread of its own runs the network, so ``submit`` returns at once; the runtime releases the
    GIL. INT8 graphs of TensorRT are emulated: their Q/DQ are computed in float, because the host's
    own kernels for signed integers may saturate. Raises ModelError for files that are not ours,
    EngineError for what it cannot run.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        batch: int = 1,
        slots: int = SLOTS,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch: expected at least 1, got {batch}")
        self._threads = threads or default_threads()
        data = model_bytes(path)
        manifest = manifest_in(data, str(path))
        self._emulates = manifest.dialect == "trt"
        self._session = _load(data, str(path), self._threads, self._emulates)
        inputs = _infos(self._session.get_inputs())
        check_against_graph(manifest, inputs, _infos(self._session.get_outputs()), str(path))
        check_runnable(manifest, inputs[0], batch, str(path))
        super().__init__(manifest, batch, slots)
        self._input_name, self._fixed = inputs[0].name, inputs[0].shape[0]
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="edgemtl-ort")
        self._futures: dict[int, Future[None]] = {}

    @property
    def backend(self) -> str:
        how = ", INT8 in float" if self._emulates else ""
        return f"onnxruntime {onnxruntime.__version__} (CPU, {self._threads} threads{how})"

    def _start(self, slot: int, n_valid: int) -> None:
        self._futures[slot] = self._worker.submit(self._run, slot, n_valid)

    def _wait(self, slot: int) -> None:
        self._futures.pop(slot).result()

    def _free(self) -> None:
        self._worker.shutdown(wait=True)

    def _run(self, slot: int, n_valid: int) -> None:
        n_valid = self._fixed or n_valid  # what else lies in the slot is not looked at
        binding = self._session.io_binding()
        _bind(binding.bind_input, self._input_name, self._inputs[slot][:n_valid])
        for name, buffer in self._outputs[slot].items():
            _bind(binding.bind_output, name, buffer[:n_valid])
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime raises classes of its own, without a base
            raise EngineError(f"onnxruntime failed: {first_line(error)}") from error


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


def _load(data: bytes, where: str, threads: int, emulate: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if emulate:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    # threads that spin between frames starve decoding on small machines
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads > 1 else "1")
    try:
        return onnxruntime.InferenceSession(
            computable(data), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # see _run
        raise ModelError(
            f"{where}: ONNX Runtime cannot load it: {first_line(error)}",
            "it must be a whole .onnx file; export it again with 'edgemtl export'",
        ) from error
