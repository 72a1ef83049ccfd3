"""Scores picture by picture add up to those of the evaluation."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import open_session
from edgemtl.evaluate import EvaluateOptions
from edgemtl.evaluate.model import run_model, summarise
from edgemtl.evaluate.sample import SCORES, Sample


def test_pictures_add_up_to_the_evaluation() -> None:
    worlds = tuple(SyntheticWorld(s, 2, 14, (192, 320), name=f"w{s}") for s in (5, 6))
    mix = DataMix(worlds[0].classes, worlds[0].image_classes, worlds)
    with closing(open_session("toy", threads=1)) as session:
        runs = run_model(session, mix, EvaluateOptions(frame_gap=8))
        whole = summarise(session, mix, runs).together
    sample = Sample(runs)
    assert sample.sizes == (28, 28)
    assert sample.known == SCORES
    assert whole.detection is not None
    assert whole.classification is not None
    assert whole.tracking is not None
    assert whole.retrieval is not None
    for name, value in (
        ("map", whole.detection.map),
        ("map50", whole.detection.map50),
        ("top1", whole.classification.top1),
        ("idf1", whole.tracking.idf1),
        ("rank1", whole.retrieval.rank1),
    ):
        assert value > 0
        assert sample.score(name, np.ones(56)) == pytest.approx(value, abs=1e-12), name
    first = (np.arange(56) < 28).astype(float)
    only = Sample(runs[:1])
    for name in SCORES:  # what is not drawn does not count
        assert sample.score(name, first) == pytest.approx(only.score(name, np.ones(28)), abs=1e-12)
    nothing = sample.minus(sample, "map", 5)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    with pytest.raises(ValueError, match=r"other: expected pictures \(28, 28\), got \(28,\)"):
        sample.minus(only, "map")
    with pytest.raises(KeyError, match="mota"):
        sample.score("mota", first)


def test_a_task_that_nobody_scores_is_not_known() -> None:
    world = SyntheticWorld(5, 1, 6, (192, 320))
    mix = DataMix(world.classes, world.image_classes, (world,))
    with closing(open_session("toy", threads=1)) as session:
        sample = Sample(run_model(session, mix, EvaluateOptions(tasks=("classify",))))
    assert sample.known == ("top1",)
    for name in ("map", "idf1", "rank1"):
        assert np.isnan(sample.score(name, np.ones(6))), name
