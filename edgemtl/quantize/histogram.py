"""Observers that count values in bins, in bounded memory, and choose what to cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import ConfigError
from edgemtl.quantize.observe import MinMaxObserver, Observer

_BINS = 4096
_SMALLEST = 2.0**-40
_STEPS = 255  # of an 8-bit range
_LEVELS = 128  # of one sign
_PARTS = np.linspace(0.02, 1.0, 99)
_ROUNDS = 8

ObserverKind = Literal["minmax", "percentile", "mse", "entropy"]


class Rule(Protocol):
    """Chooses what of a histogram to keep; ``name`` goes into the range table."""

    @property
    def name(self) -> str: ...

    def limits(self, seen: HistogramObserver) -> tuple[float, float]:
        """(low, high) in real units; the observer keeps them within the extremes."""
        ...


class HistogramObserver(MinMaxObserver):
    """Counts values in a fixed number of bins; ``rule`` says what of them to keep.

    The width of a bin is a power of two and doubles when values fall outside: merging bins is then
    exact, 0 is always an edge, and the result does not depend on how the stream was cut into
    arrays once the width has settled.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule, self.name = rule, rule.name
        self.width = 0.0
        self.first = 0  # the first bin holds [first * width, (first + 1) * width)
        self.counts = np.zeros(_BINS, np.int64)

    def range(self) -> tuple[float, float]:
        return self.range_by(self.rule)

    def range_by(self, rule: Rule) -> tuple[float, float]:
        """What another rule would keep of the same values."""
        self.extremes()
        low, high = rule.limits(self)
        return float(np.clip(low, self.low, self.high)), float(np.clip(high, self.low, self.high))

    def update(self, values: NDArray[Any]) -> None:
        if values.size == 0:
            return
        super().update(values)
        self._fit()
        flat = np.asarray(values, np.float32).ravel()
        bins = np.floor(flat * np.float32(1 / self.width)).astype(np.int64) - self.first
        self.counts += np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)

    def _fit(self) -> None:
        """Widen and move the bins until they cover [low, high]."""
        width = self.width
        if width == 0:
            span = max(self.high - self.low, abs(self.low), abs(self.high), _SMALLEST)
            width = 2.0 ** np.ceil(np.log2(span * 2 / _BINS))
        while np.floor(self.high / width) - np.floor(self.low / width) >= _BINS:
            width *= 2
        first = int(np.floor(self.low / width))
        covered = self.first <= first and np.floor(self.high / width) - self.first < _BINS
        if width == self.width and covered:
            return
        counts = np.zeros(_BINS, np.int64)
        filled = np.flatnonzero(self.counts)
        if len(filled):
            ratio = round(min(width / self.width, 2.0**62))
            np.add.at(counts, (filled + self.first) // ratio - first, self.counts[filled])
        self.width, self.first, self.counts = width, first, counts


class MinMax:
    """Keeps everything."""

    name = "minmax"

    def limits(self, seen: HistogramObserver) -> tuple[float, float]:
        return seen.extremes()


class Percentile:
    """Cuts ``(100 - percent)`` percent of the values off at each end.

    Objects are rare, so a detector's peaks are among the extremes: cut more and their scores sink.
    """

    def __init__(self, percent: float = 99.999) -> None:
        if not 50 < percent <= 100:
            raise ConfigError(f"percentile: expected a number in (50, 100], got {percent}")
        self.percent = percent
        self.name = f"percentile {percent:g}"

    def limits(self, seen: HistogramObserver) -> tuple[float, float]:
        ends = np.cumsum(seen.counts)
        cut = ends[-1] * (1 - self.percent / 100)
        return _value_at(seen, cut, ends), _value_at(seen, ends[-1] - cut, ends)


def _value_at(seen: HistogramObserver, rank: float, ends: NDArray[np.int64]) -> float:
    """The value below which ``rank`` observations lie, linear within its bin."""
    number = min(int(np.searchsorted(ends, rank, side="left")), _BINS - 1)
    before = int(ends[number - 1]) if number else 0
    inside = max(int(seen.counts[number]), 1)
    return (seen.first + number + (rank - before) / inside) * seen.width


class Mse:
    """The range whose 8-bit levels are nearest to the values, in the mean square.

    What is cut off costs the square of what it loses, what is kept costs the width of a step
    (arXiv 1810.05723, section 3.1). Both ends are limited alike first; then each in turn goes to
    its best place, until both stay.
    """

    name = "mse"

    def limits(self, seen: HistogramObserver) -> tuple[float, float]:
        full = (min(seen.low, 0.0), max(seen.high, 0.0))  # zero is always a level
        filled = np.flatnonzero(seen.counts)
        values = np.asarray((seen.first + filled + 0.5) * seen.width, np.float64)
        counts = seen.counts[filled]

        def best_of(tried: list[tuple[float, float]]) -> tuple[float, float]:
            return min(tried, key=lambda ends: _squared_error(values, counts, *ends))

        limits = _PARTS * max(-full[0], full[1])
        best = best_of([(max(full[0], -limit), min(full[1], limit)) for limit in limits])
        for _ in range(_ROUNDS):
            before = best
            best = best_of([best, *((part * full[0], best[1]) for part in _PARTS)])
            best = best_of([best, *((best[0], part * full[1]) for part in _PARTS)])
            if best == before:
                break
        return best


def _squared_error(
    values: NDArray[np.float64], counts: NDArray[np.int64], low: float, high: float
) -> float:
    """Sum over the values of the squared distance to the nearest level of [low, high]."""
    step = (high - low) / _STEPS
    if step <= 0:
        return float((counts * values**2).sum())
    nearest = np.clip(np.rint(values / step), np.rint(low / step), np.rint(high / step)) * step
    # within a bin values are even: that adds the same for every range
    return float((counts * (values - nearest) ** 2).sum())


class Entropy:
    """The range that changes the distribution of the values least, as 128 levels of one sign.

    The Kullback-Leibler divergence of TensorRT's calibration (Migacz, 8-bit inference with
    TensorRT, GTC 2017): what is cut off is counted at the end of the range on one side and lost on
    the other. Both signs are counted as one. Values about zero, which every range represents, count
    as much as their neighbours.
    """

    name = "entropy"

    def limits(self, seen: HistogramObserver) -> tuple[float, float]:
        sizes = magnitudes(seen)
        used = int(np.flatnonzero(sizes)[-1]) + 1 if sizes.any() else 0
        if used <= _LEVELS:
            return seen.extremes()
        ends = np.unique(np.linspace(_LEVELS, used, 257).round().astype(int))
        kept = int(ends[int(np.argmin([_divergence(sizes, int(end)) for end in ends]))])
        return -kept * seen.width, kept * seen.width


def magnitudes(seen: HistogramObserver) -> NDArray[np.float64]:
    """Counts of |value|, in bins from zero."""
    number = seen.first + np.arange(_BINS)
    place = np.where(number < 0, -number - 1, number)
    sizes = np.bincount(place, seen.counts, minlength=2).astype(np.float64)
    sizes[0] = min(sizes[0], sizes[1])
    return sizes


def _divergence(sizes: NDArray[np.float64], end: int) -> float:
    """Of the distribution cut off at bin ``end`` from the one that 128 levels make of it."""
    kept = sizes[:end]
    wanted = kept.copy()
    wanted[-1] += sizes[end:].sum()
    level = np.arange(end) * _LEVELS // end
    filled = kept > 0
    total = np.bincount(level, kept, minlength=_LEVELS)
    sharing = np.bincount(level, filled, minlength=_LEVELS)
    made = np.where(filled, total[level] / np.maximum(sharing[level], 1), 0.0)
    p, q = wanted / wanted.sum(), made / max(made.sum(), 1e-300)
    there = p > 0
    return float((p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))).sum())


_PLAIN: Mapping[str, Rule] = {rule.name: rule for rule in (MinMax(), Mse(), Entropy())}


def make_rule(kind: str, percent: float = 99.999) -> Rule:
    """A rule by name. Raises ConfigError for others."""
    if kind == "percentile":
        return Percentile(percent)
    if kind not in _PLAIN:
        known = ", ".join(sorted([*_PLAIN, "percentile"]))
        raise ConfigError(f"observer: expected one of {known}, got '{kind}'")
    return _PLAIN[kind]


def make_observer(kind: str, percent: float = 99.999) -> Observer:
    """An observer by name; for the extremes alone there is nothing to count."""
    rule = make_rule(kind, percent)
    return MinMaxObserver() if kind == "minmax" else HistogramObserver(rule)
