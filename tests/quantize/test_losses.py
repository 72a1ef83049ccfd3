"""What a model loses: against itself nothing, in INT8 what the evaluation says, broken a lot."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import open_session
from edgemtl.evaluate import Evaluation, evaluate_model
from edgemtl.graph.ranges import load_ranges, save_ranges
from edgemtl.models import resolve_model
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.calibrate import rebuild
from edgemtl.quantize.losses import LossOptions, Measured

TABLE = Path(__file__).resolve().parents[2] / "calibration" / "tables" / "toy.ranges.json"
OPTIONS = LossOptions(repeats=50, jitters=4)
BUDGET = Budget.parse("det=1,cls=5,track=1")
Seen = dict[str, tuple[Measured, Evaluation]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """`toy` in float, in INT8, and in INT8 with ranges that cut most of the values off."""
    world = SyntheticWorld(8, 2, 60, (192, 320))
    mix = DataMix(world.classes, world.image_classes, (world,))
    folder = tmp_path_factory.mktemp("toy")
    table = load_ranges(TABLE)
    narrow = {name: (low / 8, high / 8) for name, (low, high) in table.ranges.items()}
    save_ranges(table.model_copy(update={"ranges": narrow, "graphs": {}}), folder / "narrow.json")
    models = {
        "float": resolve_model("toy"),
        "int8": rebuild(resolve_model("toy"), TABLE, folder / "m.onnx").host,
        "broken": rebuild(resolve_model("toy"), folder / "narrow.json", folder / "b.onnx").host,
    }
    found = {}
    for name, model in models.items():
        with closing(open_session(model, threads=1)) as session:
            found[name] = Measured(session, mix, OPTIONS, name), evaluate_model(session, mix)
    return found


def test_a_model_loses_nothing_against_itself(seen: Seen) -> None:
    exact, _ = seen["float"]
    for loss in exact.losses(exact, BUDGET):
        assert (loss.loss.value, loss.loss.low, loss.loss.high) == (0, 0, 0)
        assert loss.verdict == "keeps", loss.score
        if loss.score == "rank1":
            # it searches 50 frames away: ten at each end of a clip of 60 can find somebody
            assert 30 < loss.seen <= 40
        else:
            assert loss.seen == 120


def test_losses_are_those_of_the_evaluation(seen: Seen) -> None:
    (exact, in_float), (int8, in_int8) = seen["float"], seen["int8"]
    losses = {loss.score: loss for loss in int8.losses(exact, BUDGET)}
    assert set(losses) == {"map", "top1", "rank1", "hota", "idf1"}
    for score, task in (("map", "detection"), ("top1", "classification"), ("rank1", "retrieval")):
        values = [getattr(getattr(e.together, task), score) for e in (in_float, in_int8)]
        assert (losses[score].exact, losses[score].quantised) == pytest.approx(tuple(values))
    for score in ("hota", "idf1"):  # with noise: near, not equal
        for value, whole in ((losses[score].exact, in_float), (losses[score].quantised, in_int8)):
            assert value == pytest.approx(getattr(whole.together.tracking, score), abs=0.05)
    for loss in losses.values():
        assert loss.loss.low <= loss.loss.value <= loss.loss.high
    assert (losses["map"].budget, losses["rank1"].budget) == (1, None)
    assert {loss.score: loss for loss in int8.losses(exact, BUDGET)} == losses


def test_a_broken_model_breaks_its_budget(seen: Seen) -> None:
    losses = {loss.score: loss for loss in seen["broken"][0].losses(seen["float"][0], BUDGET)}
    for score in ("map", "hota", "idf1"):
        assert losses[score].loss.low > 1, score
        assert losses[score].verdict == "breaks", score
