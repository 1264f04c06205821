"""Bars of NautilusTrader as bars of this package.

A bar of NautilusTrader is known when it has closed, at ``ts_init``; a bar here is stamped with its start. It has no
notional, so its VWAP is not known: it is estimated as (high + low + close) / 3, the estimate of every vendor's bars
here (``notional="hlc3"``). A bar that knows the money that was traded has it in an attribute ``quote_volume``, as those
of the Binance adapter do (``BinanceBar``), and then the VWAP is exact.

Nothing here imports ``nautilus_trader``: bars are read by their attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Protocol

import pandas as pd

from lem_models.markets.validation import REQUIRED

__all__ = ["TradedBar", "bar_row", "closed_after", "history_table"]


class TradedBar(Protocol):
    """A bar as NautilusTrader has it; prices and volume turn into floats."""

    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    ts_init: int


def bar_row(bar: TradedBar, step: int) -> dict[str, Any]:
    """The bar as a mapping of the columns of bars.

    Args:
        bar: The bar.
        step: Its length, nanoseconds.
    """
    high, low, close, volume = float(bar.high), float(bar.low), float(bar.close), float(bar.volume)
    money = getattr(bar, "quote_volume", None)
    notional = float(Decimal(str(money))) if money is not None else (high + low + close) / 3.0 * volume
    return {
        "timestamp": pd.Timestamp(bar.ts_init - step, tz="UTC"),
        "open": float(bar.open),
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "notional": notional,
    }


def closed_after(bars: Iterable[TradedBar], moment: int) -> list[TradedBar]:
    """The bars that closed after a moment, the oldest first.

    Args:
        bars: Bars, the newest first, as the engine's cache has them.
        moment: Nanoseconds UTC.
    """
    newer: list[TradedBar] = []
    for bar in bars:
        if bar.ts_init <= moment:
            break
        newer.append(bar)
    newer.reverse()
    return newer


def history_table(bars: Sequence[TradedBar], symbol: str, step: int) -> pd.DataFrame:
    """A table of bars, as :meth:`Bars.from_frame` takes it.

    Args:
        bars: Bars, the oldest first.
        symbol: Id of the instrument.
        step: Length of a bar, nanoseconds.
    """
    rows = [bar_row(bar, step) | {"symbol": symbol} for bar in bars]
    return pd.DataFrame(rows, columns=list(REQUIRED))
