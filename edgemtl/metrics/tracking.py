"""Tracking scores of one sequence and of several together, equal to TrackEval's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64, as_boxes, covered, iou
from edgemtl.metrics.clear import ClearCounts, count_clear
from edgemtl.metrics.hota import HotaCounts, count_hota
from edgemtl.metrics.identity import IdentityCounts, count_identity, identity_frames
from edgemtl.metrics.matching import match
from edgemtl.metrics.sequence import I64, SequenceTable, TrackedFrame

_EPS = float(np.finfo(np.float64).eps)
_IGNORE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class TrackingScores:
    """hota, deta, assa, loca: means over 19 IoU thresholds (.05 to .95); the rest at IoU 0.5.

    idsw: identity switches; frag: interruptions; mt, pt, ml: true identities mostly tracked,
    partly tracked, mostly lost; truths and boxes: how many true and tracked boxes took part.
    """

    hota: float
    deta: float
    assa: float
    loca: float
    mota: float
    motp: float
    idf1: float
    idsw: int
    frag: int
    tp: int
    fp: int
    fn: int
    mt: int
    pt: int
    ml: int
    truths: int
    boxes: int


@dataclass(frozen=True, slots=True)
class _Counts:
    hota: HotaCounts
    clear: ClearCounts
    identity: IdentityCounts


class TrackingMeter:
    """Collects the frames of one sequence, in order, for objects of one class.

    Several classes are several meters, combined (TrackEval's detection-averaged class mean).
    """

    def __init__(self) -> None:
        self._frames: list[TrackedFrame] = []

    def add_frame(
        self,
        truth_ids: NDArray[Any],
        truth_boxes: NDArray[Any],
        track_ids: NDArray[Any],
        track_boxes: NDArray[Any],
        ignore_boxes: NDArray[Any] | None = None,
    ) -> None:
        """Add a frame, also one without truth or tracks.

        Ids int [N], unique within the frame; boxes [N, 4] xyxy. A track that matches no truth and
        lies by more than half in a box of ``ignore_boxes`` [K, 4] is left out, as in KITTI.
        Raises ValueError for repeated ids, lengths that differ, and values that are not finite.
        """
        truth, true_boxes = _checked("truth", truth_ids, truth_boxes)
        track, boxes = _checked("track", track_ids, track_boxes)
        similarity = iou(true_boxes, boxes)
        if ignore_boxes is not None and len(ignore_boxes):
            keep = _not_ignored(similarity, boxes, as_boxes("ignore_boxes", ignore_boxes))
            track, similarity = track[keep], similarity[:, keep]
        self._frames.append(TrackedFrame(truth, track, similarity))

    def result(self) -> TrackingScores:
        """The scores of the sequence so far; more frames may follow."""
        return combine([self])

    def identity_frames(self) -> NDArray[np.int64]:
        """What each frame adds to IDF1; see ``metrics.identity``."""
        return identity_frames(SequenceTable.of(self._frames))

    def counts(self) -> _Counts:
        """The sums that the scores are made of."""
        table = SequenceTable.of(self._frames)
        return _Counts(count_hota(table), count_clear(table), count_identity(table))


def combine(meters: Sequence[TrackingMeter]) -> TrackingScores:
    """The scores of several sequences (or classes) together: of their summed counts."""
    counts = [meter.counts() for meter in meters]
    hota = HotaCounts.sum([c.hota for c in counts])
    clear = ClearCounts.sum([c.clear for c in counts])
    identity = IdentityCounts.sum([c.identity for c in counts])
    return TrackingScores(
        hota=float(hota.hota.mean()),
        deta=float(hota.deta.mean()),
        assa=float(hota.assa.mean()),
        loca=float(hota.loca.mean()),
        mota=clear.mota,
        motp=clear.motp,
        idf1=identity.idf1,
        idsw=clear.idsw,
        frag=clear.frag,
        tp=clear.tp,
        fp=clear.fp,
        fn=clear.fn,
        mt=clear.mt,
        pt=clear.pt,
        ml=clear.ml,
        truths=clear.tp + clear.fn,
        boxes=clear.tp + clear.fp,
    )


def _checked(name: str, ids: NDArray[Any], boxes: NDArray[Any]) -> tuple[I64, F64]:
    array = as_boxes(f"{name}_boxes", boxes)
    numbers = np.asarray(ids)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise ValueError(f"{name}_ids: expected whole numbers, got {numbers.dtype}")
    if numbers.shape != (len(array),) and (numbers.size or len(array)):
        raise ValueError(f"{name}_ids: expected [{len(array)}], got {list(numbers.shape)}")
    numbers = numbers.reshape(-1).astype(np.int64)
    if len(np.unique(numbers)) != len(numbers):
        raise ValueError(f"{name}_ids: an id occurs twice in one frame: {sorted(numbers.tolist())}")
    return numbers, array


def _not_ignored(similarity: F64, boxes: F64, regions: F64) -> NDArray[np.bool_]:
    """Which tracks count: those that match truth at IoU 0.5 or lie outside every region."""
    inside = covered(boxes, regions).max(1, initial=0.0)
    keep = np.asarray(inside <= _IGNORE_SHARE + _EPS)
    _, matched = match(np.where(similarity < 0.5 - _EPS, 0.0, similarity))
    keep[matched] = True
    return keep
