"""Real bars without a download: data that a dependency of the package ships.

``"us-index-daily"``: daily bars of the S&P 500 (symbol ``SPX``) and of the Nasdaq Composite (``IXIC``), 5,031 sessions
from 1999-01-04 to 2018-12-31. They are the data sets ``arch.data.sp500`` and ``arch.data.nasdaq`` of the package
``arch`` (Kevin Sheppard, NCSA licence), which uses them in its examples. ``arch`` describes them as "OHLC, adjusted
close and the trading volume" and names no source; the columns are those of Yahoo Finance.

What readers of results must know:

- An index is not traded. Its level stands for a price, and its volume is what the source gives for the market behind
  it: a size in units or in money means nothing here. Fractions, slippages and volatilities do.
- The source has no notional. It is estimated as ``volume * (high + low + close) / 3``, so the VWAP of a bar is its
  typical price: ``notional_exact`` is False in every row.
- On 2015-05-12 and 2018-01-09 the source has no volume of the Nasdaq Composite, although its prices moved. A bar
  without volume would be a halt, so these two have the volume of the day before; ``volume_exact`` is False there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lem_models.errors import UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.markets.bars import Bars

__all__ = ["list_samples", "sample_bars"]


def list_samples() -> list[str]:
    """Names of the samples of real bars, for :meth:`Bars.sample`.

    Example:
        >>> list_samples()
        ['us-index-daily']
    """
    return sorted(_SAMPLES)


def sample_bars(name: str) -> Bars:
    """Real bars without a download; see :meth:`Bars.sample`."""
    from lem_models.markets.bars import Bars

    if name not in _SAMPLES:
        raise UnknownNameError.among("sample of bars", name, _SAMPLES)
    return Bars.from_frame(_SAMPLES[name]())


def _us_index_daily() -> pd.DataFrame:
    import pandas as pd
    from arch.data import nasdaq, sp500

    return pd.concat([_index("SPX", sp500.load()), _index("IXIC", nasdaq.load())], ignore_index=True)


def _index(symbol: str, table: pd.DataFrame) -> pd.DataFrame:
    """Bars of an index from its table of ``arch``, stamped at midnight UTC of their session."""
    import pandas as pd

    bars = table.drop(columns="Adj Close").rename(columns=str.lower)
    bars.insert(0, "timestamp", pd.DatetimeIndex(table.index).tz_localize("UTC").as_unit("ns"))
    bars.insert(1, "symbol", symbol)
    has_volume = bars["volume"] > 0
    bars["volume"] = bars["volume"].where(has_volume).ffill().astype("float64")
    bars["notional"] = bars["volume"] * (bars["high"] + bars["low"] + bars["close"]) / 3
    return bars.assign(notional_exact=False, volume_exact=has_volume).reset_index(drop=True)


_SAMPLES: dict[str, Callable[[], pd.DataFrame]] = {"us-index-daily": _us_index_daily}
