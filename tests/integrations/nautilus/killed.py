"""Backtests that are killed: ``python -m tests.integrations.nautilus.killed FOLDER SEED...``.

Each seed is a parent order in a folder of its own. A process works on it and kills itself (SIGKILL, ``kill -9``) at a
random point: before or after the venue writes down a fill, a transaction of the ledger, or the sending of a child
order. The next process goes on, until one comes to the end.

What outlives a process is the ledger's file and the venue: its file says which orders it took, and every fill before
anybody is told. It goes on while no process runs: an order that it took fills over its bar, whoever has died. When a
process starts, the engine's cache is given the orders that the venue knows with their fills, as the reconciliation of a
live node gives them, and the bars go on where they were. The strategy knows that it has given the order; now and then
it gives it again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderType, TimeInForce
from nautilus_trader.model.events import OrderFilled, OrderSubmitted
from nautilus_trader.model.identifiers import AccountId, ClientOrderId, ExecAlgorithmId, TradeId, VenueOrderId
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.model.orders import MarketOrder

from lem_models.desk import Desk
from lem_models.desk.store.database import DatabaseStore
from lem_models.integrations.nautilus.algorithm import LEMExecAlgorithm
from lem_models.integrations.nautilus.engine_data import engine_bars
from lem_models.integrations.nautilus.fill_model import NextBarVwap
from tests.helpers.markets import hourly
from tests.integrations.nautilus.engine import Parent, backtest, bar_type_of, instrument_of
from tests.integrations.nautilus.runs import vwap_of

AMOUNT = Decimal(60)
PARENT = "P-1"
TERMS = {"max_periods": 12}
AT = pd.Timestamp("2024-01-03 06:00", tz="UTC")
LAST = AT + pd.Timedelta("12h")
INSTRUMENT = instrument_of("S000USDT", lot="0.1", tick="0.01")
FRAME = hourly(days=7).frame.query("symbol == 'S000'")
BARS = [
    bar
    for bar in engine_bars(FRAME, INSTRUMENT, bar_type_of(INSTRUMENT, pd.Timedelta("1h")), with_money=True)
    if bar.ts_init <= (LAST + pd.Timedelta("3h")).value
]


class Fate:
    """Kills the process at a point."""

    def __init__(self, point: int) -> None:
        self.left = point

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: type, name: str) -> None:
        """Make a method of a class two points: before it and after it."""
        method = getattr(owner, name)

        def fated(*arguments, **options):
            self()
            result = method(*arguments, **options)
            self()
            return result

        setattr(owner, name, fated)


class LoggedVenue(NextBarVwap):
    """Writes down every fill before the engine knows of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(BARS)
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def write(self, **line: object) -> None:
        os.write(self.file, (json.dumps(line) + "\n").encode())  # one call: a kill leaves the whole line or none

    def take(self, order) -> None:
        """Take an order, once an id."""
        child = order.client_order_id.value
        if any(line.get("taken") == child for line in lines_of(self.path)):
            raise AssertionError(f"{child} was sent twice")
        self.write(taken=child, quantity=str(order.quantity), at=order.ts_init)

    def fill_until(self, close: int) -> list[dict[str, Any]]:
        """Fill what was taken and whose bar has closed by then; the orders that are still open."""
        lines = lines_of(self.path)
        filled, still_open = {line["child"] for line in lines if "child" in line}, []
        for line in (line for line in lines if "taken" in line and line["taken"] not in filled):
            bar = next(bar for bar in BARS if bar.ts_init > line["at"])
            if bar.ts_init > close:
                still_open.append(line)
            else:
                price = str(INSTRUMENT.make_price(vwap_of(bar)))
                self.write(child=line["taken"], quantity=line["quantity"], price=price, at=line["at"], alone=True)
        return still_open

    def get_orderbook_for_fill_simulation(self, instrument, order, best_bid, best_ask):
        book = super().get_orderbook_for_fill_simulation(instrument, order, best_bid, best_ask)
        price = str(book.best_ask_price())
        self.write(child=order.client_order_id.value, quantity=str(order.quantity), price=price, at=order.ts_init)
        return book


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def fills_of(folder: Path) -> list[dict[str, Any]]:
    """Fills that the venue wrote down."""
    return [line for line in lines_of(folder / "venue.jsonl") if "child" in line]


def reconcile(run, fills, still_open, *, with_parent: bool) -> None:
    """Give the engine's cache the orders that the venue and the node know, with their fills.

    Args:
        run: The backtest.
        fills: Fills of the venue.
        still_open: Orders that it took and has not filled; it goes on with them at the first bar.
        with_parent: Whether the node knows the parent order.
    """
    common = {
        "trader_id": run.engine.trader_id,
        "strategy_id": run.trader.id,
        "instrument_id": INSTRUMENT.id,
        "order_side": OrderSide.BUY,
        "time_in_force": TimeInForce.GTC,
        "init_id": UUID4(),
        "exec_algorithm_id": ExecAlgorithmId("LEM"),
        "exec_spawn_id": ClientOrderId(PARENT),
    }
    if with_parent:
        quantity = INSTRUMENT.make_qty(AMOUNT)
        primary = MarketOrder(
            client_order_id=ClientOrderId(PARENT),
            quantity=quantity,
            ts_init=AT.value,
            exec_algorithm_params=TERMS,
            **common,
        )
        run.engine.cache.add_order(primary)
    currency = INSTRUMENT.quote_currency
    for fill in fills:
        child, quantity, at = ClientOrderId(fill["child"]), Quantity.from_str(fill["quantity"]), fill["at"]
        order = MarketOrder(client_order_id=child, quantity=quantity, ts_init=at, **common)
        ids, account = (run.engine.trader_id, run.trader.id, INSTRUMENT.id, child), AccountId("SIM-001")
        order.apply(OrderSubmitted(*ids, account, UUID4(), at, at))
        numbers = (VenueOrderId(f"V-{child}"), account, TradeId(f"T-{len(child.value)}"), None)
        kind = (OrderSide.BUY, OrderType.MARKET, quantity, Price.from_str(fill["price"]), currency)
        order.apply(OrderFilled(*ids, *numbers, *kind, Money(0, currency), LiquiditySide.TAKER, UUID4(), at, at))
        run.engine.cache.add_order(order)
    for line in still_open:
        child, quantity, at = ClientOrderId(line["taken"]), Quantity.from_str(line["quantity"]), line["at"]
        order = MarketOrder(client_order_id=child, quantity=quantity, ts_init=at, **common)
        run.engine.cache.add_order(order)
        command = SubmitOrder(run.engine.trader_id, run.trader.id, order, UUID4(), at)
        run.trader.actions[at] = partial(run.engine.kernel.exec_engine.execute, command)


def life(folder: Path, point: int, *, gives_again: bool) -> None:
    """One process: from where the files are to the end, or to its death."""
    lines, place = lines_of(folder / "venue.jsonl"), folder / "state.db"
    last = max((int(line["clock"]) for line in lines if "clock" in line), default=0)
    ledger_has_it = place.exists() and bool(Desk.peek(place).orders)
    # The bar that closed last comes again: whoever died may not have seen it. A new order needs the history too.
    bars = [bar for bar in BARS if bar.ts_init >= last] if ledger_has_it else BARS
    gives = not ledger_has_it or gives_again
    given = Parent(max(AT, pd.Timestamp(last, tz="UTC")), "buy", str(AMOUNT), TERMS, id=PARENT)
    venue = LoggedVenue(folder / "venue.jsonl")
    run = backtest(bars, INSTRUMENT, [given] if gives else [], "twap", fill_model=venue, state_path=str(place))
    if last:
        still_open = venue.fill_until(last)
        venue.write(resumed=[line["taken"] for line in still_open])
        reconcile(run, fills_of(folder), still_open, with_parent=not gives)
    submit = LEMExecAlgorithm.submit_order

    def taken(algorithm, order) -> None:
        venue.take(order)
        submit(algorithm, order)

    LEMExecAlgorithm.submit_order = taken
    on_bar = run.trader.on_bar

    def on_every_bar(bar) -> None:
        if bar.ts_init >= AT.value:
            venue.write(clock=bar.ts_init)
        on_bar(bar)

    run.trader.on_bar = on_every_bar
    fate = Fate(point)
    fate.around(DatabaseStore, "append")
    fate.around(LoggedVenue, "write")
    fate.around(LEMExecAlgorithm, "submit_order")
    run.engine.run()
    run.engine.dispose()


def work(folder: Path, seed: int) -> int:
    """Processes, one after another, until one comes to the end; how many were killed."""
    draw, killed = random.Random(seed), 0
    folder.mkdir(parents=True)
    while True:
        point, gives_again = draw.randrange(3, 60), draw.random() < 0.5
        child = os.fork()
        if child == 0:
            try:
                life(folder, point, gives_again=gives_again)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            continue
        if status:
            raise SystemExit(f"seed {seed}: a process failed")
        return killed


def main() -> None:
    folder = Path(sys.argv[1])
    print(json.dumps({seed: work(folder / seed, int(seed)) for seed in sys.argv[2:]}))


if __name__ == "__main__":
    main()
