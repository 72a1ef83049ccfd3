"""What a model loses against itself is nothing; against a worse one, what the evaluation says."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import open_session
from edgemtl.models import resolve_model
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.calibrate import rebuild
from edgemtl.quantize.losses import LossOptions, Measured

TABLE = Path(__file__).resolve().parents[2] / "calibration" / "tables" / "toy.ranges.json"
OPTIONS = LossOptions(repeats=50, jitters=4)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    world = SyntheticWorld(8, 2, 60, (192, 320))
    mix = DataMix(world.classes, world.image_classes, (world,))
    int8 = rebuild(resolve_model("toy"), TABLE, tmp_path_factory.mktemp("toy") / "m.onnx").host
    found = []
    for model in ("toy", int8):
        with closing(open_session(model, threads=1)) as session:
            found.append(Measured(session, mix, OPTIONS, str(model)))
    return found


def test_a_model_loses_nothing_against_itself(measured: list[Measured]) -> None:
    exact, _ = measured
    for loss in exact.losses(exact, Budget.parse("det=1,cls=5,track=1")):
        assert (loss.loss.value, loss.loss.low, loss.loss.high) == (0, 0, 0)
        assert loss.verdict == "keeps", loss.score
        assert loss.seen == 120


def test_losses_are_differences_of_scores(measured: list[Measured]) -> None:
    exact, int8 = measured
    losses = {loss.score: loss for loss in int8.losses(exact, Budget.parse("det=1"))}
    assert set(losses) == {"map", "top1", "rank1", "hota", "idf1"}
    for loss in losses.values():
        assert loss.loss.value == pytest.approx(100 * (loss.exact - loss.quantised))
        assert loss.loss.low <= loss.loss.value <= loss.loss.high
        assert 0.2 < loss.exact <= 1
        assert abs(loss.loss.value) < 5
    assert losses["map"].budget == 1
    assert losses["top1"].budget is None
    again = {loss.score: loss for loss in int8.losses(exact, Budget.parse("det=1"))}
    assert again == losses
