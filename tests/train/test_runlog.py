"""The log of a run: rows that a reader can trust, whatever happened to the run."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import OutputError
from edgemtl.train import runlog
from edgemtl.train.runlog import LOG_EVERY, RunLog, best_judgement, read_rows


def table(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def started(out: Path, **names: tuple[str, ...]) -> RunLog:
    log = RunLog(out, 8, **names)
    log.begin()
    return log


def run(log: RunLog, first: int, last: int) -> None:
    """Steps ``first`` to ``last`` with losses that name their step, judged every 40."""
    for step in range(first, last + 1):
        losses = {"detect": 2.0 * step} | ({"embed": 1.0} if step % 2 else {})
        log.note(step, 1e-3, 0.5 * step, losses)
        if step % 40 == 0:
            log.add(step, {"score": step / 1000, "scores": {"set.map50": 0.1}})


def test_rows_are_means_of_the_steps_since_the_last_one(tmp_path: Path) -> None:
    log = started(tmp_path)
    run(log, 1, 2 * LOG_EVERY)
    rows = [row for row in read_rows(tmp_path) if "loss" in row]
    steps = np.arange(1, 2 * LOG_EVERY + 1).reshape(2, -1)
    assert [row["step"] for row in rows] == [50, 100]
    assert [row["images"] for row in rows] == [400, 800]
    assert [row["loss"]["detect"] for row in rows] == (2 * steps.mean(1)).tolist()
    assert [row["loss"]["embed"] for row in rows] == [1.0, 1.0]
    assert [row["gradient"] for row in rows] == (0.5 * steps.mean(1)).tolist()


def test_the_table_has_the_same_rows_and_its_columns_from_the_start(tmp_path: Path) -> None:
    log = started(tmp_path, losses=("detect", "embed"), scores=("set.map50", "set.hota"))
    head = (tmp_path / "log.csv").read_text(encoding="utf-8")
    run(log, 1, 100)
    assert head.splitlines() == [
        "step,images,time_s,rate,gradient,skipped,loss.detect,loss.embed,score,set.map50,set.hota"
    ]
    text = (tmp_path / "log.csv").read_text(encoding="utf-8")
    assert text.startswith(head)
    found = table(tmp_path)
    assert [int(row["step"]) for row in found] == [40, 50, 80, 100]
    assert [row["loss.detect"] for row in found] == ["", "51.0", "", "151.0"]
    assert [row["set.map50"] for row in found] == ["0.1", "", "0.1", ""]
    assert {row["set.hota"] for row in found} == {""}


def test_an_unexpected_name_gets_a_column_and_no_row_is_lost(tmp_path: Path) -> None:
    log = started(tmp_path, losses=("detect",))
    run(log, 1, 50)
    for step in range(51, 101):
        log.note(step, 1e-3, 1.0, {"detect": 1.0, "distil, soft": 3.0})
    found = table(tmp_path)
    assert [row["loss.distil, soft"] for row in found] == ["", "", "3.0"]
    assert [row["loss.embed"] for row in found] == ["", "1.0", ""]


def test_a_value_that_is_not_finite_is_counted_and_left_out(tmp_path: Path) -> None:
    log = started(tmp_path)
    for step in range(1, 51):
        bad = step in (3, 7)
        value = float("nan") if bad else 2.0
        log.note(step, 1e-3, float("inf") if bad else 4.0, {"detect": value, "embed": float("nan")})
    (row,) = read_rows(tmp_path)
    assert (row["skipped"], row["gradient"], row["loss"]) == (2, 4.0, {"detect": 2.0})
    json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=pytest.fail)
    assert log.shown() == "detect 2"


@pytest.mark.parametrize("stopped_at", [20, 50, 77, 80])
def test_a_resumed_log_is_that_of_a_run_that_never_stopped(tmp_path: Path, stopped_at: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    run(started(whole), 1, 160)
    log = started(parts)
    run(log, 1, stopped_at)
    state = log.state()
    run(log, stopped_at + 1, 137)  # steps after the last checkpoint, lost with a kill
    with (parts / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 150, "ima')
    again = RunLog(parts, 8)
    again.begin(stopped_at, state)
    run(again, stopped_at + 1, 160)

    def timeless(folder: Path) -> list[dict[str, object]]:
        return [{k: v for k, v in row.items() if k != "time_s"} for row in read_rows(folder)]

    assert timeless(parts) == timeless(whole)
    assert all(a["step"] <= b["step"] for a, b in pairwise(read_rows(parts)))
    assert [row["step"] for row in table(parts)] == [row["step"] for row in table(whole)]


def test_a_new_run_starts_an_empty_log(tmp_path: Path) -> None:
    run(started(tmp_path), 1, 60)
    started(tmp_path)
    assert read_rows(tmp_path) == []
    assert table(tmp_path) == []


def test_the_clock_counts_training_alone_and_survives_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(runlog.time, "monotonic", lambda: now[0])
    log = started(tmp_path)
    now[0] += 5  # loading
    log.run_clock()
    now[0] += 10
    log.stop_clock()
    now[0] += 1000  # a judgement
    log.run_clock()
    now[0] += 2
    assert log.seconds == 12.0
    again = RunLog(tmp_path, 8)
    again.begin(3, log.state())
    now[0] += 50
    again.run_clock()
    now[0] += 1
    again.add(4, {"score": 0.5, "scores": {}})
    assert again.rows[-1]["time_s"] == 13.0


def test_the_progress_bar_shows_every_task(tmp_path: Path) -> None:
    log = started(tmp_path)
    assert log.shown() == ""
    run(log, 1, 3)
    first, second = log.shown().split("  ")
    assert first.startswith("detect 2.")
    assert second == "embed 1"


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    log = RunLog(None, 8)
    log.begin()
    run(log, 1, 80)
    assert [row["step"] for row in log.judgements()] == [40, 80]


def test_the_best_judgement_is_the_first_of_the_highest_score() -> None:
    scores = [(40, 0.2), (80, 0.5), (120, 0.5), (160, 0.3)]
    rows = [{"step": 50, "loss": {}}, *({"step": a, "score": b} for a, b in scores)]
    assert best_judgement(rows) == {"step": 80, "score": 0.5}
    assert best_judgement(rows[:1]) is None


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    log = started(folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(OutputError, match=r"log\.jsonl"):
        log.add(1, {"score": 0.0, "scores": {}})
