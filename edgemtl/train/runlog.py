"""What a run says of itself while it goes on: ``log.jsonl``, ``log.csv``, and TensorBoard's files.

Every LOG_EVERY steps there is a row of means, at every judgement a row of scores. A resumed run
takes the rows up to its step back from the file, so that none is there twice or out of order.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgemtl.errors import OutputError
from edgemtl.files import write_text
from edgemtl.train.board import Board

LOG_EVERY = 50
LOG_FILE, TABLE_FILE = "log.jsonl", "log.csv"
_FIRST = ("step", "images", "time_s", "rate", "gradient", "skipped")
_SHOWN_SHARE = 0.05  # of the newest step in the losses that the progress bar shows

Row = dict[str, Any]


class RunLog:
    """The rows of one run, in memory and in ``out``; ``out`` None keeps them in memory alone.

    A row of means: ``step``, ``images`` seen, ``time_s`` of training so far (without judgements,
    over all parts of a resumed run), ``rate``, ``gradient`` norm before clipping, ``skipped`` steps
    whose gradient was not finite, and ``loss`` by task, means of the steps since the last row;
    ``weight`` by task in the last step, where the balance learns it (not in the table). A row of a
    judgement: ``step``, ``images``, ``time_s``, ``score`` and ``scores`` by data set.
    Not-finite values are left out of means. The table calls the losses ``loss.<task>``. Rows of
    other facts (why a run stopped) are in ``log.jsonl`` alone.
    """

    def __init__(
        self,
        out: Path | None,
        images_per_step: int,
        *,
        losses: Sequence[str] = (),
        scores: Sequence[str] = (),
        tensorboard: bool = False,
    ) -> None:
        """``losses`` and ``scores``: the names to expect, so that the table has them from the
        start; others get a column when they turn up."""
        self.out, self.rows = out, list[Row]()
        self._tensorboard = tensorboard
        self._board: Board | None = None
        self._images = images_per_step
        self._losses, self._scores = list(losses), list(scores)
        self._sums: dict[str, list[float]] = {}
        self._skipped = 0
        self._shown: dict[str, float] = {}
        self._seconds, self._since = 0.0, math.nan

    def begin(self, step: int = 0, state: str | None = None) -> None:
        """Start the files; with ``step`` > 0 go on with their rows up to there.

        ``state`` is what :meth:`state` gave at that step. Raises OutputError if the files cannot
        be written, and MissingExtraError if TensorBoard is wanted and absent.
        """
        if step and self.out is not None:
            self.rows = [row for row in read_rows(self.out) if row["step"] <= step]
            for row in self.rows:
                self._columns_of(row)
        if state is not None:
            kept = json.loads(state)
            self._seconds, self._skipped = float(kept["time_s"]), int(kept["skipped"])
            self._sums = {name: [float(s), int(n)] for name, (s, n) in kept["sums"].items()}
        if self.out is not None:
            lines = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_text(self.out / LOG_FILE, lines)
            self._write_table()
            if self._tensorboard:
                self._board = Board(self.out, step)

    def close(self) -> None:
        """No rows come any more."""
        if self._board is not None:
            self._board.close()

    def state(self) -> str:
        """What :meth:`begin` needs to go on, as JSON."""
        kept = {"time_s": self.seconds, "skipped": self._skipped, "sums": self._sums}
        return json.dumps(kept)

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        running = 0.0 if math.isnan(self._since) else time.monotonic() - self._since
        return self._seconds + running

    def run_clock(self) -> None:
        """Training goes on from now."""
        self._seconds, self._since = self.seconds, time.monotonic()

    def stop_clock(self) -> None:
        """What comes now is no training."""
        self._seconds, self._since = self.seconds, math.nan

    def note(
        self,
        step: int,
        rate: float,
        gradient: float,
        losses: Mapping[str, float],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """One step, the ``step``-th; every LOG_EVERY of them a row.

        ``weights``: what each task counted in this step, where that is learned.
        """
        self._skipped += not math.isfinite(gradient)
        for name, value in {"gradient": gradient, **losses}.items():
            if math.isfinite(value):
                total = self._sums.setdefault(name, [0.0, 0])
                total[0] += value
                total[1] += 1
                if name in losses:
                    before = self._shown.setdefault(name, value)
                    self._shown[name] = before + _SHOWN_SHARE * (value - before)
        if step % LOG_EVERY == 0:
            means = {name: _short(total / n) for name, (total, n) in self._sums.items()}
            head = {"rate": _short(rate), "gradient": means.pop("gradient", None)}
            facts = {**head, "skipped": self._skipped, "loss": means}
            if weights:
                facts["weight"] = {name: _short(value) for name, value in weights.items()}
            self.add(step, facts)
            self._sums, self._skipped = {}, 0

    def add(self, step: int, facts: Mapping[str, Any]) -> None:
        """A row of ``facts`` in JSON's types. Raises OutputError if it cannot be written."""
        row = {"step": step, "images": step * self._images, "time_s": round(self.seconds, 1)}
        row.update(facts)
        self.rows.append(row)
        grown = self._columns_of(row)
        if self.out is None:
            return
        self._append(LOG_FILE, json.dumps(row) + "\n")
        if self._board is not None:
            self._board.add(row)
        if grown:
            self._write_table()
        elif _tabled(row):
            self._append(TABLE_FILE, _csv([self._cells(row)]))

    def shown(self) -> str:
        """The present losses, for the progress bar."""
        return "  ".join(f"{name} {value:.3g}" for name, value in self._shown.items())

    def judgements(self) -> list[Row]:
        """The rows that have a score, in order."""
        return [row for row in self.rows if "score" in row]

    def _columns_of(self, row: Row) -> bool:
        """Make room for the row's names; whether the table's head has changed."""
        new_losses = [name for name in row.get("loss", ()) if name not in self._losses]
        new_scores = [name for name in row.get("scores", ()) if name not in self._scores]
        self._losses += new_losses
        self._scores += new_scores
        return bool(new_losses or new_scores)

    def _cells(self, row: Row) -> list[Any]:
        losses, scores = row.get("loss", {}), row.get("scores", {})
        cells = [row.get(name) for name in _FIRST] + [losses.get(name) for name in self._losses]
        return [*cells, row.get("score"), *(scores.get(name) for name in self._scores)]

    def _write_table(self) -> None:
        assert self.out is not None
        head = [*_FIRST, *(f"loss.{name}" for name in self._losses), "score", *self._scores]
        write_text(
            self.out / TABLE_FILE, _csv([head, *map(self._cells, filter(_tabled, self.rows))])
        )

    def _append(self, name: str, text: str) -> None:
        assert self.out is not None
        try:
            with (self.out / name).open("a", encoding="utf-8", newline="") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(
                f"cannot write '{self.out / name}': {error.strerror}",
                "make room, then go on with --resume",
            ) from error


def read_rows(out: Path) -> list[Row]:
    """The rows of a run's folder, without one that a kill cut off; none if there is no log."""
    rows = []
    try:
        text = (out / LOG_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def best_judgement(rows: Sequence[Row]) -> Row | None:
    """The row of the judgement whose checkpoint was kept: the first of the highest score."""
    return max((row for row in rows if "score" in row), key=lambda r: r["score"], default=None)


def _tabled(row: Row) -> bool:
    return "loss" in row or "score" in row


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
