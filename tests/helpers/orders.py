"""Orders, and windows of a market for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from lem_models.execution.records import BENCHMARKS, MarketWindow, OrderBatch
from lem_models.markets.bars import Bars
from lem_models.orders.table import complete_orders


def order_table(bars: Bars, row: int | Sequence[int], **columns: Any) -> pd.DataFrame:
    """Orders that start at flat rows of the bars."""
    rows = np.atleast_1d(row)
    table = {
        "symbol": [bars.symbols[i] for i in bars.symbol_index[rows]],
        "start": pd.to_datetime(bars.timestamp[rows], utc=True),
        "side": "buy",
    }
    return pd.DataFrame(table).assign(**columns)


def order_batch(count: int = 1, dtype: torch.dtype = torch.float64, **columns: Any) -> OrderBatch:
    """Orders without a market."""
    table = pd.DataFrame({"symbol": ["X"] * count, "start": pd.Timestamp("2024-01-01", tz="UTC"), "side": "buy"})
    return OrderBatch.from_frame(complete_orders(table.assign(**columns), horizon=None, risk_aversion=0.0), dtype)


def random_orders(
    rng: np.random.Generator,
    count: int,
    horizon: int,
    *,
    sized: bool = True,
    benchmarks: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Feasible orders of every kind; ``sized`` ones may have lots and participation limits."""
    maximum = rng.integers(1, horizon + 1, count)
    lots = rng.integers(maximum, 40 + maximum)
    # In lots: between the fewest per period that can complete and everything at once.
    per_period = rng.integers(-(-lots // maximum), lots + 1)
    has_lots = sized & (rng.random(count) < 0.3)
    cap = np.where(has_lots, per_period / lots, maximum ** -rng.random(count))
    cap = np.where(rng.random(count) < 0.3, 1.0, np.minimum(cap, 1.0))
    size = 0.25 * rng.integers(1, 9, count)
    table = pd.DataFrame(
        {
            "symbol": "X",
            "start": pd.Timestamp("2024-01-01", tz="UTC"),
            "side": rng.choice(["buy", "sell"], count),
            "benchmark": rng.choice(BENCHMARKS if benchmarks is None else list(benchmarks), count),
            "target": rng.choice(["quantity", "notional"], count),
            "min_periods": rng.integers(1, maximum + 1),
            "max_periods": maximum,
            "max_rate": cap,
            "min_rate": np.where(rng.random(count) < 0.3, cap * rng.random(count), 0.0),
            "amount": lots * size if sized else np.nan,
            "lot_size": np.where(has_lots, size, np.nan),
            "max_participation": np.where(sized & (rng.random(count) < 0.3), rng.uniform(0.05, 1.0, count), np.nan),
        }
    )
    return complete_orders(table, horizon=None, risk_aversion=0.5)


def random_window(rng: np.random.Generator, count: int, periods: int, *, silent: float = 0.0) -> MarketWindow:
    """A market for orders: random walks, random volumes, a share of bars without volume."""
    price = np.exp(np.cumsum(rng.normal(0, 0.01, (count, periods)), axis=1))
    volume = np.exp(rng.normal(0, 0.5, (count, periods))) * (rng.random((count, periods)) >= silent)
    expected = np.exp(rng.normal(0, 0.3, (count, periods)))
    arrays = {
        "price": price,
        "close": price * np.exp(rng.normal(0, 0.002, price.shape)),
        "volume": volume,
        "expected_volume": expected / expected.mean(axis=1, keepdims=True),
        "volatility": np.full(count, 0.01),
        "arrival_price": rng.uniform(0.5, 200.0, count),
        "volume_unit": rng.uniform(1.0, 50.0, count),
        "horizon_volume": np.full(count, float(periods)),
    }
    return MarketWindow(**{name: torch.from_numpy(values) for name, values in arrays.items()})
