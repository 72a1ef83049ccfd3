"""Exact matching of two sets by weight, for the metrics: numpy alone.

Shortest augmenting paths after Jonker and Volgenant (Computing 38, 1987) in the rectangular form
of Crouse (IEEE TAES 52(4), 2016). Pairs that compete with nothing are taken out first: in most
frames of a video that is all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64

I64 = NDArray[np.int64]


def match(weights: F64) -> tuple[I64, I64]:
    """Rows and columns of the one-to-one matching of largest total weight, ascending by row.

    weights f64 [N, M], finite; a weight of 0 or below forbids the pair.
    """
    allowed = weights > 0
    alone = allowed & (allowed.sum(1) == 1)[:, None] & (allowed.sum(0) == 1)[None]
    rows, columns = np.nonzero(alone)
    contested = allowed & ~alone
    left, right = np.flatnonzero(contested.any(1)), np.flatnonzero(contested.any(0))
    if len(left):
        block = np.where(contested, weights, 0.0)[np.ix_(left, right)]
        more_rows, more_columns = _match_block(block)
        rows = np.concatenate([rows, left[more_rows]])
        columns = np.concatenate([columns, right[more_columns]])
        order = np.argsort(rows)
        rows, columns = rows[order], columns[order]
    return rows, columns


def _match_block(weights: F64) -> tuple[I64, I64]:
    wide = weights.shape[0] <= weights.shape[1]
    row_of = _assign(-weights if wide else -weights.T)
    inner = np.flatnonzero(row_of >= 0)
    rows, columns = (row_of[inner], inner) if wide else (inner, row_of[inner])
    real = weights[rows, columns] > 0
    return rows[real], columns[real]


def _assign(cost: F64) -> I64:
    """The row of each column (-1: none) in the cheapest assignment of all rows; N <= M."""
    n, m = cost.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    row_of = np.full(m, -1, np.int64)
    for start in range(n):
        distance, previous = np.full(m, np.inf), np.full(m, -1, np.int64)
        settled = np.zeros(m, np.bool_)
        row, length = start, 0.0
        while True:
            through = length + cost[row] - row_price[row] - column_price
            closer = ~settled & (through < distance)
            distance[closer], previous[closer] = through[closer], row
            column = int(np.where(settled, np.inf, distance).argmin())
            length = float(distance[column])
            if row_of[column] < 0:
                break
            settled[column] = True
            row = int(row_of[column])
        slack = length - distance[settled]
        row_price[start] += length
        row_price[row_of[settled]] += slack
        column_price[settled] -= slack
        _augment(row_of, previous, column, start)
    return row_of


def _augment(row_of: I64, previous: I64, column: int, start: int) -> None:
    """Flip the path that ends in the free ``column``, back to the row ``start``."""
    while True:
        row = int(previous[column])
        held = np.flatnonzero(row_of == row)
        row_of[column] = row
        if row == start:
            return
        column = int(held[0])
