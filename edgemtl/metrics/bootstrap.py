"""How sure is the difference of two models on the same pictures?

The paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", chapters 8 and 13):
pictures are drawn with replacement, the same ones for both models, within each data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64

Score = Callable[[F64], float]
"""A score in which each picture counts so many times, f64 [pictures]; NaN if there is none."""
_CONFIDENCE = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference and its 95 % interval; ``half`` of its width says what the data can resolve."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def draws(sizes: Sequence[int], repeats: int, seed: int = 0) -> Iterator[F64]:
    """How often each picture is drawn, f64 [sum of sizes], ``repeats`` times; of every data set as
    many as it has. Sets of one picture are drawn from together: alone they would never vary."""
    rng = np.random.default_rng(seed)
    parts = _strata(sizes)
    for _ in range(repeats):
        times = np.zeros(sum(sizes))
        for places in parts:
            n = len(places)
            times[places] = np.bincount(rng.integers(0, n, n), minlength=n)
        yield times


def _strata(sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """The places of the pictures that are drawn from together."""
    sets = np.split(np.arange(sum(sizes)), np.cumsum(sizes))[: len(sizes)]
    alone = [places for places in sets if len(places) == 1]
    many = [places for places in sets if len(places) > 1]
    return [*many, np.concatenate(alone)] if alone else many


def paired_interval(
    ours: Score, theirs: Score, sizes: Sequence[int], repeats: int = 1000, seed: int = 0
) -> Interval:
    """``ours`` minus ``theirs`` with the percentile interval; ``sizes``: pictures of each data set.

    NaN where a score is not defined; the interval also of a single picture, which tells nothing of
    others. Raises ValueError without a single repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected at least 1, got {repeats}")
    everything = np.ones(sum(sizes))
    value = ours(everything) - theirs(everything)
    drawn = np.array([ours(times) - theirs(times) for times in draws(sizes, repeats, seed)])
    known = drawn[~np.isnan(drawn)]
    if not len(known) or sum(sizes) < 2:
        return Interval(value, np.nan, np.nan)
    low, high = np.percentile(known, _CONFIDENCE)
    return Interval(value, float(low), float(high))
