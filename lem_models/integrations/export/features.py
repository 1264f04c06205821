"""Causal features inside a graph: from raw bars and the bars that the state carries.

The formulas are those of :data:`~lem_models.features.causal.DEFINITIONS`, on torch tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lem_models.features.causal import DEFINITIONS, FEATURE_LIMIT, Inputs, Window

__all__ = ["SERIES", "TensorInputs", "feature_tensor"]

SERIES = ("log_vwap", "log_close", "squared_return", "volume")
"""Series of the state, in order."""


class TensorInputs(Inputs):
    """The newest bars with their past, as tensors.

    Args:
        bars: Columns of the newest bars, [rows] each, see :class:`~lem_models.features.causal.Inputs`.
        series: Series of the last bars, oldest first, [rows, series, bars].
        count: Bars that a row has had, int64 [rows].
        table: Volumes by session and slot, the current session first, [rows, sessions, slots]; below 0 where there was
            no bar.
        slot: Slot of the newest bars, int64 [rows].
        sessions: Sessions that the profile of the features averages.
    """

    xp: Any = torch

    def __init__(
        self, bars: SimpleNamespace, series: Tensor, count: Tensor, table: Tensor, slot: Tensor, sessions: int
    ) -> None:
        self.bars = bars
        self._series, self._count, self._table, self._slot, self._sessions = series, count, table, slot, sessions

    def lag(self, series: str, bars: int) -> Any:  # noqa: ANN401 (a tensor in place of an array)
        """See :meth:`Inputs.lag`."""
        return self._series[:, SERIES.index(series), -1 - bars]

    def mean(self, series: str, window: Window) -> Any:  # noqa: ANN401
        """See :meth:`Inputs.mean`."""
        length = len(window.weights)
        weights, total = (
            torch.tensor(each.tolist(), dtype=torch.float64) for each in (window.oldest_first, window.total)
        )
        values = self._series[:, SERIES.index(series), -length:]
        return (values * weights).sum(1) / total[self._count.clamp(1, length) - 1]

    def slot_mean(self) -> Any:  # noqa: ANN401
        """See :meth:`Inputs.slot_mean`."""
        table = self._table[:, 1 : 1 + self._sessions]
        same = table.gather(2, self._slot[:, None, None].expand(-1, table.shape[1], 1))[:, :, 0]
        return known_mean(same)


def known_mean(volumes: Tensor) -> Tensor:
    """Mean over the second axis of what is known (not below 0); NaN where nothing is."""
    count = (volumes >= 0).to(volumes.dtype).sum(1)
    return torch.where(count > 0, volumes.clamp(min=0).sum(1) / count.clamp(min=1), torch.nan)


def feature_tensor(inputs: TensorInputs, names: Sequence[str]) -> Tensor:
    """Features of some rows, float32 [rows, features]."""
    values = [torch.as_tensor(DEFINITIONS[name].formula(inputs)) for name in names]
    return torch.stack(values, 1).clamp(-FEATURE_LIMIT, FEATURE_LIMIT).to(torch.float32)
