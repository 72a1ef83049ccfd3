"""Identity scores (Ristani et al., arXiv 1609.01775): one partner per identity for the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    """Identity counts of one sequence at IoU 0.5.

    Minimising IDFN + IDFP over all matchings is the same as maximising the boxes in common.
    """
    common = np.zeros((len(table.truth_counts), len(table.track_counts)))
    for frame in table.frames:
        rows, columns = np.nonzero(frame.similarity >= THRESHOLD)
        common[frame.truth[rows], frame.track[columns]] += 1
    rows, columns = match(common)
    idtp = int(common[rows, columns].sum())
    return IdentityCounts(
        idtp, int(table.truth_counts.sum()) - idtp, int(table.track_counts.sum()) - idtp
    )
