"""What the sessions share: who owns which buffer, and outputs by their contract names."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.engine.session import Session, Slot
from edgemtl.manifest import Manifest
from edgemtl.records import NetOutputs, RawOutputs

SLOTS = 2


class SlotRing:
    """Hands out slots in turn. A slot is free again when its outputs were collected.

    The outputs of the last collected slot stay valid until that slot comes round again, which is
    the longest way off.
    """

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(count):
            self._free.put(number)

    def acquire(self) -> Slot:
        """The slot that has been free for longest; waits if none is."""
        return Slot(self._free.get())

    def release(self, slot: Slot) -> None:
        self._free.put(int(slot))


def named_outputs(tensors: Mapping[str, NDArray[Any]], manifest: Manifest) -> NetOutputs:
    """Outputs of the contract by name; a model without detection has no boxes, K = 0."""
    rows = len(next(iter(tensors.values())))
    if manifest.adopted is not None:
        none = np.zeros((rows, 0), np.float32)
        return RawOutputs(
            np.zeros((rows, 0, 4), np.float32),
            none,
            none.astype(np.int32),
            values=tensors[manifest.adopted.output],
            manifest=manifest,
        )
    boxes = tensors.get("boxes")
    return NetOutputs(
        np.zeros((rows, 0, 4), np.float32) if boxes is None else boxes,
        tensors.get("scores", np.zeros((rows, 0), np.float32)),
        tensors.get("labels", np.zeros((rows, 0), np.int32)),
        tensors.get("embeddings"),
        tensors.get("image_probs"),
    )


def give_back(session: Session, slot: Slot) -> None:
    """Free a slot that was acquired and could not be filled, so that no one waits for it for ever.

    The network runs once on whatever lies there: this is for errors, which are rare.
    """
    session.collect(session.submit(slot, 1))
