"""Orders: what may be asked for, what a table is completed with, and samples of a market."""

import subprocess
import sys
from datetime import datetime, timezone

import numpy as np
import pandas as pd
import pytest

from lem_models.baselines import load_policy
from lem_models.errors import LEMError, OrderError
from lem_models.execution.execute import execute
from lem_models.orders import Benchmark, Order, Side, Target
from lem_models.orders.table import COLUMNS, complete_orders
from tests.helpers import flat_bars, hourly, order_batch, rebuilt, sessions

BARS = hourly()
START = "2024-05-01T00:00Z"


def _order(**settings):
    return Order(**{"symbol": "BTCUSDT", "start": START, "side": "buy", "max_periods": 12, **settings})


def _complete(horizon=None, **columns):
    base = {"symbol": ["A", "B"], "start": pd.to_datetime([START, START]), "side": ["buy", "sell"], "max_periods": 12}
    table = pd.DataFrame(base).assign(**columns)
    return complete_orders(table, horizon=horizon, risk_aversion=0.25)


# --- one order -------------------------------------------------------------------------------------------------------


def test_an_order_has_defaults():
    order = Order(symbol="BTCUSDT", start=START, side="buy")
    assert (order.side, order.benchmark, order.target) == (Side.BUY, Benchmark.VWAP, Target.QUANTITY)
    assert (order.min_periods, order.max_periods, order.min_rate, order.max_rate) == (None, None, 0.0, 1.0)


def test_signs():
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)


def test_an_order_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        _order().side = "sell"


@pytest.mark.parametrize(
    "start",
    [START, pd.Timestamp(START), datetime(2024, 5, 1, tzinfo=timezone.utc), pd.Timestamp("2024-04-30 20:00-04:00")],
    ids=str,
)
def test_a_start_is_a_moment(start):
    table = complete_orders(_order(start=start), horizon=None, risk_aversion=0.0)
    assert table["start"].iloc[0] == pd.Timestamp(START)
    assert str(table["start"].dtype) == "datetime64[ns, UTC]"


REFUSED = [
    ("max_periods", "at least 1", {"max_periods": 0}),
    ("min_periods", "at least 1", {"min_periods": 0}),
    ("min_periods", "must not exceed max_periods", {"min_periods": 13}),
    ("max_rate", r"must lie in \(0, 1\]", {"max_rate": 0.0}),
    ("max_rate", r"must lie in \(0, 1\]", {"max_rate": -0.5}),
    ("max_rate", r"must lie in \(0, 1\]", {"max_rate": 1.5}),
    ("max_rate", r"max_rate times max_periods must be at least 1", {"max_rate": 0.08}),
    ("min_rate", r"must lie in \[0, max_rate\]", {"min_rate": -0.1}),
    ("min_rate", r"must lie in \[0, max_rate\]", {"min_rate": 0.6, "max_rate": 0.5}),
    ("risk_aversion", "at least 0", {"risk_aversion": -1.0}),
    ("risk_aversion", "finite", {"risk_aversion": np.inf}),
    ("amount", "positive", {"amount": 0.0}),
    ("amount", "finite", {"amount": np.inf}),
    ("lot_size", "positive", {"amount": 10.0, "lot_size": -1.0}),
    ("lot_size", "needs an amount", {"lot_size": 1.0}),
    ("lot_size", "whole number of lots", {"amount": 10.5, "lot_size": 1.0}),
    ("lot_size", "cannot complete", {"amount": 10.0, "lot_size": 1.0, "max_rate": 0.09}),
    ("max_participation", r"must lie in \(0, 1\]", {"amount": 1.0, "max_participation": 1.1}),
    ("max_participation", "needs an amount", {"max_participation": 0.1}),
]


@pytest.mark.parametrize(("field", "message", "settings"), REFUSED)
def test_an_order_that_cannot_be_carried_out_is_refused(field, message, settings):
    with pytest.raises(OrderError, match=message) as error:
        _order(**settings)
    assert error.value.field == field
    assert str(error.value).startswith(field)
    assert isinstance(error.value, LEMError)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(("field", "message", "settings"), REFUSED)
def test_a_table_obeys_the_same_rules(field, message, settings):
    bad = {
        name: [np.nan if name not in ("max_periods", "max_rate") else 1.0, value] for name, value in settings.items()
    }
    bad["max_periods"] = [12, settings.get("max_periods", 12)]
    with pytest.raises(OrderError, match=message) as error:
        _complete(**bad)
    assert error.value.field == field
    assert error.value.row == 1


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("start", {"start": "2024-05-01"}),
        ("start", {"start": "yesterday"}),
        ("side", {"side": "long"}),
        ("benchmark", {"benchmark": "close"}),
        ("target", {"target": "cash"}),
        ("max_periods", {"max_periods": 2.5}),
        ("max_periods", {"max_periods": "many"}),
        ("symbol", {"symbol": None}),
        ("colour", {"colour": "red"}),
    ],
)
def test_malformed_values_are_refused_by_name(field, settings):
    with pytest.raises(OrderError, match=field) as error:
        _order(**settings)
    assert error.value.field == field


def test_hostile_names_are_refused():
    with pytest.raises(OrderError):
        Order(**{"self": 1, "symbol": "A", "start": START, "side": "buy"})


def test_a_minimum_without_a_maximum_is_checked_against_the_horizon_later():
    order = Order(symbol="A", start=START, side="buy", min_periods=20)
    with pytest.raises(OrderError, match="min_periods must not exceed max_periods"):
        complete_orders(order, horizon=12, risk_aversion=0.0)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_is_completed():
    table = _complete(horizon=24)
    assert tuple(table.columns) == COLUMNS
    assert table["order_id"].tolist() == [0, 1]
    assert table["min_periods"].tolist() == [12, 12]
    assert table["risk_aversion"].tolist() == [0.25, 0.25]
    assert table["max_rate"].tolist() == [1.0, 1.0]
    assert table["benchmark"].tolist() == ["vwap", "vwap"]


def test_missing_values_in_a_table_take_the_defaults():
    table = _complete(
        horizon=24,
        max_periods=[np.nan, 6],
        min_periods=[3, None],
        risk_aversion=[None, 1.0],
        max_rate=[np.nan, 0.5],
        benchmark=[None, "twap"],
        order_id=[None, "b"],
    )
    assert table["max_periods"].tolist() == [24, 6]
    assert table["min_periods"].tolist() == [3, 6]
    assert table["risk_aversion"].tolist() == [0.25, 1.0]
    assert table["max_rate"].tolist() == [1.0, 0.5]
    assert table["benchmark"].tolist() == ["vwap", "twap"]
    assert table["order_id"].tolist() == [0, "b"]


def test_a_table_is_not_changed_and_keeps_its_other_columns_and_its_order():
    table = pd.DataFrame(
        {"symbol": "A", "start": pd.Timestamp(START), "side": "buy", "desk": [3, 1, 2]}, index=[7, 5, 9]
    )
    before = table.copy()
    completed = complete_orders(table, horizon=12, risk_aversion=0.0)
    pd.testing.assert_frame_equal(table, before)
    assert completed["desk"].tolist() == [3, 1, 2]
    assert list(completed.columns[-1:]) == ["desk"]


def test_choices_may_be_members_or_categories():
    table = _complete(side=[Side.BUY, Side.SELL], benchmark=pd.Categorical(["twap", "vwap"]))
    assert table["side"].tolist() == ["buy", "sell"]
    assert table["benchmark"].tolist() == ["twap", "vwap"]


@pytest.mark.parametrize(
    ("field", "columns"),
    [
        ("side", {"side": ["buy", "long"]}),
        ("side", {"side": ["buy", None]}),
        ("target", {"target": ["quantity", "cash"]}),
        ("max_periods", {"max_periods": [12, 1.5]}),
        ("max_periods", {"max_periods": [12, np.inf]}),
        ("max_periods", {"max_periods": [12, "many"]}),
        ("max_rate", {"max_rate": [1.0, "all"]}),
        ("order_id", {"order_id": ["a", "a"]}),
        ("start", {"start": ["2024-05-01T00:00Z", "2024-05-01"]}),
        ("start", {"start": ["2024-05-01T00:00Z", "soon"]}),
        ("start", {"start": pd.to_datetime([START, None], utc=True)}),
        ("symbol", {"symbol": ["A", None]}),
    ],
    ids=str,
)
def test_a_bad_cell_is_refused_with_its_row(field, columns):
    with pytest.raises(OrderError) as error:
        _complete(**columns)
    assert (error.value.field, error.value.row) == (field, 1)


@pytest.mark.parametrize("column", ["symbol", "start", "side"])
def test_required_columns(column):
    table = pd.DataFrame({"symbol": ["A"], "start": [pd.Timestamp(START)], "side": ["buy"]}).drop(columns=column)
    with pytest.raises(OrderError, match=f"lacks the columns .*{column}"):
        complete_orders(table, horizon=12, risk_aversion=0.0)


@pytest.mark.parametrize("orders", [[], pd.DataFrame({"symbol": [], "start": [], "side": []})], ids=["list", "table"])
def test_an_empty_table_is_refused(orders):
    with pytest.raises(OrderError, match="empty"):
        complete_orders(orders, horizon=12, risk_aversion=0.0)


def test_the_horizon_bounds_the_maximum():
    with pytest.raises(OrderError, match="max_periods is 12, but this policy's horizon is 10 periods"):
        _complete(horizon=10)
    with pytest.raises(OrderError, match="max_periods is missing and this policy has no horizon"):
        _complete(max_periods=np.nan)


def test_times_in_any_zone_become_utc():
    table = _complete(start=["2024-05-01T02:00+02:00", "2024-04-30T20:00-04:00"])
    assert (table["start"] == pd.Timestamp(START)).all()


def test_tensors_of_a_table():
    batch = order_batch(
        2,
        side=["buy", "sell"],
        benchmark=["vwap", "twap"],
        target=["quantity", "notional"],
        max_periods=[12, 6],
        min_periods=[1, 6],
        max_rate=[0.39, 1.0],
        min_rate=[0.05, 0.0],
        amount=[10.0, 400.0],
        lot_size=[1.0, np.nan],
        max_participation=[np.nan, 0.1],
    )
    assert batch.side.tolist() == [1.0, -1.0]
    assert batch.is_twap.tolist() == [False, True]
    assert batch.is_notional.tolist() == [False, True]
    assert batch.max_periods.tolist() == [12, 6]
    # On the grid of lots the cap is the next below, the floor the next above.
    assert batch.max_rate.tolist() == pytest.approx([0.3, 1.0])
    assert batch.min_rate.tolist() == pytest.approx([0.1, 0.0])
    assert batch.lot.tolist() == pytest.approx([0.1, 0.0])
    assert batch.participation.tolist() == [np.inf, pytest.approx(0.1 / 400)]
    assert len(batch[1:]) == 1


# --- samples ---------------------------------------------------------------------------------------------------------


def test_a_sample_is_every_origin_times_every_combination():
    orders = Order.sample(BARS, every="6h", side="both", min_periods=[1, 7, 12], max_periods=12)
    assert (orders["start"].dt.hour % 6 == 0).all()
    assert orders.groupby(["symbol", "start"]).size().eq(6).all()
    assert set(orders["min_periods"]) == {1, 7, 12}
    assert orders["order_id"].tolist() == list(range(len(orders)))
    assert len(execute(load_policy("twap"), BARS, orders).excluded) == 0
    # 384 hours: starts from hour 256 to hour 372 on the 6-hour grid, in 2 symbols.
    assert len(orders) == 2 * 6 * len(range(258, 373, 6))


def test_a_sample_combines_any_column():
    orders = Order.sample(
        BARS,
        every=24,
        side=[Side.SELL],
        max_periods=[4, 12],
        min_periods=[2, 6],
        target=[Target.NOTIONAL],
        max_rate=0.5,
    )
    assert set(zip(orders["min_periods"], orders["max_periods"], strict=True)) == {(2, 4), (2, 12), (6, 12)}
    assert set(orders["side"]) == {"sell"}
    assert set(orders["target"]) == {"notional"}
    assert set(orders["max_rate"]) == {0.5}
    assert orders["risk_aversion"].isna().all()


def test_a_sample_fills_each_missing_minimum_with_its_maximum():
    orders = Order.sample(BARS, every=24, max_periods=[4, 12])
    assert (orders["min_periods"] == orders["max_periods"]).all()


def test_a_sample_of_every_so_many_bars():
    orders = Order.sample(BARS, every=10, side="buy")
    assert (orders.groupby("symbol")["start"].diff().dropna() == pd.Timedelta("10h")).all()
    assert len(Order.sample(BARS, every=1, side="buy")) == 2 * (384 - 256 - 12 + 1)


def test_a_sample_between_two_times():
    orders = Order.sample(BARS, lookback=24, start="2024-01-04", end="2024-01-06", side="buy", max_periods=12)
    assert orders["start"].min() == pd.Timestamp("2024-01-04", tz="UTC")
    assert orders["start"].max() + pd.Timedelta("12h") == pd.Timestamp("2024-01-06", tz="UTC")


def test_a_limited_sample_is_reproducible_and_in_order():
    one, same, other = (Order.sample(BARS, limit=20, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 20
    pd.testing.assert_frame_equal(one, same)
    assert not one["start"].equals(other["start"])
    assert one.groupby("symbol")["start"].is_monotonic_increasing.all()


def test_a_limited_sample_of_both_sides_has_every_start_both_ways():
    settings = {"min_periods": [1, 6, 12], "benchmark": ["vwap", "twap"], "lookback": 24}
    orders = Order.sample(BARS, side="both", limit=41, seed=3, **settings)
    assert len(orders) == 40
    keys = ["symbol", "start", "min_periods", "benchmark"]
    sides = orders.groupby(keys)["side"].agg(sorted)
    assert len(sides) == 20
    assert sides.map(lambda pair: pair == ["buy", "sell"]).all()
    assert orders["order_id"].tolist() == list(range(40))
    assert len(Order.sample(BARS, side="sell", limit=41, **settings)) == 41
    with pytest.raises(OrderError, match="limit must be at least 2: each start has an order of either side; got 1"):
        Order.sample(BARS, side="both", limit=1, **settings)
    with pytest.raises(OrderError, match="limit must be at least 1; got 0"):
        Order.sample(BARS, side="buy", limit=0, **settings)


def test_a_sample_counts_what_it_leaves_out():
    frame = hourly(symbols=1).frame
    frame.loc[300, ["volume", "notional"]] = 0.0
    bars = rebuilt(BARS, frame.drop(index=330))
    counts = Order.sample(bars, lookback=10, side="buy", max_periods=4).attrs["excluded"]
    assert counts == {
        "not enough history before the start": 10,
        "a gap in the lookback": 10,
        "the bars end before the order does": 3,
        "a gap inside the order": 3,
        "a halt (bars without volume) in the lookback": 10,
        "a halt (bars without volume) inside the order": 4,
    }


def test_a_sample_stays_in_its_sessions():
    bars = sessions()
    inside = Order.sample(bars, lookback=80, side="buy", max_periods=12)
    assert inside["start"].dt.time.max() == pd.Timestamp("20:00").time()
    across = Order.sample(bars, lookback=80, side="buy", max_periods=12, within_session=False)
    assert across["start"].dt.time.max() == pd.Timestamp("20:55").time()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": "red"}, "unknown order columns .*colour"),
        ({"min_periods": 13}, "min_periods exceeds max_periods"),
        ({"side": "long"}, "side must be one of"),
        ({"max_rate": 0.05}, "max_rate"),
        ({"every": 0}, "at least one bar"),
        ({"every": "1min"}, r"shorter than a bar \(1h\)"),
        ({"every": "90min"}, "is not a whole number of bars of 1h"),
        ({"every": "1h30m"}, "neither a number of bars nor a duration"),
        ({"every": "5401s"}, "is not a whole number of bars of 1h"),
        ({"every": "6m"}, "neither a number of bars nor a duration"),
        ({"every": True}, "every"),
        ({"every": "often"}, "every"),
        ({"limit": 0}, "limit"),
        ({"lookback": 380}, "no order of 12 periods with 380 bars of history fits"),
    ],
    ids=str,
)
def test_a_sample_that_cannot_be_is_refused(settings, message):
    with pytest.raises(OrderError, match=message):
        Order.sample(BARS, **{"max_periods": 12, **settings})


def test_orders_need_neither_torch_nor_pandas():
    code = (
        "import sys; from lem_models import Order; Order(symbol='A', start='2024-01-01T00:00Z', side='buy');"
        "assert not {'torch', 'pandas'} & set(sys.modules), 'slow import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_flat_market_costs_nothing():
    bars = flat_bars([7.0] * 30)
    orders = Order.sample(bars, lookback=5, max_periods=6, min_periods=[1, 6], target=["quantity", "notional"])
    for name in ("twap", "volume_curve", "stopping_rule"):
        assert execute(load_policy(name), bars, orders).orders["slippage_bps"].abs().max() < 1e-9


def test_orders_of_a_fixed_duration_have_a_default_risk_of_their_own():
    table = pd.DataFrame(
        {
            "symbol": "S",
            "start": pd.Timestamp("2024-01-01", tz="UTC"),
            "side": "buy",
            "min_periods": [1, 4, 4],
            "risk_aversion": [np.nan, np.nan, 0.1],
        }
    )
    complete = complete_orders(table, horizon=4, risk_aversion=0.5, fixed_risk_aversion=2.0)
    assert complete["risk_aversion"].tolist() == [0.5, 2.0, 0.1]
