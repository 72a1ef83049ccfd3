"""Scores picture by picture add up to the evaluation's; the bootstrap beside a plain twin."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from study_pictures import (
    HITS,
    KNOWN,
    QUERIES,
    RIGHT,
    Pictures,
    look,
    paired_bootstrap,
    score,
)

from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import open_session
from edgemtl.evaluate import EvaluateOptions, evaluate_model
from edgemtl.metrics import DetectionMeter


def test_pictures_add_up_to_the_evaluation() -> None:
    worlds = tuple(SyntheticWorld(s, 2, 14, (192, 320), name=f"w{s}") for s in (5, 6))
    mix = DataMix(worlds[0].classes, worlds[0].image_classes, worlds)
    options = EvaluateOptions(frame_gap=8)
    with closing(open_session("toy", threads=1)) as session:
        sets = look(session, mix, options)
        whole = evaluate_model(session, mix, options).together
    everything = [np.arange(28)] * 2
    assert whole.detection is not None
    assert whole.classification is not None
    assert whole.tracking is not None
    assert whole.retrieval is not None
    for task, value in (
        ("map", whole.detection.map),
        ("top1", whole.classification.top1),
        ("idf1", whole.tracking.idf1),
        ("rank1", whole.retrieval.rank1),
    ):
        assert value > 0
        assert score(task, sets, everything) == pytest.approx(value, abs=1e-12), task
    half = [np.arange(14), np.arange(0)]
    assert score("map", sets, half) != score("map", sets, everything)


def counted(right: np.ndarray, hits: np.ndarray) -> Pictures:
    counts = np.zeros((len(right), 7), np.int64)
    counts[:, KNOWN], counts[:, RIGHT] = 1, right
    counts[:, QUERIES], counts[:, HITS] = 3, hits
    return Pictures("made up", [DetectionMeter() for _ in right], counts)


def test_the_bootstrap_equals_a_plain_twin() -> None:
    rng = np.random.default_rng(7)
    right = [rng.integers(0, 2, n) for n in (40, 25)], [rng.integers(0, 2, n) for n in (40, 25)]
    hits = [rng.integers(0, 4, n) for n in (40, 25)]
    ours, theirs = ([counted(r, h) for r, h in zip(side, hits, strict=True)] for side in right)
    found = paired_bootstrap("top1", ours, theirs, 400, seed=3)
    # the twin: differences of single pictures, drawn by hand
    change = [a - b for a, b in zip(*right, strict=True)]
    draws = np.random.default_rng(3)
    means = []
    for _ in range(400):
        index = [draws.integers(0, n, n) for n in (40, 25)]
        means.append(sum(c[i].sum() for c, i in zip(change, index, strict=True)) / 65)
    low, high = np.percentile(means, [2.5, 97.5])
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-4)
    assert found["difference"] == pytest.approx(sum(c.sum() for c in change) / 65, abs=1e-4)
    assert low < found["difference"] < high


def test_equal_models_differ_by_nothing() -> None:
    one = [counted(np.arange(30) % 2, np.arange(30) % 4)]
    for task in ("top1", "rank1"):
        found = paired_bootstrap(task, one, one, 50)
        assert (found["difference"], found["low"], found["high"]) == (0, 0, 0)


def test_a_task_that_nobody_labels_has_no_score() -> None:
    nothing = [Pictures("none", [DetectionMeter()], np.zeros((1, 7), np.int64))]
    for task in ("map", "top1", "rank1", "idf1"):
        assert np.isnan(score(task, nothing, [np.arange(1)])), task
