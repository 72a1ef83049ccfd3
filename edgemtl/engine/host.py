"""What all backends share: host buffers made once, and what is refused before the first run."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.engine.session import Slot, Ticket
from edgemtl.engine.slots import SLOTS, SlotRing
from edgemtl.errors import EngineError
from edgemtl.manifest import Manifest, TensorInfo, manifest_from_metadata
from edgemtl.onnx_file import parse_model
from edgemtl.records import NetOutputs, named_outputs


def default_threads() -> int:
    """All cores but one, which decoding and sinks keep; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) - 1)


def manifest_in(data: bytes, where: str) -> Manifest:
    """The manifest of an ONNX file, before any backend loads it. Raises ModelError."""
    model = parse_model(data, where)
    return manifest_from_metadata({p.key: p.value for p in model.metadata_props}, where)


class HostSession(ABC):
    """Input and output buffers in the host's memory, made once, that the backend reads and writes.
    A backend adds how a slot is started and waited for; one on a GPU brings pinned buffers."""

    def __init__(self, manifest: Manifest, batch: int, slots: int = SLOTS) -> None:
        self._manifest = manifest
        self._shape = (batch, 3, *manifest.input.size_hw)
        self._inputs = [np.zeros(self._shape, manifest.input.dtype) for _ in range(slots)]
        expected = manifest.expected_outputs()
        self._outputs = [
            {name: np.zeros((batch, *shape), dtype) for name, (dtype, shape) in expected.items()}
            for _ in range(slots)
        ]
        self._ring = SlotRing(slots)
        self._running: dict[int, int] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._collecting: set[int] = set()
        self._collected = threading.Condition(self._lock)

    @abstractmethod
    def _start(self, slot: int, n_valid: int) -> None:
        """Start the network on the first rows of a slot, and return at once. If it raises, the
        slot can be started again."""

    @abstractmethod
    def _wait(self, slot: int) -> None:
        """Wait for the slot's run. Raises EngineError if it failed."""

    @abstractmethod
    def _free(self) -> None:
        """Wait for what runs and let go of the backend. Called once."""

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def batch(self) -> int:
        return self._shape[0]

    def acquire(self) -> Slot:
        return self._ring.acquire()

    def input(self, slot: Slot) -> NDArray[Any]:
        if self._closed:
            raise ValueError("the session is closed")
        return self._inputs[slot]

    def submit(self, slot: Slot, n_valid: int) -> Ticket:
        if not 1 <= n_valid <= self.batch:
            raise ValueError(f"n_valid: expected 1 to {self.batch}, got {n_valid}")
        with self._lock:
            if self._closed:
                raise ValueError("the session is closed")
            if slot in self._running:
                raise ValueError(f"slot {slot} was submitted already; collect its ticket first")
            self._start(slot, n_valid)
            self._running[slot] = n_valid
        return Ticket(int(slot))

    def collect(self, ticket: Ticket) -> NetOutputs:
        return self._collect(ticket, copy=False)

    def infer(self, images: NDArray[Any]) -> NetOutputs:
        batch, *size = self._shape
        if not 1 <= len(images) <= batch or list(images.shape[1:]) != size:
            raise ValueError(
                f"images: expected [1 to {batch}, {', '.join(map(str, size))}], "
                f"got {list(images.shape)}"
            )
        if images.dtype != self._manifest.input.dtype:
            raise ValueError(
                f"images: expected {self._manifest.input.dtype}, got {images.dtype.name}"
            )
        slot = self.acquire()
        try:
            self.input(slot)[: len(images)] = images
            ticket = self.submit(slot, len(images))
        except BaseException:
            self._ring.release(slot)
            raise
        return self._collect(ticket, copy=True)

    def _collect(self, ticket: Ticket, copy: bool) -> NetOutputs:
        with self._lock:
            n_valid = self._running.get(ticket)
            if n_valid is None or ticket in self._collecting or self._closed:
                raise ValueError(f"ticket {ticket} does not run: collected already, or closed")
            self._collecting.add(ticket)
        try:
            self._wait(ticket)
            tensors = {name: array[:n_valid] for name, array in self._outputs[ticket].items()}
            if copy:
                tensors = {name: array.copy() for name, array in tensors.items()}
            return named_outputs(tensors, self._manifest)
        finally:
            with self._lock:
                del self._running[ticket]
                self._collecting.remove(ticket)
                self._collected.notify_all()
            self._ring.release(Slot(int(ticket)))

    def close(self) -> None:
        """Threads that collect meanwhile get their outputs first."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._collected.wait_for(lambda: not self._collecting)
                self._free()


def check_runnable(manifest: Manifest, image: TensorInfo, batch: int, where: str) -> None:
    """Raise EngineError for a graph that agrees with its manifest, and yet cannot be run here."""
    if manifest.decode != "edgemtl" and manifest.adopted is None:
        raise EngineError(
            f"{where}: its outputs are of the kind '{manifest.decode}', and the manifest does not "
            "say how to read them",
            "adopt the original: edgemtl info MODEL.onnx --adopt OUT.onnx "
            f"--decode {manifest.decode} --classes names.txt",
        )
    fixed = image.shape[0]
    if fixed is not None and fixed != batch:
        raise EngineError(
            f"{where}: the graph takes exactly {fixed} pictures at a time, {batch} were asked for",
            "export it again with 'edgemtl export', which leaves the batch open"
            if manifest.adopted is None
            else f"run it with a batch of {fixed}, or export the original with an open batch",
        )


def first_line(error: Exception) -> str:
    """What a backend says first; the rest is its own traceback, places in its sources too."""
    lines = [line for line in map(str.strip, str(error).splitlines()) if line]
    said = [line for line in lines if not line.startswith("Exception from ")]
    return (said or lines or [type(error).__name__])[0][:200]
