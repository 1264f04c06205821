"""Parts of a table of bars: the rows that a computation reaches, as columns of their own.

What is computed causally of a bar depends on a few hundred bars before it. So of a market that is too large to compute
everything, the stretches that matter are taken out, and put through the same code as a whole market: every stretch
looks like a symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lem_models.markets.bars import Bars

__all__ = ["BarColumns", "BarParts", "reaching_back"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class BarColumns(Protocol):
    """Columns of bars, symbol-major: what features are computed from. :class:`Bars` and :class:`BarParts` are such.

    Attributes:
        offsets: int64 [symbols + 1]; the rows of symbol (or stretch) ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], start of the bar in nanoseconds UTC.
        open: float64 [bars].
        high: float64 [bars].
        low: float64 [bars].
        close: float64 [bars].
        volume: float64 [bars].
        vwap: float64 [bars].
        session: int64 [bars], rising with time; equal inside a session.
        slot: int64 [bars], position in the session.
        usual_slots: int64 [bars], slots that a bar's session usually has, as far as it is known when it begins.
        slots_per_session: Largest number of bars of a session.
    """

    @property
    def offsets(self) -> Integers: ...  # noqa: D102
    @property
    def timestamp(self) -> Integers: ...  # noqa: D102
    @property
    def open(self) -> Floats: ...  # noqa: D102
    @property
    def high(self) -> Floats: ...  # noqa: D102
    @property
    def low(self) -> Floats: ...  # noqa: D102
    @property
    def close(self) -> Floats: ...  # noqa: D102
    @property
    def volume(self) -> Floats: ...  # noqa: D102
    @property
    def vwap(self) -> Floats: ...  # noqa: D102
    @property
    def session(self) -> Integers: ...  # noqa: D102
    @property
    def slot(self) -> Integers: ...  # noqa: D102
    @property
    def usual_slots(self) -> Integers: ...  # noqa: D102
    @property
    def slots_per_session(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class BarParts:
    """Stretches of bars, each inside one symbol, as columns. A column is read when it is first asked for.

    Attributes:
        bars: The whole table.
        first: int64 [parts], first row of each stretch, ascending.
        last: int64 [parts], one past its last row; stretches do not overlap.
    """

    bars: Bars
    first: Integers
    last: Integers

    @cached_property
    def offsets(self) -> Integers:
        """Bounds of the stretches in the columns, int64 [parts + 1]."""
        return np.concatenate([[0], np.cumsum(self.last - self.first)])

    @cached_property
    def _rows(self) -> slice | Integers:
        """Where the columns come from: a slice of the table if they lie side by side, which copies nothing."""
        if not len(self.first):
            return slice(0, 0)
        if np.array_equal(self.first[1:], self.last[:-1]):
            return slice(int(self.first[0]), int(self.last[-1]))
        return np.arange(int(self.offsets[-1])) + np.repeat(self.first - self.offsets[:-1], np.diff(self.offsets))

    @cached_property
    def rows(self) -> Integers:
        """Row in the whole table of each row here, int64 [rows]."""
        if isinstance(self._rows, slice):
            return np.arange(self._rows.start, self._rows.stop)
        return self._rows

    def find(self, rows: Integers) -> Integers:
        """Where rows of the whole table are in the columns here; every one lies in a stretch."""
        at = np.searchsorted(self.first, rows, side="right") - 1
        return np.asarray(self.offsets[at] + (rows - self.first[at]))

    @cached_property
    def timestamp(self) -> Integers:
        """See :class:`BarColumns`."""
        return self.bars.timestamp[self._rows]

    @cached_property
    def open(self) -> Floats:
        """See :class:`BarColumns`."""
        return self.bars.open[self._rows]

    @cached_property
    def high(self) -> Floats:
        """See :class:`BarColumns`."""
        return self.bars.high[self._rows]

    @cached_property
    def low(self) -> Floats:
        """See :class:`BarColumns`."""
        return self.bars.low[self._rows]

    @cached_property
    def close(self) -> Floats:
        """See :class:`BarColumns`."""
        return self.bars.close[self._rows]

    @cached_property
    def volume(self) -> Floats:
        """See :class:`BarColumns`."""
        return self.bars.volume[self._rows]

    @cached_property
    def vwap(self) -> Floats:
        """See :class:`BarColumns`."""
        return self.bars.vwap_at(self._rows)

    @cached_property
    def session(self) -> Integers:
        """See :class:`BarColumns`."""
        return self.bars.grid.session(self.rows)

    @cached_property
    def slot(self) -> Integers:
        """See :class:`BarColumns`."""
        return self.bars.grid.slot(self.rows)

    @cached_property
    def usual_slots(self) -> Integers:
        """See :class:`BarColumns`."""
        return self.bars.grid.usual_slots(self.rows)

    @property
    def slots_per_session(self) -> int:
        """See :class:`BarColumns`."""
        return self.bars.slots_per_session


def reaching_back(bars: Bars, first: Integers, last: Integers, back: int) -> BarParts:
    """The stretches ``first .. last - 1`` and the bars of the same symbol before them.

    Args:
        bars: The market.
        first: int64 [stretches], in any order; stretches may overlap.
        last: int64 [stretches], one past the last row, in the symbol of the first one.
        back: Bars before each stretch, as far as its symbol has them.

    Returns:
        The parts; stretches that overlap are one.
    """
    order = np.argsort(first, kind="stable")
    begin, end = first[order], last[order]
    begin = np.maximum(begin - back, bars.offsets[bars.grid.symbol(begin)])
    furthest = np.maximum.accumulate(end)
    new = np.ones(len(begin), dtype=bool)
    new[1:] = begin[1:] >= furthest[:-1]
    ends = np.ones(len(begin), dtype=bool)
    ends[:-1] = new[1:]
    return BarParts(bars, begin[new], furthest[ends])
