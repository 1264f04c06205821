"""The example that trades on paper through ccxt, at a server on 127.0.0.1 that answers as Kraken does."""

from __future__ import annotations

import importlib.util
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lem_models.desk import Desk, DeskOrder
from lem_models.desk.market_data.feed import FeedRules
from lem_models.markets.synthetic import synthetic_bars
from tests.markets.download.kraken import kraken_route
from tests.markets.download.web import Answer, serving

ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed: pip install 'lem-models[data]'")
FIRST = pd.Timestamp("2024-01-01", tz="UTC")
HISTORY = 500
BEGIN = FIRST + pd.Timedelta(hours=HISTORY)
TABLE = synthetic_bars(symbols=("BTC/USD",), days=25).frame


def example():
    path = Path(__file__).parents[2] / "examples" / "ccxt_paper.py"
    spec = importlib.util.spec_from_file_location("ccxt_paper", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stopped(BaseException):
    """The process ends."""


class World:
    """The exchange, its clock, which runs only while somebody sleeps, and what it was asked to wait."""

    def __init__(self, monkeypatch):
        self.now = BEGIN + pd.Timedelta(minutes=20)
        self.slept, self.stop_at = [], None
        rows = [
            [int(row.timestamp.timestamp())]
            + [repr(float(each)) for each in (row.open, row.high, row.low, row.close)]
            + [repr(row.notional / row.volume), repr(row.volume), 9]
            for row in TABLE.itertuples()
        ]
        self.route = kraken_route(rows, lambda: self.now, 720)
        monkeypatch.setattr(ccxt.Exchange, "throttle", lambda exchange, cost=None: None)
        monkeypatch.setattr(ccxt.Exchange, "milliseconds", lambda *_: int(self.now.timestamp() * 1000))

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += pd.Timedelta(seconds=seconds)
        if self.stop_at is not None and self.now >= self.stop_at:
            raise Stopped

    def client(self, module, web):
        exchange = module.client("kraken")
        exchange.urls["api"] = {name: web.url for name in ("public", "private")}
        exchange.load_markets()
        return exchange


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def order():
    return DeskOrder(
        id="paper", symbol="BTC/USD", side="buy", amount="300", lot_size="0.01", min_duration="6h", max_duration="6h"
    )


def traded(state):
    """Fills of each bar of an order; the last one ends it before its bar is told."""
    return [*state.periods, state.in_bar]


def run(module, world, web, path):
    desk = Desk(path, "volume_curve", clock=lambda: world.now.value, rules=FeedRules(), takeover=True)
    module.run(desk, order(), world.client(module, web), "1h", HISTORY, sleep=world.sleep)
    return desk


def test_it_trades_closed_candles_through_limits_and_maintenance(world, tmp_path, capsys):
    module = example()
    with serving(world.route) as web:
        desk = run(module, world, web, tmp_path / "quiet.db")
        quiet = traded(desk.order("paper"))
        world.now, world.slept = BEGIN + pd.Timedelta(minutes=20), []
        body = json.dumps({"error": ["EService:Unavailable"]}).encode()
        maintenance = Answer(200, body, {"Content-Type": "application/json"})
        web.faults["/0/public/OHLC"] = [Answer(429, headers={"Retry-After": "7"}), Answer(503), maintenance]
        desk = run(module, world, web, tmp_path / "rough.db")
    state = desk.order("paper")
    assert (state.status, state.filled) == ("done", Decimal(300))
    assert traded(state) == quiet, "what the exchange did to the connection changes no fill"
    assert world.slept[:3] == [7.0, 2.0, 4.0], "as the server asks, then longer and longer"
    said = capsys.readouterr().err
    assert "waiting 7 s" in said
    assert said.count("waiting") == 3
    # The open candle is not in the history: the order begins with it.
    assert state.terms.start == BEGIN.value == desk.state.market["BTC/USD"].bars[0][0]
    # Filled at the exchange's own VWAP of each candle.
    vwap = (TABLE["notional"] / TABLE["volume"]).to_numpy()[HISTORY : HISTORY + 6]
    np.testing.assert_allclose([float(each.money / each.units) for each in traded(state)], vwap, rtol=1e-12)
    assert all(not market.faults for market in desk.state.market.values())


def test_it_goes_on_after_it_was_stopped(world, tmp_path):
    module = example()
    with serving(world.route) as web:
        whole = traded(run(module, world, web, tmp_path / "whole.db").order("paper"))
        world.now, world.stop_at = BEGIN + pd.Timedelta(minutes=20), BEGIN + pd.Timedelta(hours=3, minutes=30)
        with pytest.raises(Stopped):
            run(module, world, web, tmp_path / "stopped.db")
        world.stop_at = None
        world.now += pd.Timedelta(hours=1)  # it was down while a candle closed and another one began
        state = run(module, world, web, tmp_path / "stopped.db").order("paper")
    assert (state.status, state.filled) == ("done", Decimal(300))
    assert traded(state)[:4] == whole[:4]  # the child order that was in force is filled from its candle
    assert [each.units for each in traded(state)][4:] == [0, 300 - sum(each.units for each in whole[:4])]
