"""The best assignment of rows to columns (Kuhn, 1955; Munkres, 1957), by shortest augmenting paths."""

from typing import Iterator, List, Tuple

import numpy as np


def best_total(rows: np.ndarray, columns: np.ndarray, weights: np.ndarray) -> int:
    """Return the largest sum of weights of pairs of which no two share a row or a column.

    Args:
        rows, columns: (N,) integers: the pairs that are possible, each once.
        weights: (N,) positive integers.
    """
    total = 0
    for chosen in _components(rows, columns):
        _, row = np.unique(rows[chosen], return_inverse=True)
        _, column = np.unique(columns[chosen], return_inverse=True)
        table = np.zeros((row.max() + 1, column.max() + 1))
        table[row, column] = weights[chosen]
        pairs = assign(table)
        total += int(sum(table[i, j] for i, j in pairs))
    return total


def assign(weights: np.ndarray) -> List[Tuple[int, int]]:
    """Return min(R, C) pairs of row and column, no two alike in either, with the largest sum of the (R, C) weights."""
    if weights.shape[0] > weights.shape[1]:
        return [(row, column) for column, row in assign(weights.T)]
    cost = weights.max() - weights.astype(np.float64) if weights.size else weights
    rows, columns = weights.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for start in range(rows):
        before, distance = np.full(columns, -1), np.full(columns, np.inf)
        done = np.zeros(columns, bool)
        row, column, reached = start, -1, 0.0
        while row >= 0:  # grow the tree of shortest paths from `start` until a free column is in it
            through = reached + cost[row] - row_price[row] - column_price
            shorter = ~done & (through < distance)
            distance[shorter], before[shorter] = through[shorter], column
            column = int(np.argmin(np.where(done, np.inf, distance)))
            reached, done[column] = distance[column], True
            row = row_of[column]
        paid = np.flatnonzero(done & (row_of >= 0))
        row_price[start] += reached
        row_price[row_of[paid]] += reached - distance[paid]
        column_price[done] -= reached - distance[done]
        while column >= 0:  # along the path, each row takes the next column
            previous = before[column]
            row_of[column] = row_of[previous] if previous >= 0 else start
            column = previous
    return [(int(row_of[column]), int(column)) for column in np.flatnonzero(row_of >= 0)]


def _components(rows, columns) -> Iterator[np.ndarray]:
    """Yield the pairs, by position, that hang together by rows and columns; most things meet few others."""
    _, row = np.unique(rows, return_inverse=True)
    _, column = np.unique(columns, return_inverse=True)
    label = row.astype(np.int64)
    while label.size:  # each pair takes the lowest label of its row and its column until none changes
        lowest = np.full(row.max() + 1, len(label)), np.full(column.max() + 1, len(label))
        np.minimum.at(lowest[0], row, label)
        np.minimum.at(lowest[1], column, label)
        lower = np.minimum(lowest[0][row], lowest[1][column])
        if np.array_equal(lower, label):
            break
        label = lower
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if label.size else ()
