"""Do two runs of one network say the same? Detections are compared by matching, never by index:
equal scores may come in any order, and a low one may fall off the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgemtl.metrics.boxes import F64, as_boxes, iou
from edgemtl.metrics.matching import match
from edgemtl.records import NetOutputs, RawOutputs

SCORE_SLACK = 0.1
"""A partner may score this much below the threshold: who falls just short of it still agrees."""
_SCORE_WEIGHT = 0.1
"""Between boxes alike, the partner with the nearer score is the better one."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far ``b`` agrees with ``a`` over ``images`` pictures.

    ``detections``: those above the threshold, of both; ``matched``: those of them that have a
    partner of the same class on the other side. Differences are over matched pairs: boxes in
    network pixels (largest coordinate), scores, cosine of embeddings, probabilities of attributes
    (largest), and over all pictures for the image probabilities. ``same_image_class`` counts
    pictures. Tasks that are absent leave NaN; so do differences where nothing matched.
    """

    images: int
    detections: int
    matched: int
    pairs: int
    max_box_px: float
    mean_box_px: float
    max_score: float
    mean_score: float
    min_cosine: float
    mean_cosine: float
    max_attribute: float
    max_image_prob: float
    same_image_class: int

    @property
    def match_rate(self) -> float:
        """Share of the detections that have a partner; 1 if there are none at all."""
        return self.matched / self.detections if self.detections else 1.0

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types; NaN becomes None."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["match_rate"] = self.match_rate
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}

    @staticmethod
    def combine(parts: Sequence[Agreement]) -> Agreement:
        """The agreement over the pictures of all parts, which must not be empty."""
        if not parts:
            raise ValueError("parts: expected at least one agreement")
        pairs = [part.pairs for part in parts]
        return Agreement(
            images=sum(p.images for p in parts),
            detections=sum(p.detections for p in parts),
            matched=sum(p.matched for p in parts),
            pairs=sum(pairs),
            max_box_px=_worst([p.max_box_px for p in parts]),
            mean_box_px=_mean([p.mean_box_px for p in parts], pairs),
            max_score=_worst([p.max_score for p in parts]),
            mean_score=_mean([p.mean_score for p in parts], pairs),
            min_cosine=-_worst([-p.min_cosine for p in parts]),
            mean_cosine=_mean([p.mean_cosine for p in parts], pairs),
            max_attribute=_worst([p.max_attribute for p in parts]),
            max_image_prob=_worst([p.max_image_prob for p in parts]),
            same_image_class=sum(p.same_image_class for p in parts),
        )


def compare_outputs(
    a: NetOutputs, b: NetOutputs, *, min_score: float = 0.3, min_iou: float = 0.9
) -> Agreement:
    """Compare two runs over the same batch of pictures.

    A detection above ``min_score`` agrees if the other side has a detection of the same class at
    IoU ``min_iou`` or more, itself above ``min_score`` - SCORE_SLACK; partners are one to one.
    Raises ValueError if the batches differ in length, if a value is not finite, and for the raw
    outputs of an adopted detector (``ops.select`` makes rows of them).
    """
    if isinstance(a, RawOutputs) or isinstance(b, RawOutputs):
        raise ValueError("a, b: expected rows, got the raw outputs of an adopted detector")
    if len(a.scores) != len(b.scores):
        raise ValueError(f"b: expected a batch of {len(a.scores)}, got {len(b.scores)}")
    for name, outputs in (("a", a), ("b", b)):
        _finite(name, outputs)
    n_images = len(a.scores)
    if a.image_probs is not None:
        n_images = len(a.image_probs)
    pictures = [_picture(a, b, n, min_score, min_iou) for n in range(len(a.scores))]
    gaps: F64 = np.concatenate([np.zeros((0, 4)), *(gap for _, _, gap in pictures)])
    probs, same = _image_class(a, b)
    return Agreement(
        images=n_images,
        detections=sum(found for found, _, _ in pictures),
        matched=sum(hits for _, hits, _ in pictures),
        pairs=len(gaps),
        max_box_px=_worst(gaps[:, 0].tolist()),
        mean_box_px=_mean(gaps[:, 0].tolist(), [1] * len(gaps)),
        max_score=_worst(gaps[:, 1].tolist()),
        mean_score=_mean(gaps[:, 1].tolist(), [1] * len(gaps)),
        min_cosine=-_worst((-gaps[:, 2]).tolist()),
        mean_cosine=_mean(gaps[:, 2].tolist(), [1] * len(gaps)),
        max_attribute=_worst(gaps[:, 3].tolist()),
        max_image_prob=probs,
        same_image_class=same,
    )


def _picture(
    a: NetOutputs, b: NetOutputs, n: int, min_score: float, min_iou: float
) -> tuple[int, int, F64]:
    """How many are above the threshold and have a partner; pairs [P, 4]: box, score, cosine,
    attribute.
    """
    if a.boxes_net.shape[1] == b.boxes_net.shape[1] == 0:
        return 0, 0, _by_place(a, b, n)
    lowest = min_score - SCORE_SLACK
    i, j = np.flatnonzero(a.scores[n] >= lowest), np.flatnonzero(b.scores[n] >= lowest)
    sure_a, sure_b = a.scores[n][i] >= min_score, b.scores[n][j] >= min_score
    overlap = iou(as_boxes("a.boxes_net", a.boxes_net[n][i]), as_boxes("b", b.boxes_net[n][j]))
    partners = (overlap >= min_iou) & (a.labels[n][i][:, None] == b.labels[n][j][None])
    sure = sure_a[:, None].astype(float) + sure_b[None]
    # of two copies of an object each goes to its own kind, not one to the other's
    gap = np.abs(a.scores[n][i][:, None].astype(float) - b.scores[n][j][None])
    rows, columns = match(np.where(partners, sure * (overlap - _SCORE_WEIGHT * gap), 0.0))
    hits = int(sure_a[rows].sum() + sure_b[columns].sum())
    i, j = i[rows], j[columns]
    gaps = np.full((len(i), 4), np.nan)
    gaps[:, 0] = np.abs(a.boxes_net[n][i] - b.boxes_net[n][j]).max(1, initial=0)
    gaps[:, 1] = np.abs(a.scores[n][i] - b.scores[n][j])
    if a.embeddings is not None and b.embeddings is not None:
        gaps[:, 2] = (a.embeddings[n][i].astype(np.float64) * b.embeddings[n][j]).sum(1)
    for name in a.attributes.keys() & b.attributes.keys():
        apart = np.abs(a.attributes[name][n][i] - b.attributes[name][n][j]).max(1, initial=0)
        gaps[:, 3] = np.fmax(gaps[:, 3], apart)
    return int(sure_a.sum() + sure_b.sum()), hits, gaps


def _by_place(a: NetOutputs, b: NetOutputs, n: int) -> F64:
    """The pairs of a network without boxes, whose embeddings are of the same places in both."""
    if a.embeddings is None or b.embeddings is None:
        return np.zeros((0, 4))
    gaps = np.full((len(a.embeddings[n]), 4), np.nan)
    gaps[:, 2] = (a.embeddings[n].astype(np.float64) * b.embeddings[n]).sum(1)
    return gaps


def _image_class(a: NetOutputs, b: NetOutputs) -> tuple[float, int]:
    """Largest difference of a probability, and how many pictures get the same class."""
    if a.image_probs is None or b.image_probs is None:
        return math.nan, 0
    same = int((a.image_probs.argmax(1) == b.image_probs.argmax(1)).sum())
    return _worst(np.abs(a.image_probs - b.image_probs).ravel().tolist()), same


def _finite(name: str, outputs: NetOutputs) -> None:
    told: dict[str, Any] = {**outputs.attributes}
    for field in ("boxes_net", "scores", "embeddings", "image_probs"):
        told[field] = getattr(outputs, field)
    for field, values in told.items():
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{name}.{field}: expected finite values")


def _worst(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known, default=math.nan)


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if w and not math.isnan(v)]
    total = sum(w for _, w in known)
    return sum(v * w for v, w in known) / total if total else math.nan
