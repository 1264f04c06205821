"""VWAPs of stock vendors: they count trades that set no high or low, such as odd lots, and may lie outside the range.

That is so in 5 to 10 % of a minute's bars. A bar whose VWAP lies outside of its range is refused by
:class:`~lem_models.markets.bars.Bars`, because it usually means a wrong unit. So a VWAP outside of the range by at most
5 % is moved to its nearest price, the bar is counted, its ``notional_exact`` is False, and the column ``vendor_vwap``
keeps what the vendor sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.download.source import Fetched, count_repair, plain_table

__all__ = ["with_vwap"]

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
