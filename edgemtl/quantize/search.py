"""The cheapest set of layers that must stay in float for a budget to be kept.

First the whole network in INT8, with one observer after the other; then the layers that disturb the
broken tasks most, twice as many each time until all tasks keep their budget; then fewer by
bisection; then, the costly ones first, those are put back to INT8 that turn out not to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgemtl.errors import CalibrationError
from edgemtl.quantize.budget import Loss, Verdict, verdict_of
from edgemtl.quantize.sensitivity import Sensitivity


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to quantise. ``floats``: convolutions that stay in float, in graph order."""

    observer: str
    floats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate and what it costs; ``losses`` by dialect, each score in the same order."""

    candidate: Candidate
    losses: Mapping[str, tuple[Loss, ...]]

    @property
    def every(self) -> tuple[Loss, ...]:
        return tuple(loss for losses in self.losses.values() for loss in losses)

    @property
    def verdict(self) -> Verdict:
        """Over all scores of all dialects."""
        return verdict_of(self.every)

    @property
    def worst(self) -> Loss:
        """The score that takes the largest part of its budget; a trial has at least one."""
        return max(self.every, key=lambda loss: loss.share)

    @property
    def hopeful(self) -> bool:
        """Whether it looks as if the budget were kept, but the data are too few to tell."""
        return self.verdict == "unresolved" and self.worst.share <= 1

    @property
    def blind(self) -> bool:
        """Whether a score is of so few pictures that nothing could be told to keep its budget."""
        return any(one.verdict == "unresolved" and one.seen < one.least for one in self.every)

    @property
    def broken(self) -> tuple[str, ...]:
        """Tasks of the budget that lose too much, or seem to."""
        over = (one.task for one in self.every if one.verdict == "breaks" or one.share > 1)
        return tuple(dict.fromkeys(over))


def nearest(trials: Sequence[Trial]) -> Trial:
    """The trial that comes nearest to keeping the budget, the first of equals."""
    return min(trials, key=lambda trial: trial.worst.share)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """``trials``: evaluations at most. ``most_float``: of all multiply-accumulates, the part that
    may stay in float; beyond it INT8 has nothing left to speed up."""

    trials: int = 30
    most_float: float = 0.5


@dataclass
class Search:
    """``judge`` measures a candidate; ``rank`` measures the layers, with one observer's ranges."""

    judge: Callable[[Candidate], Trial]
    rank: Callable[[str], Sequence[Sensitivity]]
    observers: Sequence[str]
    options: SearchOptions = SearchOptions()
    trials: list[Trial] = field(default_factory=list)
    sensitivity: Sequence[Sensitivity] = ()

    def go(self) -> Trial:
        """The trial to use. Raises CalibrationError, saying what stood in the way, for none."""
        for observer in self.observers:
            if self._keeps(Candidate(observer)):
                return self.trials[-1]
            if self.trials[-1].hopeful or self.trials[-1].blind:
                raise unresolved(self.trials[-1])
        best = nearest(self.trials)
        observer = best.candidate.observer
        self.sensitivity = self.rank(observer)
        order = sorted(self.sensitivity, key=lambda s: -s.of(best.broken))
        found = self._enough(observer, [s.layer.name for s in order])
        if found is None:
            raise self._nothing()
        return self._fewer(found)

    def _keeps(self, candidate: Candidate) -> bool:
        """Measure a candidate. Raises CalibrationError where that was tried often enough."""
        if not self._may_try:
            raise self._nothing()
        trial = self.judge(candidate)
        self.trials.append(trial)
        return trial.verdict == "keeps"

    @property
    def _may_try(self) -> bool:
        return len(self.trials) < self.options.trials

    def _candidate(self, observer: str, floats: Sequence[str]) -> Candidate:
        names = [s.layer.name for s in self.sensitivity]
        return Candidate(observer, tuple(name for name in names if name in set(floats)))

    def _enough(self, observer: str, order: Sequence[str]) -> Trial | None:
        """The fewest of the first layers of ``order`` that are enough; None if none are."""
        allowed = self._allowed(order)
        low, high = 0, 1
        while high <= allowed and not self._keeps(self._candidate(observer, order[:high])):
            low, high = high, min(2 * high, allowed) if high < allowed else allowed + 1
        if high > allowed:
            return None
        found = self.trials[-1]
        while high - low > 1 and self._may_try:
            middle = (low + high) // 2
            if self._keeps(self._candidate(observer, order[:middle])):
                high, found = middle, self.trials[-1]
            else:
                low = middle
        return found

    def _allowed(self, order: Sequence[str]) -> int:
        macs = {s.layer.name: s.layer.macs for s in self.sensitivity}
        left = self.options.most_float * sum(macs.values())
        for count, name in enumerate(order):
            left -= macs[name]
            if left < 0:
                return count
        return len(order)

    def _fewer(self, found: Trial) -> Trial:
        """Put layers back to INT8, in parts that are halved; what the trials allow."""
        macs = {s.layer.name: s.layer.macs for s in self.sensitivity}
        size = len(found.candidate.floats) // 2
        while size:
            costly = sorted(found.candidate.floats, key=lambda name: -macs[name])
            parts = [costly[at : at + size] for at in range(0, len(costly), size)]
            for part in parts:
                left = [name for name in found.candidate.floats if name not in part]
                if (
                    left
                    and self._may_try
                    and self._keeps(self._candidate(found.candidate.observer, left))
                ):
                    found = self.trials[-1]
            size //= 2
        return found

    def _nothing(self) -> CalibrationError:
        best = nearest(self.trials)
        if best.hopeful:
            return unresolved(best)
        floats, worst = len(best.candidate.floats), best.worst
        return CalibrationError(
            f"budget: no set of layers keeps it after {len(self.trials)} trials; nearest with "
            f"'{best.candidate.observer}' and {floats} layers in float: {worst.words}",
            f"allow more of {worst.task}, calibrate on more pictures like those of the evaluation, "
            "or train with more of this task; the report beside the output lists the layers",
        )


def unresolved(trial: Trial) -> CalibrationError:
    """What an evaluation set is too small for, and how large it would have to be."""
    short = [loss for loss in trial.every if loss.verdict == "unresolved"]
    worst = {loss.score: loss for loss in sorted(short, key=lambda loss: loss.needed)}
    parts = "; ".join(
        f"{loss.task}={loss.budget:g} ({loss.score}) needs about {loss.needed} pictures, "
        f"there are {loss.seen}"
        for loss in worst.values()
    )
    return CalibrationError(
        f"budget: the evaluation data cannot tell whether it is kept: {parts}",
        "evaluate on more pictures, or allow a larger loss",
    )
