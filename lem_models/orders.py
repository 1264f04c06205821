"""Orders: what is to be traded, by when, and against which benchmark.

An :class:`Order` is one order; a *table of orders* is a ``pandas.DataFrame`` with one row per order and the same field
names as columns (:mod:`lem_models.order_table`). Both obey the same rules (:mod:`lem_models.order_rules`), checked when
the order is made, so that an order that cannot be carried out never reaches a market.

This module imports neither torch nor pandas: making an order is instant.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from lem_models.errors import OrderError
from lem_models.order_rules import DEFAULTS, NUMERIC, Benchmark, Side, Target, check_rules
from lem_models.timestamps import MomentError, as_datetime, read_moment

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.markets.bars import Bars
    from lem_models.markets.frequency import Moment
    from lem_models.markets.windows import Origins

__all__ = ["Benchmark", "Order", "Side", "Target", "start_rule"]

DEFAULT_LOOKBACK = 256  # bars of history before an order; no policy of this package asks for more


def start_rule(error: MomentError) -> str:
    """Name of the rule that a start breaks, in one order and in a table alike."""
    return {"missing": "required", "zone": "time zone"}.get(error.fault, "timestamp")


def _read_start(value: object) -> datetime:
    """A moment with a zone, in UTC, as a table of orders reads it."""
    try:
        return as_datetime(read_moment(value, needs_zone=True))
    except MomentError as error:
        raise PydanticCustomError(start_rule(error), "{reason}", {"reason": error.reason}) from None


class Order(BaseModel):
    """One order.

    Args:
        symbol: Symbol of the bars to trade.
        start: Start of the first bar in which the order may trade: a text in ISO 8601 or a datetime, with a zone. Kept
            in UTC.
        side: ``"buy"`` or ``"sell"``.
        benchmark: ``"vwap"`` or ``"twap"``.
        target: ``"quantity"`` (a fixed number of units) or ``"notional"`` (a fixed amount of money).
        min_periods: The benchmark runs over at least so many bars, and the order is not *finished* early before them.
            Default: ``max_periods`` (a fixed duration).
        max_periods: The order is complete after at most so many bars. Default: the policy's horizon.
        min_rate: Smallest fraction of the order per period while anything remains.
        max_rate: Largest fraction of the order per period, on every period.
        risk_aversion: Weight of the squared slippage in the model's utility. Default: the policy's own.
        amount: Size in units (quantity target) or in money (notional target); only lots and participation need it.
        lot_size: Fills are whole multiples of this (same unit as ``amount``).
        max_participation: Fills are at most this fraction of the bar's volume (of its notional for a notional target).
        order_id: Any label; kept in the results. Default: the row number.

    Raises:
        OrderError: when the order cannot be carried out; names the field.

    Example:
        >>> order = Order(symbol="BTCUSDT", start="2024-05-01T00:00Z", side="buy", min_periods=1, max_periods=12)
        >>> order.side.sign, order.max_rate
        (1, 1.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    symbol: str
    start: Annotated[datetime, PlainValidator(_read_start)]
    side: Side
    benchmark: Benchmark = Benchmark.VWAP
    target: Target = Target.QUANTITY
    min_periods: int | None = None
    max_periods: int | None = None
    min_rate: float = 0.0
    max_rate: float = 1.0
    risk_aversion: float | None = None
    amount: float | None = None
    lot_size: float | None = None
    max_participation: float | None = None
    order_id: int | str | None = None

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise OrderError(
                f"{field}: {first['msg']}; got {first['input']!r}", field=field, rule=first["type"]
            ) from None
        # Without max_periods the policy's horizon decides; what can be said now is checked against a long one.
        maximum = self.max_periods if self.max_periods is not None else max(self.min_periods or 1, 10**6)
        numeric = {name: getattr(self, name) for name in NUMERIC}
        numeric |= {
            "max_periods": maximum,
            "min_periods": self.min_periods if self.min_periods is not None else maximum,
        }
        numeric["risk_aversion"] = 0.0 if self.risk_aversion is None else self.risk_aversion
        columns = {k: np.array([np.nan if v is None else v], dtype=np.float64) for k, v in numeric.items()}
        check_rules(columns, one_order=True)

    @classmethod
    def sample(
        cls,
        bars: Bars,
        *,
        every: str | int = 1,
        side: str | Sequence[str] = "both",
        max_periods: int | Sequence[int] = 12,
        min_periods: int | Sequence[int] | None = None,
        lookback: int = DEFAULT_LOOKBACK,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: int | None = None,
        seed: int = 0,
        within_session: bool | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """Table of orders over a market: each valid origin times each combination of the settings.

        Origins whose lookback or horizon touches a gap or a halt (a bar without volume), or that lack history, are
        left out; ``table.attrs["excluded"]`` counts them by reason.

        Args:
            bars: The market.
            every: Step between starts: a duration such as ``"6h"`` on the UTC grid, or a number of bars.
            side: ``"buy"``, ``"sell"`` or ``"both"``.
            max_periods: Maximum duration in bars, or several.
            min_periods: Minimum duration, or several (those above a maximum are left out). Default: ``max_periods``.
            lookback: Bars of history required before each start.
            start: First start time (inclusive), default the first bar.
            end: Last time by which every order has ended (exclusive), default the last bar.
            limit: Draw at most so many orders (without replacement, in time order), reproducibly by ``seed``.
            seed: Seed of the draw.
            within_session: Orders stay inside one session. Default: the market's own rule.
            **settings: Any other order column: one value, or a list of values to be combined.

        Returns:
            DataFrame of orders, sorted by symbol and start.

        Raises:
            OrderError: for settings that no order may have, or when no origin is valid.
        """
        from lem_models.markets.windows import sample_origins
        from lem_models.order_table import complete_orders

        sides = ["buy", "sell"] if side == "both" else _listed(side)
        unknown = set(settings) - set(DEFAULTS)
        if unknown:
            raise OrderError(f"unknown order columns {sorted(unknown)}; known: {list(DEFAULTS)}", field=min(unknown))
        maxima = _listed(max_periods)
        choices: dict[str, list[Any]] = {
            "side": sides,
            "max_periods": maxima,
            "min_periods": [np.nan] if min_periods is None else _listed(min_periods),
            **{name: _listed(value) for name, value in settings.items()},
        }
        combinations = [
            combination
            for values in itertools.product(*choices.values())
            if not (combination := dict(zip(choices, values, strict=True)))["min_periods"] > combination["max_periods"]
        ]
        if not combinations:
            raise OrderError("min_periods exceeds max_periods in every combination", field="min_periods")
        origins = sample_origins(
            bars,
            lookback=lookback,
            horizon=max(maxima),
            every=every,
            start=start,
            end=end,
            within_session=within_session,
        )
        if limit is not None and limit < 1:
            raise OrderError(f"limit must be at least 1; got {limit}", field="limit")
        count = len(origins) * len(combinations)
        if limit is not None and count > limit:
            keep = np.sort(np.random.default_rng(seed).choice(count, size=limit, replace=False))
        else:
            keep = np.arange(count)
        table = _cross(bars, origins, combinations, keep)
        table.insert(0, "order_id", np.arange(len(table)))
        table = complete_orders(table, horizon=max(maxima), risk_aversion=None)
        table.attrs["excluded"] = dict(origins.excluded)
        return table


def _listed(value: object) -> list[Any]:
    values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    return [v.value if isinstance(v, Enum) else v for v in values]


def _cross(
    bars: Bars, origins: Origins, combinations: list[dict[str, Any]], numbers: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Some of the orders that every origin makes with every combination; those of an origin follow each other."""
    import pandas as pd

    rows, which = origins.take(numbers // len(combinations)), numbers % len(combinations)
    table = pd.DataFrame(
        {
            "symbol": np.array(bars.symbols, dtype=object)[bars.grid.symbol(rows)],
            "start": pd.to_datetime(bars.timestamp[rows], utc=True),
        }
    )
    for name in combinations[0]:
        table[name] = np.array([c[name] for c in combinations])[which]
    return table
