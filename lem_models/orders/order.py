"""Orders: what is to be traded, by when, and against which benchmark.

An :class:`Order` is one order; a *table of orders* is a ``pandas.DataFrame`` with one row per order and the same field
names as columns (:mod:`lem_models.orders.table`). Both obey the same rules (:mod:`lem_models.orders.rules`), checked
when the order is made, so that an order that cannot be carried out never reaches a market.

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
from pydantic import BaseModel, ConfigDict, PlainValidator, StrictStr, ValidationError
from pydantic_core import PydanticCustomError

from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, as_datetime, read_moment
from lem_models.orders.fields import is_missing, read_choice, read_number, unknown_field
from lem_models.orders.rules import (
    CHOICES,
    DEFAULTS,
    MAX_PERIODS,
    NUMERIC,
    Benchmark,
    Side,
    Target,
    as_text,
    check_rules,
)

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.markets.bars import Bars, BarsLike
    from lem_models.markets.calendar.frequency import Moment
    from lem_models.markets.origins import Origins

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
        lot_size: Fills are whole multiples of this (same unit as ``amount``), and so is the amount, without any
            tolerance: both are the decimal numbers that they print as.
        max_participation: Fills are at most this fraction of the bar's volume (of its notional for a notional target).
        order_id: Any label; kept in the results. Default: the row number.

    What is left out, or ``None``, has its default. How names and values are read is told in
    :mod:`lem_models.orders.fields`.

    Raises:
        OrderError: when the order cannot be carried out, or a value cannot be read; names the field.

    Example:
        >>> order = Order(symbol="BTCUSDT", start="2024-05-01T00:00Z", side="buy", min_periods=1, max_periods=12)
        >>> order.side.sign, order.max_rate
        (1, 1.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    symbol: StrictStr
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
            given = {name: value for name, value in data.items() if not _is_left_out(name, value)}
            super().__init__(**{name: _read(name, value) for name, value in given.items()})
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0])
            got = "" if first["type"] == "missing" or field == "start" else f"; got {shown(first['input'])}"
            raise OrderError(f"{field}: {first['msg']}{got}", field=field, rule=first["type"]) from None
        # Without max_periods the policy's horizon decides; what can be said now is checked against a long one.
        maximum = self.max_periods if self.max_periods is not None else MAX_PERIODS
        numeric = {name: getattr(self, name) for name in NUMERIC}
        numeric |= {
            "max_periods": maximum,
            "min_periods": self.min_periods if self.min_periods is not None else maximum,
        }
        numeric["risk_aversion"] = 0.0 if self.risk_aversion is None else self.risk_aversion
        check_rules({k: np.array([np.nan if v is None else v], dtype=np.float64) for k, v in numeric.items()})

    @classmethod
    def sample(
        cls,
        bars: BarsLike,
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
            bars: The market: bars, a table of bars, or a file of them.
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
        from lem_models.markets.bars import Bars
        from lem_models.markets.origins import sample_origins
        from lem_models.orders.table import complete_orders

        bars = Bars.of(bars)
        both = isinstance(side, str) and side.strip().lower() == "both"
        sides = ["buy", "sell"] if both else _listed(side)
        unknown = [name for name in settings if name not in DEFAULTS]
        if unknown:
            raise unknown_field(unknown[0], "order columns")
        given = {"side": sides, "max_periods": max_periods, "min_periods": min_periods, **settings}
        choices: dict[str, list[Any]] = {
            name: [_setting(name, each) for each in _listed(value)] for name, value in given.items()
        }
        empty = next((name for name, values in choices.items() if not values), None)
        if empty is not None:
            raise OrderError(f"{empty} is an empty list: give a value, or leave it out", field=empty, rule="a value")
        maxima = choices["max_periods"]
        if not max(maxima) <= MAX_PERIODS:
            raise OrderError(
                f"max_periods must be given, and at most {MAX_PERIODS}; got {max(maxima)}", field="max_periods"
            )
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


def _is_left_out(name: str, value: object) -> bool:
    return value is None and name in {*DEFAULTS, "order_id"}


def _read(name: str, value: object) -> object:
    """A field's value, read by the rules for tables too."""
    if name not in Order.model_fields:
        raise unknown_field(name, "order field")
    if name in CHOICES:
        return read_choice(value, name)
    if isinstance(value, bool) and name == "order_id":
        raise OrderError(f"order_id must be a text or a whole number; got {value}", field=name, rule="label")
    if name not in NUMERIC:
        return value
    number = read_number(value, name)
    if np.isnan(number):
        raise OrderError(f"{name} is {shown(value)}; leave it out for its default", field=name, rule="number")
    if not name.endswith("_periods"):
        return number
    if not number.is_integer():
        raise OrderError(f"{name} must be a whole number; got {as_text(number)}", field=name, rule="integer")
    return int(number)


def _setting(name: str, value: object) -> object:
    """A value of a column of a sample; NaN where an order has its default."""
    return np.nan if is_missing(value) else _read(name, value)


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
