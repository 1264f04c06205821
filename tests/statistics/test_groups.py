"""Keys that are worked out, and the time that orders span."""

import numpy as np
import pandas as pd
import pytest

from lem_models import Bars, Order, execute, load_policy, synthetic_bars
from lem_models.errors import OrderError, UnknownNameError
from lem_models.execution.result import with_ends
from lem_models.orders.table import complete_orders
from lem_models.statistics.groups import end_times, groups


def orders(**columns):
    start = pd.to_datetime(["2024-03-31 23:30", "2024-04-01 00:30", "2024-04-07 00:00"], utc=True)
    return pd.DataFrame({"start": start, "volatility_bps": [30.0, 10.0, 20.0], **columns})


def found(table, by):
    return [(tuple(keys.iloc[0]), rows.tolist()) for keys, rows in groups(table, by)]


def test_hours_weekdays_and_months_are_those_of_the_start_in_utc():
    elsewhere = orders()
    elsewhere["start"] = elsewhere["start"].dt.tz_convert("Asia/Tokyo")
    for table in (orders(), elsewhere):
        assert found(table, "hour") == [((0,), [1, 2]), ((23,), [0])]
        assert found(table, "weekday") == [(("Monday",), [1]), (("Sunday",), [0, 2])]  # not by alphabet
        assert found(table, "month") == [(("2024-03",), [0]), (("2024-04",), [1, 2])]


def test_volatility_is_in_terciles_of_the_whole_table():
    assert found(orders(), "volatility") == [(("low",), [1]), (("middle",), [2]), (("high",), [0])]
    values = np.random.default_rng(0).permutation(300).astype(float)
    table = pd.DataFrame({"volatility_bps": values, "side": ["buy", "sell"] * 150})
    for (side, tercile), rows in found(table, ["side", "volatility"]):
        low = {"low": 0, "middle": 100, "high": 200}[tercile]
        assert ((values[rows] >= low) & (values[rows] < low + 100)).all()
        assert set(table["side"][rows]) == {side}
    assert [len(rows) for _, rows in groups(table, "volatility")] == [100, 100, 100]


def test_unknown_volatility_is_a_group_of_its_own():
    keys = [keys.iloc[0, 0] for keys, _ in groups(orders(volatility_bps=[10.0, np.nan, 10.0]), "volatility")]
    assert keys[0] == "low"
    assert pd.isna(keys[1])


def test_missing_keys_are_a_group_of_their_own_too():
    table = orders(risk_aversion=[np.nan, 1.0, np.nan], side=["buy", "sell", "buy"])
    assert [rows.tolist() for _, rows in groups(table, ["side", "risk_aversion"])] == [[0, 2], [1]]
    assert [rows.tolist() for _, rows in groups(table, None)] == [[0, 1, 2]]


def test_a_column_goes_before_a_derived_key():
    assert found(orders(hour=[5, 5, 6]), "hour") == [((5,), [0, 1]), ((6,), [2])]


def test_names_that_are_not_there_are_answered_with_those_that_are():
    with pytest.raises(UnknownNameError, match="did you mean 'volatility'"):
        list(groups(orders(), "volatilty"))
    with pytest.raises(OrderError, match="volatility_bps"):
        list(groups(orders().drop(columns="volatility_bps"), "volatility"))


def test_orders_end_when_the_bars_of_their_maximum_duration_are_over():
    bars = synthetic_bars(symbols=2, days=20, seed=3)
    table = Order.sample(bars, every="6h", min_periods=[1, 12], max_periods=12)
    result = execute(load_policy("twap"), bars, table).orders
    ends = with_ends(result, bars)
    assert (ends["end"] - ends["start"] == pd.Timedelta("12h")).all()
    assert (end_times(ends) == (ends["start"] + pd.Timedelta("12h")).dt.tz_localize(None).to_numpy()).all()


def test_daily_orders_end_after_their_trading_days():
    days = pd.bdate_range("2023-01-02", periods=120, tz="UTC")
    frame = pd.DataFrame({"timestamp": days, "symbol": "KO", "volume": 10.0, "notional": 500.0})
    bars = Bars.from_frame(frame.assign(**dict.fromkeys(("open", "high", "low", "close"), 50.0)))
    table = pd.DataFrame({"symbol": "KO", "start": days[60:80], "side": "buy", "max_periods": 5})
    table = complete_orders(table, horizon=None, risk_aversion=0.0)
    spans = with_ends(table, bars)["end"] - table["start"]
    assert set(spans.dt.days[table["start"].dt.day_of_week == 0]) == {5}
    assert set(spans.dt.days[table["start"].dt.day_of_week != 0]) == {7}  # over a weekend


def test_without_ends_the_smallest_step_between_starts_stands_for_a_period():
    start = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 06:00", "2024-01-02 00:00"], utc=True)
    table = pd.DataFrame({"start": start, "max_periods": [1, 2, 2]})
    assert (end_times(table) == start.tz_localize(None) + pd.to_timedelta([6, 12, 12], unit="h")).all()
    assert (end_times(table.drop(columns="max_periods")) > start.tz_localize(None)).all()
