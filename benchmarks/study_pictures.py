"""What a model said of every single picture, and intervals of differences between two models.

The paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 8) draws
pictures with replacement, the same ones for both models, within each data set. Galleries of the
re-identification and the matching of identities stay those of all pictures; what is drawn is which
queries and which frames count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.data.base import DataSet
from edgemtl.data.config import DataMix
from edgemtl.engine.session import Session
from edgemtl.evaluate import EvaluateOptions
from edgemtl.evaluate.predictions import Prediction
from edgemtl.evaluate.setrun import SetRun
from edgemtl.metrics import DetectionMeter
from edgemtl.metrics.identity import THRESHOLD
from edgemtl.metrics.matching import match
from edgemtl.metrics.sequence import SequenceTable, TrackedFrame

TASKS = ("map", "top1", "idf1", "rank1")
Counts = np.ndarray
"""i64 [pictures, 7]: see the columns below."""
KNOWN, RIGHT, QUERIES, HITS, COMMON, TRUTHS, BOXES = range(7)


@dataclass(frozen=True)
class Pictures:
    """One model over one data set: a meter and a row of counts for each picture."""

    name: str
    meters: list[DetectionMeter]
    counts: Counts


class _Run(SetRun):
    """An evaluation that keeps apart what it adds picture by picture."""

    def __init__(
        self, session: Session, mix: DataMix, data: DataSet, options: EvaluateOptions
    ) -> None:
        super().__init__(session, mix, data, options)
        self.meters: list[DetectionMeter] = []
        self.counts = np.zeros((len(self._indices), 7), np.int64)

    def _add(self, said: Prediction) -> None:
        at, meter = len(self.meters), DetectionMeter()
        if self.detection is not None:
            self.detection.meter = meter
        before = len(self.scene.truth) if self.scene is not None else 0
        super()._add(said)
        self.meters.append(meter)
        if self.scene is not None and len(self.scene.truth) > before:
            right = self.scene.truth[-1] == self.scene.said[-1]
            self.counts[at, [KNOWN, RIGHT]] = 1, right


def look(session: Session, mix: DataMix, options: EvaluateOptions | None = None) -> list[Pictures]:
    """Every data set of ``mix``, of which the model does anything, through ``session``."""
    options = options or EvaluateOptions()
    found = []
    for data in mix.sets:
        run = _Run(session, mix, data, options)
        run.go()
        if not run.meters:  # the model does nothing that this set labels
            continue
        if run.retrieval is not None and sum(map(len, run.retrieval._vectors)):
            _count_queries(run, options.frame_gap)
        if run.tracking is not None:
            _count_identities(run)
        found.append(Pictures(data.name, run.meters, run.counts))
    return found


def _count_queries(run: _Run, gap: int) -> None:
    """Queries of each picture, and how many find their object first; as ``metrics.retrieval``."""
    assert run.retrieval is not None
    vectors = np.concatenate(run.retrieval._vectors).astype(np.float64)
    ids = np.concatenate(run.retrieval._identities)
    frames = np.concatenate(run.retrieval._frames)
    order = {index: at for at, index in enumerate(run._indices)}
    for vector, identity, frame in zip(vectors, ids, frames, strict=True):
        apart = np.abs(frames - frame) >= gap
        same = ids[apart] == identity
        if same.any():
            first = int(np.argmax(vectors[apart] @ vector))
            run.counts[order[int(frame)], [QUERIES, HITS]] += 1, int(same[first])


def _count_identities(run: _Run) -> None:
    """Boxes of each frame under the best matching of its sequence's identities, as IDF1 has it."""
    assert run.tracking is not None
    classes = len(run.tracking._labels)
    for number, meter in enumerate(run.tracking.meters):
        start = run.data.sequences[number // classes].start
        table = SequenceTable.of(meter._frames)
        pairs = [_pairs(frame) for frame in table.frames]
        common = np.zeros((len(table.truth_counts), len(table.track_counts)))
        for truth, track in pairs:
            common[truth, track] += 1
        rows, columns = match(common)
        partner = np.full(len(common), -1)
        partner[rows] = columns
        for k, (frame, (truth, track)) in enumerate(zip(table.frames, pairs, strict=True)):
            hits = int((partner[truth] == track).sum())
            run.counts[start + k, [COMMON, TRUTHS, BOXES]] += (
                hits, len(frame.truth), len(frame.track)
            )  # fmt: skip


def _pairs(frame: TrackedFrame) -> tuple[np.ndarray, np.ndarray]:
    """Identities that overlap enough in this frame."""
    rows, columns = np.nonzero(frame.similarity >= THRESHOLD)
    return frame.truth[rows], frame.track[columns]


def score(task: str, sets: Sequence[Pictures], drawn: Sequence[np.ndarray]) -> float:
    """One of TASKS over the drawn pictures of each set, all sets together; NaN without any."""
    if task == "map":
        meter = DetectionMeter()
        for one, index in zip(sets, drawn, strict=True):
            for picture in index.tolist():
                meter.merge(one.meters[picture])
        return meter.result().map
    total = sum(one.counts[index].sum(0) for one, index in zip(sets, drawn, strict=True))
    part, whole = {
        "top1": (total[RIGHT], total[KNOWN]),
        "rank1": (total[HITS], total[QUERIES]),
        "idf1": (2 * total[COMMON], total[TRUTHS] + total[BOXES]),
    }[task]
    return float(part / whole) if whole else math.nan


def paired_bootstrap(
    task: str, ours: Sequence[Pictures], theirs: Sequence[Pictures], repeats: int, seed: int = 0
) -> dict[str, float]:
    """``ours`` minus ``theirs`` in one task: the difference and its 95 % percentile interval."""
    everything = [np.arange(len(one.counts)) for one in ours]
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(repeats):
        drawn = [rng.integers(0, len(index), len(index)) for index in everything]
        differences.append(score(task, ours, drawn) - score(task, theirs, drawn))
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    both = [score(task, one, everything) for one in (ours, theirs)]
    return {
        "ours": round(both[0], 4), "theirs": round(both[1], 4),
        "difference": round(both[0] - both[1], 4),
        "low": round(float(low), 4), "high": round(float(high), 4),
    }  # fmt: skip
