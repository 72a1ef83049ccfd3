"""What a run came to: its best judgement, and whether it is time to stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from edgemtl.train.runlog import Row, RunLog, best_judgement


def stop_reason(rows: Sequence[Row], patience: int | None) -> str | None:
    """Why a run ends early: ``patience`` judgements brought no better score. None: it goes on."""
    judged = [row for row in rows if "score" in row]
    best = best_judgement(judged)
    if patience is None or best is None:
        return None
    since = len(judged) - 1 - judged.index(best)
    if since < patience:
        return None
    return (
        f"stopped after {judged[-1]['images']:,} pictures: {since} judgements without a better "
        f"score than {best['score']:.4f}, of {best['images']:,} pictures "
        f"([validate] patience = {patience})"
    )


def stops(log: RunLog, step: int, patience: int | None) -> bool:
    """Whether the run ends early at ``step``; says why, on stderr and in the log."""
    reason = stop_reason(log.rows, patience)
    if reason is None:
        return False
    if "stopped" not in log.rows[-1]:
        log.add(step, {"stopped": reason})
    print(reason, file=sys.stderr, flush=True)
    return True


def best_table(rows: Sequence[Row]) -> list[list[Any]]:
    """The scores of the best judgement, data set by data set, under a row of their names.

    Empty if there was no judgement.
    """
    best = best_judgement(rows)
    if best is None:
        return []
    found: dict[str, dict[str, float]] = {}
    for name, value in best["scores"].items():
        data, _, score = name.rpartition(".")
        found.setdefault(data, {})[score] = value
    names = list(dict.fromkeys(score for scores in found.values() for score in scores))
    return [
        ["data set", *names],
        *([data, *(scores.get(name) for name in names)] for data, scores in found.items()),
    ]


def best_line(rows: Sequence[Row]) -> str:
    """The best judgement in words, and how long the run took."""
    best = best_judgement(rows)
    if best is None:
        return "no judgement yet"
    judged = [row for row in rows if "score" in row]
    minutes, seconds = divmod(round(rows[-1]["time_s"]), 60)
    return (
        f"best score {best['score']:.4f} after {best['images']:,} pictures: judgement "
        f"{judged.index(best) + 1} of {len(judged)}; {minutes // 60}:{minutes % 60:02}:{seconds:02}"
        f" of training for {rows[-1]['images']:,} pictures"
    )
