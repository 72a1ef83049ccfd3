"""What INT8 costs each task on evaluation data, through the runtime's own decoding and tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from edgemtl.engine.session import Session
from edgemtl.errors import ConfigError
from edgemtl.evaluate import EvaluateOptions
from edgemtl.evaluate.model import run_model
from edgemtl.evaluate.sample import Sample
from edgemtl.evaluate.setrun import SetRun
from edgemtl.evaluate.trackrun import Jitter
from edgemtl.metrics import TrackingScores, combine
from edgemtl.metrics.bootstrap import Interval
from edgemtl.progress import track
from edgemtl.quantize.budget import POINTS, SCORES, Budget, Loss

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix

_TRACKED = SCORES["track"]
_SAMPLED = tuple(s for scores in SCORES.values() for s in scores if s not in _TRACKED)


@dataclass(frozen=True, slots=True)
class LossOptions:
    """``repeats`` of the bootstrap over pictures; ``jitters``: seeded noises for the tracker.

    Raises ConfigError for fewer than one.
    """

    repeats: int = 500
    jitters: int = 20
    seed: int = 0
    jitter: Jitter = field(default_factory=Jitter)

    def __post_init__(self) -> None:
        for name in ("repeats", "jitters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")


class Measured:
    """One model over the evaluation data: scores that can be compared with another's."""

    def __init__(self, session: Session, mix: DataMix, options: LossOptions, what: str) -> None:
        self._options, self._what = options, what
        wanted = EvaluateOptions(tasks=("detect", "classify", "track", "embed"), keep=True)
        self.frame_gap = wanted.frame_gap
        self._runs: Sequence[SetRun] = run_model(session, mix, wanted)
        self.sample = Sample(self._runs)

    @property
    def known(self) -> tuple[str, ...]:
        """The scores that the data have truth for."""
        tracked = _TRACKED if any(run.tracking is not None for run in self._runs) else ()
        return (*(s for s in _SAMPLED if s in self.sample.known), *tracked)

    def seen(self, score: str) -> int:
        """Pictures that a score is of; for retrieval those that ask for somebody."""
        if score == "map":
            return sum(len(r.indices) for r in self._runs if r.detection is not None)
        if score in _TRACKED:
            return sum(len(r.kept) for r in self._runs)
        return self.sample.pictures(score)

    @cached_property
    def tracked(self) -> list[TrackingScores]:
        """Tracking once for each seed, all data sets together."""
        runs = [(run.tracker, run.kept) for run in self._runs if run.tracker is not None]
        first = self._options.seed
        seeds = range(first, first + self._options.jitters) if runs else ()
        return [
            combine([
                meter
                for tracker, kept in runs
                for meter in tracker.again(kept, self._options.jitter, seed).meters
            ])
            for seed in track(seeds, f"{self._what}: tracking with noise")
        ]  # fmt: skip

    def losses(self, exact: Measured, budget: Budget) -> list[Loss]:
        """What this model loses against the ``exact`` one, for every score that is known.

        The pictures drawn for the interval are the same ones for both; so are the tracker's noises.
        """
        found, options = [], self._options
        for score in exact.known:
            if score in _TRACKED:
                first, second = ([getattr(s, score) for s in m.tracked] for m in (exact, self))
                loss, value = paired_mean(first, second), fmean(first)
            else:
                loss = exact.sample.minus(self.sample, score, options.repeats, options.seed)
                value = exact.sample.score(score, np.ones(sum(exact.sample.sizes)))
            points = Interval(loss.value * POINTS, loss.low * POINTS, loss.high * POINTS)
            found.append(Loss(score, value, points, exact.seen(score), budget.of(score)))
        return found


def paired_mean(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The mean of first - second and its 95 % interval by Student's t; of one pair it is NaN."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean, n = fmean(differences), len(differences)
    if n < 2:
        return Interval(mean, np.nan, np.nan)
    reach = student_t(n - 1) * stdev(differences) / n**0.5
    return Interval(mean, mean - reach, mean + reach)


def student_t(freedom: int) -> float:
    """The 97.5 % point of Student's t, to 0.4 % from 3 degrees of freedom on.

    Cornish and Fisher's expansion (Abramowitz and Stegun, 26.7.5).
    """
    z: float = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    smaller: float = sum(term / freedom**k for k, term in enumerate(terms, 1))
    return z + smaller
