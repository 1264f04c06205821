"""Orders: what is to be traded, by when, and against which benchmark.

An :class:`Order` is one order; a *table of orders* is a ``pandas.DataFrame`` with one row per order and the same field
names as columns. Both obey the same :data:`RULES`, checked when the order is made, so that an order that cannot be
carried out never reaches a market.

The feasibility rule: the fractions ``w_s`` of an order satisfy ``0 <= w_s <= max_rate``, sum to 1 and end by
``max_periods``, which is possible exactly when ``max_rate * max_periods >= 1``.

This module imports neither torch nor pandas at import time: making an order is instant.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from lem_models.errors import OrderError

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.markets.bars import Bars

__all__ = ["COLUMNS", "Benchmark", "Order", "Side", "Target", "complete_orders", "orders_frame"]

DEFAULT_LOOKBACK = 256  # bars of history before an order; no policy of this package asks for more
_TOLERANCE = 1e-9


class Side(str, Enum):
    """Side of an order. ``sign`` is +1 for a buy and -1 for a sell: ``cost = sign * (executed / benchmark - 1)``."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class Benchmark(str, Enum):
    """Price that the execution is judged against, over ``max(min_periods, periods used)`` periods."""

    VWAP = "vwap"  # volume-weighted average price
    TWAP = "twap"  # plain mean of the bar prices


class Target(str, Enum):
    """What is fixed: the number of units (price ``sum w P``) or the money (price ``1 / sum(w / P)``)."""

    QUANTITY = "quantity"
    NOTIONAL = "notional"


@dataclass(frozen=True)
class Rule:
    """A rule that every order obeys: ``holds`` maps columns (arrays) to a boolean array [orders]."""

    field: str
    text: str
    holds: Callable[[Mapping[str, np.ndarray]], np.ndarray]


def _whole_lots(c: Mapping[str, np.ndarray]) -> np.ndarray:
    lots = c["amount"] / c["lot_size"]
    return np.isnan(c["lot_size"]) | (np.abs(lots - np.round(lots)) < 1e-6 * np.maximum(lots, 1))


def _lots_can_finish(c: Mapping[str, np.ndarray]) -> np.ndarray:
    lots = np.round(c["amount"] / c["lot_size"])
    per_period = np.floor(c["max_rate"] * lots * (1 + _TOLERANCE) + _TOLERANCE)
    return np.isnan(c["lot_size"]) | (per_period * c["max_periods"] >= lots)


def _optional(field: str, holds: Callable[[np.ndarray], np.ndarray]) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    return lambda c: np.isnan(c[field]) | holds(c[field])


RULES: tuple[Rule, ...] = (
    Rule("max_periods", "must be at least 1", lambda c: c["max_periods"] >= 1),
    Rule("min_periods", "must be at least 1", lambda c: c["min_periods"] >= 1),
    Rule("min_periods", "must not exceed max_periods", lambda c: c["min_periods"] <= c["max_periods"]),
    Rule("max_rate", "must lie in (0, 1]", lambda c: (c["max_rate"] > 0) & (c["max_rate"] <= 1)),
    Rule("min_rate", "must lie in [0, max_rate]", lambda c: (c["min_rate"] >= 0) & (c["min_rate"] <= c["max_rate"])),
    Rule(
        "max_rate",
        "max_rate * max_periods must be at least 1, or the order cannot complete",
        lambda c: c["max_rate"] * c["max_periods"] >= 1 - _TOLERANCE,
    ),
    Rule("risk_aversion", "must be finite and at least 0", lambda c: np.isfinite(c["risk_aversion"]) & (c["risk_aversion"] >= 0)),
    Rule("amount", "must be finite and positive", _optional("amount", lambda a: np.isfinite(a) & (a > 0))),
    Rule("lot_size", "must be finite and positive", _optional("lot_size", lambda a: np.isfinite(a) & (a > 0))),
    Rule("lot_size", "needs an amount", lambda c: np.isnan(c["lot_size"]) | ~np.isnan(c["amount"])),
    Rule("lot_size", "the amount must be a whole number of lots", _whole_lots),
    Rule("lot_size", "whole lots within max_rate cannot complete the order by max_periods", _lots_can_finish),
    Rule("max_participation", "must lie in (0, 1]", _optional("max_participation", lambda a: (a > 0) & (a <= 1))),
    Rule("max_participation", "needs an amount", lambda c: np.isnan(c["max_participation"]) | ~np.isnan(c["amount"])),
)

_DEFAULTS: dict[str, Any] = {
    "benchmark": "vwap",
    "target": "quantity",
    "min_periods": np.nan,  # = max_periods
    "max_periods": np.nan,  # = the policy's horizon
    "min_rate": 0.0,
    "max_rate": 1.0,
    "risk_aversion": np.nan,  # = the policy's default
    "amount": np.nan,
    "lot_size": np.nan,
    "max_participation": np.nan,
}
COLUMNS: tuple[str, ...] = ("order_id", "symbol", "start", "side", *_DEFAULTS)
"""Columns of a complete table of orders, in order."""

_CHOICES: dict[str, type[Enum]] = {"side": Side, "benchmark": Benchmark, "target": Target}


def check_rules(columns: Mapping[str, np.ndarray], *, one_order: bool = False) -> None:
    """Check :data:`RULES` on complete numeric columns, each [orders].

    Raises:
        OrderError: naming the field, the rule and the first row that breaks it.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        for rule in RULES:
            broken = np.flatnonzero(~rule.holds(columns))
            if broken.size:
                row = int(broken[0])
                value = columns[rule.field][row]
                raise OrderError(
                    f"{rule.field} {rule.text}; got {value:g}"
                    + ("" if one_order else f" (and {broken.size - 1} more rows)" if broken.size > 1 else ""),
                    field=rule.field,
                    rule=rule.text,
                    row=None if one_order else row,
                )


class Order(BaseModel):
    """One order.

    Args:
        symbol: Symbol of the bars to trade.
        start: Start of the first bar in which the order may trade (time zone needed).
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
    start: AwareDatetime
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

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise OrderError(f"{field}: {first['msg']}; got {first['input']!r}", field=field, rule=first["type"]) from None
        # Without max_periods the policy's horizon decides; what can be said now is checked against a long one.
        maximum = self.max_periods if self.max_periods is not None else max(self.min_periods or 1, 10**6)
        numeric = {name: getattr(self, name) for name in _DEFAULTS if name not in _CHOICES}
        numeric |= {"max_periods": maximum, "min_periods": self.min_periods if self.min_periods is not None else maximum}
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
        start: Any = None,
        end: Any = None,
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

        sides = ["buy", "sell"] if side == "both" else _listed(side)
        unknown = set(settings) - set(_DEFAULTS)
        if unknown:
            raise OrderError(f"unknown order columns {sorted(unknown)}; known: {list(_DEFAULTS)}", field=min(unknown))
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
        table = _cross(bars, origins.index, combinations)
        if limit is not None and len(table) > limit:
            keep = np.sort(np.random.default_rng(seed).choice(len(table), size=limit, replace=False))
            table = table.iloc[keep].reset_index(drop=True)
        table.insert(0, "order_id", np.arange(len(table)))
        table = complete_orders(table, horizon=max(maxima), risk_aversion=None)
        table.attrs["excluded"] = dict(origins.excluded)
        return table


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)


def _cross(bars: Bars, index: np.ndarray, combinations: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    repeated = np.repeat(index, len(combinations))
    table = pd.DataFrame(
        {
            "symbol": np.array(bars.symbols, dtype=object)[bars.symbol_index[repeated]],
            "start": pd.to_datetime(bars.timestamp[repeated], utc=True),
        }
    )
    for name in combinations[0]:
        table[name] = np.tile(np.array([c[name] for c in combinations]), len(index))
    return table


def orders_frame(orders: Order | Mapping[str, Any] | Sequence[Order] | pd.DataFrame) -> pd.DataFrame:
    """Table of orders from one order, several orders, or a table (returned as a copy)."""
    import pandas as pd

    if isinstance(orders, pd.DataFrame):
        return orders.copy()
    if isinstance(orders, Order):
        orders = [orders]
    elif isinstance(orders, Mapping):
        orders = [Order(**orders)]
    rows = [order.model_dump(mode="python") for order in orders]
    table = pd.DataFrame(rows, columns=list(Order.model_fields))
    for name in _CHOICES:
        table[name] = [value.value for value in table[name]]
    return table.drop(columns=[c for c in table.columns if table[c].isna().all()])


def complete_orders(
    orders: Order | Mapping[str, Any] | Sequence[Order] | pd.DataFrame,
    *,
    horizon: int | None,
    risk_aversion: float | None,
) -> pd.DataFrame:
    """Complete and check a table of orders: every column present, typed, defaults filled in; row order kept.

    Args:
        orders: One order, several, or a table. Columns beyond :data:`COLUMNS` are kept.
        horizon: The policy's horizon, default of ``max_periods`` and its upper bound; ``None`` when it has none.
        risk_aversion: The policy's default; ``None`` leaves missing values missing.

    Returns:
        DataFrame with :data:`COLUMNS` first; ``start`` in UTC.

    Raises:
        OrderError: naming field, rule and row.
    """
    import pandas as pd

    table = orders_frame(orders).reset_index(drop=True)
    if table.empty:
        raise OrderError("the table of orders is empty", field=None, rule="at least one order")
    missing = [name for name in ("symbol", "start", "side") if name not in table]
    if missing:
        raise OrderError(f"the table of orders lacks the columns {missing}", field=missing[0], rule="required column")
    if "order_id" not in table:
        table["order_id"] = np.arange(len(table))
    missing_id = table["order_id"].isna().to_numpy()
    if missing_id.any():
        table["order_id"] = table["order_id"].astype(object).where(~missing_id, pd.Series(np.arange(len(table))))
    if table["order_id"].duplicated().any():
        row = int(np.flatnonzero(table["order_id"].duplicated())[0])
        raise OrderError(f"order_id {table['order_id'][row]!r} occurs twice", field="order_id", rule="unique", row=row)
    table["symbol"] = table["symbol"].astype(str)
    table["start"] = _utc(table["start"])
    for name, kind in _CHOICES.items():
        table[name] = _choice(table, name, kind)
    numeric = {name: _number(table, name, default) for name, default in _DEFAULTS.items() if name not in _CHOICES}
    if horizon is None and np.isnan(numeric["max_periods"]).any():
        row = int(np.flatnonzero(np.isnan(numeric["max_periods"]))[0])
        raise OrderError(
            "max_periods is missing and this policy has no horizon of its own", field="max_periods", rule="required", row=row
        )
    numeric["max_periods"] = np.where(np.isnan(numeric["max_periods"]), horizon or 0, numeric["max_periods"])
    numeric["min_periods"] = np.where(np.isnan(numeric["min_periods"]), numeric["max_periods"], numeric["min_periods"])
    for name in ("min_periods", "max_periods"):
        row = _first(numeric[name] != np.floor(numeric[name]))
        if row is not None:
            raise OrderError(f"{name} must be a whole number; got {numeric[name][row]:g}", field=name, rule="integer", row=row)
    risk = np.isnan(numeric["risk_aversion"])
    numeric["risk_aversion"] = np.where(risk, 0.0 if risk_aversion is None else risk_aversion, numeric["risk_aversion"])
    check_rules(numeric)
    if horizon is not None:
        row = _first(numeric["max_periods"] > horizon)
        if row is not None:
            raise OrderError(
                f"max_periods is {numeric['max_periods'][row]:g}, but this policy's horizon is {horizon} periods",
                field="max_periods",
                rule="within the horizon",
                row=row,
            )
    if risk_aversion is None:
        numeric["risk_aversion"] = np.where(risk, np.nan, numeric["risk_aversion"])
    for name, values in numeric.items():
        table[name] = values.astype(np.int64) if name.endswith("_periods") else values
    return table[[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)]]


def _first(mask: np.ndarray) -> int | None:
    rows = np.flatnonzero(mask)
    return int(rows[0]) if rows.size else None


def _utc(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.tz_convert("UTC").astype("datetime64[ns, UTC]")
    starts = []
    for row, value in enumerate(column):
        try:
            stamp = pd.Timestamp(value)
        except (ValueError, TypeError):
            raise OrderError(f"start is not a time: {value!r}", field="start", rule="timestamp", row=row) from None
        if stamp is pd.NaT or stamp.tzinfo is None:
            raise OrderError(
                f"start needs a time zone; got {value!r} (append 'Z' for UTC)", field="start", rule="time zone", row=row
            )
        starts.append(stamp.tz_convert("UTC"))
    return pd.Series(pd.DatetimeIndex(starts), index=column.index).astype("datetime64[ns, UTC]")


def _choice(table: pd.DataFrame, name: str, kind: type[Enum]) -> np.ndarray:
    known = [member.value for member in kind]
    if name not in table:
        return np.full(len(table), _DEFAULTS[name], dtype=object)
    column = table[name]
    values = column.map(lambda v: v.value if isinstance(v, Enum) else v).astype(object)
    values = values.where(values.notna(), _DEFAULTS.get(name))
    row = _first(~values.isin(known).to_numpy())
    if row is not None:
        raise OrderError(f"{name} must be one of {known}; got {column.iloc[row]!r}", field=name, rule="known value", row=row)
    return values.to_numpy(dtype=object)


def _number(table: pd.DataFrame, name: str, default: float) -> np.ndarray:
    import pandas as pd

    if name not in table:
        return np.full(len(table), default)
    column = table[name]
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    row = _first(np.isnan(values) & column.notna().to_numpy())
    if row is not None:
        raise OrderError(f"{name} must be a number; got {column.iloc[row]!r}", field=name, rule="number", row=row)
    return np.where(np.isnan(values), default, values)


