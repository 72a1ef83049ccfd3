"""Retrieval against figures worked out by hand and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.metrics import RetrievalScores, combine_retrieval, retrieval_scores
from edgemtl.metrics.retrieval import FrameGap


def _unit(rng, n, dim=8):
    x = rng.normal(size=(n, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_hand_computed_example():
    angles = np.radians([0, 10, 20, 30])
    gallery = np.stack([np.cos(angles), np.sin(angles)], 1)
    scores = retrieval_scores(gallery[:1], np.array([7]), gallery, np.array([1, 7, 2, 7]))
    assert scores.rank1 == 0
    assert scores.map == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert scores.queries == 1


def test_equals_a_plain_loop():
    rng = np.random.default_rng(1)
    query, gallery = _unit(rng, 700), _unit(rng, 90)
    q_ids, g_ids = rng.integers(0, 12, 700), rng.integers(0, 9, 90)
    first, precisions = [], []
    for vector, identity in zip(query, q_ids, strict=True):
        order = sorted(range(90), key=lambda j: -float(vector @ gallery[j]))
        right = [g_ids[j] == identity for j in order]
        if any(right):
            first.append(right[0])
            at = [i + 1 for i, hit in enumerate(right) if hit]
            precisions.append(np.mean([(n + 1) / rank for n, rank in enumerate(at)]))
    scores = retrieval_scores(query, q_ids, gallery, g_ids)
    assert scores.queries == len(first) < 700
    assert scores.rank1 == pytest.approx(np.mean(first))
    assert scores.map == pytest.approx(np.mean(precisions))


def test_seen_and_unseen_against_a_plain_loop():
    rng = np.random.default_rng(3)
    emb, ids, frames = _unit(rng, 80), rng.integers(0, 14, 80), rng.integers(0, 40, 80)
    seen = ids < 5
    found = retrieval_scores(emb, ids, emb, ids, FrameGap(frames, frames, 10), seen=seen)
    first: dict[bool, list[bool]] = {True: [], False: []}
    precisions: dict[bool, list[float]] = {True: [], False: []}
    for q in range(80):
        far = [g for g in range(80) if abs(frames[g] - frames[q]) >= 10]
        right = [ids[g] == ids[q] for g in sorted(far, key=lambda g: -float(emb[q] @ emb[g]))]
        if any(right):
            at = [i + 1 for i, hit in enumerate(right) if hit]
            first[bool(seen[q])].append(right[0])
            precisions[bool(seen[q])].append(np.mean([(n + 1) / r for n, r in enumerate(at)]))
    for part, key in ((found.seen, True), (found.unseen, False)):
        assert part.queries == len(first[key]) > 10
        assert part.rank1 == pytest.approx(np.mean(first[key]))
        assert part.map == pytest.approx(np.mean(precisions[key]))
    plain = retrieval_scores(emb, ids, emb, ids, FrameGap(frames, frames, 10))
    assert (plain.rank1, plain.map, plain.queries) == (found.rank1, found.map, found.queries)
    assert (plain.seen, plain.unseen) == (None, None)


def test_all_seen_leaves_nothing_unseen():
    emb, ids = np.eye(4)[[0, 0, 1, 1]], np.array([1, 1, 2, 2])
    found = retrieval_scores(emb, ids, emb, ids, seen=np.ones(4, bool))
    assert (found.seen.rank1, found.seen.queries) == (1, 4)
    assert found.unseen.queries == 0
    assert np.isnan(found.unseen.rank1)
    with pytest.raises(ValueError, match=r"seen: expected bool \[4\], got \[3\]"):
        retrieval_scores(emb, ids, emb, ids, seen=np.ones(3, bool))


def test_parts_are_combined_by_their_queries():
    unknown = RetrievalScores(0.5, 0.25, 10, boxes=20, answered=15)
    nothing = RetrievalScores(float("nan"), float("nan"), 0, boxes=4, answered=0)
    split = RetrievalScores(
        1.0, 0.5, 30, RetrievalScores(1.0, 0.75, 20), RetrievalScores(1.0, 0.0, 10), 40, 36
    )
    whole = combine_retrieval([unknown, nothing, split])
    assert (whole.rank1, whole.map) == (pytest.approx(0.875), pytest.approx(0.4375))
    assert (whole.queries, whole.boxes, whole.answered) == (40, 64, 51)
    assert whole.seen == RetrievalScores(1.0, 0.75, 20)
    assert whole.unseen == RetrievalScores(1.0, 0.0, 10)
    assert combine_retrieval([]) is None
    assert combine_retrieval([unknown]).seen is None
    assert np.isnan(combine_retrieval([nothing, nothing]).rank1)


def test_near_frames_are_left_out():
    emb = np.array([[1.0, 0], [1, 0], [0, 1], [0.6, 0.8]])
    ids, frames = np.array([1, 1, 2, 1]), np.array([0, 1, 100, 100])
    plain = retrieval_scores(emb[:1], ids[:1], emb[1:], ids[1:])
    assert plain.rank1 == 1
    gap = FrameGap(frames[:1], frames[1:], at_least=50)
    apart = retrieval_scores(
        emb[:1], ids[:1], emb[2:], ids[2:], FrameGap(frames[:1], frames[2:], 50)
    )
    assert retrieval_scores(emb[:1], ids[:1], emb[1:], ids[1:], gap) == apart


def test_nothing_to_find_is_undefined():
    empty = np.zeros((0, 4))
    none = np.zeros(0, np.int64)
    for scores in (
        retrieval_scores(empty, none, empty, none),
        retrieval_scores(np.eye(4), np.arange(4), empty, none),
        retrieval_scores(np.eye(4), np.arange(4), np.eye(4), np.arange(4) + 2**62),
    ):
        assert scores.queries == 0
        assert np.isnan(scores.rank1)


def test_refuses():
    with pytest.raises(ValueError, match="query_emb: expected finite"):
        retrieval_scores(np.full((1, 2), np.nan), np.array([1]), np.eye(2), np.arange(2))
    with pytest.raises(ValueError, match=r"gallery_emb: expected \[G, 2\]"):
        retrieval_scores(np.eye(2), np.arange(2), np.eye(3), np.arange(3))
    with pytest.raises(ValueError, match="query: expected embeddings"):
        retrieval_scores(np.eye(2), np.arange(3), np.eye(2), np.arange(2))
