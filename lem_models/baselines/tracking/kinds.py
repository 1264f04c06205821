"""The kinds of bars that fitted numbers are shipped for, and which of them some bars are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import DAY, HOUR

__all__ = ["KINDS", "kind_numbers"]

KINDS: tuple[str, ...] = ("crypto-hourly", "crypto-30min", "dow-daily", "equity-5min")
"""Kinds of bars, by the evaluation markets whose training periods the numbers come from."""


def kind_numbers(market: Market, rows: npt.NDArray[np.int64]) -> Tensor:
    """Place in :data:`KINDS` of each bar's kind, float64 [rows, 1]; it reads calendars and the frequency alone.

    Markets that never close are hourly from three quarters of an hour on, others daily from a day on.
    """
    numbers = np.array([float(KINDS.index(_kind(market.bars, symbol))) for symbol in market.bars.symbols])
    return torch.from_numpy(numbers[market.bars.grid.symbol(rows)][:, None])


def _kind(bars: Bars, symbol: str) -> str:
    length = bars.frequency.value
    if bars.calendar_names[symbol] == "24/7":
        return "crypto-hourly" if length >= 3 * HOUR // 4 else "crypto-30min"
    return "dow-daily" if length >= DAY else "equity-5min"
