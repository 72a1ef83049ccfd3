"""The tracker again over kept detections: without noise the same, with noise a fair sample."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import open_session
from edgemtl.evaluate import EvaluateOptions
from edgemtl.evaluate.model import run_model
from edgemtl.evaluate.setrun import SetRun
from edgemtl.evaluate.trackrun import Jitter
from edgemtl.metrics import combine
from edgemtl.records import Detections


@pytest.fixture(scope="module")
def run() -> SetRun:
    world = SyntheticWorld(4, 2, 40, (192, 320))
    mix = DataMix(world.classes, world.image_classes, (world,))
    with closing(open_session("toy", threads=1)) as session:
        (run,) = run_model(session, mix, EvaluateOptions(tasks=("track",), keep=True))
    return run


def test_without_noise_the_tracker_does_the_same_again(run: SetRun) -> None:
    assert run.tracker is not None
    again = run.tracker.again(run.kept, Jitter(0, 0), seed=1)
    assert again.starts == run.tracker.task.starts
    assert combine(again.meters) == combine(run.tracker.task.meters)


def test_a_seed_is_one_noise_and_seeds_differ(run: SetRun) -> None:
    assert run.tracker is not None
    jitter = Jitter(4.0, 0.15)
    scores = [combine(run.tracker.again(run.kept, jitter, seed).meters) for seed in (1, 1, 2, 3)]
    assert scores[0] == scores[1]
    assert len({score.hota for score in scores}) == 3
    exact = combine(run.tracker.task.meters)
    assert np.mean([score.hota for score in scores]) < exact.hota
    assert len(run.kept) == 80


def test_noise_has_the_deviation_that_it_says() -> None:
    n = 4000
    boxes = np.tile(np.array([50, 50, 100, 100], np.float32), (n, 1))
    found = Detections(boxes, np.full(n, 0.5, np.float32), np.zeros(n, np.int32))
    shaken = Jitter(0.5, 0.01).shake(found, np.random.default_rng(0))
    assert (shaken.boxes_src - boxes).std() == pytest.approx(0.5, rel=0.05)
    assert (shaken.boxes_src - boxes).mean() == pytest.approx(0, abs=0.02)
    assert shaken.scores.std() == pytest.approx(0.01, rel=0.05)
    assert (np.diff(shaken.scores) <= 0).all()


def test_noise_keeps_boxes_and_scores_possible() -> None:
    tiny = np.array([[5, 5, 5.5, 5.5]] * 50, np.float32)
    scores = np.linspace(1, 0, 50, dtype=np.float32)
    found = Detections(tiny, scores, np.zeros(50, np.int32), np.ones((50, 2), np.float32))
    shaken = Jitter(3, 0.5).shake(found, np.random.default_rng(0))
    assert (shaken.boxes_src[:, 2:] - shaken.boxes_src[:, :2] > 0.99).all()
    assert (shaken.scores >= 0).all()
    assert (shaken.scores <= 1).all()
    assert shaken.embeddings is not None
    assert len(Jitter().shake(Detections.empty(), np.random.default_rng(0))) == 0
