"""Orders: what to trade, by when, and against which benchmark.

An :class:`Order` is one order. A *table of orders* is a ``pandas.DataFrame`` with one row per order and the same field
names as columns (:mod:`lem_models.orders.table`). Both obey the same rules (:mod:`lem_models.orders.rules`), which are
checked when the order is made: an order that cannot be executed is never made.

This module imports neither torch nor pandas, so an order is made at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ConfigDict, PlainValidator, StrictStr, ValidationError
from pydantic_core import PydanticCustomError

from lem_models.errors import OrderError
from lem_models.guard.settings import Settings
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, as_datetime, read_moment
from lem_models.notebook import facts_html
from lem_models.orders.fields import SIZES, read_field, start_rule
from lem_models.orders.rules import (
    DEFAULTS,
    MAX_LOOKBACK,
    MAX_PERIODS,
    NUMERIC,
    Benchmark,
    Side,
    Target,
    check_rules,
)
from lem_models.orders.sizes import with_amount

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.markets.bars import BarsLike
    from lem_models.markets.calendar.frequency import Moment

__all__ = ["Order"]

_OPTIONAL = (*DEFAULTS, "order_id")


def _plain_value(value: object) -> object:
    """A field as it is written: the name of a choice, the text of a time."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return getattr(value, "value", value)


def _read_start(value: object) -> datetime:
    """Read a start as a table of orders does: a moment with a zone, in UTC."""
    try:
        return as_datetime(read_moment(value, needs_zone=True))
    except MomentError as error:
        raise PydanticCustomError(start_rule(error), "{reason}", {"reason": error.reason}) from None


def _check_label(value: object) -> object:
    """Refuse what tables refuse: numpy reads an array of one number as the number."""
    if isinstance(value, np.ndarray):
        raise PydanticCustomError("label", "must be a text or a number")
    return value


class Order(Settings):
    """One order.

    Args:
        symbol: Symbol of the bars to trade.
        start: Start of the first bar in which the order may trade: a text in ISO 8601 or a datetime, with a zone. It is
            kept in UTC.
        side: ``"buy"`` or ``"sell"``.
        benchmark: ``"vwap"`` or ``"twap"`` of the periods that the order takes, ``"full_vwap"`` over ``max_periods``,
            or ``"arrival"``, the last close before the order.
        target: ``"quantity"`` (a fixed number of units) or ``"notional"`` (a fixed amount of money).
        min_periods: The benchmark covers at least so many bars, and a policy cannot finish the order before: a whole
            number, or a duration (``"12h"``, ``"20 days"``, ``"session"``) that is converted when the bars are known.
            Default: ``max_periods`` (a fixed duration).
        max_periods: The order ends after at most so many bars, or this duration. Default: the policy's horizon.
        min_rate: Smallest fraction of the order per period while anything remains.
        max_rate: Largest fraction of the order in each period.
        risk_aversion: Weight of the squared slippage in the model's utility. Default: the policy's own.
        amount: Size in units (quantity target) or in money (notional target); lots and participation need it.
            ``quantity=40`` is the same as ``amount=40, target="quantity"``, and ``notional=1e6`` as ``amount=1e6,
            target="notional"``.
        lot_size: Fills and amount are whole multiples of this (same unit as ``amount``). There is no tolerance: both
            are the decimal numbers that they print as.
        max_participation: Largest fraction of a bar's volume to fill (of its notional for a notional target).
        order_id: Any label; kept in the results. Default: the row number.

    A field that is left out, or is ``None``, has its default. :mod:`lem_models.orders.fields` describes how names and
    values are read.

    Raises:
        OrderError: The order cannot be executed, or a value cannot be read; the error names the field.

    Example:
        >>> order = Order(symbol="BTCUSDT", start="2024-05-01T00:00Z", side="buy", min_periods=1, max_periods=12)
        >>> order.side.sign, order.max_rate
        (1, 1.0)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    symbol: StrictStr
    start: Annotated[datetime, PlainValidator(_read_start)]
    side: Side
    benchmark: Benchmark = Benchmark.VWAP
    target: Target = Target.QUANTITY
    min_periods: int | str | None = None
    max_periods: int | str | None = None
    min_rate: float = 0.0
    max_rate: float = 1.0
    risk_aversion: float | None = None
    amount: float | None = None
    lot_size: float | None = None
    max_participation: float | None = None
    order_id: Annotated[int | str | None, BeforeValidator(_check_label)] = None

    def __init__(self, /, **data: Any) -> None:
        sized = with_amount(data) if any(name in data for name in SIZES) else data
        given = {name: value for name, value in sized.items() if value is not None or name not in _OPTIONAL}
        super().__init__(**{name: read_field(name, value) for name, value in given.items()})
        # Without max_periods the policy's horizon decides. What can be checked now is checked against a long one, and
        # so are durations.
        numbers = {name: np.nan if (value := getattr(self, name)) is None else value for name in NUMERIC}
        numbers["max_periods"] = self.max_periods if isinstance(self.max_periods, int) else MAX_PERIODS
        numbers["min_periods"] = self.min_periods if isinstance(self.min_periods, int) else numbers["max_periods"]
        numbers["risk_aversion"] = 0.0 if self.risk_aversion is None else self.risk_aversion
        check_rules({name: np.array([number], dtype=np.float64) for name, number in numbers.items()})

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """What differs from the defaults: ``repr(order)`` is short and makes the same order again."""
        fields = type(self).model_fields
        return [
            (name, _plain_value(getattr(self, name)))
            for name, field in fields.items()
            if field.is_required() or getattr(self, name) != field.default
        ]

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        longest = "the policy's horizon" if self.max_periods is None else f"{self.max_periods}"
        shortest = longest if self.min_periods is None else f"{self.min_periods}"
        size = None
        if self.amount is not None:
            size = f"{self.amount:,.12g} " + ("units" if self.target is Target.QUANTITY else "of money")
        aversion = "the policy's default" if self.risk_aversion is None else f"{self.risk_aversion:g}"
        limit = None if self.max_participation is None else f"at most {100 * self.max_participation:g} % of a bar"
        rates = f"{100 * self.min_rate:g} % to {100 * self.max_rate:g} % of the order"
        facts = {
            "symbol": self.symbol,
            "start (UTC)": self.start,
            "duration (bars, or as given)": shortest if shortest == longest else f"{shortest} to {longest}",
            "benchmark": self.benchmark.value,
            "fixed": self.target.value,
            "per bar": None if (self.min_rate, self.max_rate) == (0.0, 1.0) else rates,
            "amount": size,
            "lot size": self.lot_size,
            "participation": limit,
            "risk aversion": aversion,
            "order id": self.order_id,
        }
        return facts_html(f"Order: {self.side.value} {self.symbol}", facts)

    @classmethod
    def refused(cls, error: ValidationError) -> OrderError:
        """The error of the first field that cannot be read."""
        first = error.errors()[0]
        field = str(first["loc"][0])
        got = "" if first["type"] == "missing" or field == "start" else f"; got {shown(first['input'])}"
        return OrderError(f"{field}: {first['msg']}{got}", field=field, rule=first["type"])

    @classmethod
    def sample(
        cls,
        bars: BarsLike,
        *,
        every: str | int = 1,
        side: str | Sequence[str] = "both",
        max_periods: int | str | Sequence[int | str] = 12,
        min_periods: int | str | Sequence[int | str] | None = None,
        lookback: int = MAX_LOOKBACK,
        start: Moment | None = None,
        end: Moment | None = None,
        limit: int | None = None,
        seed: int = 0,
        within_session: bool | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        """Sample a table of orders: each valid origin of a market times each combination of the settings.

        An origin is left out if it lacks history, or if a gap or a halt (a bar without volume) lies in its lookback or
        horizon. ``table.attrs["excluded"]`` counts these origins by reason.

        Args:
            bars: The market: bars, a table of bars, or a file of them.
            every: Step between starts: a duration such as ``"6h"`` on the UTC grid, or a number of bars.
            side: ``"buy"``, ``"sell"`` or ``"both"``.
            max_periods: Maximum duration in bars or in words (``"12h"``, ``"20 days"``), or several of them.
            min_periods: Minimum duration, or several of them; those above a maximum are left out. Default:
                ``max_periods``.
            lookback: Bars of history required before each start.
            start: First start (inclusive). Default: the first bar.
            end: Time by which every order has ended (exclusive). Default: the last bar.
            limit: Draw at most so many orders, without replacement and in time order. With both sides, an order and
                the same order of the other side are drawn together.
            seed: Seed of the draw.
            within_session: Whether an order must end in the session that it starts in. Default: the rule of the market.
            **settings: Other columns of orders: one value, or a list of values to combine.

        Returns:
            DataFrame of orders, sorted by symbol and start.

        Raises:
            OrderError: No order may have these settings, or no origin is valid.

        Example:
            >>> from lem_models import Bars
            >>> bars = Bars.sample("us-index-daily")
            >>> orders = Order.sample(bars, start="2017-01-01", every=20, min_periods="1 day", max_periods="20 days")
            >>> orders[["symbol", "start", "side", "min_periods", "max_periods"]].head(2)
              symbol                     start  side  min_periods  max_periods
            0    SPX 2017-01-19 00:00:00+00:00   buy            1           20
            1    SPX 2017-01-19 00:00:00+00:00  sell            1           20
        """
        from lem_models.markets.order_sampling import sample_orders

        return sample_orders(
            bars,
            every=every,
            side=side,
            max_periods=max_periods,
            min_periods=min_periods,
            lookback=lookback,
            start=start,
            end=end,
            limit=limit,
            seed=seed,
            within_session=within_session,
            **settings,
        )
