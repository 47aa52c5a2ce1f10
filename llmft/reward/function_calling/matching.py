"""Which of several calls is meant as which: the pairing that is worth most, not the first that fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def matched(worth: Sequence[Sequence[float]]) -> float:
    """The most that pairs can be worth together: ``worth[row][column]``, each row and column in one pair at most.

    The assignment problem, a shortest augmenting path for each row (Jonker and Volgenant, 1987).
    """
    if not worth or not worth[0]:
        return 0.0
    if len(worth) == 1:
        return max(worth[0])
    values = np.array(worth, dtype=np.float64)
    values = values if len(values) <= len(values[0]) else values.T
    rows, columns = values.shape
    owner = np.full(columns, -1)  # the row that a column is paired with
    prices = np.zeros(rows), np.zeros(columns)
    for row in range(rows):
        _pair(row, -values, owner, *prices)
    return float(sum(values[row, column] for column, row in enumerate(owner) if row >= 0))


def _pair(
    start: int,
    cost: NDArray[np.float64],
    owner: NDArray[np.int_],
    row_price: NDArray[np.float64],
    column_price: NDArray[np.float64],
) -> None:
    """Find the row a column, moving the rows before it to others where that costs least; changes all but ``cost``."""
    far = np.full(len(owner), np.inf)
    came = np.full(len(owner), -1)  # the column before it on the cheapest path
    free = np.ones(len(owner), dtype=bool)
    row, column = start, -1
    while row >= 0:
        step = cost[row] - row_price[row] - column_price
        nearer = free & (step < far)
        far[nearer], came[nearer] = step[nearer], column
        column = int(np.where(free, far, np.inf).argmin())
        least = far[column]
        row_price[[start, *owner[~free]]] += least
        column_price[~free] -= least
        far[free] -= least
        free[column] = False
        row = int(owner[column])
    while column >= 0:
        before = int(came[column])
        owner[column] = owner[before] if before >= 0 else start
        column = before
