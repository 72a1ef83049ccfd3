"""CLEAR MOT (Bernardin and Stiefelhagen, EURASIP JIVP 2008) with TrackEval's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from edgemtl.metrics.boxes import F64
from edgemtl.metrics.matching import match
from edgemtl.metrics.sequence import I64, SequenceTable, TrackedFrame

THRESHOLD = 0.5
_EPS = float(np.finfo(np.float64).eps)
_KEEP = 1000.0
"""Outweighs any sum of overlaps that a switch could gain within a frame."""


@dataclass(frozen=True, slots=True)
class ClearCounts:
    """Sums over a sequence; sums of sequences are sums of these. ``location``: sum of IoUs."""

    tp: int = 0
    fn: int = 0
    fp: int = 0
    idsw: int = 0
    frag: int = 0
    mt: int = 0
    pt: int = 0
    ml: int = 0
    location: float = 0.0

    @staticmethod
    def sum(parts: Sequence[ClearCounts]) -> ClearCounts:
        return ClearCounts(*(sum(getattr(p, f.name) for p in parts) for f in fields(ClearCounts)))

    @property
    def mota(self) -> float:
        """0 without any truth, as TrackEval has it for a sequence."""
        if not self.tp + self.fn:
            return 0.0
        return (self.tp - self.fp - self.idsw) / (self.tp + self.fn)

    @property
    def motp(self) -> float:
        return self.location / max(1, self.tp)


class _State:
    """Per true identity: the track that held it last, in the frame before, and in how many."""

    def __init__(self, identities: int) -> None:
        self.last = np.full(identities, -1, np.int64)
        self.before = np.full(identities, -1, np.int64)
        self.held = np.zeros(identities, np.int64)
        self.starts = np.zeros(identities, np.int64)
        self.tp = self.idsw = 0
        self.location = 0.0

    def step(self, frame: TrackedFrame) -> None:
        """Frames without truth or without tracks are skipped: what was held stays held."""
        if not len(frame.truth) or not len(frame.track):
            return
        rows, columns = match(self._weights(frame))
        truth, track = frame.truth[rows], frame.track[columns]
        self.idsw += int(((self.last[truth] >= 0) & (self.last[truth] != track)).sum())
        self.starts[truth[self.before[truth] < 0]] += 1
        self.last[truth] = track
        self.before[:] = -1
        self.before[truth] = track
        self.held[truth] += 1
        self.tp += len(rows)
        self.location += float(frame.similarity[rows, columns].sum())

    def _weights(self, frame: TrackedFrame) -> F64:
        same = self.before[frame.truth][:, None] == frame.track[None]
        weights: F64 = frame.similarity + _KEEP * same
        weights[frame.similarity < THRESHOLD - _EPS] = 0
        return weights


def count_clear(table: SequenceTable) -> ClearCounts:
    """CLEAR's sums over one sequence at IoU 0.5.

    Mostly tracked: in more than 80 % of its frames; mostly lost: in less than 20 %.
    """
    state = _State(len(table.truth_counts))
    for frame in table.frames:
        state.step(frame)
    ratio = state.held / np.maximum(1, table.truth_counts)
    mostly, partly = int((ratio > 0.8).sum()), int((ratio >= 0.2).sum())
    return ClearCounts(
        tp=state.tp,
        fn=_total(table.truth_counts) - state.tp,
        fp=_total(table.track_counts) - state.tp,
        idsw=state.idsw,
        frag=int((state.starts[state.starts > 0] - 1).sum()),
        mt=mostly,
        pt=partly - mostly,
        ml=len(table.truth_counts) - partly,
        location=state.location,
    )


def _total(counts: I64) -> int:
    return int(counts.sum())
