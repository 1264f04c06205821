"""The length of a bar: read from a text, or inferred from the bars.

The frequency of a table is the most common step from a bar of a symbol to its next bar. A table has one frequency: a
symbol with another regular step is refused. Irregular longer steps are gaps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moment

__all__ = [
    "DAY",
    "GROUP",
    "HOUR",
    "SECOND",
    "Moment",
    "clock",
    "count_values",
    "infer_frequency",
    "length_of",
    "moment",
    "most_common",
    "nanoseconds",
    "read_frequency",
    "symbol_groups",
    "symbol_of",
    "winner",
]

Integers = npt.NDArray[np.int64]
Moment: TypeAlias = "str | date | pd.Timestamp | np.datetime64"
"""A time: a text in ISO 8601, a date or datetime (``pandas.Timestamp`` included); without a zone it is UTC."""

DAY = 86_400_000_000_000
"""Nanoseconds."""
HOUR = DAY // 24
SECOND = HOUR // 3600
GROUP = 1 << 20
"""Bars that are processed together."""
_NO_STEP = np.iinfo(np.int64).min
REGULAR_RUN = 16
"""This many equal steps in a row that differ from the common step are another frequency, not missing bars."""

# Unambiguous units: pandas reads "m" as minutes or as months, and a number without a unit as nanoseconds.
_UNITS = {"s": SECOND, "min": HOUR // 60, "h": HOUR, "D": DAY}
_FREQUENCY = re.compile(r"([0-9]{1,12})?(s|min|h|D)")
_LONGEST = np.iinfo(np.int64).max


def read_frequency(frequency: str | timedelta) -> pd.Timedelta:
    """Read the length of a bar.

    Args:
        frequency: ``"1h"``, ``"5min"``, ``"30s"``, ``"1D"`` or a Timedelta; ``"h"`` alone means one hour.

    Returns:
        The length, in nanoseconds.

    Raises:
        BarsError: It is not a length of time, or is shorter than a second.

    Example:
        >>> clock(read_frequency("h"))
        '1h'
    """
    if isinstance(frequency, str):
        match = _FREQUENCY.fullmatch(frequency)
        length = int(match[1] or 1) * _UNITS[match[2]] if match else None
    elif isinstance(frequency, timedelta):  # a pandas.Timedelta is one
        length = _in_nanoseconds(frequency)
    else:
        length = None
    if length is None or length > _LONGEST:
        raise BarsError(
            f"{shown(frequency)} is not the length of a bar: write it as '30s', '5min', '1h' or '1D'",
            rule="one frequency",
        )
    if length < SECOND:
        raise BarsError(f"a bar cannot be {shown(str(frequency))} long: the shortest is a second", rule="one frequency")
    return length_of(length)


def _in_nanoseconds(length: timedelta) -> int | None:
    try:
        exact = pd.Timedelta(length).as_unit("ns")
    except (ValueError, OverflowError):
        return None
    return None if pd.isna(exact) else int(exact.value)


def infer_frequency(symbols: tuple[str, ...], offsets: Integers, timestamp: Integers) -> pd.Timedelta:
    """Take the most common step between bars of one symbol, and refuse a table with more than one frequency.

    A symbol whose own most common step is another one, or a long run of another step, is another frequency; irregular
    longer steps are gaps.

    Args:
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1]; the rows of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], nanoseconds UTC, symbol-major, ascending inside a symbol.

    Returns:
        The length of a bar.

    Raises:
        BarsError: The bars do not have one frequency, or there are too few of them to infer it.
    """
    counts: Counter[int] = Counter()
    for _, steps in _steps(offsets, timestamp):
        count_values(steps[steps != _NO_STEP], counts)
    if not counts:
        raise BarsError(
            "the frequency cannot be inferred from one bar per symbol; pass it, e.g. frequency='1h'",
            symbol=symbols[0],
            timestamp=moment(timestamp[0]),
            column="timestamp",
            rule="one frequency",
        )
    common = winner(counts)
    if common < SECOND:
        row = int(np.argmax(np.diff(timestamp) == common))
        raise BarsError(
            f"the bars are {length_of(common)} apart, and no bar is shorter than a second: if their timestamps were "
            "made from numbers, name the numbers' unit (unit='s', 'ms', 'us' or 'ns')",
            symbol=symbol_of(symbols, offsets, row),
            timestamp=moment(timestamp[row]),
            column="timestamp",
            rule="one frequency",
        )
    rows, others = [], []
    for begin, steps in _steps(offsets, timestamp):
        odd = np.flatnonzero((steps != common) & (steps != _NO_STEP))
        rows.append(odd + begin)
        others.append(steps[odd])
    odd, steps = np.concatenate(rows), np.concatenate(others)
    offender = _other_regular_step(odd, steps, offsets)
    if offender is not None:
        row = int(odd[offender])
        raise BarsError(
            f"the bars are {clock(common)} apart in most places, but {clock(steps[offender])} from here on; "
            "one table holds one frequency",
            symbol=symbol_of(symbols, offsets, row),
            timestamp=moment(timestamp[row]),
            column="timestamp",
            rule="one frequency",
        )
    return length_of(common)


def _steps(offsets: Integers, timestamp: Integers) -> Iterator[tuple[int, Integers]]:
    """Steps from each row to the next, block by block: first row, steps; ``_NO_STEP`` from a symbol's last row."""
    for begin in range(0, len(timestamp) - 1, GROUP):
        steps = np.diff(timestamp[begin : begin + GROUP + 1])
        last = offsets[1:-1] - 1 - begin
        steps[last[(last >= 0) & (last < len(steps))]] = _NO_STEP
        yield begin, steps


def symbol_groups(offsets: Integers) -> Iterator[tuple[int, int]]:
    """Groups of neighbouring symbols ``(first, one past the last)`` with about :data:`GROUP` bars together.

    Timestamps of a market are processed group by group: memory does not grow with the market, and time does not grow
    with the number of small symbols.
    """
    first, count = 0, len(offsets) - 1
    while first < count:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + GROUP, side="right")) - 1)
        yield first, last
        first = last


def _other_regular_step(odd: Integers, steps: Integers, offsets: Integers) -> int | None:
    """Where another frequency begins; ``None`` if nowhere.

    Most steps of a symbol, or a long run of neighbouring steps, then have the same length. ``odd`` are the rows whose
    step to the next row of their symbol is not the common one, and ``steps`` are these steps. The result is a position
    in both.
    """
    bounds = np.searchsorted(odd, offsets)
    total = np.diff(offsets) - 1
    for index in np.flatnonzero(2 * np.diff(bounds) > total):
        mine = steps[bounds[index] : bounds[index + 1]]
        like = np.flatnonzero(mine == most_common(mine))
        if len(like) >= 3 and 2 * len(like) > total[index]:
            return int(bounds[index] + like[0])
    if len(odd) < REGULAR_RUN:
        return None
    # Lengths of the runs of neighbouring odd rows with equal steps. A symbol's last row is never odd, so no run
    # crosses from one symbol into the next.
    new = np.ones(len(odd), dtype=bool)
    new[1:] = (np.diff(odd) != 1) | (steps[1:] != steps[:-1])
    start = np.flatnonzero(new)
    long = np.flatnonzero(np.diff(np.append(start, len(odd))) >= REGULAR_RUN)
    return int(start[long[0]]) if len(long) else None


def most_common(values: Integers) -> int:
    """The most frequent value, the smallest of several."""
    return winner(count_values(values, Counter()))


def count_values(values: Integers, counts: Counter[int]) -> Counter[int]:
    """Add to the counts how often each value occurs, and return them."""
    if len(values) and np.all(values == values[0]):  # the usual case, without sorting
        counts[int(values[0])] += len(values)
    else:
        for value, count in zip(*np.unique(values, return_counts=True), strict=True):
            counts[int(value)] += int(count)
    return counts


def winner(counts: Counter[int]) -> int:
    """The value with the highest count, the smallest of several."""
    return min(counts, key=lambda value: (-counts[value], value))


def symbol_of(symbols: tuple[str, ...], offsets: Integers, row: int) -> str:
    """Name of the symbol that a flat row belongs to."""
    return symbols[int(np.searchsorted(offsets, row, side="right")) - 1]


def moment(nanoseconds: np.int64 | int) -> pd.Timestamp:
    """Nanoseconds UTC as a timestamp."""
    return pd.Timestamp(int(nanoseconds), unit="ns", tz="UTC").as_unit("ns")


def length_of(nanoseconds: np.int64 | int) -> pd.Timedelta:
    """Nanoseconds as a length of time."""
    return pd.Timedelta(int(nanoseconds), unit="ns").as_unit("ns")


def clock(step: pd.Timedelta | np.int64 | int) -> str:
    """Write a length of time: '5min', '1h', '1D'."""
    delta = step if isinstance(step, pd.Timedelta) else length_of(step)
    for size, unit in ((DAY, "D"), (HOUR, "h"), (HOUR // 60, "min"), (HOUR // 3600, "s")):
        if delta.value % size == 0:
            return f"{delta.value // size}{unit}"
    return str(delta)


def nanoseconds(moment: Moment) -> int:
    """A moment in nanoseconds UTC; without a zone it is UTC.

    Raises:
        BarsError: It is not a moment.
    """
    try:
        return read_moment(moment, needs_zone=False)
    except MomentError as error:
        raise BarsError(f"not a date or time: {error.reason}", rule="timestamp") from None
