"""The network over the pictures of a data set, in order: letterbox, session, decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgemtl.data.base import DataSet
from edgemtl.engine.session import Session
from edgemtl.ops import decode, letterbox
from edgemtl.records import F32, Detections


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model said of picture ``index``; labels are the model's. None: task is absent."""

    index: int
    size_hw: tuple[int, int]
    detections: Detections | None
    image_probs: F32 | None


def predict(
    session: Session, data: DataSet, indices: Sequence[int], min_score: float
) -> Iterator[Prediction]:
    """Predictions for ``indices`` in their order, ``session.batch`` pictures at a time.

    Raises DataError, naming the file, for a picture that cannot be read.
    """
    detects = "detect" in session.manifest.tasks
    for start in range(0, len(indices), session.batch):
        batch = indices[start : start + session.batch]
        slot = session.acquire()
        buffer = session.input(slot)
        spec = session.manifest.input
        geometries = [
            letterbox(data.image(index), buffer[n], spec) for n, index in enumerate(batch)
        ]
        outputs = session.collect(session.submit(slot, len(batch)))
        for n, (index, geometry) in enumerate(zip(batch, geometries, strict=True)):
            yield Prediction(
                index,
                geometry.src_hw,
                decode(outputs, n, geometry, min_score) if detects else None,
                None if outputs.image_probs is None else outputs.image_probs[n].copy(),
            )
