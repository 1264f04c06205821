"""What the convex policy reads: functions of the volumes and prices of the order so far and of the last closed bars.

None of them has a sign: a market mirrored in log price has the same features, and a sell is traded as a buy. All are
bounded, because coefficients multiply them and one order in ten thousand has a bar without precedent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.execution.records import ExecutionState, OrderBatch
from lem_models.features.causal import FEATURES
from lem_models.features.market import Market
from lem_models.markets.calendar.frequency import DAY

__all__ = ["CONTEXT", "NAMES", "expected_share", "market_context", "order_features"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_PLAIN = (
    *("range", "volume_to_level", "volume_to_profile", "volume_trend", "volatility_trend", "profile_to_level"),
    *("time_sin", "time_cos", "week_sin", "week_cos"),
)
_ABSOLUTE = ("return_close", "momentum_12", "momentum_96")
_CALENDAR = ("month_end", "expiry", "quarterly_expiry")

CONTEXT: tuple[str, ...] = (*_PLAIN, *(f"abs_{name}" for name in _ABSOLUTE), *_CALENDAR)
"""Features of the last closed bar (:mod:`lem_models.features.causal`) and of the calendar after it."""

NAMES: tuple[str, ...] = (
    *("one", "schedule", "share", "log_ratio", "log_ratio_squared", "last_share", "last_ratio", "gap", "move"),
    *("slot", "last_slot"),
    *CONTEXT,
    *("share_log_ratio", "share_volatility", "share_gap", "share_move"),
)
"""Names of the features, in order."""

_BOUND = 2.5
_FADING = 0.8  # per weekday to an event of the calendar
_FLOOR = 0.05  # bars of volume: the ratio of nothing to nothing is 1


def market_context(market: Market, rows: Integers) -> Tensor:
    """Features of the market at the close of some bars, float64 [rows, features], columns :data:`CONTEXT`."""
    values = market.feature_windows(rows, 1)[:, 0].astype(np.float64)
    plain = values[:, [FEATURES.index(name) for name in _PLAIN]]
    absolute = np.abs(values[:, [FEATURES.index(name) for name in _ABSOLUTE]])
    read = np.clip(np.concatenate([plain, absolute], axis=1), -_BOUND, _BOUND)
    return torch.from_numpy(np.concatenate([read, _calendar(market, rows)], axis=1))


def _calendar(market: Market, rows: Integers) -> Floats:
    """Nearness of events to the day of each bar, [rows, 3]; 0 for bars inside the day.

    The month's last weekday, the third Friday of a month, when options expire, and of a quarter, when index weights
    change too. Dates are known in advance.
    """
    near = np.zeros((len(rows), len(_CALENDAR)))
    if market.bars.frequency.value < DAY or not len(rows):
        return near
    # Daily bars may start at local midnight in a zone with daylight saving. Six hours later all are in their day.
    day = ((market.bars.timestamp[rows] + DAY // 4) // DAY).astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    near[:, 0] = _FADING ** _weekdays(day, (month + 1).astype("datetime64[D]") - 1)
    for column, every in ((1, 1), (2, 3)):
        # Months of a quarter's end are 2, 5, 8 and 11, counted from January 1970.
        expiring = month + ((-(month.astype(np.int64) + 1)) % every).astype("timedelta64[M]")
        passed = _third_friday(expiring) <= day
        near[:, column] = _FADING ** _weekdays(day, _third_friday(expiring + (passed * every).astype("timedelta64[M]")))
    return near


def _third_friday(month: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
    first = month.astype("datetime64[D]")
    to_friday = (4 - (first.astype(np.int64) + 3) % 7) % 7  # 1970-01-01 was a Thursday
    return np.asarray(first + to_friday + 14)


def _weekdays(after: npt.NDArray[np.datetime64], until: npt.NDArray[np.datetime64]) -> Integers:
    """Weekdays after a day up to and including another."""
    return np.asarray(np.busday_count(after + 1, until + 1))


def expected_share(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """Share of the expected volume up to and including the period, [orders]: the schedule; 1 in the last period."""
    expected = state.expected_volume.cumsum(1)  # in sequence: trailing zeros of longer orders change no bit
    share = expected[:, state.period] / expected[:, -1].clamp(min=1e-12)
    return torch.where(state.period + 1 >= orders.max_periods, 1.0, share)


def order_features(context: Tensor, orders: OrderBatch, state: ExecutionState) -> list[Tensor]:
    """Features of orders before a period, [orders] each, as :data:`NAMES`.

    Args:
        context: As :func:`market_context` gives it, [orders, features] or wider.
        orders: The orders.
        state: What has happened so far.
    """
    s, expected = state.period, state.expected_volume
    before = expected.cumsum(1)
    total = before[:, -1].clamp(min=1e-12)
    so_far = before[:, s - 1] if s else torch.zeros_like(total)
    volume = state.volumes.cumsum(1)[:, -1] if s else torch.zeros_like(total)
    last = state.volumes[:, -1] if s else torch.zeros_like(total)
    usual = expected[:, s - 1] if s else torch.zeros_like(total)
    ahead = (total - so_far).clamp(min=0.0)
    log_ratio = torch.log((volume + _FLOOR) / (so_far + _FLOOR)).clamp(-1.5, 1.5)
    # Volume persists: of what has come above or below expectation, the bars ahead keep about half in logs.
    all_volume = (volume + ahead * torch.exp(log_ratio / 2)).clamp(min=1e-12)
    share = volume / all_volume
    gap = torch.log1p(torch.log(state.last_close / state.vwap).abs() / state.volatility).clamp(max=1.4)
    move = torch.log1p(torch.log(state.last_close).abs() / state.volatility).clamp(max=1.6)
    left = (orders.max_periods - s).clamp(min=1)
    slot = (expected[:, s] * left / ahead.clamp(min=1e-12)).clamp(max=_BOUND)
    end = expected.gather(1, (orders.max_periods - 1)[:, None])[:, 0]
    last_slot = (end * orders.max_periods / total).clamp(max=_BOUND)
    last_ratio = torch.log((last + _FLOOR) / (usual + _FLOOR)).clamp(-_BOUND, _BOUND)
    schedule = expected_share(orders, state)
    read = [context[:, number] for number in range(len(CONTEXT))]
    trend = read[CONTEXT.index("volatility_trend")]
    return [
        *(torch.ones_like(total), schedule, share, log_ratio, log_ratio * log_ratio),
        *((last / all_volume).clamp(max=0.4), last_ratio),
        *(gap, move, slot, last_slot),
        *read,
        *(share * log_ratio, share * trend, share * gap, share * move),
    ]
