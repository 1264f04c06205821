"""The result of an execution: what each order traded, at which price, against which benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.order_table import COLUMNS

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["ExecutionResult"]

_COMPLETE = 1 - 1e-9
_RESULT_COLUMNS = (
    "periods_used",
    "filled",
    "completed",
    "executed_price",
    "benchmark_price",
    "arrival_price",
    "volatility_bps",
    "slippage_bps",
)


@dataclass(frozen=True)
class ExecutionResult:
    """Result of :func:`~lem_models.execution.execute.execute`.

    ``slippage_bps = side * (executed / benchmark - 1) * 1e4``, buy +1, sell -1: positive is a cost.

    Attributes:
        orders: One row per order that ran, in the order of the table: its own columns, ``periods_used``, ``filled``
            (fraction), ``completed``, ``executed_price``, ``benchmark_price``, ``arrival_price`` (last close before the
            order), ``volatility_bps`` (bar volatility known at the start) and ``slippage_bps``.
        excluded: ``order_id, symbol, start, reason`` of the orders that could not run.
        finish_period: Period in which the policy decided to finish, 0-based, [orders].
    """

    orders: pd.DataFrame
    excluded: pd.DataFrame
    _bars: Bars
    _start: npt.NDArray[np.int64]
    _fills: tuple[npt.NDArray[np.float64], ...]
    finish_period: npt.NDArray[np.int64]

    @classmethod
    def assemble(
        cls,
        bars: Bars,
        table: pd.DataFrame,
        start: npt.NDArray[np.int64],
        excluded: pd.DataFrame,
        parts: Sequence[Mapping[str, npt.NDArray[Any]]],
    ) -> ExecutionResult:
        """Join the passes of an execution."""
        orders = table[[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)]].copy()
        for name in _RESULT_COLUMNS:
            if name != "completed":
                kind = np.int64 if name == "periods_used" else np.float64
                orders[name] = np.concatenate([part[name] for part in parts]) if parts else np.zeros(0, dtype=kind)
        # Sums of fractions carry rounding errors of 1e-16; a complete order is 1.
        orders["completed"] = orders["filled"] > _COMPLETE
        orders["filled"] = orders["filled"].where(~orders["completed"], 1.0)
        others = [c for c in orders.columns if c not in _RESULT_COLUMNS]
        finish = np.concatenate([part["finish_period"] for part in parts]) if parts else np.zeros(0, dtype=np.int64)
        fills = tuple(part["fills"] for part in parts)
        return cls(orders[[*others, *_RESULT_COLUMNS]], excluded, bars, start, fills, finish)

    @cached_property
    def schedule(self) -> pd.DataFrame:
        """One row per period traded: ``order_id, period, timestamp, fraction, price`` (the bar's VWAP)."""
        rows, periods, fractions = [], [], []
        base = 0
        for fills in self._fills:
            row, period = np.nonzero(fills > 0)
            rows.append(row + base)
            periods.append(period)
            fractions.append(fills[row, period])
            base += len(fills)
        row = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        period = np.concatenate(periods) if rows else np.zeros(0, dtype=np.int64)
        bar = self._start[row] + period
        return pd.DataFrame(
            {
                "order_id": self.orders["order_id"].to_numpy()[row],
                "period": period,
                "timestamp": pd.to_datetime(self._bars.timestamp[bar], utc=True),
                "fraction": np.concatenate(fractions) if rows else np.zeros(0),
                "price": self._bars.vwap[bar],
            }
        )

    def periods_of(self, order_id: int | str) -> pd.DataFrame:
        """Every period of one order, traded or not: ``period, timestamp, price, volume, fraction``.

        Raises:
            KeyError: when no order that ran has this id.
        """
        found = np.flatnonzero((self.orders["order_id"] == order_id).to_numpy())
        if not found.size:
            raise KeyError(f"no executed order has the id {order_id!r}")
        row = int(found[0])
        count = int(self.orders["max_periods"].iloc[row])
        bar = self._start[row] + np.arange(count)
        fills = next(part for part, base in self._passes() if base <= row < base + len(part))
        base = next(base for part, base in self._passes() if base <= row < base + len(part))
        return pd.DataFrame(
            {
                "period": np.arange(count),
                "timestamp": pd.to_datetime(self._bars.timestamp[bar], utc=True),
                "price": self._bars.vwap[bar],
                "volume": self._bars.volume[bar],
                "fraction": fills[row - base, :count],
            }
        )

    def _passes(self) -> list[tuple[npt.NDArray[np.float64], int]]:
        bases = np.cumsum([0, *(len(part) for part in self._fills)])
        return [(part, int(base)) for part, base in zip(self._fills, bases[:-1], strict=True)]

    def summary(self, by: str | list[str] | None = "min_periods", **settings: Any) -> pd.DataFrame:
        """Improvement (minus the slippage) by group, with 95 % intervals over calendar days.

        Args:
            by: Column or columns to group by; ``None`` for one row over all orders.
            **settings: See :func:`lem_models.evaluation.statistics.summarise`.
        """
        from lem_models.evaluation.statistics import summarise

        return summarise(self.orders, by, **settings)

    def __repr__(self) -> str:
        """One line."""
        incomplete = int((~self.orders["completed"]).sum())
        mean = self.orders["slippage_bps"].mean()
        slippage = "nothing filled" if pd.isna(mean) else f"mean slippage {mean:+.2f} bps"
        counts = f"{len(self.orders)} orders, {incomplete} incomplete, {len(self.excluded)} excluded"
        return f"ExecutionResult({counts}, {slippage})"
