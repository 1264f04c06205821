"""Contexts of the bars that orders read: each (bar, side) is encoded once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.errors import PolicyError
from lem_models.execution.policy import Policy, checked_contexts, policy_faults, rows_not_finite
from lem_models.execution.records import OrderContexts
from lem_models.features.market import Market
from lem_models.markets.calendar.frequency import moment

__all__ = ["OrderBars"]

Integers = npt.NDArray[np.int64]


class OrderBars:
    """Contexts of every (bar, side) that some orders read before their periods.

    Args:
        policy: Who encodes.
        market: The market.
        start: Flat index of each order's first bar, int64 [orders].
        max_periods: Maximum duration of each order, int64 [orders].
        is_buy: Whether each order is a buy, bool [orders].
        table: The orders, for the names in errors.

    Attributes:
        values: One row for each (bar, side), [rows, width]; ``None`` for a policy that encodes nothing.

    Raises:
        PolicyError: The policy encodes something that is not finite, or not a tensor of floats.
    """

    def __init__(
        self,
        policy: Policy,
        market: Market,
        start: Integers,
        max_periods: Integers,
        is_buy: npt.NDArray[np.bool_],
        table: pd.DataFrame | None = None,
    ) -> None:
        self.values: torch.Tensor | None = None
        encode = getattr(policy, "encode", None)
        if not len(start) or not callable(encode):
            return
        total = int(max_periods.sum())
        within = np.arange(total) - np.repeat(np.cumsum(max_periods) - max_periods, max_periods)
        self._size = len(market.bars)
        read = np.repeat(start - 1 + self._size * is_buy, max_periods) + within
        self._keys = np.unique(read)
        with policy_faults(policy, table):
            encoded = encode(market, self._keys % self._size, np.where(self._keys >= self._size, 1, -1))
            self.values = checked_contexts(encoded, len(self._keys))
            wrong = () if self.values is None else rows_not_finite(self.values)
            if wrong:
                bar = moment(market.bars.timestamp[self._keys[wrong[0]] % self._size])
                readers = np.repeat(np.arange(len(start)), max_periods)[read == self._keys[wrong[0]]]
                raise PolicyError(
                    f"encode() gave numbers that are not finite for the bar of {bar:%Y-%m-%d %H:%M} UTC",
                    positions=tuple(readers.tolist()),
                )

    def of(self, start: Integers, is_buy: npt.NDArray[np.bool_], periods: int) -> OrderContexts | None:
        """Context of the last closed bar before each period of some of the orders."""
        if self.values is None:
            return None
        keys = (start - 1 + self._size * is_buy)[:, None] + np.arange(periods)
        # Periods after an order's maximum may lack a context. Any row will do, because nothing is traded there.
        rows = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return OrderContexts(self.values, torch.from_numpy(rows))
