"""execute(): a table of orders over bars. One by one or together, in any units, on any side: the same results."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import lem_models.execution.execute  # noqa: F401 (the submodule is patched below)
from lem_models.baselines import list_policies, load_policy
from lem_models.errors import BarsError, OrderError, UnknownNameError
from lem_models.evaluation.leak import check_leak
from lem_models.evaluation.null import martingale_null
from lem_models.execution.execute import execute
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.orders import Order
from tests.helpers import (
    KINDS,
    Scripted,
    flat_bars,
    hourly,
    order_table,
    policy_named,
    rebuilt,
    reflected,
    scaled,
    sessions,
)

BARS = hourly()
TWAP = load_policy("twap")


def _tolerance(name):
    """Classical policies compute in double precision; a network's sums depend on the size of the batch by 1e-7."""
    return 1e-12 if name in ("twap", "volume_curve", "stopping_rule") else 1e-6


def _mixed_orders(every=7):
    return Order.sample(
        BARS, every=every, min_periods=[1, 5, 9], max_periods=[5, 12], max_rate=[0.25, 1.0], benchmark=["vwap", "twap"]
    )


def _schedule(result):
    """Fractions [orders, 12] in the order of the results."""
    table = result.schedule.pivot_table(index="order_id", columns="period", values="fraction").fillna(0.0)
    return table.reindex(index=result.orders["order_id"], columns=range(12), fill_value=0.0).to_numpy()


def _assert_same(one, other, tolerance=0.0):
    np.testing.assert_allclose(_schedule(one), _schedule(other), atol=tolerance, rtol=0)
    np.testing.assert_allclose(one.orders["slippage_bps"], other.orders["slippage_bps"], atol=1e-9 + 100 * tolerance)
    np.testing.assert_array_equal(one.orders["periods_used"], other.orders["periods_used"])


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_one_order_by_hand():
    bars = flat_bars([50.0, 100.0, 102.0, 99.0], [5.0, 10.0, 30.0, 20.0])
    order = Order(symbol="X", start="2024-01-01T01:00Z", side="sell", max_periods=3, order_id="mine")
    result = execute(Scripted([0.5, 0.3, 0.2]), bars, order)
    row = result.orders.iloc[0]
    executed, benchmark = 0.5 * 100 + 0.3 * 102 + 0.2 * 99, (1000 + 3060 + 1980) / 60
    assert row["order_id"] == "mine"
    assert row["side"] == "sell"
    assert row["executed_price"] == pytest.approx(executed)
    assert row["benchmark_price"] == pytest.approx(benchmark)
    assert row["arrival_price"] == 50.0
    assert row["slippage_bps"] == pytest.approx(-(executed / benchmark - 1) * 1e4)
    assert (row["periods_used"], row["filled"], row["completed"]) == (3, 1.0, True)
    schedule = result.schedule
    assert list(schedule.columns) == ["order_id", "period", "timestamp", "fraction", "price"]
    assert schedule["fraction"].tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert schedule["price"].tolist() == [100.0, 102.0, 99.0]
    assert schedule["timestamp"].tolist() == pd.date_range("2024-01-01 01:00", periods=3, freq="h", tz="UTC").tolist()
    assert result.periods_of("mine")["volume"].tolist() == [10.0, 30.0, 20.0]


def test_the_price_of_a_bar_is_its_vwap():
    schedule = execute(TWAP, BARS, order_table(BARS, 100, max_periods=4)).schedule
    np.testing.assert_array_equal(schedule["price"], BARS.vwap[100:104])


def test_volatility_is_the_one_known_at_the_start():
    result = execute(TWAP, BARS, order_table(BARS, 300, max_periods=4)).orders
    assert result["volatility_bps"].item() == pytest.approx(Market(BARS).volatility[299] * 1e4)


def test_an_order_without_volume_at_the_end_is_reported_incomplete():
    bars = flat_bars([10.0] * 5, [1.0, 1.0, 1.0, 0.0, 0.0])
    result = execute(TWAP, bars, order_table(bars, 1, max_periods=4))
    row = result.orders.iloc[0]
    assert (row["completed"], row["periods_used"]) == (False, 4)
    assert row["filled"] == pytest.approx(0.25 + 0.25)
    assert result.schedule["period"].tolist() == [0, 1]
    assert "1 incomplete" in repr(result)


def test_an_order_that_never_trades_is_in_the_results():
    bars = flat_bars([10.0] * 4, [1.0, 0.0, 0.0, 1.0])
    row = execute(TWAP, bars, order_table(bars, 1, max_periods=2)).orders.iloc[0]
    assert row["filled"] == 0.0
    assert not row["completed"]
    assert np.isnan(row["slippage_bps"])


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_twap_against_the_twap_is_exactly_zero(side):
    # For a quantity: equal money per period would buy at the harmonic mean.
    orders = Order.sample(BARS, every=3, side=side, benchmark="twap", max_periods=[1, 5, 12])
    assert (execute(TWAP, BARS, orders).orders["slippage_bps"].abs() < 1e-9).all()


def test_the_volume_s_own_pace_against_the_vwap_is_exactly_zero():
    class Clairvoyant(Policy):
        lookback = 1

        def encode(self, market, rows, side):
            return torch.from_numpy(
                np.stack([market.bars.volume[np.minimum(rows + j, len(BARS) - 1)] for j in range(7)], 1)
            )

        def decide(self, context, orders, state):
            left = context[:, 1 : 7 - state.period]
            return Decision(state.remaining * left[:, 0] / left.sum(1), False)

    orders = Order.sample(BARS, every=11, max_periods=6)
    assert (execute(Clairvoyant(), BARS, orders).orders["slippage_bps"].abs() < 1e-8).all()


# --- what cannot run -------------------------------------------------------------------------------------------------


def _with_holes(drop=(), silent=()):
    frame = flat_bars(np.linspace(100, 110, 48)).frame
    frame.loc[list(silent), ["volume", "notional"]] = 0.0
    return Bars.from_frame(frame.drop(index=list(drop)), calendar="24/7", frequency="1h")


class Patient(type(TWAP)):
    """TWAP that asks for ten bars of history."""

    lookback = 10


@pytest.mark.parametrize(
    ("bars", "hour", "periods", "reason"),
    [
        (_with_holes(), 60, 4, "no bar of this symbol starts at this time"),
        (_with_holes(), 9, 4, "not enough history before the start"),
        (_with_holes(drop=[15]), 20, 4, "a gap in the lookback"),
        (_with_holes(drop=[19]), 20, 4, "a gap in the lookback"),
        (_with_holes(), 45, 4, "the bars end before the order does"),
        (_with_holes(drop=[22]), 20, 4, "a gap inside the order"),
        (_with_holes(silent=range(12, 20)), 20, 4, "a halt (bars without volume) in the lookback"),
    ],
)
def test_what_cannot_run_is_listed_with_its_reason(bars, hour, periods, reason, caplog):
    start = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=hour)
    table = pd.DataFrame({"symbol": "X", "start": [start, pd.Timestamp("2024-01-02 16:00", tz="UTC")], "side": "buy"})
    with caplog.at_level(logging.WARNING, logger="lem_models"):
        result = execute(Patient(), bars, table.assign(max_periods=[periods, 2], order_id=["bad", "good"]))
    assert result.excluded[["order_id", "symbol", "start", "reason"]].to_numpy().tolist() == [
        ["bad", "X", start, reason]
    ]
    assert result.orders["order_id"].tolist() == ["good"]
    assert f"1 of 2 orders cannot run and are left out: 1 {reason}" in caplog.text


def test_limits_of_history_and_horizon_are_exact():
    bars = _with_holes()
    result = execute(Patient(), bars, order_table(bars, [9, 10, 44, 45], max_periods=4))
    assert result.orders["order_id"].tolist() == [1, 2]


def test_an_unknown_symbol_is_excluded():
    table = order_table(BARS, [20, 21], max_periods=3)
    table.loc[0, "symbol"] = "NOPE"
    result = execute(TWAP, BARS, table)
    assert result.excluded["symbol"].tolist() == ["NOPE"]
    assert len(result.orders) == 1


def test_an_intraday_order_stays_in_its_session_unless_told_otherwise():
    bars = sessions()
    late = order_table(bars, [78 * 3 - 12, 78 * 3 - 11], max_periods=12)
    result = execute(TWAP, bars, late)
    assert result.orders["order_id"].tolist() == [0]
    assert result.excluded["reason"].tolist() == ["the order would cross the end of the session"]
    assert len(execute(TWAP, bars, late, within_session=False).orders) == 2


def test_all_orders_excluded_is_no_error():
    result = execute(TWAP, BARS, order_table(BARS, [len(BARS) - 1], max_periods=3))
    assert (len(result.orders), len(result.excluded), len(result.schedule)) == (0, 1, 0)


def test_fewer_bars_than_the_lookback_is_an_error():
    with pytest.raises(BarsError, match="10 bars at most per symbol, but 10 bars of history"):
        execute(Patient(), flat_bars([1.0] * 10), order_table(flat_bars([1.0] * 10), 5, max_periods=1))


def test_few_bars_are_enough_for_a_policy_that_asks_for_few():
    # Fewer sessions than a volume profile would average.
    daily = rebuilt_daily(15)
    for name in ("twap", "volume_curve", "stopping_rule"):
        result = execute(load_policy(name), daily, order_table(daily, [3, 9], max_periods=5))
        assert result.orders["completed"].all()


def rebuilt_daily(days):
    frame = flat_bars(np.linspace(10, 12, days)).frame
    frame["timestamp"] = pd.date_range("2024-01-01", periods=days, freq="D", tz="UTC")
    return Bars.from_frame(frame)


def test_an_order_longer_than_the_policy_s_horizon_is_refused():
    with pytest.raises(OrderError, match="max_periods is 13, but this policy's horizon is 12"):
        execute(policy_named("random weights"), BARS, order_table(BARS, 300, max_periods=13))


def test_max_periods_defaults_to_the_horizon_and_min_periods_to_max_periods():
    result = execute(policy_named("random weights"), BARS, order_table(BARS, 300)).orders
    assert result[["min_periods", "max_periods"]].to_numpy().tolist() == [[12, 12]]
    assert result["risk_aversion"].item() == policy_named("random weights").config.fixed_risk_aversion
    with pytest.raises(OrderError, match="max_periods is missing"):
        execute(TWAP, BARS, order_table(BARS, 300))


# --- order of things -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_results_keep_the_order_the_ids_and_the_extra_columns(name):
    orders = _mixed_orders(every=23)
    shuffled = orders.sample(frac=1.0, random_state=0)
    shuffled["order_id"] = [f"id-{i}" for i in shuffled["order_id"]]
    shuffled["desk"] = np.arange(len(shuffled)) % 3
    result = execute(policy_named(name), BARS, shuffled)
    assert result.orders["order_id"].tolist() == shuffled["order_id"].tolist()
    assert result.orders["desk"].tolist() == shuffled["desk"].tolist()
    straight = execute(policy_named(name), BARS, orders).orders.set_index("order_id")["slippage_bps"]
    again = result.orders.assign(number=[int(i[3:]) for i in result.orders["order_id"]]).set_index("number")
    np.testing.assert_allclose(again["slippage_bps"].loc[straight.index], straight, atol=1e-9 + 100 * _tolerance(name))


@pytest.mark.parametrize("name", KINDS)
def test_the_table_is_its_orders_one_by_one(name):
    orders = _mixed_orders(every=61).iloc[::7]
    together = execute(policy_named(name), BARS, orders)
    market = Market(BARS)
    for position in range(len(orders)):
        alone = execute(policy_named(name), market, orders.iloc[[position]])
        np.testing.assert_allclose(_schedule(alone)[0], _schedule(together)[position], atol=_tolerance(name), rtol=0)
        assert alone.orders["periods_used"].item() == together.orders["periods_used"].iloc[position]


@pytest.mark.parametrize("name", KINDS)
def test_passes_of_any_size_give_the_same(name, monkeypatch):
    import sys

    orders = _mixed_orders(every=29)
    whole = execute(policy_named(name), BARS, orders)
    for size in (1, 7, 64):
        monkeypatch.setattr(sys.modules["lem_models.execution.execute"], "_ORDERS_PER_PASS", size)
        parts = execute(policy_named(name), BARS, orders.iloc[: 4 * size])
        np.testing.assert_allclose(_schedule(parts), _schedule(whole)[: 4 * size], atol=_tolerance(name), rtol=0)
    last = parts.orders["order_id"].iloc[-1]
    part = parts.schedule.query("order_id == @last")["fraction"].to_numpy()
    table = parts.periods_of(last)
    np.testing.assert_array_equal(table.loc[table["fraction"] > 0, "fraction"], part)


def test_memory_does_not_grow_with_the_length_of_orders():
    class Counting(Policy):
        largest = 0

        def decide(self, context, orders, state):
            self.largest = max(self.largest, state.expected_volume.numel())
            return Decision(1.0, True)

    policy, bars = Counting(), hourly(30, 1)
    orders = Order.sample(bars, every=1, side="both", max_periods=300, lookback=1)
    assert len(execute(policy, bars, orders).orders) == len(orders) > 800
    assert 50_000 < policy.largest <= 100_000


def test_orders_come_as_order_list_mapping_or_table():
    columns = {"symbol": "S000", "start": pd.Timestamp(BARS.timestamp[50], tz="UTC"), "side": "buy", "max_periods": 3}
    forms = [Order(**columns), [Order(**columns)], columns, [columns], pd.DataFrame([columns])]
    values = [execute(TWAP, BARS, form).orders["slippage_bps"].item() for form in forms]
    assert len(set(values)) == 1


def test_a_result_can_be_executed_again():
    first = execute(TWAP, BARS, _mixed_orders(every=31))
    second = execute(TWAP, BARS, first.orders)
    pd.testing.assert_frame_equal(first.orders, second.orders)


# --- symmetries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [{"prices": 1000.0, "volumes": 1e-2}, {"prices": 1e-3, "volumes": 1e-3}], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_units_do_not_matter(name, units):
    orders = _mixed_orders()
    one, other = (execute(policy_named(name), bars, orders) for bars in (BARS, scaled(BARS, **units)))
    _assert_same(one, other, max(1e-9, 10 * _tolerance(name)))
    np.testing.assert_allclose(
        other.orders["executed_price"], one.orders["executed_price"] * units.get("prices", 1.0), rtol=1e-6
    )


@pytest.mark.parametrize("start", [5, 20], ids=["in the first session", "across its end"])
def test_units_do_not_matter_where_nothing_is_known_of_the_volume(start):
    orders = order_table(BARS, start, max_periods=12)
    one, other = (execute(load_policy("volume_curve"), b, orders) for b in (BARS, scaled(BARS, volumes=1000.0)))
    _assert_same(one, other, 1e-12)
    assert _schedule(one)[0] == pytest.approx(1 / 12)


@pytest.mark.parametrize("name", ["twap", "volume_curve"])
def test_a_seller_pays_what_a_buyer_gains(name):
    orders = _mixed_orders()
    buy, sell = (execute(load_policy(name), BARS, orders.assign(side=side)).orders for side in ("buy", "sell"))
    np.testing.assert_array_equal(buy["slippage_bps"], -sell["slippage_bps"])


# The paper has networks of their own for buying and for selling; the other baselines are told no side.
MIRRORED = [name for name in KINDS if name not in list_policies() and "paper" not in name]


@pytest.mark.parametrize("name", ["longstaff_schwartz", *MIRRORED])
def test_a_model_sells_in_the_mirrored_market_as_it_buys(name):
    # Exact but for averages of prices, which a reflection in log price changes by the square of the volatility.
    orders = Order.sample(BARS, every=3, side="buy", min_periods=12, max_periods=12)
    buy = execute(policy_named(name), BARS, orders)
    sell = execute(policy_named(name), reflected(BARS), orders.assign(side="sell"))
    moved = np.abs(_schedule(buy) - _schedule(sell))
    same_side = np.abs(_schedule(buy) - _schedule(execute(policy_named(name), BARS, orders.assign(side="sell"))))
    assert moved.mean() < 2e-3
    assert moved.mean() < 0.1 * same_side.mean()


@pytest.mark.parametrize("name", KINDS)
def test_a_decision_asks_for_no_more_history_than_the_lookback(name):
    policy, bars = policy_named(name), hourly(45, 1)
    row = 1000
    orders = order_table(bars, row, max_periods=12, min_periods=1, side="buy")
    # The volume profile reaches back over the policy's sessions, or over 256 bars without any.
    history = max(policy.lookback, 256) + (policy.sessions + 1) * 24 * (policy.sessions > 0)
    cut = Bars.from_frame(bars.frame.iloc[row - history :], calendar="24/7")
    assert len(cut) < len(bars)
    _assert_same(execute(policy, bars, orders), execute(policy, cut, orders), 1e-6)


def test_a_session_model_asks_for_no_more_history_than_the_lookback():
    policy, bars = policy_named("random weights"), sessions()
    row = 78 * 6 + 20
    orders = order_table(bars, row, max_periods=12, min_periods=1)
    cut = rebuilt(bars, bars.frame.iloc[78 * 2 :])
    _assert_same(execute(policy, bars, orders), execute(policy, cut, orders), 1e-6)


def test_policies_come_by_name_and_bars_in_any_form(tmp_path):
    bars = hourly()
    order = {"symbol": "S000", "start": "2024-01-12T00:00Z", "side": "buy", "max_periods": 6}
    expected = execute(load_policy("twap"), bars, order).schedule
    bars.write(tmp_path / "bars.parquet")
    path = tmp_path / "bars.parquet"
    for form in (bars, bars.frame, pa.Table.from_pandas(bars.frame), path, str(path), Market(bars)):
        pd.testing.assert_frame_equal(execute("twap", form, order).schedule, expected)
    orders = Order.sample(bars, every=24)
    for form in (bars.frame, path):
        pd.testing.assert_frame_equal(Order.sample(form, every=24), orders)
        assert check_leak("twap", form, checks=1) is None
        assert martingale_null(form, seed=1).content_hash == martingale_null(bars, seed=1).content_hash


def test_a_policy_or_bars_that_there_are_not_is_a_typed_error(tmp_path):
    order = {"symbol": "S000", "start": "2024-01-12T00:00Z", "side": "buy", "max_periods": 6}
    with pytest.raises(UnknownNameError, match="did you mean 'twap'"):
        execute("twop", hourly(), order)
    for thing in (None, 3, [1], tmp_path / "none.parquet", "none.parquet", object()):
        with pytest.raises(BarsError):
            execute("twap", thing, order)
        with pytest.raises(BarsError):
            Order.sample(thing)


def test_orders_without_enough_history_are_logged_with_the_bars_needed_and_there(caplog):
    bars = _with_holes(drop=[15])
    execute(Patient(), bars, order_table(bars, [4, 7, 20], max_periods=2))
    assert "2 not enough history before the start (first: order '0', " in caplog.text
    assert ") (10 bars are needed, 4 to 7 are there without a gap)" in caplog.text
    assert "1 a gap in the lookback (first: order '2', " in caplog.text
    assert ") (10 bars are needed, 5 are there without a gap)" in caplog.text


def test_symbols_are_looked_up_and_not_searched():
    class Unsearchable(tuple):
        __slots__ = ()

        def __contains__(self, item):
            raise AssertionError("searched")

        index = __contains__

    bars = hourly()
    table = Order.sample(bars, every=24)
    table.loc[0, "symbol"] = "NOPE"
    expected = execute("twap", bars, table)
    result = execute("twap", dataclasses.replace(bars, symbols=Unsearchable(bars.symbols)), table)
    pd.testing.assert_frame_equal(result.schedule, expected.schedule)
    assert result.excluded["symbol"].tolist() == ["NOPE"]
