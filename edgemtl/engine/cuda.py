"""CUDA: the only module that knows pycuda, and libcuda's graph calls, which pycuda lacks.

Memory, streams, events and graphs belong to the primary context of the first visible GPU, which is
TensorRT's too. They are made, used and freed while :meth:`Cuda.active` holds it.
"""

from __future__ import annotations

import ctypes
import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edgemtl.engine.bindings import one_line
from edgemtl.engine.gpu import UPDATE_DRIVER, driver_cuda, require_driver
from edgemtl.engine.gpu_errors import gpu_failure
from edgemtl.errors import EngineError, MissingExtraError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: what others do on the null stream is not waited for
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
_MIB = 2**20
_OUT = ctypes.POINTER(ctypes.c_void_p)
_GRAPH_CALLS: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (ctypes.c_void_p, ctypes.c_int),
    "cuStreamEndCapture": (ctypes.c_void_p, _OUT),
    "cuGraphInstantiateWithFlags": (_OUT, ctypes.c_void_p, ctypes.c_ulonglong),
    "cuGraphInstantiate_v2": (_OUT, ctypes.c_void_p, _OUT, ctypes.c_char_p, ctypes.c_size_t),
    "cuGraphLaunch": (ctypes.c_void_p, ctypes.c_void_p),
    "cuGraphDestroy": (ctypes.c_void_p,),
    "cuGraphExecDestroy": (ctypes.c_void_p,),
    "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


class GpuEvent(Protocol):
    """A point in a stream's work."""

    def record(self, stream: GpuStream) -> GpuEvent: ...
    def synchronize(self) -> GpuEvent: ...
    def time_since(self, event: GpuEvent) -> float: ...


class GpuStream(Protocol):
    """Work that the GPU does in order."""

    @property
    def handle(self) -> int: ...
    def wait_for_event(self, event: GpuEvent) -> None: ...
    def synchronize(self) -> None: ...


class PyCuda(Protocol):
    """All that is used of ``pycuda.driver``."""

    Error: type[Exception]
    Stream: Callable[[int], GpuStream]
    Event: Callable[[int], GpuEvent]
    Device: Callable[[int], Any]
    init: Callable[[], None]
    pagelocked_zeros: Callable[..., NDArray[Any]]
    mem_alloc: Callable[[int], Any]
    mem_get_info: Callable[[], tuple[int, int]]
    memcpy_htod_async: Callable[[Any, NDArray[Any], GpuStream], None]
    memcpy_dtoh_async: Callable[[NDArray[Any], Any, GpuStream], None]
    host_alloc_flags: Any
    event_flags: Any
    device_attribute: Any


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array on both sides: pinned ``host`` memory and its twin on the GPU.

    ``device`` is None where the GPU works on the host's memory itself. ``address`` is the GPU's.
    ``rows[n]`` is the part of ``host`` that holds n pictures, cut in advance.
    """

    host: NDArray[Any]
    device: Any | None
    address: int
    rows: tuple[NDArray[Any], ...]


class Graph:
    """Work that was captured, launched as one: the same kernels on the same addresses."""

    def __init__(self, libcuda: _LibCuda, executable: ctypes.c_void_p) -> None:
        self._libcuda, self._executable = libcuda, executable

    def launch(self, stream: GpuStream) -> None:
        self._libcuda.call("cuGraphLaunch", self._executable, stream.handle)

    def destroy(self) -> None:
        self._libcuda.call("cuGraphExecDestroy", self._executable)


class Cuda:
    """The first visible GPU, and what was made on it. ``mapped``: it shares the host's memory."""

    def __init__(self, purpose: str) -> None:
        """Raises MissingExtraError without pycuda, EngineError where CUDA does not start."""
        self._driver: PyCuda = _load_pycuda(purpose)
        try:
            device, self._primary = _primary_context(self._driver)
            self.mapped = bool(device.get_attribute(self._driver.device_attribute.INTEGRATED))
        except self._driver.Error as error:
            raise gpu_failure(purpose, error, "edgemtl doctor") from error
        self._kept: list[Any] = []  # pinned memory and events, freed with their last reference
        self._device: list[Any] = []
        self._streams: list[GpuStream] = []
        self._graphs: list[Graph] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current in this thread; pycuda's errors become EngineError."""
        try:
            self._primary.push()
            try:
                yield
            except BaseException as error:
                # what a traceback keeps would go elsewhere: in other threads, pycuda leaks it then
                traceback.clear_frames(error.__traceback__)
                raise
            finally:
                self._primary.pop()
        except self._driver.Error as error:
            raise gpu_failure("the GPU failed", error, "edgemtl doctor") from error

    def stream(self) -> GpuStream:
        self._streams.append(self._driver.Stream(_NON_BLOCKING))
        return self._streams[-1]

    def event(self, timed: bool = False) -> GpuEvent:
        kinds = self._driver.event_flags
        event = self._driver.Event(kinds.BLOCKING_SYNC | (0 if timed else kinds.DISABLE_TIMING))
        self._kept.append(event)
        return event

    def buffer(self, like: NDArray[Any]) -> Buffer:
        """Zeros of the shape and dtype of ``like``. Raises EngineError if memory is short."""
        driver, mapped, what = self._driver, self.mapped, "pinned host memory"
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        try:
            host = driver.pagelocked_zeros(like.shape, like.dtype, mem_flags=flags)
            pinned: Any = host.base
            self._kept.append(pinned)
            if not mapped:
                what = "GPU memory"
                self._device.append(driver.mem_alloc(host.nbytes))
        except driver.Error as error:
            asked = f"allocating {-(-like.nbytes // _MIB)} MiB of {what}"
            raise self.failure(asked, error, "edgemtl doctor") from error
        device = None if mapped else self._device[-1]
        address = int(pinned.get_device_pointer() if device is None else device)
        return Buffer(host, device, address, tuple(host[:n] for n in range(len(host) + 1)))

    def failure(self, what: str, reason: object, hint: str) -> EngineError:
        """As ``gpu_failure``, with the memory that is left where it is short."""
        return gpu_failure(what, reason, hint, self._memory_left)

    def _memory_left(self) -> str:
        try:
            free, total = self._driver.mem_get_info()
        except self._driver.Error:
            return ""
        return f" ({free // _MIB} of the GPU's {total // _MIB} MiB are free)"

    def upload(self, buffer: Buffer, rows: int, stream: GpuStream) -> None:
        """Start to copy the first rows to the GPU; nothing where it reads the host's memory."""
        if buffer.device is not None:
            self._driver.memcpy_htod_async(buffer.device, buffer.rows[rows], stream)

    def download(self, buffer: Buffer, rows: int, stream: GpuStream) -> None:
        """As :meth:`upload`, from the GPU."""
        if buffer.device is not None:
            self._driver.memcpy_dtoh_async(buffer.rows[rows], buffer.device, stream)

    def capture(self, stream: GpuStream, enqueue: Callable[[], None]) -> Graph:
        """What ``enqueue`` puts into ``stream``, as a graph; nothing runs yet. Raises EngineError
        if CUDA refuses, and what ``enqueue`` raises. The stream stays usable."""
        libcuda, graph, executable = _LibCuda(), ctypes.c_void_p(), ctypes.c_void_p()
        libcuda.call("cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
        try:
            try:
                enqueue()
            except BaseException:
                with suppress(EngineError):  # the first error is the one that tells
                    libcuda.call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
                raise
            libcuda.call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
            libcuda.instantiate(ctypes.byref(executable), graph)
        finally:
            if graph:
                with suppress(EngineError):
                    libcuda.call("cuGraphDestroy", graph)
        self._graphs.append(Graph(libcuda, executable))
        return self._graphs[-1]

    def drop_graphs(self) -> None:
        """Let go of every graph; no launch may be under way."""
        for graph in self._graphs:
            with suppress(EngineError):
                graph.destroy()
        self._graphs.clear()

    def free(self) -> None:
        """Wait for what runs, and let go of all that was made here. Pinned memory lives until the
        last view of it goes."""
        for stream in self._streams:
            with suppress(self._driver.Error):
                stream.synchronize()
        self.drop_graphs()
        for memory in self._device:
            memory.free()
        for made in (self._device, self._kept, self._streams):
            made.clear()


class _LibCuda:
    """The graph calls of the driver's C interface; the signatures are those of cuda.h."""

    def __init__(self) -> None:
        driver = require_driver()
        self._calls = {}
        for name, types in _GRAPH_CALLS.items():
            call = getattr(driver, name, None)
            if call is not None:
                call.argtypes, call.restype = types, ctypes.c_int
                self._calls[name] = call

    def call(self, name: str, *arguments: Any) -> None:
        """Raises EngineError where the driver lacks the call, or the call fails."""
        if name not in self._calls:
            raise EngineError(f"the NVIDIA driver lacks {name}", UPDATE_DRIVER)
        code = self._calls[name](*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._calls["cuGetErrorString"](code, ctypes.byref(text))
            reason = (text.value or b"error %d" % code).decode(errors="replace")
            raise gpu_failure("the GPU failed", f"{name} failed: {reason}", "edgemtl doctor")

    def instantiate(self, out: Any, graph: ctypes.c_void_p) -> None:
        if "cuGraphInstantiateWithFlags" in self._calls:
            self.call("cuGraphInstantiateWithFlags", out, graph, 0)
        else:  # drivers before CUDA 11.4
            self.call("cuGraphInstantiate_v2", out, graph, None, None, 0)


def _load_pycuda(purpose: str) -> Any:
    """pycuda is compiled for one CUDA: beside another it is installed, and does not load."""
    try:
        import pycuda.driver as driver
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("pycuda"):
            raise MissingExtraError("pycuda", "tensorrt", purpose) from error
        raise EngineError(
            f"{purpose}: pycuda cannot be loaded: {one_line(error)}; the driver supports "
            f"CUDA {driver_cuda()}",
            f"{UPDATE_DRIVER}; pip install --force-reinstall --no-cache-dir pycuda builds it anew",
        ) from error
    return driver


@functools.cache
def _primary_context(driver: Any) -> tuple[Any, Any]:
    """The first visible GPU, and the context of TensorRT's own runtime there, kept for good."""
    driver.init()
    device = driver.Device(0)
    return device, device.retain_primary_context()
