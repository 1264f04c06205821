"""The engine of NautilusTrader and our simulator on the same bars: lots equal, prices within half a tick."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pandas as pd
import pytest

pytest.importorskip("nautilus_trader", reason="nautilus_trader is the extra 'nautilus', which is not installed")

from nautilus_trader.backtest.models import FillModel

from lem_models import execute, list_models
from lem_models.integrations.nautilus.engine_data import engine_bars
from tests.helpers.markets import hourly
from tests.integrations.nautilus.engine import Parent, as_bars, backtest, bar_type_of, instrument_of


@dataclass(frozen=True)
class Market:
    """Bars of the training period of a model, and parent orders."""

    file: str
    symbol: str
    step: str
    first: str
    last: str
    lot: str
    tick: str
    parents: tuple[Parent, ...]
    calendar: str | None = None
    exact: bool = False
    settings: dict[str, object] = field(default_factory=dict)


def parents(first: str, apart: str, count: int, quantity: str, caps: tuple[float, float]) -> tuple[Parent, ...]:
    """Both sides, with a free and with a fixed end, without a cap, and with one that binds or does not."""
    made = []
    for number in range(count):
        side = ("buy", "sell")[number % 2]
        terms: dict[str, object] = {"min_periods": (1, 4, 12)[number % 3], "max_periods": 12}
        if number % 4 > 1:
            terms["max_participation"] = caps[number // 4 % 2]
        terms |= {"benchmark": "twap"} if number % 5 == 3 else {}
        terms |= {"risk_aversion": 0.4} if number % 5 == 4 else {}
        at = pd.Timestamp(first, tz="UTC") + number * pd.Timedelta(apart)
        made.append(Parent(at, side, quantity, terms))
    return tuple(made)


MARKETS = {
    "lem-crypto-hourly": Market(
        *("crypto_hourly.parquet", "BTCUSDT", "1h", "2022-12-20", "2023-03-10", "1", "0.01"),
        parents("2023-03-01 06:00", "7h", 12, "400", (0.004, 0.2)),
        exact=True,
    ),
    "lem-base": Market(
        *("crypto_hourly.parquet", "ETHUSDT", "1h", "2022-03-20", "2022-06-07", "2", "0.01"),
        parents("2022-06-01 05:00", "5h", 12, "900", (0.004, 0.2)),
        exact=True,
    ),
    "lem-crypto-30min": Market(
        *("crypto_30min.parquet", "SOLUSDT", "30min", "2024-01-20", "2024-03-12", "10", "0.01"),
        parents("2024-03-08 16:30", "4h", 12, "3000", (0.003, 0.2)),
        exact=True,
    ),
    "lem-equity-5min": Market(
        *("equity_intraday_5min.parquet", "AAPL", "5min", "2025-07-01", "2025-08-21", "1", "0.01"),
        parents("2025-08-19 14:05", "20min", 12, "360", (0.0002, 0.2)),
        calendar="XNYS",
    ),
    "lem-dow-daily": Market(
        *("dow_daily.parquet", "KO", "1D", "2012-10-01", "2014-05-15", "1", "0.0001"),
        parents("2014-02-22", "7D", 6, "360", (0.000002, 0.2)),
        calendar="XNYS",
    ),
}


def in_engine(market, bars, instrument, model, **settings):
    run = backtest(bars, instrument, market.parents, model, calendar=market.calendar, **settings)
    run.engine.run()
    ran = {}
    for parent, label in zip(market.parents, run.trader.ids, strict=True):
        assert run.reasons(label) == [], parent
        state = run.algorithm.ledger.parent(label)
        assert state.fallback == ""
        assert state.filled == sum(quantity for _, quantity, _ in run.fills(label))
        ran[label] = parent, state, run.fills(label)
    run.engine.dispose()
    return ran


def in_simulator(market, bars, labels, model):
    """Fills of the simulator: close of the bar, lots, price."""
    rows = [
        {"order_id": label, "symbol": bars[0].bar_type.instrument_id.value, "start": parent.at, "side": parent.side}
        | {"amount": float(parent.quantity), "lot_size": float(market.lot)}
        | dict(parent.parameters)
        for parent, label in zip(market.parents, labels, strict=True)
    ]
    result = execute(model, as_bars(bars, calendar=market.calendar), pd.DataFrame(rows), cap_ahead=True)
    assert result.excluded.empty
    step = pd.Timedelta(market.step)
    fills = {label: [] for label in labels}
    for row in result.schedule.itertuples():
        lots = row.fraction * float(market.parents[labels.index(row.order_id)].quantity) / float(market.lot)
        assert lots == pytest.approx(round(lots), abs=1e-6)
        if round(lots):
            fills[row.order_id].append(((row.timestamp + step).value, round(lots), row.price))
    return fills


def reconcile(market, bars, instrument, model):
    ran = in_engine(market, bars, instrument, model)
    simulated = in_simulator(market, bars, list(ran), model)
    half_a_tick = float(market.tick) / 2
    for label, (parent, _, fills) in ran.items():
        lots = [(at, quantity / Decimal(market.lot)) for at, quantity, _ in fills]
        assert lots == [(at, count) for at, count, _ in simulated[label]], parent
        for (_, _, price), (_, _, vwap) in zip(fills, simulated[label], strict=True):
            assert abs(float(price) - vwap) <= half_a_tick * (1 + 1e-6)
    return ran


def real(market, folder):
    window = [
        ("timestamp", ">=", pd.Timestamp(market.first, tz="UTC")),
        ("timestamp", "<", pd.Timestamp(market.last, tz="UTC")),
    ]
    frame = pd.read_parquet(folder / market.file, filters=[("symbol", "==", market.symbol), *window])
    instrument = instrument_of(market.symbol, lot=market.lot, tick=market.tick)
    bars = engine_bars(frame, instrument, bar_type_of(instrument, pd.Timedelta(market.step)), with_money=market.exact)
    return bars, instrument


def test_every_bundled_model_has_a_market():
    assert set(MARKETS) == set(list_models())


@pytest.mark.parametrize("model", MARKETS)
def test_on_real_bars(model, shared_data):
    market = MARKETS[model]
    bars, instrument = real(market, shared_data)
    ran = reconcile(market, bars, instrument, model)
    children = [child for _, state, _ in ran.values() for child in state.children.values()]
    assert any(0 < child.filled < child.quantity for child in children)  # the volume of a bar held one back
    assert sum(state.status == "done" for _, state, _ in ran.values()) >= len(ran) // 2


SYNTHETIC = Market(
    *("", "S000USDT", "1h", "", "", "0.1", "0.01"),
    parents("2024-01-13 06:00", "5h", 8, "40", (0.004, 0.2)),
    exact=True,
)


def synthetic():
    frame = hourly(days=16).frame.query("symbol == 'S000'")
    instrument = instrument_of("S000USDT", lot="0.1", tick="0.01")
    return engine_bars(frame, instrument, bar_type_of(instrument, pd.Timedelta("1h")), with_money=True), instrument


@pytest.mark.parametrize("policy", ["twap", "volume_curve", "lem-crypto-hourly"])
def test_on_synthetic_bars(policy):
    reconcile(SYNTHETIC, *synthetic(), policy)


def test_the_stock_fill_model_differs_by_close_minus_vwap():
    """With TWAP both runs have the same lots, so the closes explain the whole difference."""
    bars, instrument = synthetic()
    market = Market(
        *("", "S000USDT", "1h", "", "", "0.1", "0.01"),
        tuple(Parent(each.at, each.side, "40", {"max_periods": 12}) for each in SYNTHETIC.parents),
    )
    vwaps = {bar.ts_init: float(bar.quote_volume) / float(bar.volume) for bar in bars}
    closes = {bar.ts_init: float(bar.close) for bar in bars}
    ours = in_engine(market, bars, instrument, "twap")
    stock = in_engine(market, bars, instrument, "twap", fill_model=FillModel())
    largest = 0.0
    for label, (parent, _, fills) in ours.items():
        theirs = stock[label][2]
        assert [(at, quantity) for at, quantity, _ in fills] == [(at, quantity) for at, quantity, _ in theirs]
        weights = [float(quantity) / float(parent.quantity) for _, quantity, _ in fills]
        difference = sum(w * float(b[2] - a[2]) for w, a, b in zip(weights, fills, theirs, strict=True))
        explained = sum(w * (closes[at] - vwaps[at]) for w, (at, _, _) in zip(weights, fills, strict=True))
        assert difference == pytest.approx(explained, abs=0.005 + 1e-9)
        largest = max(largest, abs(explained))
    assert largest > 0.05  # what is explained is more than the rounding
