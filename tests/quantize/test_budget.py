"""Budgets: what is understood, what keeps them, and when the data cannot tell."""

from __future__ import annotations

import math

import pytest

from edgemtl.errors import ConfigError
from edgemtl.metrics.bootstrap import Interval
from edgemtl.quantize.budget import Budget, Loss
from edgemtl.quantize.losses import LossOptions, paired_mean, student_t


def test_a_budget_is_read_and_told_again() -> None:
    budget = Budget.parse("det=1.0, cls=0.5,track=2")
    assert budget.points == {"det": 1.0, "cls": 0.5, "track": 2.0}
    assert (budget.of("map"), budget.of("hota"), budget.of("idf1")) == (1.0, 2.0, 2.0)
    assert budget.of("rank1") is None
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["", "det", "det=", "det=no", "det=nan", "det=0", "det=-1", "det=101", "map=1",
             "det=1,det=2"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="budget: ") as caught:
        Budget.parse(text)
    assert "det=1.0,cls=0.5,track=0.5" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.2, -0.1, 0.5, "keeps"),
        (1.0, 0.5, 1.5, "keeps"),
        (-0.5, -1.0, 0.0, "keeps"),  # better than float is no loss
        (1.1, 0.6, 1.6, "breaks"),
        (0.2, -2.0, 2.4, "unresolved"),
        (3.0, 0.9, 5.1, "unresolved"),
        (9.0, 5.0, 13.0, "breaks"),  # surely, however wide
        (math.nan, math.nan, math.nan, "unresolved"),
    ],
)
def test_verdicts(value: float, low: float, high: float, verdict: str) -> None:
    loss = Loss("map", 0.5, Interval(value, low, high), 100, budget=1.0)
    assert loss.verdict == verdict
    assert Loss("map", 0.5, Interval(value, low, high), 100).verdict == "keeps"


def test_a_task_that_nothing_tells_is_refused() -> None:
    Budget.parse("det=1,track=2").require(["map", "idf1"], 50)
    with pytest.raises(ConfigError, match=r"'embed' is of rank1, .* 7 frames .* cls, det"):
        Budget.parse("det=1,embed=2").require(["top1", "map"], 7)
    with pytest.raises(ConfigError, match=r"'track' is of hota and idf1, .* videos .* tells det"):
        Budget.parse("track=2").require(["map"], 7)
    with pytest.raises(ConfigError, match=r"'cls' is of top1, .* measure that on; it tells det"):
        Budget.parse("cls=2").require(["map"], 7)
    with pytest.raises(ConfigError, match="nothing that a score could be made of"):
        Budget({}).require([], 50)


@pytest.mark.parametrize(
    ("budget", "tasks", "word"),
    [
        ("embed=1", ("detect", "classify"), "not embed; it does detect, classify"),
        ("det=1,cls=1", ("detect", "embed"), "'cls' .* not classify"),
        ("track=1", ("classify",), "'track' .* not detect"),
        ("det=1,track=1,embed=1,cls=1", ("detect", "classify", "embed"), ""),
        ("det=1,track=1", ("detect",), ""),
    ],
)
def test_a_task_that_the_model_does_not_do_is_refused(
    budget: str, tasks: tuple[str, ...], word: str
) -> None:
    parsed = Budget.parse(budget)
    if not word:
        parsed.require_made(tasks)
        return
    with pytest.raises(ConfigError, match=word):
        parsed.require_made(tasks)


def test_how_many_pictures_would_do() -> None:
    wide = Loss("map", 0.5, Interval(0.2, -1.8, 2.2), 100, budget=1.0)
    assert wide.needed == 400
    told = wide.to_dict()
    assert (told["fp32"], told["int8"]) == (0.5, pytest.approx(0.498))
    assert told["verdict"] == "unresolved"
    unknown = Loss("map", 0.5, Interval(math.nan, math.nan, math.nan), 10, budget=1.0)
    assert (unknown.to_dict()["int8"], unknown.to_dict()["low"]) == (None, None)


@pytest.mark.parametrize("score", ["map", "top1", "rank1", "hota", "idf1"])
def test_a_handful_of_pictures_is_no_evidence(score: str) -> None:
    for points in (0.0, 60.0):  # neither for nor against
        few = Loss(score, 0.9, Interval(points, points, points), 19, budget=20.0)
        assert (few.verdict, few.needed) == ("unresolved", 20)
    assert Loss(score, 0.9, Interval(0.0, 0.0, 0.0), 20, budget=20.0).verdict == "keeps"
    assert Loss(score, 0.9, Interval(60.0, 60.0, 60.0), 20, budget=20.0).verdict == "breaks"
    one = Loss(score, 0.9, Interval(0.0, math.nan, math.nan), 1, budget=20.0)
    assert (one.verdict, one.needed) == ("unresolved", 20)
    assert Loss(score, 0.9, Interval(0.0, 0.0, 0.0), 1).needed == 0


@pytest.mark.parametrize("score", ["top1", "rank1"])
def test_a_share_has_grains(score: str) -> None:
    # one picture of a hundred is a point: too coarse for half a point, whatever the interval
    coarse = Loss(score, 0.9, Interval(0.0, 0.0, 0.0), 100, budget=0.5)
    assert (coarse.verdict, coarse.needed) == ("unresolved", 800)
    assert Loss(score, 0.9, Interval(0.0, 0.0, 0.0), 800, budget=0.5).verdict == "keeps"


@pytest.mark.parametrize("key", ["repeats", "jitters"])
def test_at_least_one_of_each(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected at least 1, got 0"):
        LossOptions(**{key: 0})


@pytest.mark.parametrize(
    ("freedom", "tabulated"), [(3, 3.182), (4, 2.776), (9, 2.262), (19, 2.093), (100, 1.984)]
)
def test_student_t_as_tabulated(freedom: int, tabulated: float) -> None:
    assert student_t(freedom) == pytest.approx(tabulated, rel=0.004)


def test_the_mean_of_pairs() -> None:
    found = paired_mean([3.0, 4.0, 5.0, 8.0], [2.0, 2.0, 4.0, 4.0])
    assert found.value == 2.0
    assert found.half == pytest.approx(3.182 * 2.0**0.5 / 2, rel=0.004)
    assert math.isnan(paired_mean([1.0], [0.5]).low)
