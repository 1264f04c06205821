"""The length of a bar: read from a text, or told from the bars themselves.

The frequency of a table is the most common step from one bar of a symbol to its next. A table holds one frequency: a
symbol with another regular step is refused, irregular longer steps are gaps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError

__all__ = [
    "DAY",
    "HOUR",
    "clock",
    "infer_frequency",
    "length_of",
    "moment",
    "most_common",
    "read_frequency",
    "symbol_of",
]

Integers = npt.NDArray[np.int64]

DAY = 86_400_000_000_000
"""Nanoseconds."""
HOUR = DAY // 24
REGULAR_RUN = 16
"""So many equal steps in a row that are not the common one are another frequency, not missing bars."""


def read_frequency(frequency: str | pd.Timedelta) -> pd.Timedelta:
    """Read the length of a bar.

    Args:
        frequency: ``"1h"``, ``"5min"``, ``"1D"`` or a Timedelta; a unit alone is one of it.

    Returns:
        The length, in nanoseconds.

    Raises:
        BarsError: It is not a positive length of time.

    Example:
        >>> clock(read_frequency("h"))
        '1h'
    """
    try:
        text = f"1{frequency}" if isinstance(frequency, str) and frequency[:1].isalpha() else frequency
        length = pd.Timedelta(text).as_unit("ns")
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise BarsError(f"{frequency!r} is not the length of a bar: {error}", rule="one frequency") from error
    if not length > pd.Timedelta(0):
        raise BarsError(f"a bar cannot be {frequency!r} long", rule="one frequency")
    return length


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
        BarsError: The bars do not have one frequency, or there are too few of them to tell.
    """
    steps = np.diff(timestamp)
    crossing = offsets[1:-1] - 1
    within = np.ones(len(steps), dtype=bool)
    within[crossing] = False
    if not within.any():
        raise BarsError(
            "the frequency cannot be told from one bar per symbol; pass it, e.g. frequency='1h'",
            symbol=symbols[0],
            timestamp=moment(timestamp[0]),
            column="timestamp",
            rule="one frequency",
        )
    common = most_common(steps[within])
    odd = np.flatnonzero(within & (steps != common))
    offender = _other_regular_step(steps, odd, offsets)
    if offender is not None:
        raise BarsError(
            f"the bars are {clock(common)} apart as a rule, but {clock(steps[offender])} from here on; "
            "one table holds one frequency",
            symbol=symbol_of(symbols, offsets, offender),
            timestamp=moment(timestamp[offender]),
            column="timestamp",
            rule="one frequency",
        )
    return length_of(common)


def _other_regular_step(steps: Integers, odd: Integers, offsets: Integers) -> int | None:
    """Row where another frequency begins: most steps of a symbol, or a long run of equal steps; ``None`` if nowhere.

    ``odd`` are the rows followed, inside their symbol, by another step than the common one.
    """
    odd_bounds = np.searchsorted(odd, offsets)
    for index in range(len(offsets) - 1):
        mine = odd[odd_bounds[index] : odd_bounds[index + 1]]
        total = offsets[index + 1] - offsets[index] - 1
        if 2 * len(mine) > total:
            step = most_common(steps[mine])
            like = mine[steps[mine] == step]
            if len(like) >= 3 and 2 * len(like) > total:
                return int(like[0])
    if len(odd) < REGULAR_RUN:
        return None
    # Lengths of the runs of neighbouring odd rows with equal steps. A symbol's last row is never odd, so no run
    # crosses from one symbol into the next.
    new = np.ones(len(odd), dtype=bool)
    new[1:] = (np.diff(odd) != 1) | (steps[odd[1:]] != steps[odd[:-1]])
    start = np.flatnonzero(new)
    length = np.diff(np.append(start, len(odd)))
    long = np.flatnonzero(length >= REGULAR_RUN)
    return int(odd[start[long[0]]]) if len(long) else None


def most_common(values: Integers) -> int:
    """The most frequent value, the smallest of several."""
    distinct, count = np.unique(values, return_counts=True)
    return int(distinct[np.argmax(count)])


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
    """A length of time as people write it: '5min', '1h', '1D'."""
    delta = step if isinstance(step, pd.Timedelta) else length_of(step)
    for size, unit in ((DAY, "D"), (HOUR, "h"), (HOUR // 60, "min"), (HOUR // 3600, "s")):
        if delta.value % size == 0:
            return f"{delta.value // size}{unit}"
    return str(delta)
