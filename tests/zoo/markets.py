"""A small market of each kind that models are made for: round the clock, in a session, by the day."""

from functools import lru_cache

import pandas as pd

from lem_models import Bars, Order
from lem_models.hub.models.registry import registry
from lem_models.hub.models.zoo import ZooModel, list_models
from lem_models.markets.synthetic import synthetic_bars

_MARKETS: dict[str, dict[str, object]] = {
    "1h": {"days": 17.0, "volatility": 0.0075},
    "30min": {"days": 9.0, "volatility": 0.005},
    "5min": {"days": 10.0, "volatility": 0.0015, "session": ("14:30", "21:00")},
    "1d": {"days": 560.0, "volatility": 0.015, "session": ("00:00", "24:00")},
}

NATIVE = [(name, frequency) for name in list_models() for frequency in name.frequency.split(", ")]
"""Every bundled model with each bar length that it is for."""


@lru_cache
def native_bars(frequency: str, seed: int = 0) -> Bars:
    """Two symbols, some 400 bars each and more where a session bounds the orders."""
    return synthetic_bars(symbols=2, frequency=frequency.replace("d", "D"), seed=seed, **_market(frequency))


def _market(frequency: str) -> dict[str, object]:
    """Settings of the market; those of a frequency that nobody chose them for follow from its length."""
    if frequency in _MARKETS:
        return _MARKETS[frequency]
    days = pd.Timedelta(frequency) / pd.Timedelta("1D")
    has_sessions = all(m.calendar == "sessions" for m in registry().markets.values() if m.frequency == frequency)
    settings = {"days": 410 * days, "volatility": 0.037 * days**0.5}
    return {**settings, "days": 1500 * days, "session": ("14:30", "21:00")} if has_sessions else settings


def native_orders(model: ZooModel, frequency: str, *, limit: int, **columns: object) -> pd.DataFrame:
    """Orders that the model is for: of up to 12 periods, and of up to its horizon or as far as a session allows."""
    bars, longest = native_bars(frequency), model.horizon
    if frequency == "5min":
        longest = min(longest, 78)
    horizons = sorted({min(12, longest), longest})
    tables = [
        Order.sample(
            bars,
            every=1,
            lookback=256,
            side="both",
            benchmark=["vwap", "twap"],
            target=["quantity", "notional"],
            min_periods=sorted({1, max(1, horizon // 2), horizon}),
            max_periods=horizon,
            limit=limit // len(horizons),
            seed=horizon,
            **columns,
        )
        for horizon in horizons
    ]
    # In the order in which they are executed, so that what a recorder notes down is in the order of the table.
    table = pd.concat(tables, ignore_index=True).sort_values(["symbol", "start"], kind="stable", ignore_index=True)
    return table.assign(order_id=range(len(table)))
