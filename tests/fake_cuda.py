"""A GPU in small: contexts by thread, memory by address, streams that do nothing until somebody
waits for them, as a busy GPU would, events between them, and graphs of what was captured.

What a real one forbids fails here too. What was made and not freed is counted in ``alive``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

MIB = 2**20
WORDS = {
    1: "invalid argument",
    2: "out of memory",
    900: "operation not permitted when stream is capturing",
    901: "operation failed due to a previous error during capture",
}


class CudaError(Exception):
    """Stands for pycuda.driver.Error."""


class FakeGpu:
    """The state of GPU and driver, and the faults that a test asks for.

    ``fail_at``: the number of the thing, counted from 1, that memory is too short for.
    ``log``: (what, amount, number of the stream) of work that is done. ``at_wait`` is called where
    the host waits.
    """

    def __init__(self, integrated: bool = False) -> None:
        self.integrated = integrated
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: dict[int, int] = {}
        self.alive: Counter[str] = Counter()
        self.ticks = 0
        self.made = self.enqueued = self.launched = 0
        self.streams: WeakValueDictionary[int, FakeStream] = WeakValueDictionary()
        self.graphs: dict[int, list[Work]] = {}
        self.log: list[tuple[str, int, int]] = []
        self.threads = threading.local()
        self.maker: int | None = None
        self.fail_at = 0
        self.at_wait: Callable[[], None] = lambda: None
        self.fail_at_wait = self.fail_at_run = self.fail_at_download = False
        self.fail_at_launch = False
        self.capturable, self.old_driver = True, False
        self.cuda_version, self.init_code, self.init_error = 12060, 0, ""
        self.runtime_warning = ""
        self._handles = 0

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

    def create(self, kind: str) -> None:
        """Count a new thing. Raises CudaError if memory is to be short for it."""
        self.need_context()
        assert not any(s.captured is not None for s in self.streams.values()), "in a capture"
        self.made += 1
        if self.made == self.fail_at:
            raise CudaError(f"{kind} failed: {WORDS[2]}")
        self.alive[kind] += 1

    def destroy(self, kind: str, *, anywhere: bool = False) -> None:
        """pycuda frees where the context is current, or in the thread that made the context; else
        it leaks without a word."""
        if anywhere or self.depth or threading.get_ident() == self.maker:
            self.alive[kind] -= 1
            self.alive += Counter()  # drops the zeros

    def handle(self) -> int:
        """A number that no other thing has, wider than an int of C."""
        self._handles += 0x1000
        return 0x600000000 + self._handles

    def reserve(self, raw: np.ndarray) -> int:
        address = self.handle()
        self.memory[address] = raw
        return address

    def view(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.memory[address][:count].view(dtype).reshape(shape)

    def is_pinned(self, host: np.ndarray) -> bool:
        start = host.ctypes.data
        return any(a <= start and start + host.nbytes <= a + n for a, n in self.pinned.items())

    def wait(self) -> None:
        """What every wait of the host checks."""
        self.need_context()
        self.at_wait()
        if self.fail_at_wait:
            raise CudaError("cuEventSynchronize failed: an illegal memory access was encountered")


class Owned:
    """A thing of the GPU, freed by hand or with its last reference."""

    kind = ""
    anywhere = False

    def __init__(self, gpu: FakeGpu) -> None:
        self._valid = False
        gpu.create(self.kind)
        self.gpu, self._valid = gpu, True

    def free(self) -> None:
        assert self._valid, "freed twice"
        self._valid = False
        self.gpu.destroy(self.kind, anywhere=self.anywhere)

    def __del__(self) -> None:
        if self._valid:
            self.free()


class Work:
    """A piece of a stream's work; ``check``, if any, is called when a graph launches it again."""

    def __init__(self, do: Callable[[int], None], check: Callable[[], None] | None = None) -> None:
        self.do, self.check = do, check


class Mark:
    """One recording of an event: reached when its stream comes to it."""

    def __init__(self, stream: FakeStream) -> None:
        self.stream, self.reached, self.tick = stream, False, 0

    def pass_by(self, number: int) -> None:
        self.reached, self.tick = True, self.stream.gpu.ticks

    def reach(self, number: int = -1) -> None:
        while not self.reached:
            self.stream.step()


class FakeStream(Owned):
    """``number``: how many were made before it. ``captured``: what a capture has seen so far."""

    kind = "stream"

    def __init__(self, gpu: FakeGpu, flags: int = 0) -> None:
        super().__init__(gpu)
        assert flags == 1, "other libraries' work on the null stream must not be waited for"
        self.number = len(gpu.streams)
        self.handle = gpu.handle()
        self.queue: list[Work] = []
        self.captured: list[Work] | None = None
        self.spoilt = False
        gpu.streams[self.handle] = self

    def put(self, work: Work) -> None:
        self.gpu.need_context()
        (self.queue if self.captured is None else self.captured).append(work)

    def step(self) -> None:
        work = self.queue.pop(0)
        self.gpu.ticks += 1
        work.do(self.number)

    def drain(self) -> None:
        """Let the GPU do what it can do without the host."""
        while self.queue:
            self.step()

    def wait_for_event(self, event: FakeEvent) -> None:
        if event.mark is not None:
            self.put(Work(event.mark.reach))

    def synchronize(self) -> None:
        assert self.captured is None, "a capture must not wait"
        self.gpu.wait()
        self.drain()


class FakeEvent(Owned):
    kind = "event"

    def __init__(self, gpu: FakeGpu, flags: int) -> None:
        super().__init__(gpu)
        assert flags in (1, 3), "asleep while waiting, without timing unless it is asked for"
        self.timed = flags == 1
        self.mark: Mark | None = None

    def record(self, stream: FakeStream) -> FakeEvent:
        self.mark = Mark(stream)
        stream.put(Work(self.mark.pass_by))
        return self

    def synchronize(self) -> FakeEvent:
        self.gpu.wait()
        if self.mark is not None:
            self.mark.reach()
        return self

    def time_since(self, event: FakeEvent) -> float:
        """The clock of this GPU counts the pieces of work that it has done."""
        self.gpu.need_context()
        assert self.timed
        assert event.timed
        return float(self.mark.tick - event.mark.tick)


class PinnedMemory(Owned):
    """The owner of pinned memory, as ``array.base`` of pycuda's arrays is."""

    kind = "pinned"

    def __init__(self, gpu: FakeGpu, shape: tuple[int, ...], dtype: np.dtype, mapped: bool) -> None:
        super().__init__(gpu)
        self.raw = np.zeros(int(np.prod(shape)) * dtype.itemsize, np.uint8)
        self.address = gpu.reserve(self.raw) if mapped else None
        gpu.pinned[self.raw.ctypes.data] = self.raw.nbytes
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

    def free(self) -> None:
        del self.gpu.pinned[self.raw.ctypes.data]
        self.gpu.memory.pop(self.address, None)
        self.raw.fill(0xDD)  # who looks here later looks at freed memory
        super().free()


class DeviceMemory(Owned):
    kind = "device"

    def __init__(self, gpu: FakeGpu, count: int) -> None:
        super().__init__(gpu)
        assert not gpu.integrated, "an integrated GPU needs no second copy"
        self.address = gpu.reserve(np.full(count, 0xAA, np.uint8))

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        del self.gpu.memory[self.address]
        super().free()
