"""Retrieval against figures worked out by hand and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.metrics import retrieval_scores
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
