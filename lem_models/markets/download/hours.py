"""Bars of the regular session: vendors of stocks send trades before the opening and after the close too."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.markets.download.source import Fetched, count_repair

__all__ = ["keep_regular_hours"]

_DAY = pd.Timedelta(days=1)


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
