"""Causal features of a market: what a model reads of the bars that have closed.

Row ``k`` is a function of the bars ``k - SUPPORT + 1 .. k`` of its own symbol and of nothing else: every window is
finite, so the features of one new bar (:class:`FeatureStream`) come from the same code as those of a whole market
(:func:`compute_features`). Prices enter as log ratios over the past volatility and volumes over past volumes: units
drop out, and a window looks the same for a coin and for a share.

Volatility per bar: ``sigma_k^2 = sum_j w_j r_{k-j}^2``, ``r`` the log return of the bar's VWAP, ``w`` exponential with
a half-life of 32 bars, cut after 120 bars and normalised to sum 1.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lem_models.errors import BarsError
from lem_models.markets.bars import Bars

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FEATURES",
    "SIGNED",
    "SUPPORT",
    "FeatureStream",
    "Features",
    "VolumeProfile",
    "bar_volatility",
    "compute_features",
    "profile_days",
    "slot_profile",
]

SUPPORT = 128
"""Bars that a row of features depends on, its own bar included."""

_VOLATILITY_WINDOW = 120
_VOLATILITY_HALF_LIFE = 32.0
_VOLATILITY_FLOOR = 1e-5  # per bar: a tenth of a basis point, so that a constant price is no division by zero
_LEVEL_WINDOW = 96
_CLIP = 6.0

SIGNED: dict[str, bool] = {
    "return_vwap": True,
    "return_close": True,
    "close_to_vwap": True,
    "gap": True,
    "momentum_4": True,
    "momentum_12": True,
    "momentum_24": True,
    "momentum_96": True,
    "close_in_range": True,
    "vwap_in_range": True,
    "return_times_volume": True,
    "range": False,
    "volume_to_level": False,
    "volume_to_profile": False,
    "volume_trend": False,
    "volatility_trend": False,
    "profile_to_level": False,
    "time_sin": False,
    "time_cos": False,
    "week_sin": False,
    "week_cos": False,
}
"""Features in order; the value says whether the feature changes sign when the market is reflected in log price."""

FEATURES: tuple[str, ...] = tuple(SIGNED)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """Features of a market.

    Attributes:
        values: float32 [bars, features], columns :data:`FEATURES`. Rows with less than :data:`SUPPORT` bars of gapless
            history behind them mean nothing; the origins index keeps windows away from them.
        volatility: Volatility per bar known at the bar's close, as a fraction, float64 [bars].
    """

    values: npt.NDArray[np.float32]
    volatility: FloatArray


def _lagged(x: FloatArray, lag: int) -> FloatArray:
    """``x`` at ``k - lag``; the first ``lag`` rows repeat the first value."""
    return np.concatenate([np.full(min(lag, len(x)), x[0]), x[: max(len(x) - lag, 0)]])


def _weighted_mean(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of ``x[k - j]`` with ``weights[j]``, over the rows there are. Direct sums: a row is its window's."""
    pad = np.zeros(len(weights) - 1)
    total: FloatArray = np.convolve(np.concatenate([pad, x]), weights, mode="valid")
    present = np.cumsum(weights)[np.minimum(np.arange(len(x)), len(weights) - 1)]
    mean: FloatArray = total / present
    return mean


def _mean(x: FloatArray, window: int) -> FloatArray:
    return _weighted_mean(x, np.ones(window))


def bar_volatility(vwap: FloatArray) -> FloatArray:
    """Volatility per bar of one symbol's VWAP log returns, as a fraction, [bars]; see the module's formula."""
    log_price = np.log(vwap)
    decay = 0.5 ** (np.arange(_VOLATILITY_WINDOW) / _VOLATILITY_HALF_LIFE)
    variance = _weighted_mean((log_price - _lagged(log_price, 1)) ** 2, decay)
    return np.maximum(np.sqrt(variance), _VOLATILITY_FLOOR)


def profile_days(slots_per_session: int, lookback: int) -> int:
    """Sessions that a time-of-day profile averages: as many as the lookback holds, at most 20 (0: no profile)."""
    return max(0, min(20, lookback // slots_per_session - 1))


def slot_profile(bars: Bars, days: int) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Mean volume of each time slot over the sessions before.

    Returns:
        ``(table, mean, row)``: ``table`` [sessions of all symbols, slots], the mean volume of that slot over the
        ``days`` sessions *before* that row's session (NaN where there is none); ``mean`` [sessions], the mean of the
        row over its slots; ``row`` [bars], the row of each bar's session.
    """
    symbol = bars.symbol_index.astype(np.int64)
    new_session = np.ones(len(bars), dtype=bool)
    new_session[1:] = (bars.session[1:] != bars.session[:-1]) | (symbol[1:] != symbol[:-1])
    row = np.cumsum(new_session) - 1
    volume = np.full((int(row[-1]) + 1, bars.slots_per_session), np.nan)
    volume[row, bars.slot] = bars.volume
    row_symbol = symbol[new_session]
    total = np.zeros_like(volume)
    count = np.zeros_like(volume)
    for lag in range(1, min(days, len(volume) - 1) + 1):
        earlier = volume[:-lag]
        same = row_symbol[lag:] == row_symbol[: len(row_symbol) - lag]
        known = same[:, None] & ~np.isnan(earlier)
        total[lag:] += np.where(known, earlier, 0.0)
        count[lag:] += known
    with np.errstate(invalid="ignore", divide="ignore"):
        table = total / count
    filled = count.sum(axis=1)
    mean = np.where(filled > 0, np.nansum(table, axis=1) / np.maximum((count > 0).sum(axis=1), 1), np.nan)
    return table, mean, row


@dataclass(frozen=True)
class VolumeProfile:
    """Time-of-day profile of the volume, ready to be asked for orders.

    Attributes:
        bars: The market.
        days: Sessions averaged.
    """

    bars: Bars
    days: int

    @cached_property
    def _slots(self) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
        return slot_profile(self.bars, self.days)

    @cached_property
    def _first_bar(self) -> npt.NDArray[np.int64]:
        """Flat index of the first bar of each session row."""
        row = self._slots[2]
        return np.flatnonzero(np.diff(row, prepend=-1))

    def expected(self, start: npt.NDArray[np.int64], horizon: int) -> FloatArray:
        """Volume expected in each period of orders, from the same time slots of the sessions before the order.

        Period ``j`` of an order takes the profile of its own session as long as what that averages has closed before
        the order starts; otherwise (orders longer than a session) the profile of the session in which the order
        starts. So no entry depends on a bar at or after ``start``.

        Args:
            start: Flat index of each order's first bar, [orders].
            horizon: Number of periods; periods beyond the symbol's last bar repeat it.

        Returns:
            float64 [orders, horizon], in units of volume, positive; 1 where nothing is known.
        """
        bars = self.bars
        table, mean, row = self._slots
        last = bars.offsets[bars.symbol_index[start] + 1] - 1
        index = np.minimum(start[:, None] + np.arange(horizon), last[:, None])
        slot, own = bars.slot[index], row[index]
        first = row[start][:, None]
        # What is known of the volume at the start, in units of volume; with no session before, the last bars' mean.
        profiled = mean[first] > 0
        level = np.where(profiled, mean[first], self._recent(start)[:, None])
        # The latest bar that enters table[own] belongs to the session before: it must have closed before the order.
        # In the start's own session that holds; in the next one as long as its slot lies before the start's.
        latest = self._first_bar[np.maximum(own - 1, 0)] + slot
        source = np.where((own == first) | (latest < start[:, None]), own, first)
        expected = table[source, slot]
        return np.where(profiled & ~np.isnan(expected), np.maximum(expected, 0.02 * level), level)

    def _recent(self, start: npt.NDArray[np.int64]) -> FloatArray:
        """Mean volume of the last bars before each start, within the symbol; 1 where there is none, [orders]."""
        bars = self.bars
        index = start[:, None] - 1 - np.arange(_LEVEL_WINDOW)
        inside = index >= bars.offsets[bars.symbol_index[start]][:, None]
        total = np.where(inside, bars.volume[np.maximum(index, 0)], 0.0).sum(1)
        return np.where(total > 0, total / np.maximum(inside.sum(1), 1), 1.0)


def _in_range(x: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    width = high - low
    return np.where(width > 0, (2 * x - low - high) / np.where(width > 0, width, 1.0), 0.0)


def compute_features(bars: Bars) -> Features:
    """Features and volatility of every bar; see :class:`Features`. Vectorised, one symbol at a time."""
    days = min(5, (SUPPORT - 1) // bars.slots_per_session)  # 0 for very short bars: the profile is then the level
    table, _, row = slot_profile(bars, days)
    profile = table[row, bars.slot]
    day, week = _calendar_angles(bars)
    values = np.empty((len(bars), len(FEATURES)), dtype=np.float32)
    volatility = np.empty(len(bars))
    for first, end in itertools.pairwise(bars.offsets):
        part = slice(int(first), int(end))
        volatility[part] = sigma = bar_volatility(bars.vwap[part])
        columns = _price_columns(bars, part, sigma) | _volume_columns(bars, part, sigma, profile[part])
        columns |= {"time_sin": np.sin(day[part]), "time_cos": np.cos(day[part])}
        columns |= {"week_sin": np.sin(week[part]), "week_cos": np.cos(week[part])}
        for column, name in enumerate(FEATURES):
            values[part, column] = np.clip(columns[name], -_CLIP, _CLIP)
    return Features(values, volatility)


def _price_columns(bars: Bars, part: slice, sigma: FloatArray) -> dict[str, FloatArray]:
    """Features of one symbol's prices, in units of its volatility."""
    vwap, close, low, high = bars.vwap[part], bars.close[part], bars.low[part], bars.high[part]
    log_vwap, log_close = np.log(vwap), np.log(close)
    return {
        "return_vwap": (log_vwap - _lagged(log_vwap, 1)) / sigma,
        "return_close": (log_close - _lagged(log_close, 1)) / sigma,
        "close_to_vwap": (log_close - log_vwap) / sigma,
        "gap": (np.log(bars.open[part]) - _lagged(log_close, 1)) / sigma,
        **{
            f"momentum_{lag}": (log_close - _lagged(log_close, lag)) / (sigma * np.sqrt(lag)) for lag in (4, 12, 24, 96)
        },
        "close_in_range": _in_range(close, low, high),
        "vwap_in_range": 2 * _in_range(vwap, low, high),
        "range": np.log(high / low) / sigma - 1.5,
    }


def _volume_columns(bars: Bars, part: slice, sigma: FloatArray, profile: FloatArray) -> dict[str, FloatArray]:
    """Features of one symbol's volumes, against their recent level and their time-of-day profile."""
    volume, log_vwap, log_close = bars.volume[part], np.log(bars.vwap[part]), np.log(bars.close[part])
    level = _mean(volume, _LEVEL_WINDOW)
    level = np.where(level > 0, level, 1.0)
    floor = 0.02 * level  # keeps the logarithm of a bar without volume finite, whatever the unit of volume
    profile = np.where(np.isnan(profile) | (profile <= 0), level, profile)
    squared = (log_vwap - _lagged(log_vwap, 1)) ** 2
    return_close = (log_close - _lagged(log_close, 1)) / sigma
    return {
        "return_times_volume": return_close * np.clip(volume / level, 0, 4) / 2,
        "volume_to_level": np.log((volume + floor) / level),
        "volume_to_profile": np.log((volume + floor) / (profile + floor)),
        "volume_trend": 2 * np.log((_mean(volume, 6) + floor) / (_mean(volume, 48) + floor)),
        "volatility_trend": np.log(_mean(squared, 8) / sigma**2 + 0.02),
        "profile_to_level": np.log((profile + floor) / (level + floor)),
    }


def _calendar_angles(bars: Bars) -> tuple[FloatArray, FloatArray]:
    """Position in the session and in the week as angles, [bars] each: the calendar is known in advance."""
    day: FloatArray = 2 * np.pi * bars.slot / bars.slots_per_session
    hour_of_week = (bars.timestamp // 3_600_000_000_000 + 96) % 168  # 1970-01-01 was a Thursday: Sunday 00:00 is 0
    week: FloatArray = 2 * np.pi * hour_of_week.astype(np.float64) / 168.0
    return day, week


class FeatureStream:
    """Incremental form: feed closed bars one by one, get the features of the newest.

    The bars since a session start at least :data:`SUPPORT` bars ago are kept and go through :func:`compute_features`
    itself, so batch and stream cannot drift apart.

    Args:
        history: Bars of one symbol, at least :data:`SUPPORT` of them for meaningful features, the last ones gapless.

    Raises:
        BarsError: when the history holds several symbols.
    """

    def __init__(self, history: Bars) -> None:
        if len(history.symbols) != 1:
            raise BarsError(f"a stream follows one symbol, the history holds {len(history.symbols)}", rule="one symbol")
        self._calendar = history.calendar.name
        self._frequency = history.frequency
        self._frame = self._kept(history)

    @staticmethod
    def _kept(bars: Bars) -> pd.DataFrame:
        """What the next rows may need: slots are positions in a session, so it starts with one of full length."""
        full = np.flatnonzero(bars.slot == bars.slots_per_session - 1) - bars.slots_per_session + 1
        early = full[full <= len(bars) - SUPPORT - 1]
        return bars.frame.iloc[max(int(early[-1]), 0) if early.size else 0 :]

    def push(self, bar: dict[str, Any]) -> npt.NDArray[np.float32]:
        """Features [features] after one more closed bar (a mapping with the columns of the table of bars).

        Raises:
            BarsError: when the bar breaks a rule of :class:`Bars`; the stream is then as before.
        """
        import pandas as pd

        grown = pd.concat([self._frame, pd.DataFrame([bar])], ignore_index=True)
        bars = Bars.from_frame(grown, calendar=self._calendar, frequency=self._frequency)
        self._frame = self._kept(bars)
        row: npt.NDArray[np.float32] = compute_features(bars).values[-1]
        return row
