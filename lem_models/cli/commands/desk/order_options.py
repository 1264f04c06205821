"""Options that describe an order of a desk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lem_models.errors import ConfigError, OrderError
from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.desk.orders.order import DeskOrder

__all__ = ["OrderOptions"]


class OrderOptions(Settings):
    """One order: from a file, or by its fields."""

    flags: ClassVar[dict[str, str]] = {
        "order_file": "--order",
        "order_symbol": "--symbol",
        "min_duration": "--min",
        "max_duration": "--max",
    }

    order_file: Path | None = Field(
        None, description="File of one order: .toml or .csv. The options below replace its fields."
    )
    order_symbol: str | None = Field(None, description="Symbol to trade.")
    side: str | None = Field(None, description="buy or sell.")
    amount: str | None = Field(None, description="Units or money: '40 BTC', '2 million USD'.")
    start: str | None = Field(
        None, description="First moment: now (the next bar after the last one), or a time such as 2024-01-31T09:30:00Z."
    )
    end: str | None = Field(None, description="Last moment: a time, or a duration from the start.")
    min_duration: str | None = Field(
        None, description="Shortest duration: 1h, '2 days', session, or a number of bars; default all of it."
    )
    max_duration: str | None = Field(None, description="Longest duration; another word for an end.")
    benchmark: str | None = Field(None, description="vwap, twap, full_vwap or arrival; default vwap.")
    lot_size: str | None = Field(None, description="Child orders are whole multiples of it.")
    min_quantity: str | None = Field(None, description="Smallest child order, in units.")
    min_notional: str | None = Field(None, description="Smallest child order, in money.")
    max_participation: float | None = Field(None, description="Largest part of a bar's volume, as 0.1.")
    risk_aversion: float | None = Field(None, description="Weight of the squared slippage; default the policy's own.")

    def order(self) -> DeskOrder:
        """The order.

        Raises:
            OrderError: It breaks a rule, or the file holds several orders.
            ConfigError: Neither a file nor the fields are given.
        """
        from lem_models.desk.orders.order import DeskOrder
        from lem_models.desk.orders.times import duration_or_bars
        from lem_models.desk.running.orders_file import read_desk_orders

        fields = {name: getattr(self, name) for name in OrderOptions.model_fields if name != "order_file"}
        fields["symbol"] = fields.pop("order_symbol")
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        for name in ("min_duration", "max_duration"):
            if name in given:
                given[name] = duration_or_bars(given[name])
        if self.order_file is None:
            lacking = [f"--{name}" for name in ("symbol", "side", "amount") if name not in given]
            if lacking:
                raise ConfigError(f"name a file with --order, or give {', '.join(lacking)} too")
            return DeskOrder(**given)
        orders = read_desk_orders(self.order_file)
        if len(orders) > 1:
            raise OrderError(f"{self.order_file} holds {len(orders)} orders: give a file of one", rule="one order")
        if "end" in given or "max_duration" in given:
            given = {"end": None, "max_duration": None} | given
        return orders[0].replaced(**given) if given else orders[0]
