"""COCO mean average precision (Lin et al., arXiv 1405.0312), equal to pycocotools' bbox scores.

Average precision is the mean of the interpolated precision at 101 recalls, over the IoU thresholds
.50 to .95; ``ignore`` regions are what COCO calls crowds: they swallow any number of detections.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64, areas, as_boxes, intersections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_STRICTEST = 1 - 1e-10
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Means over the classes that occur in the truth; NaN if none does.

    ``map`` is the mean over IoU .50:.95. ``per_class``: label -> (ap, ap50).
    """

    map: float
    map50: float
    map75: float
    per_class: dict[int, tuple[float, float]]
    truths: int
    detections: int


@dataclass(slots=True)
class _Class:
    """What all pictures said of one class; matches and ignored are [thresholds, detections]."""

    truths: int = 0
    scores: list[F64] = field(default_factory=list)
    matched: list[Bools] = field(default_factory=list)
    ignored: list[Bools] = field(default_factory=list)


class DetectionMeter:
    """Collects pictures one by one. ``max_detections`` per picture and class, as COCO has it."""

    def __init__(self, max_detections: int = 100) -> None:
        self.max_detections = max_detections
        self._classes: defaultdict[int, _Class] = defaultdict(_Class)

    def add(
        self,
        truth_boxes: NDArray[Any],
        truth_labels: NDArray[Any],
        ignore: NDArray[Any],
        detections_boxes: NDArray[Any],
        scores: NDArray[Any],
        labels: NDArray[Any],
        labelled: NDArray[Any] | None = None,
    ) -> None:
        """Add one picture.

        truth_boxes [N, 4] xyxy, truth_labels int [N], ignore bool [N]; detections_boxes [M, 4],
        scores [M], labels int [M]. ``labelled`` bool [C]: the classes that this picture's data set
        annotates; of other classes neither truth nor detections count (labels beyond C: neither).
        Raises ValueError for lengths that differ and for values that are not finite.
        """
        truth = as_boxes("truth_boxes", truth_boxes)
        found = as_boxes("detections_boxes", detections_boxes)
        truth_labels = _column("truth_labels", truth_labels, len(truth), np.int64)
        crowd = _column("ignore", ignore, len(truth), np.bool_)
        confidence = _column("scores", scores, len(found), np.float64)
        labels = _column("labels", labels, len(found), np.int64)
        if not np.isfinite(confidence).all():
            raise ValueError(f"scores: expected finite values, got {confidence.tolist()[:8]}")
        for label in np.union1d(truth_labels, labels).tolist():
            if labelled is not None and not (0 <= label < len(labelled) and labelled[label]):
                continue
            t, d = truth_labels == label, labels == label
            self._add_class(label, truth[t], crowd[t], found[d], confidence[d])

    def _add_class(self, label: int, truth: F64, crowd: Bools, found: F64, scores: F64) -> None:
        order = np.argsort(-scores, kind="stable")[: self.max_detections]
        matched, ignored = _match_picture(truth, crowd, found[order])
        entry = self._classes[label]
        entry.truths += int((~crowd).sum())
        entry.scores.append(scores[order])
        entry.matched.append(matched)
        entry.ignored.append(ignored)

    def merge(self, other: DetectionMeter) -> None:
        """Take over everything that ``other`` collected; ``other`` stays as it is."""
        for label, theirs in other._classes.items():
            ours = self._classes[label]
            ours.truths += theirs.truths
            ours.scores.extend(theirs.scores)
            ours.matched.extend(theirs.matched)
            ours.ignored.extend(theirs.ignored)

    def result(self) -> DetectionScores:
        """The scores of everything added so far; more may be added afterwards."""
        present = {label: c for label, c in sorted(self._classes.items()) if c.truths}
        ap = {label: _average_precision(c) for label, c in present.items()}
        mean = np.array(list(ap.values())).mean(0) if ap else np.full(len(THRESHOLDS), math.nan)
        return DetectionScores(
            map=float(mean.mean()),
            map50=float(mean[0]),
            map75=float(mean[5]),
            per_class={label: (float(a.mean()), float(a[0])) for label, a in ap.items()},
            truths=sum(c.truths for c in present.values()),
            detections=sum(sum(map(len, c.scores)) for c in self._classes.values()),
        )


def _column(name: str, values: NDArray[Any], length: int, dtype: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.size == 0:
        array = array.reshape(-1).astype(dtype)
    if array.shape != (length,):
        raise ValueError(f"{name}: expected [{length}], got {list(array.shape)}")
    return array.astype(dtype)


def _match_picture(truth: F64, crowd: Bools, found: F64) -> tuple[Bools, Bools]:
    """Matched and ignored [thresholds, M] of detections in descending order of score.

    At each threshold a detection takes the free object of largest IoU (of equals the last, as
    pycocotools does); failing that, a crowd region that it lies in makes it ignored.
    """
    shape = (len(THRESHOLDS), len(found))
    matched, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    if not len(truth) or not len(found):
        return matched, ignored
    limits = np.minimum(THRESHOLDS, _STRICTEST)
    overlap = _overlap(found, truth, crowd)
    objects, regions = overlap[:, ~crowd], overlap[:, crowd]
    free = np.ones((len(limits), objects.shape[1]), np.bool_)
    for d in np.flatnonzero(overlap.max(1) >= limits[0]):
        if objects.shape[1]:
            candidate = np.where(free & (objects[d] >= limits[:, None]), objects[d], -1.0)
            best = candidate.shape[1] - 1 - candidate[:, ::-1].argmax(1)
            hit = candidate[np.arange(len(limits)), best] >= 0
            free[hit, best[hit]] = False
            matched[:, d] = hit
        if regions.shape[1]:
            ignored[:, d] = ~matched[:, d] & (regions[d].max() >= limits)
    return matched, ignored


def _overlap(found: F64, truth: F64, crowd: Bools) -> F64:
    """IoU [M, N]; with a crowd region, the share of the detection that it covers."""
    shared = intersections(found, truth)
    own = areas(found)[:, None]
    union = np.where(crowd[None], own, own + areas(truth)[None] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _average_precision(entry: _Class) -> F64:
    """Average precision [thresholds] of one class that has truth."""
    scores = np.concatenate(entry.scores)
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate(entry.matched, axis=1)[:, order]
    ignored = np.concatenate(entry.ignored, axis=1)[:, order]
    right = np.cumsum(matched, axis=1, dtype=np.float64)
    wrong = np.cumsum(~matched & ~ignored, axis=1, dtype=np.float64)
    result = np.zeros(len(THRESHOLDS))
    if not len(scores):
        return result
    recall = right / entry.truths
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for t in range(len(THRESHOLDS)):
        at = np.searchsorted(recall[t], _RECALLS, side="left")
        reached = at < len(scores)
        result[t] = envelope[t, at[reached]].sum() / len(_RECALLS)
    return result
