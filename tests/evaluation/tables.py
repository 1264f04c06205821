"""Orders tables made up for the tests of statistics on paper."""

from __future__ import annotations

import numpy as np
import pandas as pd

HOSTILE = "<script>alert('x')</script>\"&{{ 7 * 7 }}"
POLICIES = ("model", "twap", "stopping_rule")


def orders_table(seed: int, gain: float, *, orders: int = 240) -> pd.DataFrame:
    """Orders table of a policy that gains so many bps on average."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "order_id": np.arange(orders),
            "symbol": np.resize(["BTCUSDT", HOSTILE], orders),
            "start": pd.date_range("2024-01-01", periods=orders, freq="6h", tz="UTC"),
            "side": np.resize(["buy", "buy", "sell", "sell"], orders),
            "benchmark": "vwap",
            "target": "quantity",
            "min_periods": np.resize([1, 6, 12], orders),
            "max_periods": 12,
            "periods_used": np.resize([5, 8, 12], orders),
            "filled": 1.0,
            "completed": True,
            "volatility_bps": 60.0,
            "slippage_bps": generator.normal(-gain, 30.0, orders),
        }
    )


def one_order(
    target: str = "quantity", benchmark: str = "vwap"
) -> tuple[dict[str, object], pd.DataFrame, pd.DataFrame]:
    """An order that ends after 3 of 6 hours, its schedule, and the market around it."""
    start = pd.Timestamp("2024-03-01 06:00", tz="UTC")
    market = pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-03-01 04:00", periods=10, freq="h", tz="UTC"),
            "volume": [9.0, 9.0, 10.0, 30.0, 0.0, 20.0, 10.0, 10.0, 10.0, 10.0],
            "vwap": [99.0, 99.5, 100.0, 102.0, 101.0, 98.0, 97.0, 99.0, 100.0, 101.0],
        }
    )
    schedule = pd.DataFrame(
        {
            "order_id": [7, 7, 8, 7],
            "period": [0, 1, 0, 3],
            "timestamp": [start, start + pd.Timedelta(hours=1), start, start + pd.Timedelta(hours=3)],
            "fraction": [0.25, 0.25, 1.0, 0.5],
            "price": [100.0, 102.0, 55.0, 98.0],
        }
    )
    order: dict[str, object] = {
        "order_id": 7,
        "start": start,
        "side": "buy",
        "benchmark": benchmark,
        "target": target,
        "min_periods": 2,
        "max_periods": 6,
        "periods_used": 4,
        "completed": True,
    }
    return order, schedule, market
