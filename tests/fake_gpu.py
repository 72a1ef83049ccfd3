"""pycuda and TensorRT on the GPU in small (fake_cuda): the engine is an ONNX file that ONNX Runtime
runs when a stream comes to it."""

from __future__ import annotations

import json
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_cuda import (
    MIB,
    CudaError,
    DeviceMemory,
    FakeEvent,
    FakeGpu,
    FakeStream,
    Owned,
    PinnedMemory,
    Work,
)
from fake_driver import FakeDriver

from edgemtl.engine import gpu as gpu_module
from edgemtl.engine.halves import computable

__all__ = ["FakeDriver", "FakeGpu", "add_runtime", "install_gpu", "make_pycuda"]
DEVICEMAP = 2


def make_pycuda(gpu: FakeGpu) -> ModuleType:
    """``pycuda.driver`` on a fake GPU."""
    cuda = ModuleType("pycuda.driver")

    def pagelocked_zeros(shape, dtype, order="C", mem_flags=0):
        assert bool(mem_flags & DEVICEMAP) == gpu.integrated
        return np.asarray(PinnedMemory(gpu, tuple(shape), np.dtype(dtype), gpu.integrated))

    def copy(kind: str, device: DeviceMemory, host: np.ndarray, stream: FakeStream) -> None:
        assert gpu.is_pinned(host), "async copies need pinned memory"
        assert host.flags.c_contiguous
        if kind == "dtoh" and gpu.fail_at_download:
            raise CudaError("cuMemcpyDtoHAsync failed: invalid argument")
        address = int(device)

        def work(number: int) -> None:
            there = gpu.view(address, host.shape, host.dtype)
            target, source = (there, host) if kind == "htod" else (host, there)
            target[...] = source
            gpu.log.append((kind, host.nbytes, number))

        stream.put(Work(work))

    def init() -> None:
        if gpu.init_error:
            raise CudaError(f"cuInit failed: {gpu.init_error}")

    context = SimpleNamespace(push=lambda: gpu.move(1), pop=lambda: gpu.move(-1))

    class Device:
        def __init__(self, ordinal: int) -> None:
            assert ordinal == 0

        def get_attribute(self, which: str) -> int:
            return {"INTEGRATED": int(gpu.integrated)}[which]

        def retain_primary_context(self) -> Any:
            gpu.maker = threading.get_ident()
            return context

    cuda.Error, cuda.Device, cuda.init = CudaError, Device, init
    cuda.Stream = lambda flags: FakeStream(gpu, flags)
    cuda.Event = lambda flags: FakeEvent(gpu, flags)
    cuda.pagelocked_zeros = pagelocked_zeros
    cuda.mem_alloc = lambda count: DeviceMemory(gpu, count)
    cuda.mem_get_info = lambda: (gpu.need_context(), (3 * MIB, 7620 * MIB))[1]
    cuda.memcpy_htod_async = lambda to, host, stream: copy("htod", to, host, stream)
    cuda.memcpy_dtoh_async = lambda host, source, stream: copy("dtoh", source, host, stream)
    cuda.host_alloc_flags = SimpleNamespace(DEVICEMAP=DEVICEMAP)
    cuda.event_flags = SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2)
    cuda.device_attribute = SimpleNamespace(INTEGRATED="INTEGRATED")
    return cuda


def _base(name: str, version: str) -> ModuleType:
    trt = ModuleType(name)
    trt.__version__ = version

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = "INTERNAL_ERROR", "ERROR", "WARNING", "INFO"

        def __init__(self) -> None:
            self.made = True

    trt.ILogger = ILogger

    class IProfiler:
        def __init__(self) -> None:
            self.made = True

    trt.IProfiler, trt.LayerInformationFormat = IProfiler, SimpleNamespace(JSON="json")
    trt.TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    trt.nptype = lambda dtype: np.dtype(dtype).type
    return trt


def add_runtime(trt: ModuleType, gpu: FakeGpu) -> None:
    """``Runtime``, ``ICudaEngine`` and ``IExecutionContext``."""

    class Context(Owned):
        """``settled``: the shape of the last ordinary run; a capture of another one is refused.
        ``changes``: a graph is undefined when its context changed after the capture."""

        kind, anywhere = "context", True

        def __init__(self, engine: Engine) -> None:
            super().__init__(gpu)
            self.engine, self.addresses, self.shape = engine, {}, None
            self.profiler: Any = None
            self.settled, self.changes = None, 0

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            assert name == self.engine.image
            if shape[0] > self.engine.most:
                self.engine.logger.log("ERROR", "setInputShape: dimension out of range")
                return False
            self.shape = shape
            self.changes += 1
            return True

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert name in self.engine.infos
            assert address in gpu.memory
            self.addresses[name] = address
            self.changes += 1
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            gpu.need_context()
            stream = gpu.streams[stream_handle]
            if gpu.fail_at_run:
                self.engine.logger.log("WARNING", "a warning before it")
                self.engine.logger.log("ERROR", "enqueueV3: \n out of tactics")
                return False
            if stream.captured is None:
                self.settled = self.shape
            elif not gpu.capturable or self.settled != self.shape:
                stream.spoilt = True
                words = "Cuda Runtime (operation not permitted when stream is capturing)"
                self.engine.logger.log("ERROR", f"Error Code 1: {words}")
                return False
            addresses, shape, changes = dict(self.addresses), self.shape, self.changes

            def unchanged() -> None:
                assert self.changes == changes, "undefined: the graph's context was changed"

            stream.put(Work(lambda number: self.run(addresses, shape, number), unchanged))
            gpu.enqueued += 1
            return True

        def run(self, addresses: dict[str, int], shape: tuple[int, ...], number: int) -> None:
            session = self.engine.session
            entry = self.engine.image
            images = gpu.view(addresses[entry], shape, self.engine.infos[entry][1])
            names = [o.name for o in session.get_outputs()]
            for name, value in zip(names, session.run(names, {entry: images}), strict=True):
                gpu.view(addresses[name], value.shape, value.dtype)[...] = value
            gpu.log.append(("run", shape[0], number))
            if self.profiler is not None:
                assert self.profiler.made
                for place, name in enumerate(("first", "second")):
                    self.profiler.report_layer_time(name, 1.0 + place)

    class Engine(Owned):
        kind, anywhere = "engine", True

        def __init__(self, plan: bytes, logger: Any) -> None:
            super().__init__(gpu)
            graph = onnx.ModelProto.FromString(plan).graph
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            # the host's own kernels may saturate at signed integers, which a GPU's do not
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            self.logger, self.image, self.most = logger, graph.input[0].name, 4
            self.session = onnxruntime.InferenceSession(
                computable(plan), options, providers=["CPUExecutionProvider"]
            )
            self.infos = {}
            for mode, values in (("in", graph.input), ("out", graph.output)):
                for value in values:
                    kind = value.type.tensor_type
                    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
                    sizes = [d.dim_value or -1 for d in kind.shape.dim]
                    self.infos[value.name] = (mode, dtype, sizes)
            self.num_io_tensors = len(self.infos)

        def get_tensor_name(self, index: int) -> str:
            return list(self.infos)[index]

        def get_tensor_mode(self, name: str) -> str:
            return str(self.infos[name][0])

        def get_tensor_dtype(self, name: str) -> Any:
            return self.infos[name][1]

        def get_tensor_shape(self, name: str) -> list[int]:
            return list(self.infos[name][2])

        def create_engine_inspector(self) -> SimpleNamespace:
            rows = [{
                "Name": name, "LayerType": "CaskConvolution",
                "Outputs": [{"Name": "x", "Dimensions": [1, 8, 4, 4], "Format/Datatype": "Half"}],
            } for name in ("first", "second", "third")]  # fmt: skip
            text = json.dumps({"Layers": rows, "Bindings": list(self.infos)})
            return SimpleNamespace(execution_context=None, get_engine_information=lambda form: text)

        def create_execution_context(self) -> Context | None:
            return _or_short(lambda: Context(self), self.logger)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            assert logger.made, "a logger must call its base class's __init__"
            if gpu.runtime_warning:
                logger.log("WARNING", gpu.runtime_warning)
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            gpu.need_context()
            if plan.startswith(b"damaged"):
                self.logger.log("ERROR", "Error Code 1:\nSerialization assertion failed")
                return None
            return _or_short(lambda: Engine(plan, self.logger), self.logger)

    def _or_short(make: Any, logger: Any) -> Any:
        """TensorRT returns None where memory is short, and tells its logger."""
        try:
            return make()
        except CudaError:
            logger.log("ERROR", "Error Code 2: OutOfMemory (Requested size was 4194304 bytes.)")
            return None

    trt.Runtime = Runtime


def install_gpu(
    monkeypatch: pytest.MonkeyPatch,
    *,
    flavour: str = "tensorrt",
    version: str = "10.3.0",
    integrated: bool = False,
    pycuda: bool = True,
) -> FakeGpu:
    """Give this process a GPU: driver, TensorRT's runtime and, if wanted, pycuda."""
    gpu = FakeGpu(integrated)
    trt = _base(flavour, version)
    add_runtime(trt, gpu)
    monkeypatch.setitem(sys.modules, flavour, trt)
    package = ModuleType("pycuda")
    package.driver = make_pycuda(gpu)
    monkeypatch.setitem(sys.modules, "pycuda", package if pycuda else None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver if pycuda else None)
    monkeypatch.setattr(gpu_module, "_driver", lambda: FakeDriver(gpu=gpu))
    return gpu
