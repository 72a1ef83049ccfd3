"""Scores of one label per picture, by scikit-learn's definitions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64

NO_ANSWER = -1
"""A predicted label that says nothing: it is wrong, but wrong for no class in particular."""


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """precision, recall and f1 f64 [C] (0 where undefined), confusion i64 [C, C]: truth by row.

    ``macro_f1`` is the mean over the classes that occur in truth or prediction (scikit-learn's
    default). Without pictures ``top1`` and ``macro_f1`` are NaN.
    """

    top1: float
    macro_f1: float
    precision: F64
    recall: F64
    f1: F64
    confusion: NDArray[np.int64]
    images: int


def classification_scores(
    truth: NDArray[Any], predicted: NDArray[Any], n_classes: int
) -> ClassificationScores:
    """Scores of ``predicted`` int [N] against ``truth`` int [N], labels below ``n_classes``.

    A predicted label may be NO_ANSWER. Raises ValueError for other labels and unequal lengths.
    """
    right = _labels("truth", truth, 0, n_classes)
    said = _labels("predicted", predicted, NO_ANSWER, n_classes)
    if len(right) != len(said):
        raise ValueError(f"predicted: expected [{len(right)}], got [{len(said)}]")
    # one column more for no answer, cut off once the rows are counted
    pairs = right * (n_classes + 1) + np.where(said == NO_ANSWER, n_classes, said)
    counts = np.bincount(pairs, minlength=n_classes * (n_classes + 1))
    full = counts.reshape(n_classes, n_classes + 1)
    confusion = full[:, :n_classes].astype(np.int64)
    hits, truths, answers = np.diag(confusion), full.sum(1), confusion.sum(0)
    f1 = _share(2 * hits, truths + answers)
    seen = truths + answers > 0
    return ClassificationScores(
        top1=float(hits.sum() / len(right)) if len(right) else math.nan,
        macro_f1=float(f1[seen].mean()) if seen.any() else math.nan,
        precision=_share(hits, answers),
        recall=_share(hits, truths),
        f1=f1,
        confusion=confusion,
        images=len(right),
    )


def _labels(name: str, values: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: expected labels int [N], got {array.dtype} {list(array.shape)}")
    labels = array.astype(np.int64)
    if labels.size and not (low <= labels.min() and labels.max() < high):
        raise ValueError(
            f"{name}: expected labels {low} to {high - 1}, got {labels.min()} to {labels.max()}"
        )
    return labels


def _share(part: NDArray[Any], whole: NDArray[Any]) -> F64:
    zeros = np.zeros(part.shape, np.float64)
    np.divide(part, whole, out=zeros, where=whole > 0, dtype=np.float64)
    return zeros
