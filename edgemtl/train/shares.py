"""How often each data set is drawn: by its weight, and by the tasks that are to get their share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import DataSet
from edgemtl.errors import ConfigError

_ROUNDS = 2000
_EXACT = 1e-3
"""A share of the pictures that is met to within this is met."""


def set_shares(sets: Sequence[DataSet], wanted: Mapping[str, float]) -> NDArray[np.float64]:
    """Share of the pictures f64 [S] that each set gets, 1 in all.

    Without ``wanted`` the sets' weights. With it, of all shares under which the sets that carry
    task k get ``wanted[k]`` together, those nearest to the weights (least relative entropy); they
    are found by iterative proportional fitting (Csiszar, Ann. Probab. 3(1), 1975). Sets that carry
    the same tasks so keep their proportions. Raises ConfigError where no such shares exist.
    """
    weights = np.array([data.weight for data in sets], np.float64)
    share: NDArray[np.float64] = weights / weights.sum()
    carries = {task: np.array([task in s.tasks for s in sets]) for task in wanted}
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(_ROUNDS if len(wanted) > 1 else 1):
            for task, part in wanted.items():
                has = carries[task]
                factor = np.where(has, part / share[has].sum(), (1 - part) / share[~has].sum())
                share = np.nan_to_num(share * factor, nan=0.0, posinf=0.0)
    reached = {task: float(share[has].sum()) for task, has in carries.items()}
    if abs(share.sum() - 1) > _EXACT or any(
        abs(reached[task] - part) > _EXACT for task, part in wanted.items()
    ):
        asked = ", ".join(f"{task} = {part:g}" for task, part in wanted.items())
        have = "; ".join(f"{s.name}: {', '.join(sorted(s.tasks))}" for s in sets)
        raise ConfigError(
            f"sampling: no mix of the data sets gives {asked}",
            f"a share counts the pictures of all sets that label the task; the sets label {have}",
        )
    exact: NDArray[np.float64] = share / share.sum()
    return exact


def systematic(expected: NDArray[np.float64], offset: float) -> NDArray[np.int64]:
    """Whole numbers i64 [S] whose means over ``offset`` in [0, 1) are ``expected`` f64 [S].

    Each lies within one of its mean, and so does their sum (systematic sampling, Madow and Madow,
    Ann. Math. Statist. 15(1), 1944).
    """
    edges = np.round(np.concatenate([[0.0], np.cumsum(expected)]), 9)  # sums that are whole stay so
    counts: NDArray[np.int64] = np.diff(np.floor(edges + offset)).astype(np.int64)
    return counts
