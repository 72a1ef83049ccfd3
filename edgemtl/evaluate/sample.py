"""The scores of one model as functions of how often each picture counts: what a bootstrap asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.evaluate.setrun import SetRun
from edgemtl.metrics import DetectionMeter
from edgemtl.metrics.bootstrap import Interval, paired_interval
from edgemtl.metrics.boxes import F64

SCORES = ("map", "map50", "top1", "idf1", "rank1")


@dataclass(frozen=True, slots=True)
class _Tally:
    """A score that is a ratio of sums over pictures; both f64 [pictures]."""

    part: F64
    whole: F64

    def score(self, times: F64) -> float:
        whole = float(self.whole @ times)
        return float(self.part @ times) / whole if whole else np.nan


class Sample:
    """All pictures of finished runs, one data set after the other.

    The gallery of retrieval and the partners of identities stay those of all pictures: what is
    drawn is which queries and which frames count.
    """

    def __init__(self, runs: Sequence[SetRun]) -> None:
        self.sizes = tuple(len(run.indices) for run in runs)
        self._meter = DetectionMeter()
        self._detected = np.zeros(sum(self.sizes), np.bool_)
        self._tallies: dict[str, _Tally] = {}
        ends = np.cumsum(self.sizes)
        for run, end in zip(runs, ends.tolist(), strict=True):
            start = end - len(run.indices)
            if run.detection is not None:
                self._meter.merge(run.detection.meter)
                self._detected[start:end] = True
            for score, add in (("top1", _classes), ("rank1", _queries), ("idf1", _identities)):
                part, whole = add(run)
                if whole.any():
                    tally = self._tallies.setdefault(score, self._nothing())
                    tally.part[start:end], tally.whole[start:end] = part, whole

    def _nothing(self) -> _Tally:
        return _Tally(np.zeros(sum(self.sizes)), np.zeros(sum(self.sizes)))

    @property
    def known(self) -> tuple[str, ...]:
        """Those of SCORES that the pictures have truth for."""
        detects = ("map", "map50") if self._meter.result().truths else ()
        return (*detects, *(score for score in SCORES if score in self._tallies))

    def pictures(self, name: str) -> int:
        """How many pictures count for a share: top1, idf1 or rank1."""
        return int(np.count_nonzero(self._tallies.get(name, self._nothing()).whole))

    def score(self, name: str, times: F64) -> float:
        """One of SCORES, in which each picture counts ``times`` f64 [pictures]; NaN without truth.

        Raises KeyError for another name.
        """
        if name in ("map", "map50"):
            scores = self._meter.result(times[self._detected])
            return scores.map if name == "map" else scores.map50
        if name not in SCORES:
            raise KeyError(name)
        return self._tallies.get(name, self._nothing()).score(times)

    def minus(self, other: Sample, name: str, repeats: int = 1000, seed: int = 0) -> Interval:
        """How much better this model is than ``other``, another one on the same pictures.

        Raises ValueError for other pictures.
        """
        if self.sizes != other.sizes:
            raise ValueError(f"other: expected pictures {self.sizes}, got {other.sizes}")
        return paired_interval(
            lambda times: self.score(name, times),
            lambda times: other.score(name, times),
            self.sizes,
            repeats,
            seed,
        )


def _places(run: SetRun, pictures: Sequence[int]) -> list[int]:
    place = {index: at for at, index in enumerate(run.indices)}
    return [place[picture] for picture in pictures]


def _classes(run: SetRun) -> tuple[F64, F64]:
    part, whole = np.zeros(len(run.indices)), np.zeros(len(run.indices))
    if run.scene is not None and run.scene.truth:
        at = _places(run, run.scene.pictures)
        part[at] = np.equal(run.scene.truth, run.scene.said)
        whole[at] = 1
    return part, whole


def _queries(run: SetRun) -> tuple[F64, F64]:
    part, whole = np.zeros(len(run.indices)), np.zeros(len(run.indices))
    if run.retrieval is not None:
        frames, hits = run.retrieval.queries()
        at = _places(run, frames.tolist())
        np.add.at(part, at, hits)
        np.add.at(whole, at, 1)
    return part, whole


def _identities(run: SetRun) -> tuple[F64, F64]:
    part, whole = np.zeros(len(run.indices)), np.zeros(len(run.indices))
    if run.tracking is not None:
        for start, meter in zip(run.tracking.starts, run.tracking.meters, strict=True):
            frames = meter.identity_frames()
            first = _places(run, [start])[0]
            here = slice(first, first + len(frames))
            part[here] += 2 * frames[:, 0]
            whole[here] += frames[:, 1] + frames[:, 2]
    return part, whole
