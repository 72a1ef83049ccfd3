"""OpenVINO on the CPU: the fastest of the backends on Intel processors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from edgemtl.engine.host import (
    HostSession,
    check_runnable,
    default_threads,
    first_line,
    manifest_in,
)
from edgemtl.engine.slots import SLOTS
from edgemtl.errors import EngineError, MissingExtraError
from edgemtl.manifest import (
    Manifest,
    TensorInfo,
    check_against_graph,
)
from edgemtl.onnx_file import model_bytes

_DTYPES = {
    "i8": "int8",
    "u8": "uint8",
    "f32": "float32",
    "f16": "float16",
    "i32": "int32",
    "i64": "int64",
}


class OpenVinoSession(HostSession):
    """A network in OpenVINO; see ``engine.session.Session``.

    The graph is compiled once, for exactly ``batch`` pictures: shapes that are known are faster
    than open ones. A submit with fewer computes all rows and hands out those that count.
    Raises ModelError for files that are not ours, EngineError for what OpenVINO cannot run,
    MissingExtraError without it.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        batch: int = 1,
        slots: int = SLOTS,
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        """``precision``: of what the file does not quantise. The default of OpenVINO itself is
        bfloat16 on new Intel and float16 on ARM processors; here it is what the file says.
        """
        if batch < 1:
            raise ValueError(f"batch: expected at least 1, got {batch}")
        openvino = _package()
        self._threads, self._precision = threads or default_threads(), precision
        data = model_bytes(path)
        manifest = manifest_in(data, str(path))
        core = openvino.Core()
        model = _read(core, data, path)
        inputs, outputs = _infos(model.inputs, ()), _infos(model.outputs, _names(manifest))
        check_against_graph(manifest, inputs, outputs, str(path))
        check_runnable(manifest, inputs[0], batch, str(path))
        super().__init__(manifest, batch, slots)
        self._version = str(openvino.__version__).split("-")[0]
        compiled = self._compile(core, model, path)
        self._requests = [self._request(openvino, compiled, slot) for slot in range(slots)]

    @property
    def backend(self) -> str:
        precision = "" if self._precision == "f32" else f", {self._precision}"
        return f"openvino {self._version} (CPU, {self._threads} threads{precision})"

    def _compile(self, core: Any, model: Any, path: Path) -> Any:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": self._precision,
            # pinned threads of two processes would share one core and leave another idle
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model.reshape([self.batch, 3, *self._manifest.input.size_hw])
            compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:  # OpenVINO raises RuntimeError and others
            raise EngineError(
                f"{path}: OpenVINO cannot compile it: {first_line(error)}",
                "run it with --backend onnxruntime",
            ) from error
        for name, array in self._outputs[0].items():
            shape = compiled.output(name).partial_shape
            if shape.is_dynamic or tuple(shape.to_shape()) != array.shape:
                raise EngineError(
                    f"{path}: OpenVINO makes '{name}' of shape {shape}, expected {array.shape}",
                    "export it again with 'edgemtl export'",
                )
        return compiled

    def _request(self, openvino: Any, compiled: Any, slot: int) -> Any:
        """An infer request that reads and writes the slot's arrays in place."""
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(self._inputs[slot], shared_memory=True))
        for name, array in self._outputs[slot].items():
            request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        return request

    def _start(self, slot: int, n_valid: int) -> None:
        self._requests[slot].start_async()

    def _wait(self, slot: int) -> None:
        try:
            self._requests[slot].wait()
        except RuntimeError as error:
            raise EngineError(f"openvino failed: {first_line(error)}") from error

    def _free(self) -> None:
        for request in self._requests:
            with suppress(RuntimeError):  # nobody reads it any more
                request.wait()
        self._requests.clear()


def computes_bf16() -> bool:
    """Whether OpenVINO is installed and computes in bfloat16 on this processor."""
    try:
        capabilities = _package().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (MissingExtraError, RuntimeError):
        return False
    return "BF16" in capabilities


def _package() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino", "the backend 'openvino'") from error
    return openvino


def _read(core: Any, data: bytes, path: Path) -> Any:
    try:
        return core.read_model(data, b"")
    except Exception as error:  # see _compile
        raise EngineError(
            f"{path}: OpenVINO cannot read it: {first_line(error)}",
            "run it with --backend onnxruntime, or export it again with 'edgemtl export'",
        ) from error


def _names(manifest: Manifest) -> tuple[str, ...]:
    return tuple(manifest.expected_outputs())


def _infos(ports: list[Any], wanted: tuple[str, ...]) -> list[TensorInfo]:
    """What the ports are. A port may have several names: one of ``wanted`` is taken first."""
    return [
        TensorInfo(
            next((name for name in wanted if name in port.names), port.any_name),
            _DTYPES.get(kind := port.element_type.get_type_name(), kind),
            tuple(d.get_length() if d.is_static else None for d in port.partial_shape),
        )
        for port in ports
    ]
