"""Origins: where an order may start, as an index into the bars (windows are never copied).

The window of an order that starts at bar ``i`` is ``i - lookback .. i + horizon - 1``. It must lie in one symbol, in
one gapless run, and, in an intraday market with sessions, the part ``i ..`` in one session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lem_models.errors import BarsError, OrderError
from lem_models.markets.bars import Bars, nanoseconds

__all__ = ["REASONS", "Origins", "check_history", "exclusion_codes", "origins", "sample_origins"]

Time: TypeAlias = str | date
"""A time: text, date or datetime (``pandas.Timestamp`` included); without a zone it is UTC."""

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
"""Why an order cannot run, by code; 0 is a valid window."""


@dataclass(frozen=True)
class Origins:
    """Index of valid origins.

    Attributes:
        index: Flat bar index of the first bar of each window, int64 [origins], ascending.
        excluded: Number of candidates left out, by reason.
    """

    index: npt.NDArray[np.int64]
    excluded: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of valid origins."""
        return len(self.index)


def _zero_volume_before(bars: Bars) -> npt.NDArray[np.int64]:
    """Number of bars without volume before each flat index, [bars + 1]."""
    return np.concatenate([[0], np.cumsum(bars.volume == 0)])


def exclusion_codes(
    bars: Bars,
    start: npt.NDArray[np.int64],
    horizon: npt.NDArray[np.int64] | int,
    *,
    lookback: int,
    within_session: bool | None = None,
    halts: bool = False,
) -> npt.NDArray[np.int8]:
    """Why each window cannot run, as a code of :data:`REASONS`.

    Args:
        bars: The market.
        start: Flat index of the first bar traded, -1 where there is none; [orders].
        horizon: Number of periods, scalar or [orders].
        lookback: Bars of history needed before the start.
        within_session: Whether an order must end in the session it starts in; default the market's own rule.
        halts: Also refuse any bar without volume in the window. Otherwise such bars are executed around, and only a
            lookback of which more than half had no volume is refused.

    Returns:
        int8 [orders], 0 = valid.
    """
    at = np.maximum(start, 0)
    symbol = bars.symbol_index[at]
    end = at + horizon
    last = np.minimum(end, len(bars))
    silent = _zero_volume_before(bars)
    in_lookback = silent[at] - silent[np.maximum(at - lookback, 0)]
    bounded = bars.is_session_bound if within_session is None else within_session
    # In order of rising priority: what is written last is what is reported.
    codes = np.zeros(len(at), dtype=np.int8)
    if halts:
        codes[silent[last] - silent[at] > 0] = 8
    codes[in_lookback > (0 if halts else max(lookback // 2, 1))] = 7
    if bounded:
        codes[end > bars.session_end[at]] = 6
    codes[end > bars.run_end[at]] = 5
    codes[end > bars.offsets[symbol + 1]] = 4
    codes[at - lookback < bars.run_start[at]] = 3
    codes[at - lookback < bars.offsets[symbol]] = 2
    codes[start < 0] = 1
    return codes


def count_reasons(codes: npt.NDArray[np.int8]) -> dict[str, int]:
    """Number of excluded windows by reason, only the reasons that occur."""
    values, counts = np.unique(codes[codes > 0], return_counts=True)
    return {REASONS[int(v)]: int(c) for v, c in zip(values, counts, strict=True)}


def origins(
    bars: Bars,
    *,
    lookback: int,
    horizon: int,
    within_session: bool | None = None,
    halts: bool = True,
    candidates: npt.NDArray[np.int64] | None = None,
) -> Origins:
    """Every valid origin among the candidates (default: all bars); see :func:`exclusion_codes`."""
    start = np.arange(len(bars), dtype=np.int64) if candidates is None else candidates
    codes = exclusion_codes(bars, start, horizon, lookback=lookback, within_session=within_session, halts=halts)
    return Origins(start[codes == 0], count_reasons(codes))


def sample_origins(
    bars: Bars,
    *,
    lookback: int,
    horizon: int,
    every: str | int = 1,
    start: Time | None = None,
    end: Time | None = None,
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
        OrderError: when ``every`` is not a positive step, or no origin is left.
    """
    import pandas as pd

    if isinstance(every, int):
        if every < 1:
            raise OrderError(f"every must be at least one bar; got {every}", field="every")
        on_grid = bars.ordinal % every == 0
    else:
        try:
            step = pd.Timedelta(every)
        except ValueError:
            raise OrderError(
                f"every is neither a number of bars nor a duration such as '6h': {every!r}", field="every"
            ) from None
        if step < bars.frequency:
            raise OrderError(f"every={every!r} is shorter than a bar ({bars.frequency})", field="every")
        on_grid = bars.timestamp % step.value == 0
    if start is not None:
        on_grid &= bars.timestamp >= nanoseconds(start)
    candidates = np.flatnonzero(on_grid)
    if end is not None:
        final = np.minimum(candidates + horizon - 1, len(bars) - 1)
        candidates = candidates[bars.timestamp[final] < nanoseconds(end)]
    found = origins(bars, lookback=lookback, horizon=horizon, within_session=within_session, candidates=candidates)
    if not len(found):
        raise OrderError(
            f"no order of {horizon} periods with {lookback} bars of history fits into {bars!r}; "
            f"left out: {found.excluded or 'nothing: no bar lies on this grid of starts'}",
            field="start",
        )
    return found


def check_history(bars: Bars, lookback: int) -> None:
    """Refuse a market of which no symbol has more bars than the lookback.

    Raises:
        BarsError: naming the symbol with most bars.
    """
    counts = np.diff(bars.offsets)
    longest = int(np.argmax(counts))
    if counts[longest] <= lookback:
        raise BarsError(
            f"{counts[longest]} bars at most per symbol, but {lookback} bars of history and one to trade are needed",
            symbol=bars.symbols[longest],
            rule="more bars than the lookback",
        )
