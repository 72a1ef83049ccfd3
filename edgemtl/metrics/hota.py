"""HOTA (Luiten et al., IJCV 2021): detection and association at 19 localisation thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.metrics.boxes import F64
from edgemtl.metrics.matching import match
from edgemtl.metrics.sequence import I64, SequenceTable

ALPHAS = np.arange(0.05, 0.99, 0.05)
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class HotaCounts:
    """Sums over the frames of a sequence, each [19]; sums of sequences are sums of these.

    ``association`` is the sum over true positives of their association Jaccard index A(c),
    ``location`` that of their IoU.
    """

    tp: F64
    fn: F64
    fp: F64
    association: F64
    location: F64

    @staticmethod
    def sum(parts: Sequence[HotaCounts]) -> HotaCounts:
        zero = np.zeros(len(ALPHAS))
        return HotaCounts(
            sum((p.tp for p in parts), zero),
            sum((p.fn for p in parts), zero),
            sum((p.fp for p in parts), zero),
            sum((p.association for p in parts), zero),
            sum((p.location for p in parts), zero),
        )

    @property
    def deta(self) -> F64:
        return self.tp / np.maximum(1, self.tp + self.fn + self.fp)

    @property
    def assa(self) -> F64:
        return self.association / np.maximum(1, self.tp)

    @property
    def loca(self) -> F64:
        return np.maximum(1e-10, self.location) / np.maximum(1e-10, self.tp)

    @property
    def hota(self) -> F64:
        score: F64 = np.sqrt(self.deta * self.assa)
        return score


def count_hota(table: SequenceTable) -> HotaCounts:
    """HOTA's sums over one sequence.

    One matching per frame serves all thresholds: it maximises the IoU weighted by how well the two
    identities agree over the whole sequence (section 4 and its official code).
    """
    pairs, similarity = _matched_pairs(table)
    truths, tracks = table.truth_counts.sum(), table.track_counts.sum()
    tp, association, location = (np.zeros(len(ALPHAS)) for _ in range(3))
    for a, alpha in enumerate(ALPHAS):
        good = similarity >= alpha - _EPS
        together, count = np.unique(pairs[good], return_counts=True)
        truth_ids, track_ids = np.divmod(together, max(1, len(table.track_counts)))
        either = table.truth_counts[truth_ids] + table.track_counts[track_ids] - count
        tp[a] = good.sum()
        association[a] = (count * (count / np.maximum(1, either))).sum()
        location[a] = similarity[good].sum()
    return HotaCounts(tp, truths - tp, tracks - tp, association, location)


def _matched_pairs(table: SequenceTable) -> tuple[I64, F64]:
    """All matched (identity pair, IoU) of the sequence; pair = truth * tracks + track."""
    known, alignment = _alignment(table)
    pairs: list[I64] = [np.zeros(0, np.int64)]
    similarity: list[F64] = [np.zeros(0)]
    for frame in table.frames:
        codes = frame.truth[:, None] * len(table.track_counts) + frame.track[None]
        overlapping = frame.similarity > 0
        weights = np.zeros(codes.shape)
        at = np.searchsorted(known, codes[overlapping])
        weights[overlapping] = alignment[at] * frame.similarity[overlapping]
        rows, columns = match(weights)
        pairs.append(codes[rows, columns])
        similarity.append(frame.similarity[rows, columns])
    return np.concatenate(pairs), np.concatenate(similarity)


def _alignment(table: SequenceTable) -> tuple[I64, F64]:
    """Pairs that ever overlap, sorted, and the soft Jaccard index of their whole trajectories."""
    codes: list[I64] = [np.zeros(0, np.int64)]
    shares: list[F64] = [np.zeros(0)]
    for frame in table.frames:
        s = frame.similarity
        overlapping = s > 0
        rivals = s.sum(0)[None] + s.sum(1)[:, None] - s
        share = np.divide(s, rivals, out=np.zeros_like(s), where=rivals > _EPS)
        code = frame.truth[:, None] * len(table.track_counts) + frame.track[None]
        codes.append(code[overlapping])
        shares.append(share[overlapping])
    known, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    potential = np.zeros(len(known))
    np.add.at(potential, inverse, np.concatenate(shares))
    truth_ids, track_ids = np.divmod(known, max(1, len(table.track_counts)))
    total = table.truth_counts[truth_ids] + table.track_counts[track_ids]
    return known, potential / (total - potential)
