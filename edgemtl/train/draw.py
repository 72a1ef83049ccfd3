"""Which pictures a step is made of, and at which size: a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.data.base import DataSet
from edgemtl.data.config import DataMix
from edgemtl.errors import ConfigError, DataError
from edgemtl.nn.heads import STRIDES
from edgemtl.train.config import TrainConfig
from edgemtl.train.shares import set_shares, systematic


@dataclass(frozen=True, slots=True)
class Pick:
    """A picture to be made: ``indices`` of set ``which`` (one; four for a mosaic) at ``size_hw``.

    ``seed`` is that of its augmentation, so that any picture can be made without the others;
    ``grouped``: it comes with others of its sequence.
    """

    which: int
    indices: tuple[int, ...]
    size_hw: tuple[int, int]
    seed: tuple[int, int, int]
    grouped: bool = False


class Draw:
    """The pictures of each step; ``sets`` are those that take part, as ``which`` counts them.

    The sets' numbers of pictures in a step are random, with the shares of :func:`set_shares` as
    means. They lie within one picture of the mean, within one group where a set comes in groups
    (frames of one sequence, for embeddings). Exact where ``group`` divides ``batch``; otherwise the
    last group of a step may be cut.
    """

    def __init__(self, sets: Sequence[DataSet], config: TrainConfig) -> None:
        if not any(len(s) for s in sets):
            raise DataError("train: the data sets hold no pictures")
        self.sets = [s for s in sets if len(s) and s.weight > 0]
        if not self.sets:
            raise ConfigError("train: every data set has weight 0", "give one of them a weight")
        self._config = config
        self._sizes = [config.sizes.get(s.name, config.size_hw) for s in self.sets]
        self._share = set_shares(self.sets, config.sampling.wanted())
        grouped = ["embed" in s.tasks and bool(s.sequences) for s in self.sets]
        self._grouped = np.array(grouped)
        self._unit = min(config.group, config.batch)
        self._mosaics = config.augment.mosaic_until * (config.images // config.batch)

    def picks(self, number: int) -> list[Pick]:
        """The pictures of step ``number``, from 0; set by set, a group's side by side."""
        rng = np.random.default_rng((self._config.seed, number))
        factor = float(rng.uniform(*self._config.multi_scale))
        chosen = self._chosen(rng, number < self._mosaics)[: self._config.batch]
        return [
            Pick(
                which,
                indices,
                scaled(self._sizes[which], factor),
                (self._config.seed, number, position + 1),
                bool(self._grouped[which]),
            )
            for position, (which, indices) in enumerate(chosen)
        ]

    def _chosen(self, rng: np.random.Generator, mosaics: bool) -> list[tuple[int, tuple[int, ...]]]:
        batch, unit = self._config.batch, self._unit
        expected = np.where(self._grouped, self._share * batch / unit, 0.0)
        if self._grouped.all():  # nothing else to fill the step with
            expected *= -(-batch // unit) / expected.sum()
        groups = systematic(expected, rng.random())
        left = max(0, batch - unit * int(groups.sum()))
        single = np.where(self._grouped, 0.0, self._share)
        singles = systematic(left * single / max(single.sum(), 1e-12), rng.random())
        chosen: list[tuple[int, tuple[int, ...]]] = []
        for which, data in enumerate(self.sets):
            for _ in range(int(groups[which])):
                chosen += [(which, (i,)) for i in self._group(data, rng)]
            for _ in range(int(singles[which])):
                chosen.append((which, self._single(data, rng, mosaics)))
        return chosen

    def _single(self, data: DataSet, rng: np.random.Generator, mosaics: bool) -> tuple[int, ...]:
        # a mosaic has the image class that its boxes name, if any do
        suited = mosaics and "detect" in data.tasks and not data.sequences and len(data) >= 4
        count = 4 if suited and rng.random() < self._config.augment.mosaic else 1
        return tuple(int(i) for i in rng.integers(0, len(data), count))

    def _group(self, data: DataSet, rng: np.random.Generator) -> list[int]:
        """Frames of one sequence, near enough to each other."""
        lengths = np.array([s.stop - s.start for s in data.sequences], np.float64)
        sequence = data.sequences[int(rng.choice(len(lengths), p=lengths / lengths.sum()))]
        frames = int(self._config.group_span_s * sequence.fps) + 1
        span = min(frames, sequence.stop - sequence.start)
        first = int(rng.integers(sequence.start, sequence.stop - span + 1))
        return [int(i) for i in rng.integers(first, first + span, self._unit)]


def scaled(size_hw: tuple[int, int], factor: float) -> tuple[int, int]:
    """``factor`` times ``size_hw`` to the nearest multiples of 32, at least 32."""
    step = STRIDES[-1]
    height, width = (max(step, int(side * factor / step + 0.5) * step) for side in size_hw)
    return (height, width)


def check_sizes(config: TrainConfig, *mixes: DataMix | None) -> None:
    """Raise ConfigError if ``sizes`` names a data set that none of the mixes has."""
    names = sorted({data.name for mix in mixes if mix is not None for data in mix.sets})
    for name in config.sizes:
        if name not in names:
            raise ConfigError(f"sizes: there is no data set '{name}'", f"the data have {names}")
