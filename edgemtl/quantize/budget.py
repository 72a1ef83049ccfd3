"""How much of each task INT8 may cost, and whether an evaluation can tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgemtl.errors import ConfigError
from edgemtl.metrics.bootstrap import Interval

SCORES: Mapping[str, tuple[str, ...]] = {
    "det": ("map",),
    "cls": ("top1",),
    "track": ("hota", "idf1"),
    "embed": ("rank1",),
}
"""Scores of each task that can have a budget."""
_MADE_BY = {"det": "detect", "cls": "classify", "track": "detect", "embed": "embed"}
"""The task of a model (see Manifest.tasks) that each needs."""
_WHY = {
    "track": ": that takes videos whose objects have identities",
    "embed": ": a match must be of the same identity, {gap} frames away or more (frame_gap)",
}
_EXAMPLE = "for example det=1.0,cls=0.5,track=0.5"
POINTS = 100.0
_GRAINS = 4
_SHARES = frozenset({"top1", "rank1"})
"""Shares of pictures or queries: one picture must not be more than a quarter of their budget."""
FEWEST = 20
"""Pictures below which an interval is no evidence. The percentile bootstrap's is too narrow for n
of them by the root of n / (n - 1), and as a normal one beside Student's t: by a tenth for 20, by
more than half for 5."""
Verdict = Literal["keeps", "breaks", "unresolved"]


@dataclass(frozen=True, slots=True)
class Budget:
    """``points``: task -> the most points that each of its scores may lose; 1 point is 0.01."""

    points: Mapping[str, float]

    @staticmethod
    def parse(text: str) -> Budget:
        """``det=1.0,cls=0.5,track=0.5``. Raises ConfigError for anything else."""
        points: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            task, _, number = (piece.strip() for piece in part.partition("="))
            if task not in SCORES or task in points:
                raise ConfigError(
                    f"budget: expected TASK=POINTS with each of {', '.join(SCORES)} once at most, "
                    f"got '{part}'",
                    _EXAMPLE,
                )
            points[task] = _points(number, part)
        if not points:
            raise ConfigError("budget: it names no task", _EXAMPLE)
        return Budget(points)

    def of(self, score: str) -> float | None:
        """The points that a score may lose; None where nothing was asked for."""
        return self.points.get(task_of(score))

    def require_made(self, tasks: Sequence[str]) -> None:
        """Raise ConfigError for a task that a model of ``tasks`` (Manifest.tasks) does not do."""
        for task in self.points:
            if _MADE_BY[task] not in tasks:
                raise ConfigError(
                    f"budget: '{task}' is of {' and '.join(SCORES[task])}, and the model does not "
                    f"{_MADE_BY[task]}; it does {', '.join(tasks)}",
                    f"leave {task} out, or take a model that does",
                )

    def require(self, scores: Sequence[str], frame_gap: int) -> None:
        """Raise ConfigError for a task of which none of ``scores``, those that data tell, is; and
        where there are none at all. ``frame_gap``: see EvaluateOptions."""
        told = {task_of(score) for score in scores}
        if not told:
            raise ConfigError(
                "eval: the data have nothing that a score could be made of",
                "name [[val]] sets with annotated objects, image classes or identities",
            )
        for task in self.points:
            if task not in told:
                why = _WHY.get(task, "").format(gap=frame_gap)
                raise ConfigError(
                    f"budget: '{task}' is of {' and '.join(SCORES[task])}, and the evaluation has "
                    f"nothing to measure that on{why}; it tells {', '.join(sorted(told))}",
                    f"leave {task} out, or evaluate on data that label it",
                )

    def __str__(self) -> str:
        return ",".join(f"{task}={points:g}" for task, points in self.points.items())


def task_of(score: str) -> str:
    """The task that a score of SCORES belongs to."""
    return next(task for task, scores in SCORES.items() if score in scores)


def _points(number: str, part: str) -> float:
    try:
        points = float(number)
    except ValueError:
        points = math.nan
    if not 0 < points <= POINTS:
        raise ConfigError(f"budget: expected points above 0 and up to 100, got '{part}'", _EXAMPLE)
    return points


@dataclass(frozen=True, slots=True)
class Loss:
    """What INT8 costs one score: ``exact`` is float32's, from 0 to 1; the loss is in points.

    ``seen``: how many pictures (or frames) the score is of; ``budget`` None: only told.
    """

    score: str
    exact: float
    loss: Interval
    seen: int
    budget: float | None = None

    @property
    def task(self) -> str:
        """Its name in a budget."""
        return task_of(self.score)

    @property
    def share(self) -> float:
        """The loss as a part of its budget: above 1 it is too much; unknown counts as no end."""
        if self.budget is None:
            return -math.inf
        return math.inf if math.isnan(self.loss.value) else self.loss.value / self.budget

    @property
    def words(self) -> str:
        """For people: the score, its loss and what was allowed."""
        asked = "" if self.budget is None else f", allowed {self.budget:g}"
        return (
            f"{self.score} loses {self.loss.value:.2f} points "
            f"({self.loss.low:.2f} to {self.loss.high:.2f}){asked}"
        )

    @property
    def quantised(self) -> float:
        """INT8's score, from 0 to 1."""
        return self.exact - self.loss.value / POINTS

    @property
    def verdict(self) -> Verdict:
        """A loss within the budget counts only if its interval is no wider than the budget to
        either side; one that is above it for sure breaks it however wide the interval. Of fewer
        than FEWEST pictures nothing is sure."""
        if self.budget is None:
            return "keeps"
        if self.seen < FEWEST:
            return "unresolved"
        if self.loss.low > self.budget:
            return "breaks"
        if self.needed > self.seen:
            return "unresolved"
        return "keeps" if self.loss.value <= self.budget else "breaks"

    @property
    def least(self) -> int:
        """Pictures without which no interval resolves the budget."""
        if self.budget is None:
            return 0
        grains = _GRAINS * POINTS / self.budget if self.score in _SHARES else 0.0
        return max(FEWEST, math.ceil(round(grains, 6)))

    @property
    def needed(self) -> int:
        """Pictures that would resolve the budget: an interval narrows with the root of them.

        For tracking these are frames, followed through as many noises.
        """
        if self.budget is None:
            return 0
        if math.isnan(self.loss.half):
            return max(self.seen + 1, self.least)
        wanted = self.seen * (self.loss.half / self.budget) ** 2
        return max(math.ceil(round(wanted, 6)), self.least)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Loss:
        """What :meth:`to_dict` wrote. Raises KeyError for anything else."""
        keys = ("loss_points", "low", "high", "fp32")
        points, low, high, exact = (
            math.nan if values[key] is None else float(values[key]) for key in keys
        )
        interval = Interval(points, low, high)
        return Loss(values["score"], exact, interval, values["seen"], values["budget"])

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types; NaN becomes None."""
        values = {
            "score": self.score, "fp32": self.exact, "int8": self.quantised,
            "loss_points": self.loss.value, "low": self.loss.low, "high": self.loss.high,
            "seen": self.seen, "budget": self.budget, "verdict": self.verdict,
            "needed": self.needed,
        }  # fmt: skip
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def verdict_of(losses: Iterable[Loss]) -> Verdict:
    """Broken if any score is; then unresolved if any is."""
    said = {loss.verdict for loss in losses}
    if "breaks" in said:
        return "breaks"
    return "unresolved" if "unresolved" in said else "keeps"
