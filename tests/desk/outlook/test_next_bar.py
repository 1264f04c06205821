"""What an order does in the coming bar, from bars alone, and what may become of the rest."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from lem_models import load_policy, synthetic_bars
from lem_models.desk import Desk, DeskOrder
from lem_models.desk.outlook.forecast import forecast_order
from lem_models.desk.outlook.next_bar import next_bar
from lem_models.desk.running.fill_files import FillRow
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import BarsError, OrderError

HOUR = 3600 * 10**9


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=("BTCUSDT", "ETHUSDT"), days=40, seed=1)


def an_order(**fields):
    return DeskOrder(**{"symbol": "BTCUSDT", "side": "buy", "amount": "40 BTC", "max_duration": "12h"} | fields)


def start_before(bars, count):
    own = bars.select(["BTCUSDT"])
    return pd.Timestamp(int(own.timestamp[-count]), tz="UTC")


def test_a_new_order_starts_with_the_bar_after_the_last(bars):
    coming = next_bar(an_order(lot_size="0.01", min_duration="1h"), bars, "twap", paths=50)
    assert coming.decision.window[0].value == int(bars.timestamp[-1]) + HOUR
    assert coming.decision.quantity == Decimal("3.33")
    assert coming.schedule == ()
    assert str(coming.decision) in str(coming)
    assert "10 / 50 / 90 %" in str(coming)
    forecast = coming.forecast
    assert forecast.complete == 1.0
    assert [band.middle for band in forecast.filled] == sorted(band.middle for band in forecast.filled)
    assert forecast.finish == (int(bars.timestamp[-1]) + 13 * HOUR,) * 3
    assert forecast.slippage_bps.low < forecast.slippage_bps.middle < forecast.slippage_bps.high


def test_an_order_of_the_past_is_replayed_as_a_desk_would_have_run_it(bars):
    order = an_order(start=start_before(bars, 5).isoformat(), lot_size="0.01", max_participation=0.2)
    coming = next_bar(order, bars, "volume_curve", paths=0)
    own = bars.select(["BTCUSDT"])
    assert [each.period for each in coming.schedule] == [0, 1, 2, 3, 4]
    for row, each in zip(range(len(own) - 5, len(own)), coming.schedule, strict=True):
        assert each.filled == each.decided
        assert float(each.price) == pytest.approx(own.vwap_at(np.array([row]))[0], rel=1e-12)
    # What is sent does not depend on bars that came later.
    shorter = bars.between(end=start_before(bars, 2))
    before = next_bar(order, shorter, "volume_curve", paths=0)
    assert before.schedule == coming.schedule[:3]
    assert before.decision.quantity == coming.schedule[3].decided
    assert coming.forecast is None


def test_real_fills_replace_the_assumed_ones(bars):
    start = start_before(bars, 3)
    rows = [
        FillRow(None, Decimal("1.5"), Decimal("100"), "x", None, start.value + 60 * 10**9),
        FillRow(None, Decimal("0.5"), Decimal("101"), "y", None, start.value + HOUR),
        FillRow("another", Decimal("9"), Decimal("101"), "z", None, start.value),
        FillRow(None, Decimal("0.25"), Decimal("102"), "now", None, start.value + 3 * HOUR + 1),
    ]
    coming = next_bar(an_order(start=start.isoformat()), bars, "twap", fills=rows, paths=20)
    assert [each.filled for each in coming.schedule] == [Decimal("1.5"), Decimal("0.5"), Decimal(0)]
    assert coming.fills == "reported"
    assert coming.status.filled == Decimal("2.25")
    assert coming.forecast.filled[-1].middle == pytest.approx(1.0)
    early = [FillRow(None, Decimal(1), Decimal(100), "early", None, start.value - 1)]
    with pytest.raises(OrderError, match="before the order starts"):
        next_bar(an_order(start=start.isoformat()), bars, "twap", fills=early)
    timeless = [FillRow(None, Decimal(1), Decimal(100), "t", None, None)]
    with pytest.raises(OrderError, match="has no time"):
        next_bar(an_order(start=start.isoformat()), bars, "twap", fills=timeless)


def test_old_bars_are_said_to_be_old_and_open_ones_are_left_out(bars):
    end = int(bars.timestamp[-1]) + HOUR
    assert next_bar(an_order(), bars, "twap", paths=0, now=end + 60 * 10**9).stale == ""
    old = next_bar(an_order(), bars, "twap", paths=0, now=end + 30 * HOUR)
    assert "the data is old" in old.stale
    assert "30 hours ago" in old.stale
    is_open = next_bar(an_order(), bars, "twap", paths=0, now=end - HOUR // 2)
    assert is_open.decision.window[0].value == end - HOUR


def test_an_order_that_is_over_has_no_decision(bars):
    start = start_before(bars, 20)
    coming = next_bar(an_order(start=start.isoformat(), max_duration="6h"), bars, "twap", paths=20)
    assert coming.decision is None
    assert coming.forecast is None
    assert coming.status.status == "done"
    assert "nothing; the order is done" in str(coming)


def test_a_wrong_symbol_and_a_start_before_the_bars_are_refused(bars):
    with pytest.raises(BarsError, match="no symbol SOLUSDT"):
        next_bar(an_order(symbol="SOLUSDT", amount="40 SOL"), bars, "twap")
    with pytest.raises(BarsError, match="give bars from before the start"):
        next_bar(an_order(start="2020-01-01T00:00:00Z"), bars, "twap")


@pytest.mark.slow
def test_forecasts_cover_the_slippage_that_comes():
    # TWAP finishes with the last bar, so its slippage is the only thing to forecast: 80 % bands at 40 origins.
    bars = synthetic_bars(symbols=("BTCUSDT",), days=60, seed=9)
    policy, inside = load_policy("twap"), []
    for origin in range(40):
        row = len(bars) - 13 * (origin + 1)
        history = bars.between(end=pd.Timestamp(int(bars.timestamp[row]), tz="UTC"))
        desk = Desk(MemoryStore(), policy, clock=lambda: int(bars.timestamp[-1]) + HOUR)
        desk.add(an_order(max_duration="4h"), history=history)
        band = forecast_order(desk.order("1"), history, policy, paths=40, seed=origin).slippage_bps
        price, volume = bars.vwap_at(np.arange(row, row + 4)), bars.volume[row : row + 4]
        slippage = (price.mean() / (price @ volume / volume.sum()) - 1) * 1e4
        inside.append(band.low <= slippage <= band.high)
    assert 0.6 <= np.mean(inside) <= 0.97


def test_a_cap_leaves_something_on_some_paths(bars):
    own = bars.select(["BTCUSDT"])
    size = round(0.045 * float(own.volume[-24:].mean()) * 6, 2)
    order = an_order(amount=str(size), max_duration="6h", max_participation=0.05, allow_incomplete=True)
    forecast = next_bar(order, bars, "twap", paths=50).forecast
    assert 0 <= forecast.complete < 1
    assert "something is left" in str(forecast) or "on no path" in str(forecast)


def test_a_notional_order_is_forecast_to_the_lot(bars):
    order = an_order(amount="100000 USDT", lot_size="0.01", max_duration="4h")
    forecast = next_bar(order, bars, "twap", paths=20).forecast
    assert forecast.complete == 1.0
    assert forecast.filled[-1].low == 1.0
