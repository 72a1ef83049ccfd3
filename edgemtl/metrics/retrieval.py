"""Re-identification: does the nearest embedding belong to the same object?

Rank-1 and mean average precision as person re-identification reports them (Zheng et al.,
"Scalable Person Re-identification", ICCV 2015): average precision without interpolation, queries
that have nothing to find left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Means over the ``queries`` that had at least one right answer; NaN without any.

    ``seen``, ``unseen``: the same over the queries whose identity was part of the training, and
    over the others, searched among all; None where that is not known. ``boxes``: true objects that
    could be asked for, ``answered``: those that an embedding was found for.
    """

    rank1: float
    map: float
    queries: int
    seen: RetrievalScores | None = None
    unseen: RetrievalScores | None = None
    boxes: int = 0
    answered: int = 0


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
    seen: NDArray[Any] | None = None,
) -> RetrievalScores:
    """The means of :func:`query_scores`; ``seen`` bool [Q] splits the queries."""
    found = query_scores(query_emb, query_ids, gallery_emb, gallery_ids, gap)
    if seen is not None and np.shape(seen) != (len(found),):
        raise ValueError(f"seen: expected bool [{len(found)}], got {list(np.shape(seen))}")
    if seen is None:
        return _means(found)
    mask = np.asarray(seen, np.bool_)
    return replace(_means(found), seen=_means(found[mask]), unseen=_means(found[~mask]))


def query_scores(
    query_emb: NDArray[Any],
    query_ids: NDArray[Any],
    gallery_emb: NDArray[Any],
    gallery_ids: NDArray[Any],
    gap: FrameGap | None = None,
) -> F64:
    """Rank-1 and average precision of every query, f64 [Q, 2], by cosine similarity.

    query_emb [Q, D] and gallery_emb [G, D] of unit length, query_ids int [Q], gallery_ids int [G].
    NaN where there is nothing to find. Raises ValueError for shapes that differ and for values
    that are not finite.
    """
    query, query_ids = _embedded("query", query_emb, query_ids)
    gallery, gallery_ids = _embedded("gallery", gallery_emb, gallery_ids)
    if len(query) and len(gallery) and query.shape[1] != gallery.shape[1]:
        raise ValueError(f"gallery_emb: expected [G, {query.shape[1]}], got {list(gallery.shape)}")
    found = np.full((len(query), 2), np.nan)
    if len(query) and len(gallery):
        for start in range(0, len(query), _CHUNK):
            part = slice(start, start + _CHUNK)
            allowed = _allowed(gap, part, (len(query[part]), len(gallery)))
            right = query_ids[part, None] == gallery_ids[None]
            rows = zip(query[part] @ gallery.T, allowed, right, strict=True)
            for number, (row, keep, same) in enumerate(rows, start):
                hits = same[keep][np.argsort(-row[keep], kind="stable")]
                if hits.any():
                    found[number] = float(hits[0]), _average_precision(hits)
    return found


def combine_retrieval(parts: Sequence[RetrievalScores]) -> RetrievalScores | None:
    """The mean over the queries of all parts; identities of different parts are never compared.

    What was seen in training is told over the parts that know it.
    """
    if not parts:
        return None
    queries = sum(part.queries for part in parts)
    counted = [part for part in parts if part.queries]
    return RetrievalScores(
        rank1=sum(p.rank1 * p.queries for p in counted) / queries if queries else math.nan,
        map=sum(p.map * p.queries for p in counted) / queries if queries else math.nan,
        queries=queries,
        seen=combine_retrieval([p.seen for p in parts if p.seen is not None]),
        unseen=combine_retrieval([p.unseen for p in parts if p.unseen is not None]),
        boxes=sum(part.boxes for part in parts),
        answered=sum(part.answered for part in parts),
    )


def _means(found: F64) -> RetrievalScores:
    known = found[~np.isnan(found[:, 0])]
    if not len(known):
        return RetrievalScores(math.nan, math.nan, 0)
    rank1, precision = (float(v) for v in known.mean(0))
    return RetrievalScores(rank1, precision, len(known))


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
