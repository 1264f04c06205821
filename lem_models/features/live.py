"""Features of the newest bars of many symbols, bar after bar.

The formulas are those of whole tables (:data:`~lem_models.features.causal.DEFINITIONS`), on the last bars of each
symbol. A row is what :func:`~lem_models.features.causal.compute_features` gives for the bar, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lem_models.features.causal import SUPPORT, Inputs, Window, feature_values, profile_sessions
from lem_models.features.market import Market
from lem_models.markets.live_bars import ClosedBar

__all__ = ["LiveFeatures"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SERIES = ("log_vwap", "log_close", "squared_return", "volume")
_SESSIONS = 2 * SUPPORT
"""Bars whose volumes make the profile: the sessions that it averages, from their first slot, and the current one."""
_FAR_BACK = -(2**62)
_UNKNOWN = -1


@dataclass
class _Past:
    """The last bars of some symbols, oldest first.

    Attributes:
        series: Series of :data:`_SERIES`, [symbols, series, SUPPORT].
        count: Bars that a symbol has had, int64 [symbols].
        session: Number of each bar's session among those that had bars, [symbols, 2 * SUPPORT]; far back before the
            first bar.
        slot: Slot of each bar, of the same shape; below 0 where it is not known, which no later bar has.
        volume: Volume of each bar, of the same shape.
    """

    series: Floats
    count: Integers
    session: Integers
    slot: Integers
    volume: Floats

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """Every array, symbols first."""
        return [self.series, self.count, self.session, self.slot, self.volume]

    def of(self, symbols: Integers) -> _Past:
        """The past of some of the symbols, in arrays of their own."""
        return _Past(*(values[symbols] for values in self.arrays()))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Bars:
    """Columns of the newest bars, [symbols] each."""

    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    notional: Floats
    vwap: Floats
    session: Integers
    slot: Integers
    usual_slots: Integers
    knows_slots: npt.NDArray[np.bool_]


class _Newest(Inputs):
    """The newest bars with their past."""

    def __init__(self, bars: _Bars, past: _Past) -> None:
        self.bars, self._past = bars, past

    def lag(self, series: str, bars: int) -> Floats:
        return np.asarray(self._past.series[:, _SERIES.index(series), -1 - bars])

    def mean(self, series: str, window: Window) -> Floats:
        length = len(window.weights)
        values = self._past.series[:, _SERIES.index(series), -length:]
        # One product for each symbol, as in a whole table: a product of all of them adds in another order.
        total = np.vecdot(values, window.oldest_first)
        return np.asarray(total / window.total[np.minimum(self._past.count, length) - 1])

    def slot_mean(self) -> Floats:
        past, sessions = self._past, profile_sessions(self.bars.usual_slots)
        if not sessions.any():
            return np.full(len(sessions), np.nan)
        back = past.session[:, -1:] - past.session
        same_slot = past.slot == past.slot[:, -1:]
        symbol, bar = np.nonzero(same_slot & (back > 0) & (back <= sessions[:, None]))
        # The newest session first, as in a whole table: sums of floats depend on the order.
        symbol, bar = symbol[::-1], bar[::-1]
        total = np.bincount(symbol, weights=past.volume[symbol, bar], minlength=len(sessions))
        count = np.bincount(symbol, minlength=len(sessions))
        return np.asarray(np.divide(total, count, out=np.full(len(sessions), np.nan), where=count > 0))


class LiveFeatures:
    """Features and volatility of the newest bars of symbols that are added one after the other."""

    def __init__(self) -> None:
        self._past = _Past(
            np.empty((0, len(_SERIES), SUPPORT)),
            np.empty(0, np.int64),
            np.empty((0, _SESSIONS), np.int64),
            np.empty((0, _SESSIONS), np.int64),
            np.empty((0, _SESSIONS)),
        )
        self._session = np.empty(0, np.int64)  # of the newest bar of each symbol, as its calendar counts

    def add(self, market: Market, rows: Integers) -> Integers:
        """Follow symbols from their last bars on.

        Args:
            market: The market so far.
            rows: Flat index of the last bar of each symbol, [symbols].

        Returns:
            Number of each symbol, int64 [symbols].
        """
        bars, first = market.bars, market.bars.offsets[market.bars.grid.symbol(rows)]
        index = rows[:, None] + np.arange(1 - _SESSIONS, 1)
        there = index >= first[:, None]
        index = np.maximum(index, first[:, None])
        vwap, volume = np.log(bars.vwap_at(index)), np.where(there, bars.volume[index], 0.0)
        squared = np.diff(vwap, axis=1, prepend=vwap[:, :1]) ** 2
        series = np.stack([vwap, np.log(bars.close[index]), squared, volume], axis=1)[:, :, -SUPPORT:]
        session = bars.grid.session(index)
        number = np.where(there, np.cumsum(np.diff(session, axis=1, prepend=session[:, :1]) != 0, axis=1), _FAR_BACK)
        slot = np.where(bars.grid.knows_slots(index), bars.grid.slot(index), _UNKNOWN)
        added = _Past(series, np.minimum(rows - first + 1, _SESSIONS), number, slot, volume)
        self._session = np.append(self._session, session[:, -1])
        before = len(self._past.count)
        joined = [np.concatenate(pair) for pair in zip(self._past.arrays(), added.arrays(), strict=True)]
        self._past = _Past(*joined)
        return np.arange(before, before + len(rows))

    def push(self, symbols: Integers, bars: Sequence[ClosedBar]) -> tuple[npt.NDArray[np.float32], Floats]:
        """Take in the next closed bar of some symbols.

        Args:
            symbols: Number of each symbol, every one once, [symbols].
            bars: Their bars, checked and placed.

        Returns:
            Features [symbols, features] and the volatility per bar as a fraction, [symbols].
        """
        columns = _Bars(*(np.array(values) for values in zip(*bars, strict=True)))
        everyone = len(symbols) == len(self._past.count) and bool((symbols == np.arange(len(symbols))).all())
        past = self._past if everyone else self._past.of(symbols)
        log_vwap, log_close = np.log(columns.vwap), np.log(columns.close)
        squared = (log_vwap - past.series[:, 0, -1]) ** 2
        past.series[:, :, :-1] = past.series[:, :, 1:]
        for number, newest in enumerate((log_vwap, log_close, squared, columns.volume)):
            past.series[:, number, -1] = newest
        past.count += 1
        session = past.session[:, -1] + (columns.session != self._session[symbols])
        self._session[symbols] = columns.session
        slot = np.where(columns.knows_slots, columns.slot, _UNKNOWN)
        for kept, newest in ((past.session, session), (past.slot, slot), (past.volume, columns.volume)):
            kept[:, :-1] = kept[:, 1:]
            kept[:, -1] = newest
        if not everyone:
            for values, changed in zip(self._past.arrays(), past.arrays(), strict=True):
                values[symbols] = changed
        inputs = _Newest(columns, past)
        return feature_values(inputs), inputs.sigma
