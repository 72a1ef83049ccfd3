"""Exact assignment, dense and sparse: the Python face of assign.c."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgemtl import _native
from edgemtl.records import I32


def assign(cost: NDArray[np.float64], max_cost: float = np.inf) -> I32:
    """Column of each row, i32 [N], -1 where unmatched: the most pairs, then the least total cost.

    cost f64 [N, M], at most 1e6 a side and 1e8 cells; pairs above ``max_cost``, NaN, infinite ones
    and those of 1e200 and beyond are forbidden. Exact (shortest augmenting paths, Jonker and
    Volgenant 1987).
    """
    cost = np.ascontiguousarray(cost, np.float64)
    out = np.empty(len(cost), np.int32)
    _native.assign(cost, max_cost, np.inf, out)
    return out


def assign_sparse(
    rows: I32,
    columns: I32,
    costs: NDArray[np.float64],
    shape: tuple[int, int],
    unmatched_cost: float = np.inf,
) -> I32:
    """As ``assign``, over the allowed pairs only: row ``rows[k]`` may take ``columns[k]`` at
    ``costs[k]``, in any order. Minimises the matched costs + ``unmatched_cost`` per row without a
    partner; by default the most pairs come first.

    rows, columns i32 [P], costs f64 [P] finite and below 1e200; ``shape`` (rows, columns) up to 1e6
    each, P up to 2^31 - 1. Returns i32 [shape[0]], -1 where unmatched. Of a pair listed twice the
    cheaper counts. Raises ValueError for indices outside ``shape`` and other costs.
    """
    if not len(rows) == len(columns) == len(costs):
        raise ValueError(
            f"rows, columns, costs: expected equal lengths, got {len(rows)}, {len(columns)}, "
            f"{len(costs)}"
        )
    order = np.argsort(rows, kind="stable")
    if len(rows) and not (rows[order[0]] >= 0 and rows[order[-1]] < shape[0]):
        raise ValueError(f"rows: expected 0 to {shape[0] - 1}, got {rows.min()} to {rows.max()}")
    start = np.zeros(shape[0] + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=start[1:])
    out = np.empty(shape[0], np.int32)
    _native.assign_sparse(
        start,
        np.asarray(columns, np.int32)[order],
        np.asarray(costs, np.float64)[order],
        shape[1],
        unmatched_cost,
        out,
    )
    return out
