"""Sets of rows as intervals do what sets of rows do."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lem_models.markets.intervals import around, complement, intersect, intervals, of_rows

SIZE = 60
rows = st.sets(st.integers(0, SIZE - 1))


def as_rows(some):
    return {
        row for first, last in zip(some.first.tolist(), some.last.tolist(), strict=True) for row in range(first, last)
    }


def is_tidy(some):
    edges = np.stack([some.first, some.last], 1).ravel()
    return (np.diff(edges) >= 0).all() and (some.last > some.first).all()


def as_set(members):
    return of_rows(np.array(sorted(members), dtype=np.int64))


@given(rows, rows)
def test_the_intersection_holds_what_both_hold(one, other):
    both = intersect(as_set(one), as_set(other))
    assert as_rows(both) == one & other
    assert is_tidy(both)
    assert both.size() == len(one & other)


@given(rows)
def test_the_complement_holds_the_rest(some):
    rest = complement(as_set(some), SIZE)
    assert as_rows(rest) == set(range(SIZE)) - some
    assert is_tidy(rest)


@given(rows, st.integers(-1, 5), st.integers(0, 5))
def test_around_rows(some, before, after):
    near = around(np.array(sorted(some), dtype=np.int64), before, after)
    assert as_rows(near) == {row + step for row in some for step in range(-before, after + 1)}
    assert all(last >= first for first, last in zip(near.first, near.last, strict=True))


def test_what_lies_beyond_the_rows_does_not_matter_to_a_complement():
    assert as_rows(complement(around(np.array([0, SIZE - 1]), 3, 3), SIZE)) == set(range(4, SIZE - 4))


def test_empty_intervals_drop_out():
    some = intervals(np.array([0, 5, 9]), np.array([3, 5, 8]))
    assert (some.first.tolist(), some.last.tolist()) == ([0], [3])
