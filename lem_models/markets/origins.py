"""Origins: where an order may start, as an index into the bars. Windows are never copied.

The window of an order that starts at bar ``i`` is ``i - lookback .. i + horizon - 1``. It must lie in one symbol and in
one gapless run. In an intraday market with sessions, the bars ``i .. i + horizon - 1`` must lie in one session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lem_models.errors import BarsError, OrderError
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import GROUP, Moment, clock, read_frequency
from lem_models.markets.intervals import Intervals, around, complement, intersect, intervals, of_rows

__all__ = ["REASONS", "Origins", "check_history", "exclusion_codes", "origins", "sample_origins", "stretch_starts"]

Integers = npt.NDArray[np.int64]

REASONS: dict[int, str] = {
    0: "",
    1: "no bar of this symbol starts at this time",
    2: "not enough history before the start",
    3: "a gap in the lookback",
    4: "the bars end before the order does",
    5: "a gap inside the order",
    6: "the order would cross the end of the session",
    7: "a halt (bars without volume) in the lookback",
    8: "a halt (bars without volume) inside the order",
}
"""Why an order is excluded, by code; 0 is a valid window."""


@dataclass(frozen=True, eq=False)
class Origins:
    """Valid origins as intervals of neighbouring bars: memory grows with gaps and halts, not with bars.

    Attributes:
        first: Flat index of the first origin of each interval, int64 [intervals], ascending.
        count: Origins of each interval, int64 [intervals].
        excluded: Number of candidates that are not origins, by reason.
    """

    first: Integers
    count: Integers
    excluded: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of valid origins."""
        return int(self._before[-1] + self.count[-1]) if len(self.count) else 0

    def take(self, numbers: npt.ArrayLike) -> Integers:
        """Origins by their numbers.

        Args:
            numbers: int64 [...], from 0 to ``len(self) - 1``.

        Returns:
            int64 [...]: flat index of the first bar of each window.

        Raises:
            IndexError: A number is out of range.

        Example:
            >>> Origins(np.array([5, 20]), np.array([3, 2])).take([0, 2, 3])
            array([ 5,  7, 20])
        """
        wanted = np.asarray(numbers, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"origins are numbered from 0 to {len(self) - 1}, got {wanted.min()} to {wanted.max()}")
        at = np.searchsorted(self._before, wanted, side="right") - 1
        return np.asarray(self.first[at] + wanted - self._before[at])

    @property
    def index(self) -> Integers:
        """Flat index of the first bar of every window, int64 [origins], ascending."""
        return self.take(np.arange(len(self)))

    @cached_property
    def _before(self) -> Integers:
        """Number of origins before each interval."""
        return np.cumsum(self.count) - self.count


def exclusion_codes(
    bars: Bars,
    start: npt.NDArray[np.int64],
    horizon: npt.NDArray[np.int64] | int,
    *,
    lookback: int,
    within_session: bool | None = None,
    halts: bool = False,
) -> npt.NDArray[np.int8]:
    """Why each window is not valid, as a code of :data:`REASONS`.

    Args:
        bars: The market.
        start: Flat index of the first bar traded, -1 where there is none; [orders].
        horizon: Number of periods, scalar or [orders].
        lookback: Bars of history needed before the start.
        within_session: Whether an order must end in the session it starts in; default the market's own rule.
        halts: Also refuse a window with a bar without volume. Otherwise orders wait for volume, and a window is only
            refused if more than half of its lookback has no volume.

    Returns:
        int8 [orders], 0 = valid.
    """
    grid = bars.grid
    at = np.maximum(np.asarray(start, dtype=np.int64), 0)
    symbol = grid.symbol(at)
    end = np.asarray(at + horizon, dtype=np.int64)
    in_lookback = grid.idle_between(at - lookback, at)
    bounded = grid.is_session_bound(at) if within_session is None else np.full(len(at), within_session)
    # In order of rising priority: the last code that is written is reported.
    codes = np.zeros(len(at), dtype=np.int8)
    if halts:
        codes[grid.idle_between(at, end) > 0] = 8
    codes[in_lookback > (0 if halts else max(lookback // 2, 1))] = 7
    if bounded.any():
        codes[bounded & (end > grid.session_end(at))] = 6
    codes[end > grid.gapless_end(at)] = 5
    codes[end > bars.offsets[symbol + 1]] = 4
    codes[at - lookback < grid.gapless_start(at)] = 3
    codes[at - lookback < bars.offsets[symbol]] = 2
    codes[start < 0] = 1
    return codes


def origins(
    bars: Bars,
    *,
    lookback: int,
    horizon: int,
    within_session: bool | None = None,
    candidates: Intervals | Integers | None = None,
) -> Origins:
    """Every origin with enough history whose window has no gap and no halt (a bar without volume).

    The rules are those of :func:`exclusion_codes` with ``halts=True``, for all candidates at once.

    Args:
        bars: The market.
        lookback: Bars of history needed before the start.
        horizon: Number of periods.
        within_session: Whether an order must end in the session it starts in; default the market's own rule.
        candidates: Rows that may be origins, ascending or as intervals; default all rows.

    Returns:
        The origins; memory and time grow with the number of gaps, halts and sessions.
    """
    grid, size = bars.grid, len(bars)
    runs, symbols = grid.run, bars.offsets
    bounded = grid.is_session_bound(symbols[:-1])
    bounded = bounded if within_session is None else np.full(len(bounded), within_session)
    # Rows that each rule allows, in the order of exclusion_codes: a row is counted for the first rule that it breaks.
    allowed = {
        2: intervals(symbols[:-1] + lookback, symbols[1:]),
        3: intervals(runs[:-1] + lookback, runs[1:]),
        4: intervals(symbols[:-1], symbols[1:] - horizon + 1),
        5: intervals(runs[:-1], runs[1:] - horizon + 1),
    }
    if bounded.any():
        sessions = grid.session_bounds
        last = np.where(bounded[grid.symbol(sessions[:-1])], sessions[1:] - horizon + 1, sessions[1:])
        allowed[6] = intervals(sessions[:-1], last)
    if lookback:
        allowed[7] = complement(around(grid.idle, -1, lookback), size)
    allowed[8] = complement(around(grid.idle, horizon - 1, 0), size)
    if candidates is None:
        valid = intervals(symbols[:-1], symbols[1:])
    else:
        valid = candidates if isinstance(candidates, Intervals) else of_rows(candidates)
    excluded = {}
    for code, rows in sorted(allowed.items()):
        left = intersect(valid, rows)
        if left.size() < valid.size():
            excluded[REASONS[code]] = valid.size() - left.size()
        valid = left
    return Origins(valid.first, valid.last - valid.first, excluded)


def stretch_starts(
    bars: Bars,
    *,
    length: int,
    support: int,
    skip: int = 0,
    start: Moment | None = None,
    end: Moment | None = None,
    reach_back: int = 0,
) -> Origins:
    """First bar of each training stretch that lies, with the bars of its features, in a period.

    Args:
        bars: The market.
        length: Bars of a stretch.
        support: Bars that the features of a bar are computed from, the bar itself included.
        skip: Bars left out at the beginning of every symbol.
        start: First moment of the period, inclusive. The bars that the features of a stretch's first bar are computed
            from lie in the period too.
        end: Last moment of the period, exclusive.
        reach_back: Bars before the period that a stretch and its features may use.

    Returns:
        The starts; a stretch may cross the ends of sessions.
    """
    rows = bars.rows_between(start, end)
    first = np.maximum(rows[:, 0] + support - 1 - reach_back, bars.offsets[:-1] + skip)
    candidates = intervals(first, rows[:, 1] - length + 1)
    return origins(bars, lookback=support - 1, horizon=length, within_session=False, candidates=candidates)


def sample_origins(
    bars: Bars,
    *,
    lookback: int,
    horizon: int,
    every: str | int = 1,
    start: Moment | None = None,
    end: Moment | None = None,
    within_session: bool | None = None,
) -> Origins:
    """Valid origins on a regular grid of times.

    Args:
        bars: The market.
        lookback: Bars of history needed.
        horizon: Periods that must fit.
        every: A duration on the UTC grid (``"6h"``), or a number of bars on the market's own grid.
        start: Earliest start, inclusive.
        end: Latest end of the window, exclusive.
        within_session: See :func:`exclusion_codes`.

    Raises:
        OrderError: when ``every`` is not a positive number of bars, or no origin is left.
    """
    period = bars.rows_between(start, end)
    # Orders end with the period. If the bars end first, the origins are excluded for that reason below.
    cut = period[:, 1] < bars.offsets[1:]
    candidates = intervals(period[:, 0], np.where(cut, period[:, 1] - horizon + 1, period[:, 1]))
    step = _step(bars, every)
    if step is not None:
        candidates = _on_grid(bars, candidates, every=step, by_bars=isinstance(every, int | np.integer))
    sampled = origins(bars, lookback=lookback, horizon=horizon, within_session=within_session, candidates=candidates)
    if not len(sampled):
        raise OrderError(
            f"no order of {horizon} periods with {lookback} bars of history fits into {bars!r}; "
            f"left out: {sampled.excluded or 'nothing: no bar lies on this grid of starts'}",
            field="start",
        )
    return sampled


def _step(bars: Bars, every: str | int) -> int | None:
    """The step between origins in bars or in nanoseconds; ``None`` if every bar is one."""
    if isinstance(every, bool):
        raise OrderError(f"every is a number of bars or a duration such as '6h'; got {every}", field="every")
    if isinstance(every, int | np.integer):
        if every < 1:
            raise OrderError(f"every must be at least one bar; got {every}", field="every")
        return None if every == 1 else int(every)
    try:
        step = read_frequency(every)
    except BarsError:
        raise OrderError(
            f"every is neither a number of bars nor a duration such as '6h': {shown(every)}", field="every"
        ) from None
    if step < bars.frequency:
        raise OrderError(f"every={every!r} is shorter than a bar ({clock(bars.frequency)})", field="every")
    if step % bars.frequency:
        raise OrderError(f"every={every!r} is not a whole number of bars of {clock(bars.frequency)}", field="every")
    return step.value


def _on_grid(bars: Bars, candidates: Intervals, *, every: int, by_bars: bool) -> Intervals:
    """The candidates whose ordinal or timestamp is a whole multiple of a step, computed block by block."""
    chosen = [np.zeros(0, dtype=np.int64)]
    for begin in range(0, len(bars), GROUP):
        block = intersect(candidates, intervals(np.array([begin]), np.array([min(begin + GROUP, len(bars))])))
        size = block.last - block.first
        rows = np.repeat(block.last - np.cumsum(size), size)
        rows += np.arange(len(rows))
        place = bars.grid.ordinal(rows) if by_bars else bars.timestamp[rows]
        chosen.append(rows[place % every == 0])
    return of_rows(np.concatenate(chosen))


def check_history(bars: Bars, lookback: int) -> None:
    """Refuse a market in which no symbol has more bars than the lookback.

    Raises:
        BarsError: There is no such symbol; the error names the symbol with the most bars.
    """
    counts = np.diff(bars.offsets)
    longest = int(np.argmax(counts))
    if counts[longest] <= lookback:
        raise BarsError(
            f"{counts[longest]} bars at most per symbol, but {lookback} bars of history and one to trade are needed",
            symbol=bars.symbols[longest],
            rule="more bars than the lookback",
        )
