"""Bars of stock vendors: regular hours, and VWAPs that lie outside of the range of their bar.

Vendors of stocks send trades before the opening and after the close too. They count trades in the VWAP that set no high
or low, such as odd lots, so that it may lie outside the range: in 5 to 10 % of a minute's bars. A bar whose VWAP lies
outside of its range is refused by :class:`~lem_models.markets.bars.Bars`, because it usually means a wrong unit. So a
VWAP outside of the range by at most 5 % is moved to its nearest price, the bar is counted, its ``notional_exact`` is
False, and the column ``vendor_vwap`` keeps what the vendor sent.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.markets.download.source import Fetched, count_repair, plain_table

__all__ = ["keep_regular_hours", "with_vwap"]

_DAY = pd.Timedelta(days=1)
_ROUNDING = 1e-6  # a VWAP outside of the range by no more is rounded, not of other trades
_FURTHEST = 0.05  # a VWAP outside of the range by more is wrong, and the bar is refused


def with_vwap(symbol: str, timestamp: pd.DatetimeIndex, values: Mapping[str, npt.NDArray[Any]]) -> Fetched:
    """Bars whose money is the vendor's VWAP times the volume.

    Args:
        symbol: The symbol.
        timestamp: [bars], starts of the bars, with a zone.
        values: [bars] for open, high, low, close, volume and vwap; a VWAP that is NaN is missing.
    """
    vwap = np.asarray(values["vwap"], dtype=np.float64)
    low, high, volume = (np.asarray(values[name], dtype=np.float64) for name in ("low", "high", "volume"))
    typical = (high + low + np.asarray(values["close"], dtype=np.float64)) / 3.0
    missing = ~np.isfinite(vwap)
    used = np.clip(np.where(missing, typical, vwap), low, high)
    used = np.where(np.abs(used - vwap) > _FURTHEST * vwap, vwap, used)
    moved = ~missing & (volume > 0.0) & (np.abs(used - vwap) > _ROUNDING * vwap)
    exact = ~missing & ~moved
    table = plain_table(symbol, timestamp, {**values, "notional": used * volume}, exact=exact)
    table["vendor_vwap"] = vwap
    fetched = Fetched(table)
    count_repair(fetched, "VWAPs outside of the bar's range, moved into it", int(np.sum(moved)))
    count_repair(fetched, "VWAPs missing, estimated by (high + low + close) / 3", int(np.sum(missing & (volume > 0.0))))
    return fetched


def keep_regular_hours(fetched: Fetched, exchange: str, interval: pd.Timedelta) -> None:
    """Leave out bars outside the sessions of an exchange, which are counted; daily bars stay.

    Args:
        fetched: The bars; changed in place.
        exchange: Code of the exchange, e.g. ``"XNYS"``.
        interval: Length of a bar.

    Raises:
        ConfigError: There is no such exchange.
    """
    import exchange_calendars

    if interval >= _DAY or fetched.table.empty:
        return
    start = fetched.table["timestamp"]
    days = start.dt.tz_convert(None).dt.normalize()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the library's own, about pandas
            calendar = exchange_calendars.get_calendar(exchange, start=days.iloc[0] - _DAY, end=days.iloc[-1] + _DAY)
            schedule = calendar.schedule
    except (ValueError, exchange_calendars.errors.CalendarError) as error:
        raise ConfigError(f"the hours of the exchange {exchange!r} are not known: {error}") from None
    moments = start.array.as_unit("ns").asi8
    opening, close = (pd.DatetimeIndex(schedule[name]).as_unit("ns").asi8 for name in ("open", "close"))
    session = np.searchsorted(opening, moments, side="right") - 1
    inside = (session >= 0) & (moments < close[np.maximum(session, 0)])
    count_repair(fetched, f"bars outside the regular hours of {exchange}, left out", int(np.sum(~inside)))
    fetched.table = fetched.table[inside].reset_index(drop=True)
