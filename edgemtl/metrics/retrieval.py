"""Re-identification: does the nearest embedding belong to the same object?

Rank-1 and mean average precision as person re-identification reports them (Zheng et al.,
"Scalable Person Re-identification", ICCV 2015): average precision without interpolation, queries
that have nothing to find left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Means over the ``queries`` that had at least one right answer; NaN without any."""

    rank1: float
    map: float
    queries: int


@dataclass(frozen=True, slots=True)
class FrameGap:
    """Leaves out of each query's gallery what is less than ``at_least`` frames away from it."""

    query_frames: NDArray[Any]
    gallery_frames: NDArray[Any]
    at_least: int


def retrieval_scores(
    query_emb: NDArray[Any],
    query_ids: NDArray[Any],
    gallery_emb: NDArray[Any],
    gallery_ids: NDArray[Any],
    gap: FrameGap | None = None,
) -> RetrievalScores:
    """Scores by cosine similarity.

    query_emb [Q, D] and gallery_emb [G, D] of unit length, query_ids int [Q], gallery_ids int [G].
    Raises ValueError for shapes that differ and for values that are not finite.
    """
    query, query_ids = _embedded("query", query_emb, query_ids)
    gallery, gallery_ids = _embedded("gallery", gallery_emb, gallery_ids)
    if len(query) and len(gallery) and query.shape[1] != gallery.shape[1]:
        raise ValueError(f"gallery_emb: expected [G, {query.shape[1]}], got {list(gallery.shape)}")
    first: list[bool] = []
    precision: list[float] = []
    if len(query) and len(gallery):
        for start in range(0, len(query), _CHUNK):
            part = slice(start, start + _CHUNK)
            allowed = _allowed(gap, part, (len(query[part]), len(gallery)))
            right = query_ids[part, None] == gallery_ids[None]
            for row, keep, same in zip(query[part] @ gallery.T, allowed, right, strict=True):
                hits = same[keep][np.argsort(-row[keep], kind="stable")]
                if hits.any():
                    first.append(bool(hits[0]))
                    precision.append(_average_precision(hits))
    if not first:
        return RetrievalScores(math.nan, math.nan, 0)
    return RetrievalScores(float(np.mean(first)), float(np.mean(precision)), len(first))


def _embedded(name: str, emb: NDArray[Any], ids: NDArray[Any]) -> tuple[F64, NDArray[np.int64]]:
    vectors, labels = np.asarray(emb, np.float64), np.asarray(ids, np.int64)
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1]:
        raise ValueError(
            f"{name}: expected embeddings [N, D] and ids [N], "
            f"got {list(vectors.shape)} and {list(labels.shape)}"
        )
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name}_emb: expected finite values")
    return vectors, labels


def _allowed(gap: FrameGap | None, part: slice, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if gap is None:
        return np.ones(shape, np.bool_)
    apart = np.abs(np.asarray(gap.query_frames)[part, None] - np.asarray(gap.gallery_frames)[None])
    return np.asarray(apart >= gap.at_least, np.bool_)


def _average_precision(hits: NDArray[np.bool_]) -> float:
    """Mean precision at the ranks of the hits."""
    ranks = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())
