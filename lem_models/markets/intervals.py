"""Sets of rows as intervals.

A set is two int64 arrays: first rows, and one past the last rows. Intervals are ascending, disjoint and not empty. The
cost of an intersection grows with the number of intervals, not with the number of rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Intervals", "around", "complement", "intersect", "intervals", "of_rows"]

Integers = npt.NDArray[np.int64]


class Intervals(NamedTuple):
    """A set of rows.

    Attributes:
        first: int64 [intervals], ascending.
        last: int64 [intervals], one past the last row of each.
    """

    first: Integers
    last: Integers

    def size(self) -> int:
        """Number of rows."""
        return int((self.last - self.first).sum())


def intervals(first: Integers, last: Integers) -> Intervals:
    """The set of the rows ``first .. last - 1`` of each pair; pairs are disjoint and ascending, and may be empty."""
    exists = last > first
    return Intervals(first[exists], last[exists])


def intersect(one: Intervals, other: Intervals) -> Intervals:
    """Rows in both sets.

    Example:
        >>> a = intervals(np.array([0, 10]), np.array([5, 20]))
        >>> b = intervals(np.array([3, 12, 18]), np.array([11, 15, 30]))
        >>> intersect(a, b)
        Intervals(first=array([ 3, 10, 12, 18]), last=array([ 5, 11, 15, 20]))
    """
    begin = np.searchsorted(other.last, one.first, side="right")
    count = np.maximum(np.searchsorted(other.first, one.last, side="left") - begin, 0)
    mine = np.repeat(np.arange(len(count)), count)
    theirs = np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count) + begin[mine]
    return intervals(np.maximum(one.first[mine], other.first[theirs]), np.minimum(one.last[mine], other.last[theirs]))


def around(rows: Integers, before: int, after: int) -> Intervals:
    """Rows that are at most ``before`` rows before or ``after`` rows after one of some ascending rows."""
    first, last = rows - before, rows + after + 1
    new = np.ones(len(rows), dtype=bool)
    new[1:] = first[1:] > last[:-1]
    ends = np.ones(len(rows), dtype=bool)
    ends[:-1] = new[1:]
    return Intervals(first[new], last[ends])


def complement(some: Intervals, size: int) -> Intervals:
    """Rows of ``0 .. size - 1`` that are not in a set; the set may hold other rows."""
    edges = np.array([0]), np.array([size])
    return intervals(
        np.maximum(np.concatenate([edges[0], some.last]), 0), np.minimum(np.concatenate([some.first, edges[1]]), size)
    )


def of_rows(rows: Integers) -> Intervals:
    """The set of some ascending rows."""
    return around(rows, 0, 0)
