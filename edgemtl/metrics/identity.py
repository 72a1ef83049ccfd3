"""Identity scores (Ristani et al., arXiv 1609.01775): one partner per identity for the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.matching import match
from edgemtl.metrics.sequence import SequenceTable

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class IdentityCounts:
    """Boxes under the best one-to-one matching of identities; sums of sequences are sums."""

    idtp: int
    idfn: int
    idfp: int

    @staticmethod
    def sum(parts: Sequence[IdentityCounts]) -> IdentityCounts:
        return IdentityCounts(
            sum(p.idtp for p in parts), sum(p.idfn for p in parts), sum(p.idfp for p in parts)
        )

    @property
    def idf1(self) -> float:
        return self.idtp / max(1.0, self.idtp + 0.5 * self.idfp + 0.5 * self.idfn)


def count_identity(table: SequenceTable) -> IdentityCounts:
    """Identity counts of one sequence at IoU 0.5."""
    common, truths, tracks = (int(total) for total in identity_frames(table).sum(0))
    return IdentityCounts(common, truths - common, tracks - common)


def identity_frames(table: SequenceTable) -> NDArray[np.int64]:
    """Of each frame [frames, 3]: boxes of identities that are partners, true boxes, tracked boxes.

    Partners are the best one-to-one matching of identities over the sequence: minimising
    IDFN + IDFP over all matchings is the same as maximising the boxes in common.
    """
    pairs = [np.nonzero(frame.similarity >= THRESHOLD) for frame in table.frames]
    common = np.zeros((len(table.truth_counts), len(table.track_counts)))
    for frame, (rows, columns) in zip(table.frames, pairs, strict=True):
        common[frame.truth[rows], frame.track[columns]] += 1
    rows, columns = match(common)
    partner = np.full(len(common), -1)
    partner[rows] = columns
    counts = np.zeros((len(table.frames), 3), np.int64)
    for number, (frame, (rows, columns)) in enumerate(zip(table.frames, pairs, strict=True)):
        hits = int((partner[frame.truth[rows]] == frame.track[columns]).sum())
        counts[number] = hits, len(frame.truth), len(frame.track)
    return counts
