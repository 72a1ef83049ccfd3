"""A slot of a session on a GPU: its memory, the streams that all slots share, and its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgemtl.engine.cuda import Buffer, Cuda, GpuEvent, GpuStream


@dataclass(frozen=True, slots=True)
class Streams:
    """One for each thing that a GPU does at a time; all the same where nothing is copied."""

    upload: GpuStream
    compute: GpuStream
    download: GpuStream


@dataclass(frozen=True, slots=True)
class GpuSlot:
    """Its memory, the streams of all slots, and the ends of its upload, its run, all of it; and
    the beginning, if it is timed."""

    image: Buffer
    outputs: dict[str, Buffer]
    streams: Streams
    uploaded: GpuEvent
    computed: GpuEvent
    done: GpuEvent
    begun: GpuEvent | None

    def point(self, context: Any, image: str) -> None:
        """Make a run of ``context`` read and write this slot's memory."""
        context.set_tensor_address(image, self.image.address)
        for name, buffer in self.outputs.items():
            context.set_tensor_address(name, buffer.address)

    def gpu_ms(self) -> dict[str, float]:
        """See ``TensorRTSession.gpu_ms``."""
        if self.begun is None:
            raise ValueError("gpu_ms: expected a session with timed=True")
        if self.image.device is None:
            return {"run": self.done.time_since(self.begun)}
        return {
            "upload": self.uploaded.time_since(self.begun),
            "run": self.computed.time_since(self.uploaded),
            "download": self.done.time_since(self.computed),
        }


def make_slots(
    gpu: Cuda,
    inputs: Sequence[NDArray[Any]],
    outputs: Sequence[Mapping[str, NDArray[Any]]],
    timed: bool,
) -> list[GpuSlot]:
    """A slot for each of ``inputs``, with buffers like these arrays."""
    compute, made = gpu.stream(), []
    streams = (
        Streams(compute, compute, compute)
        if gpu.mapped
        else Streams(gpu.stream(), compute, gpu.stream())
    )
    # no comprehension: before Python 3.12 its frame keeps the streams, cleared or not
    for image, arrays in zip(inputs, outputs, strict=True):
        twins = {name: gpu.buffer(array) for name, array in arrays.items()}
        events = gpu.event(timed), gpu.event(timed), gpu.event(timed)
        begun = gpu.event(timed) if timed else None
        made.append(GpuSlot(gpu.buffer(image), twins, streams, *events, begun))
    return made
