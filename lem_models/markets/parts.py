"""Parts of a table of bars: ranges of rows, with their own columns.

A causal computation for a bar depends on a few hundred bars before it. If a market is too large to compute every bar,
only the needed parts are computed, by the same code: each part looks like a symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lem_models.markets.bars import Bars

__all__ = ["BarColumns", "BarIntervals", "reaching_back"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


class BarColumns(Protocol):
    """Columns from which features are computed, symbol-major; :class:`Bars` and :class:`BarIntervals` have them.

    Attributes:
        offsets: int64 [symbols + 1]; the rows of symbol (or part) ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], start of the bar in nanoseconds UTC.
        open: float64 [bars].
        high: float64 [bars].
        low: float64 [bars].
        close: float64 [bars].
        volume: float64 [bars].
        vwap: float64 [bars].
        session: int64 [bars], rising with time; equal inside a session.
        slot: int64 [bars], position in the session.
        usual_slots: int64 [bars], usual number of slots of a bar's session, known when the session begins.
        knows_slots: bool [bars], whether the slots of a bar's session count from its opening.
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
    def knows_slots(self) -> Booleans: ...  # noqa: D102
    @property
    def slots_per_session(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class BarIntervals:
    """Ranges of bars, each inside one symbol, as columns. A column is read on first use.

    Attributes:
        bars: The whole table.
        first: int64 [parts], first row of each part, ascending.
        last: int64 [parts], one past its last row; parts do not overlap.
    """

    bars: Bars
    first: Integers
    last: Integers

    @cached_property
    def offsets(self) -> Integers:
        """Bounds of the parts in the columns, int64 [parts + 1]."""
        return np.concatenate([[0], np.cumsum(self.last - self.first)])

    @cached_property
    def _rows(self) -> slice | Integers:
        """Rows of the columns in the table: a slice if the parts are contiguous, which copies nothing."""
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
        """Rows of the columns for rows of the whole table, which must lie in a part."""
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

    @cached_property
    def knows_slots(self) -> Booleans:
        """See :class:`BarColumns`."""
        return self.bars.grid.knows_slots(self.rows)

    @property
    def slots_per_session(self) -> int:
        """See :class:`BarColumns`."""
        return self.bars.slots_per_session


def reaching_back(bars: Bars, first: Integers, last: Integers, back: int) -> BarIntervals:
    """The ranges ``first .. last - 1`` with the bars of the same symbol before them.

    Args:
        bars: The market.
        first: int64 [ranges], in any order; ranges may overlap.
        last: int64 [ranges], one past the last row, in the same symbol.
        back: Bars before each range, if the symbol has them.

    Returns:
        The parts; overlapping ranges become one part.
    """
    order = np.argsort(first, kind="stable")
    begin, end = first[order], last[order]
    begin = np.maximum(begin - back, bars.offsets[bars.grid.symbol(begin)])
    furthest = np.maximum.accumulate(end)
    new = np.ones(len(begin), dtype=bool)
    new[1:] = begin[1:] >= furthest[:-1]
    ends = np.ones(len(begin), dtype=bool)
    ends[:-1] = new[1:]
    return BarIntervals(bars, begin[new], furthest[ends])
