r"""Simulated bars after a history: blocks of the market's own past, at the same time of the day.

Filtered historical simulation (Barone-Adesi, Giannopoulos and Vosper 1999) with blocks of bars (Kuensch 1989). A path
is put together from blocks. A block of :math:`L` bars is drawn from the past of the same symbol, beginning at a bar
``o`` of the same slot of the session, with a random sign ``e``. Bar ``l`` of it gives

.. math::

    \log x'_l = \log c'_{l-1} + e \, \frac{\sigma_{now}}{\sigma_o} \, (\log x_{o+l} - \log c_{o+l-1}), \qquad
    v'_l = \hat v_l \, \frac{v_{o+l}}{\hat v_{o,l}},

for ``x`` open, high, low, close and VWAP. :math:`\sigma` is the volatility per bar that was known before the block,
and :math:`\hat v` the volume expected then for each of its bars. The sign reflects prices about the last close as in
:mod:`lem_models.evaluation.null`: it takes out the drift of the past and doubles the number of blocks. Prices and
volumes of a bar stay together, and so do the bars of a block. Only bars of the history are read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, ConfigError
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.calendar.kinds import Calendars, next_start
from lem_models.markets.live_bars import followed_by
from lem_models.markets.validation import VALUES, Columns
from lem_models.orders.rules import SIZE_SESSIONS

__all__ = ["BarPaths", "simulate_bars"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SHORTEST_BLOCK = 5  # bars; of daily bars a session has one
_MOST_SESSIONS = 250  # that blocks are drawn from
_FEWEST_BLOCKS = 10
_WARM = 64  # bars before a block, for its volatility
_SCALES = 0.2, 5.0


@dataclass(frozen=True)
class BarPaths:
    """Simulated bars of one symbol.

    Attributes:
        timestamp: Start of each bar, nanoseconds UTC, [periods].
        open: Open prices, [paths, periods].
        high: High prices, [paths, periods].
        low: Low prices, [paths, periods].
        close: Close prices, [paths, periods].
        vwap: Volume-weighted average prices, [paths, periods]; the close where nothing traded.
        volume: Volumes in units, [paths, periods].
        blocks: Different blocks of the history that could be drawn.
    """

    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    vwap: Floats
    volume: Floats
    blocks: int

    def __len__(self) -> int:
        """Number of paths."""
        return len(self.close)

    def after(self, history: Bars) -> Bars:
        """A market with a symbol for each path: the same past, then the bars of the path.

        Args:
            history: Closed bars of one symbol; the paths begin after them.
        """
        count, low = len(self), np.minimum(self.low, np.minimum(self.open, self.close))
        high = np.maximum(self.high, np.maximum(self.open, self.close))
        notional = np.clip(self.vwap, low, high) * self.volume
        ahead = dict(zip(VALUES, (self.open, high, low, self.close, self.volume, notional), strict=True))
        values = {
            name: np.concatenate([np.tile(getattr(history, name), (count, 1)), columns], axis=1).ravel()
            for name, columns in ahead.items()
        }
        each = np.concatenate([history.timestamp, self.timestamp])
        timestamp, offsets = np.tile(each, count), np.arange(count + 1) * len(each)
        calendars = Calendars.all_of(history.grid.calendar.followed_by(each), count)
        grid = Grid.build(calendars, offsets, timestamp, values["volume"])
        symbols = tuple(f"path {number}" for number in range(count))
        columns = Columns(symbols, offsets, timestamp, values, pd.DataFrame(index=pd.RangeIndex(len(timestamp))))
        return Bars.of_columns(columns, grid)


def simulate_bars(
    history: Bars, periods: int, *, paths: int = 200, seed: int = 0, starts: Integers | None = None
) -> BarPaths:
    """Simulate the bars that follow a history.

    Args:
        history: Closed bars of one symbol.
        periods: Bars of a path.
        paths: Number of paths.
        seed: Seed of the draws; equal seeds give equal paths.
        starts: Starts of the bars to come, nanoseconds UTC, int64 [periods]; default: by the calendar.

    Raises:
        ConfigError: There are several symbols, or no paths or periods.
        BarsError: The history holds fewer than 10 blocks.

    Example:
        >>> from lem_models import synthetic_bars
        >>> simulated = simulate_bars(synthetic_bars(symbols=1, days=40, seed=1), 12, paths=50)
        >>> simulated.close.shape
        (50, 12)
    """
    if len(history.symbols) != 1:
        raise ConfigError(f"paths are simulated for one symbol, the history has {len(history.symbols)}: select one")
    if periods < 1 or paths < 1:
        raise ConfigError(f"paths and periods are at least 1; got {paths} paths of {periods} periods")
    timestamp = _coming(history, periods) if starts is None else starts
    close = float(history.close[-1])
    stand_in = [[(at, close, close, close, close, 1.0, close) for at in timestamp.tolist()]]
    whole = followed_by(history, history.grid.calendar, stand_in)
    # One market for the past and the bars to come: what is expected at a row is known before it.
    market, count = Market(whole), len(history)
    expected = market.profile_over(np.array([count]), periods, SIZE_SESSIONS).expected(np.array([count]), periods)[0]
    scale_now = float(market.volatility_at(np.array([count - 1]))[0])

    rng = np.random.default_rng(seed)
    length = min(periods, max(history.grid.calendar.slots_per_session, _SHORTEST_BLOCK))
    pieces, available = [], 0
    for begin in range(0, periods, length):
        size = min(length, periods - begin)
        source = _sources(market, count, count + begin, size)
        available = available or len(source)
        drawn = source[rng.integers(len(source), size=paths)]
        pieces.append(_block(market, drawn, size, scale_now, rng.choice(np.array([-1.0, 1.0]), paths)))
    steps = np.concatenate([piece[0] for piece in pieces], axis=2)
    ratio = np.concatenate([piece[1] for piece in pieces], axis=1)

    # Log prices: the closes walk, and the other prices lie about the close before them.
    walked = np.cumsum(steps[3], axis=1)
    before = np.log(close) + walked - steps[3]
    opened, high, low, closed, vwap = np.exp(before + steps)
    return BarPaths(timestamp, opened, high, low, closed, vwap, ratio * expected, available)


def _coming(history: Bars, periods: int) -> Integers:
    """Expected starts of the bars after a history."""
    last = int(history.timestamp[-1])
    calendar = history.grid.calendar
    if isinstance(calendar, Exchange):  # a schedule is known in advance
        calendar = calendar.followed_by(np.array([last + 1]))
    starts = [next_start(calendar, last)]
    while len(starts) < periods:
        starts.append(next_start(calendar, starts[-1]))
    return np.array(starts, dtype=np.int64)


def _sources(market: Market, count: int, target: int, size: int) -> Integers:
    """First rows of the blocks that may stand at a row to come: closed, gapless, and at its time of the day."""
    bars, grid = market.bars, market.bars.grid
    slots = grid.calendar.slots_per_session
    first = max(_WARM, count - _MOST_SESSIONS * max(slots, 1))
    rows = np.arange(first, count - size + 1)
    if not len(rows):
        raise _too_short(bars, count)
    rows = rows[(grid.gapless_end(rows) >= rows + size) & (grid.gapless_start(rows - 1) <= rows - 1)]
    if grid.calendar.is_session_bound:
        rows = rows[grid.session_end(rows) >= rows + size]
    same = rows[grid.slot(rows) == grid.slot(np.array([target]))[0]]
    # A short history has few sessions; blocks of another time of the day are better than a handful.
    chosen = same if len(same) >= _FEWEST_BLOCKS else rows
    usual = market.volatility_at(chosen - 1) if len(chosen) else np.empty(0)
    chosen = chosen[np.isfinite(usual) & (usual > 0)]
    if len(chosen) < _FEWEST_BLOCKS:
        raise _too_short(bars, count)
    return chosen


def _too_short(bars: Bars, count: int) -> BarsError:
    return BarsError(
        f"{count} bars are too few to simulate paths from: {_FEWEST_BLOCKS} blocks of the past are needed, after "
        f"{_WARM} bars; give a longer history",
        symbol=bars.symbols[0],
        rule="history",
    )


def _block(market: Market, first: Integers, size: int, scale_now: float, sign: Floats) -> tuple[Floats, Floats]:
    """Log prices about the previous close, [5, paths, size], and volumes over what was expected, [paths, size]."""
    bars = market.bars
    rows = first[:, None] + np.arange(size)
    before = np.log(bars.close[rows - 1])
    scale = sign * np.clip(scale_now / market.volatility_at(first - 1), *_SCALES)
    prices = (bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows], bars.vwap_at(rows))
    steps = np.stack([(np.log(price) - before) * scale[:, None] for price in prices])
    steps[1], steps[2] = np.maximum(steps[1], steps[2]), np.minimum(steps[1], steps[2])
    expected = market.profile_over(first, size, SIZE_SESSIONS).expected(first, size)
    volume = bars.volume[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(expected > 0, volume / expected, 1.0)
    return steps, ratio
