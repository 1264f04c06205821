"""Bars of this package as bars of NautilusTrader, for backtests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.objects import Quantity

from lem_models.errors import BarsError
from lem_models.markets.bars import Bars
from lem_models.markets.validation import VALUES

__all__ = ["MoneyBar", "engine_bars"]


class MoneyBar(Bar):
    """A bar that knows the money that was traded, as those of the Binance adapter do, so its VWAP is known."""

    quote_volume: Decimal


def engine_bars(
    bars: Bars | pd.DataFrame,
    instrument: Any,  # noqa: ANN401
    bar_type: BarType,
    *,
    with_money: bool = True,
) -> list[Bar]:
    """Bars of one symbol as bars of the engine. ``ts_init``, when the engine learns of a bar, is its close.

    Args:
        bars: The bars, of one symbol.
        instrument: Its instrument; prices and volumes are rounded to its precisions.
        bar_type: Type of the bars; their length must be that of the bars.
        with_money: Whether the bars know their notional (:class:`MoneyBar`).

    Raises:
        BarsError: There are several symbols, or the bars have another length.
    """
    frame = bars.frame if isinstance(bars, Bars) else bars
    symbols, step = frame["symbol"].unique(), pd.Timedelta(bar_type.spec.timedelta)
    if len(symbols) != 1:
        raise BarsError(f"the bars have {len(symbols)} symbols: take one, bars.select([name])", rule="one symbol")
    if isinstance(bars, Bars) and bars.frequency != step:
        raise BarsError(f"the bars are of {bars.frequency}, and {bar_type} says {step}", rule="one frequency")
    made = []
    starts = pd.DatetimeIndex(frame["timestamp"]).as_unit("ns").astype("int64").tolist()
    for start, values in zip(starts, frame[list(VALUES)].to_numpy(dtype=float).tolist(), strict=True):
        *prices, volume, notional = values
        close = start + int(step.value)
        exact = [instrument.make_price(price) for price in prices]
        bar = (MoneyBar if with_money else Bar)(
            bar_type, *exact, Quantity(volume, instrument.size_precision), close, close
        )
        if with_money:
            bar.quote_volume = Decimal(repr(notional))
        made.append(bar)
    return made
