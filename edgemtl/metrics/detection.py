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
    """What the pictures that know a class said of it, one entry each.

    ``truths``: how many objects; matched and ignored are [thresholds, detections].
    """

    pictures: list[int] = field(default_factory=list)
    truths: list[int] = field(default_factory=list)
    scores: list[F64] = field(default_factory=list)
    matched: list[Bools] = field(default_factory=list)
    ignored: list[Bools] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """The detections of one class, the surest first; ``picture``: where each one is from.

    ``truths`` f64 [pictures]: objects of each picture.
    """

    truths: F64
    picture: NDArray[np.int64]
    right: Bools
    wrong: Bools

    @staticmethod
    def of(entry: _Class, pictures: int) -> _Ranked:
        truths = np.zeros(pictures)
        np.add.at(truths, entry.pictures, entry.truths)
        order = np.argsort(-np.concatenate(entry.scores), kind="stable")
        matched = np.concatenate(entry.matched, axis=1)[:, order]
        ignored = np.concatenate(entry.ignored, axis=1)[:, order]
        picture = np.repeat(entry.pictures, [len(scores) for scores in entry.scores])[order]
        return _Ranked(truths, picture, matched, ~matched & ~ignored)


class DetectionMeter:
    """Collects pictures one by one. ``max_detections`` per picture and class, as COCO has it.

    ``pictures``: how many were added so far; the next one gets this number.
    """

    def __init__(self, max_detections: int = 100) -> None:
        self.max_detections = max_detections
        self.pictures = 0
        self._classes: defaultdict[int, _Class] = defaultdict(_Class)
        self._ranked: dict[int, _Ranked] = {}

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
        self.pictures += 1
        self._ranked.clear()

    def _add_class(self, label: int, truth: F64, crowd: Bools, found: F64, scores: F64) -> None:
        order = np.argsort(-scores, kind="stable")[: self.max_detections]
        matched, ignored = _match_picture(truth, crowd, found[order])
        entry = self._classes[label]
        entry.pictures.append(self.pictures)
        entry.truths.append(int((~crowd).sum()))
        entry.scores.append(scores[order])
        entry.matched.append(matched)
        entry.ignored.append(ignored)

    def merge(self, other: DetectionMeter) -> None:
        """Take over the pictures of ``other``, in their order; ``other`` stays as it is."""
        for label, theirs in other._classes.items():
            ours = self._classes[label]
            ours.pictures.extend([self.pictures + picture for picture in theirs.pictures])
            ours.truths.extend(theirs.truths)
            ours.scores.extend(theirs.scores)
            ours.matched.extend(theirs.matched)
            ours.ignored.extend(theirs.ignored)
        self.pictures += other.pictures
        self._ranked.clear()

    def result(self, times: NDArray[Any] | None = None) -> DetectionScores:
        """The scores of everything added so far; more may be added afterwards.

        ``times`` [pictures]: how often each picture counts, as if it had been added so often; for
        resampling. Raises ValueError for another length.
        """
        if times is None:
            times = np.ones(self.pictures)
        if np.shape(times) != (self.pictures,):
            raise ValueError(f"times: expected [{self.pictures}], got {list(np.shape(times))}")
        times = np.asarray(times, np.float64)
        if not self._ranked:
            self._ranked = {
                label: _Ranked.of(entry, self.pictures)
                for label, entry in sorted(self._classes.items())
            }
        present = {k: r for k, r in self._ranked.items() if r.truths @ times > 0}
        ap = {label: _average_precision(ranked, times) for label, ranked in present.items()}
        mean = np.array(list(ap.values())).mean(0) if ap else np.full(len(THRESHOLDS), math.nan)
        return DetectionScores(
            map=float(mean.mean()),
            map50=float(mean[0]),
            map75=float(mean[5]),
            per_class={label: (float(a.mean()), float(a[0])) for label, a in ap.items()},
            truths=round(sum(float(r.truths @ times) for r in present.values())),
            detections=round(sum(float(times[r.picture].sum()) for r in self._ranked.values())),
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


def _average_precision(ranked: _Ranked, times: F64) -> F64:
    """Average precision [thresholds] of one class that has truth."""
    result = np.zeros(len(THRESHOLDS))
    if not len(ranked.picture):
        return result
    each = times[ranked.picture]
    right = np.cumsum(ranked.right * each, axis=1)
    wrong = np.cumsum(ranked.wrong * each, axis=1)
    recall = right / (ranked.truths @ times)
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for t in range(len(THRESHOLDS)):
        at = np.searchsorted(recall[t], _RECALLS, side="left")
        reached = at < len(each)
        result[t] = envelope[t, at[reached]].sum() / len(_RECALLS)
    return result
