"""A GPU, its driver, pycuda and TensorRT in small: the engine is an ONNX file that ONNX Runtime
runs, and streams do nothing until somebody waits for them, as a busy GPU would.

What a real one forbids fails here too: work without a current context, asynchronous copies of
memory that is not pinned, addresses that were never allocated.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgemtl.engine import gpu as gpu_module
from edgemtl.engine.halves import computable

NAME, CAPABILITY = "Fake Orin", (8, 7)
DEVICEMAP = 2


class CudaError(Exception):
    """Stands for pycuda.driver.Error."""


class FakeGpu:
    """Memory by address, contexts by thread, and a log of what the stream has done."""

    def __init__(self, integrated: bool = False) -> None:
        self.integrated = integrated
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: list[np.ndarray] = []
        self.log: list[tuple[Any, ...]] = []
        self.threads = threading.local()
        self.fail_at_wait = self.fail_at_run = False
        self.streams: dict[int, list[Callable[[], None]]] = {}

    @property
    def depth(self) -> int:
        """How many contexts lie on this thread's stack."""
        return getattr(self.threads, "depth", 0)

    def move(self, by: int) -> None:
        self.threads.depth = self.depth + by
        assert self.depth >= 0

    def need_context(self) -> None:
        if self.depth != 1:
            raise CudaError(f"invalid device context (depth {self.depth})")

    def reserve(self, raw: np.ndarray) -> int:
        address = 0x1000 * (len(self.memory) + 1)
        self.memory[address] = raw
        return address

    def view(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.memory[address][:count].view(dtype).reshape(shape)


class _Pinned:
    """The owner of pinned memory, as ``array.base`` of pycuda's arrays is."""

    def __init__(self, gpu: FakeGpu, shape: tuple[int, ...], dtype: np.dtype, mapped: bool) -> None:
        self.raw = np.zeros(int(np.prod(shape)) * dtype.itemsize, np.uint8)
        self.address = gpu.reserve(self.raw) if mapped else None
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (self.raw.ctypes.data, False),
            "version": 3,
        }

    def get_device_pointer(self) -> int:
        if self.address is None:
            raise CudaError("not mapped")
        return self.address


class _Allocation:
    def __init__(self, address: int) -> None:
        self.address = address

    def __int__(self) -> int:
        return self.address


def make_pycuda(gpu: FakeGpu) -> ModuleType:
    """``pycuda.driver`` on a fake GPU."""
    cuda = ModuleType("pycuda.driver")

    class Stream:
        def __init__(self) -> None:
            gpu.need_context()
            self.handle = 7000 + len(gpu.streams)
            self.queue = gpu.streams.setdefault(self.handle, [])

        def run(self, count: int) -> None:
            gpu.need_context()
            if gpu.fail_at_wait:
                raise CudaError("an illegal memory access was encountered")
            for _ in range(count):
                self.queue.pop(0)()

        def synchronize(self) -> None:
            self.run(len(self.queue))

    class Event:
        def __init__(self, flags: int) -> None:
            gpu.need_context()
            self.flags, self.reached, self.stream = flags, True, None

        def record(self, stream: Stream) -> Event:
            self.reached, self.stream = False, stream
            stream.queue.append(self._reach)
            return self

        def _reach(self) -> None:
            self.reached = True
            gpu.log.append(("event",))

        def synchronize(self) -> Event:
            gpu.need_context()
            while not self.reached:
                self.stream.run(1)
            return self

    def pagelocked_zeros(shape, dtype, order="C", mem_flags=0):
        gpu.need_context()
        array = np.asarray(_Pinned(gpu, tuple(shape), np.dtype(dtype), bool(mem_flags & DEVICEMAP)))
        gpu.pinned.append(array)
        return array

    def mem_alloc(count: int) -> _Allocation:
        gpu.need_context()
        assert not gpu.integrated, "an integrated GPU needs no second copy"
        return _Allocation(gpu.reserve(np.zeros(count, np.uint8)))

    def copy(kind: str, address: int, host: np.ndarray, stream: Stream) -> None:
        gpu.need_context()
        assert any(np.shares_memory(host, p) for p in gpu.pinned), "async copies need pinned memory"
        assert host.flags.c_contiguous

        def work() -> None:
            device = gpu.view(address, host.shape, host.dtype)
            target, source = (device, host) if kind == "htod" else (host, device)
            target[...] = source
            gpu.log.append((kind, host.nbytes))

        stream.queue.append(work)

    context = SimpleNamespace(
        push=lambda: gpu.move(1),
        pop=lambda: gpu.move(-1),
        get_device=lambda: cuda.Device(0),
    )

    class Device:
        def __init__(self, ordinal: int) -> None:
            assert ordinal == 0

        def get_attribute(self, which: str) -> int:
            return {"INTEGRATED": int(gpu.integrated)}[which]

        def retain_primary_context(self) -> Any:
            return context

    cuda.Error, cuda.Stream, cuda.Event, cuda.Device = CudaError, Stream, Event, Device
    cuda.pagelocked_zeros, cuda.mem_alloc = pagelocked_zeros, mem_alloc
    cuda.memcpy_htod_async = lambda to, host, stream: copy("htod", int(to), host, stream)
    cuda.memcpy_dtoh_async = lambda host, source, stream: copy("dtoh", int(source), host, stream)
    cuda.host_alloc_flags = SimpleNamespace(DEVICEMAP=DEVICEMAP)
    cuda.event_flags = SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2)
    cuda.device_attribute = SimpleNamespace(INTEGRATED="INTEGRATED")
    cuda.init = lambda: None
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

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine, self.addresses, self.shape = engine, {}, None
            self.profiler: Any = None

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            assert name == self.engine.image
            self.shape = shape
            return True

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert name in self.engine.infos
            assert address in gpu.memory
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            gpu.need_context()
            if gpu.fail_at_run:
                self.engine.logger.log("WARNING", "a warning before it")
                self.engine.logger.log("ERROR", "enqueueV3: \n out of tactics")
                return False
            addresses, shape = dict(self.addresses), self.shape
            gpu.streams[stream_handle].append(lambda: self.run(addresses, shape))
            return True

        def run(self, addresses: dict[str, int], shape: tuple[int, ...]) -> None:
            session = self.engine.session
            entry = self.engine.image
            images = gpu.view(addresses[entry], shape, self.engine.infos[entry][1])
            names = [o.name for o in session.get_outputs()]
            for name, value in zip(names, session.run(names, {entry: images}), strict=True):
                gpu.view(addresses[name], value.shape, value.dtype)[...] = value
            gpu.log.append(("run", shape[0]))
            if self.profiler is not None:
                assert self.profiler.made
                for number, name in enumerate(("first", "second")):
                    self.profiler.report_layer_time(name, 1.0 + number)

    class Engine:
        def __init__(self, plan: bytes, logger: Any) -> None:
            graph = onnx.ModelProto.FromString(plan).graph
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            self.logger, self.image = logger, graph.input[0].name
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

        def create_execution_context(self) -> Context:
            gpu.need_context()
            return Context(self)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            assert logger.made, "a logger must call its base class's __init__"
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            gpu.need_context()
            if plan.startswith(b"damaged"):
                self.logger.log("ERROR", "Error Code 1:\nSerialization assertion failed")
                return None
            return Engine(plan, self.logger)

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
    monkeypatch.setattr(gpu_module, "_driver", FakeDriver)
    return gpu


class FakeDriver:
    """libcuda as ctypes shows it; ``broken`` is a function that fails."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 100 * (self.broken == "cuInit")

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = 5
        return 101 * (self.broken == "cuDeviceGet" or ordinal != 0)

    def cuDeviceGetName(self, buffer: Any, size: int, device: Any) -> int:  # noqa: N802
        assert (size, device.value) == (len(buffer), 5)
        buffer.value = NAME.encode()
        return 1 * (self.broken == "cuDeviceGetName")

    def cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> int:  # noqa: N802
        assert device.value == 5
        value._obj.value = {75: CAPABILITY[0], 76: CAPABILITY[1]}[which]
        return 0
