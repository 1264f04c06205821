"""Improvements of the same orders on draws of the martingale null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError, OrderError

__all__ = ["NullDraws"]


@dataclass(frozen=True)
class NullDraws:
    """Improvements of the same orders on draws of the null, as the split of the improvement needs them.

    Attributes:
        order_id: Identifiers, [orders].
        improvement_bps: Improvement, [draws, orders]; NaN where nothing was filled.
        volatility_bps: Bar volatility known at the start, [draws, orders], from the bars of the draw.
    """

    order_id: npt.NDArray[Any]
    improvement_bps: npt.NDArray[np.float64]
    volatility_bps: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Number of draws."""
        return len(self.improvement_bps)

    @classmethod
    def of(cls, orders: pd.DataFrame) -> NullDraws:
        """One draw, from the orders table of its result."""
        improvement = 0.0 - orders["slippage_bps"].to_numpy(np.float64)
        return cls(
            orders["order_id"].to_numpy(), improvement[None], orders["volatility_bps"].to_numpy(np.float64)[None]
        )

    @classmethod
    def join(cls, draws: Sequence[NullDraws]) -> NullDraws:
        """Join draws of the same orders in the same order, at least one.

        Raises:
            ConfigError: There is no draw.
            OrderError: The draws hold different orders.
        """
        if not draws:
            raise ConfigError("the split needs at least one draw of the martingale null")
        for draw in draws[1:]:
            if not np.array_equal(draw.order_id, draws[0].order_id):
                raise OrderError("draws of the null hold different orders", field="order_id", rule="same orders")
        improvements, volatilities = zip(*((d.improvement_bps, d.volatility_bps) for d in draws), strict=True)
        return cls(draws[0].order_id, np.concatenate(improvements), np.concatenate(volatilities))

    def of_orders(self, order_id: npt.ArrayLike) -> NullDraws:
        """The draws of some of the orders, in the order of the ids.

        Raises:
            OrderError: The draws lack one of the orders.
        """
        wanted = np.asarray(order_id)
        position = pd.Index(self.order_id).get_indexer(pd.Index(wanted))
        if (position < 0).any():
            raise OrderError(
                f"the draws of the null hold different orders (e.g. {wanted[position < 0][0]} is not there)",
                field="order_id",
                rule="same orders",
            )
        return NullDraws(wanted, self.improvement_bps[:, position], self.volatility_bps[:, position])

    def means(self) -> npt.NDArray[np.float64]:
        """Mean improvement of each order over the draws in which it was priced: bps and bar volatilities, [orders, 2].

        NaN where there is no such draw.
        """
        volatility = np.where(self.volatility_bps > 0, self.volatility_bps, np.nan)
        columns = []
        for drawn in (self.improvement_bps, self.improvement_bps / volatility):
            known = np.isfinite(drawn).sum(axis=0)
            first = np.where(np.isfinite(drawn[0]), drawn[0], 0.0)
            # About the first draw: the mean of equal draws is their value to the last bit.
            columns.append(np.where(known > 0, first + _sum(drawn - first) / np.maximum(known, 1), np.nan))
        return np.column_stack(columns)


def _sum(drawn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum over the draws without NaN, [orders]."""
    total: npt.NDArray[np.float64] = np.nansum(drawn, axis=0)
    return total
