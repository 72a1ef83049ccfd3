"""libcuda as ctypes shows it. The graph calls are C functions with the signatures of cuda.h, so
that wrong argument types fail as they would with the library itself."""

from __future__ import annotations

import ctypes
from typing import Any

from fake_cuda import WORDS, CudaError, FakeGpu

NAME, CAPABILITY = "Fake Orin", (8, 7)
POINTER, OUT = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)


class FakeDriver:
    """``broken`` is a function that fails; without a ``gpu`` there are no graph calls."""

    def __init__(self, broken: str = "", gpu: FakeGpu | None = None) -> None:
        self.broken, self.gpu = broken, gpu
        self._texts = {code: ctypes.c_char_p(text.encode()) for code, text in WORDS.items()}
        if gpu is not None:
            self._add_graph_calls(gpu)

    def cuInit(self, flags: int) -> int:
        if self.gpu is not None and self.gpu.init_code:
            return self.gpu.init_code
        return 100 * (self.broken == "cuInit")

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 12060 if self.gpu is None else self.gpu.cuda_version
        return 1 * (self.broken == "cuDriverGetVersion")

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = 5
        return 101 * (self.broken == "cuDeviceGet" or ordinal != 0)

    def cuDeviceGetName(self, buffer: Any, size: int, device: Any) -> int:
        assert (size, device.value) == (len(buffer), 5)
        buffer.value = NAME.encode()
        return 1 * (self.broken == "cuDeviceGetName")

    def cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> int:
        assert device.value == 5
        value._obj.value = {75: CAPABILITY[0], 76: CAPABILITY[1]}[which]
        return 0

    def _add_graph_calls(self, gpu: FakeGpu) -> None:
        def begin(handle: int, mode: int) -> int:
            stream = gpu.streams[handle]
            assert mode == 1, "calls of other threads must not spoil a capture"
            if gpu.depth != 1 or stream.captured is not None:
                return 1
            stream.captured, stream.spoilt = [], False
            return 0

        def end(handle: int, out: Any) -> int:
            stream = gpu.streams[handle]
            seen, stream.captured = stream.captured, None
            if stream.spoilt or seen is None:
                return 901
            gpu.alive["captured graph"] += 1
            out[0] = gpu.handle()
            gpu.graphs[out[0]] = seen
            return 0

        def instantiate(out: Any, graph: int, flags: int) -> int:
            assert flags == 0
            try:
                gpu.create("graph")
            except CudaError:
                return 2
            out[0] = gpu.handle()
            gpu.graphs[out[0]] = gpu.graphs[graph]
            return 0

        def instantiate_old(out: Any, graph: int, node: Any, log: Any, size: int) -> int:
            assert (bool(node), log, size) == (False, None, 0)
            return instantiate(out, graph, 0)

        def launch(executable: int, handle: int) -> int:
            if gpu.fail_at_launch:
                return 1
            for work in gpu.graphs[executable]:
                if work.check is not None:
                    work.check()
                gpu.streams[handle].put(work)
            gpu.launched += 1
            return 0

        def destroy(graph: int) -> int:
            del gpu.graphs[graph]
            gpu.destroy("captured graph")
            return 0

        def destroy_executable(executable: int) -> int:
            del gpu.graphs[executable]
            gpu.destroy("graph")
            return 0

        def describe(code: int, out: Any) -> int:
            out[0] = self._texts[code]
            return 0

        def declare(call: Any, *types: Any) -> Any:
            return ctypes.CFUNCTYPE(ctypes.c_int, *types)(call)

        self.cuStreamBeginCapture_v2 = declare(begin, POINTER, ctypes.c_int)
        self.cuStreamEndCapture = declare(end, POINTER, OUT)
        if gpu.old_driver:
            self.cuGraphInstantiate_v2 = declare(
                instantiate_old, OUT, POINTER, OUT, ctypes.c_char_p, ctypes.c_size_t
            )
        else:
            self.cuGraphInstantiateWithFlags = declare(
                instantiate, OUT, POINTER, ctypes.c_ulonglong
            )
        self.cuGraphLaunch = declare(launch, POINTER, POINTER)
        self.cuGraphDestroy = declare(destroy, POINTER)
        self.cuGraphExecDestroy = declare(destroy_executable, POINTER)
        self.cuGetErrorString = declare(describe, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p))
