"""Early stopping and the last words of a run, against hand-made logs."""

from __future__ import annotations

import pytest

from edgemtl.train.runlog import Row, RunLog
from edgemtl.train.summary import best_line, best_table, stop_reason, stops


def judged(*scores: float) -> list[Row]:
    """A row of means, then judgements every 100 pictures."""
    rows: list[Row] = [{"step": 5, "images": 40, "time_s": 1.0, "loss": {"detect": 1.0}}]
    for number, score in enumerate(scores, start=1):
        parts = {"pets.map50": score, "pets.hota": 0.5, "cars.map50": 0.25}
        head = {"step": 10 * number, "images": 100 * number, "time_s": 3725.0 * number}
        rows.append({**head, "score": score, "scores": parts})
    return rows


@pytest.mark.parametrize(
    ("scores", "patience", "stopped"),
    [
        ((), 1, False),
        ((0.1,), 1, False),
        ((0.1, 0.1), 1, True),  # the same score is not a better one
        ((0.3, 0.2), 2, False),
        ((0.3, 0.2, 0.1), 2, True),
        ((0.3, 0.2, 0.4, 0.1), 2, False),
        ((0.3, 0.2, 0.1, 0.2, 0.29), None, False),
        ((0.0, 0.0, 0.0), 2, True),
    ],
)
def test_patience(scores: tuple[float, ...], patience: int | None, stopped: bool) -> None:
    assert (stop_reason(judged(*scores), patience) is not None) == stopped


def test_the_reason_is_said_and_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(None, 8)
    log.begin()
    log.rows = judged(0.3, 0.2, 0.1)
    assert not stops(log, 30, None)
    assert stops(log, 30, 2)
    assert stops(log, 30, 2)
    said = "stopped after 300 pictures: 2 judgements without a better score than 0.3000, of 100 "
    assert capsys.readouterr().err.count(said) == 2
    assert sum("stopped" in row for row in log.rows) == 1


def test_the_table_of_the_best_judgement() -> None:
    assert best_table(judged(0.3, 0.6, 0.1)) == [
        ["data set", "map50", "hota"],
        ["pets", 0.6, 0.5],
        ["cars", 0.25, None],
    ]
    assert best_table(judged()) == []


def test_the_last_words() -> None:
    assert best_line(judged(0.3, 0.6, 0.1)) == (
        "best score 0.6000 after 200 pictures: judgement 2 of 3; 3:06:15 of training for "
        "300 pictures"
    )
    assert best_line([]) == "no judgement yet"
