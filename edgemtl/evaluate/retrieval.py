"""Embeddings of one data set: is the nearest one of the same object?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import UNKNOWN, Truth
from edgemtl.data.identities import Acquaintances
from edgemtl.metrics import RetrievalScores, retrieval_scores
from edgemtl.metrics.boxes import as_boxes, iou
from edgemtl.metrics.matching import match
from edgemtl.metrics.retrieval import FrameGap, query_scores
from edgemtl.records import F32, I64, Detections

SAME_OBJECT_IOU = 0.5
TRUE_BOX_IOU = 0.3
_MOST_EMBEDDINGS = 6000
"""Retrieval compares all with all; of more than these, evenly spread ones are taken."""


class RetrievalTask:
    """Embeddings at the identified objects of a data set, each searched among all the others.

    Either each true box takes the detection that was matched to it, as a tracker would see it; or
    (``true_boxes``) the candidate that overlaps it most, however low its score and whatever its
    class: then it is not the detector that decides which objects are asked for.
    ``acquaintances`` None: whom the model was trained on is not known.
    """

    def __init__(
        self,
        frame_gap: int,
        *,
        true_boxes: bool = False,
        acquaintances: Acquaintances | None = None,
    ) -> None:
        self._gap, self._true_boxes, self._acquaintances = frame_gap, true_boxes, acquaintances
        self._vectors: list[F32] = []
        self._identities: list[I64] = []
        self._frames: list[I64] = []
        self._boxes = 0

    def add(self, index: int, truth: Truth, found: Detections) -> None:
        """Frame ``index``; ``found``: the sure detections, or with ``true_boxes`` every one."""
        if found.embeddings is None:
            return
        own = np.flatnonzero((truth.identities != UNKNOWN) & ~truth.ignore)
        self._boxes += len(own)
        overlap = iou(
            as_boxes("boxes_src", truth.boxes_src[own]), as_boxes("boxes_src", found.boxes_src)
        )
        if self._true_boxes:
            rows, columns = _most_overlapping(overlap)
        else:
            same = truth.labels[own][:, None] == found.labels[None]
            rows, columns = match(np.where(same & (overlap >= SAME_OBJECT_IOU), overlap, 0.0))
        self._vectors.append(found.embeddings[columns])
        self._identities.append(truth.identities[own[rows]])
        self._frames.append(np.full(len(rows), index, np.int64))

    def scores(self) -> RetrievalScores | None:
        """Every embedding is searched among all that lie far enough away; None without any."""
        vectors, identities, frames = self._chosen()
        if not len(vectors):
            return None
        known = self._acquaintances
        found = retrieval_scores(
            vectors,
            identities,
            vectors,
            identities,
            FrameGap(frames, frames, self._gap),
            seen=None if known is None else known.seen(identities),
        )
        answered = sum(map(len, self._vectors))
        return replace(found, boxes=self._boxes, answered=answered)

    def queries(self) -> tuple[I64, NDArray[np.bool_]]:
        """Frame of each query that has something to find, and whether it finds it first."""
        vectors, identities, frames = self._chosen()
        gap = FrameGap(frames, frames, self._gap)
        first = query_scores(vectors, identities, vectors, identities, gap)[:, 0]
        known = ~np.isnan(first)
        return frames[known], first[known] > 0

    def _chosen(self) -> tuple[F32, I64, I64]:
        """Embeddings, identities and frames: all, or evenly spread ones of too many."""
        answered = sum(map(len, self._vectors))
        if not answered:
            return np.zeros((0, 1), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        vectors, identities = np.concatenate(self._vectors), np.concatenate(self._identities)
        frames = np.concatenate(self._frames)
        if answered > _MOST_EMBEDDINGS:
            chosen = np.linspace(0, answered - 1, _MOST_EMBEDDINGS).round().astype(np.int64)
            return vectors[chosen], identities[chosen], frames[chosen]
        return vectors, identities, frames


def _most_overlapping(overlap: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(true box, candidate) for every true box that a candidate overlaps enough."""
    if not overlap.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    best = overlap.argmax(1)
    rows = np.flatnonzero(overlap.max(1) >= TRUE_BOX_IOU)
    return rows, best[rows]
