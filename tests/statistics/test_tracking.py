"""Standard deviations and their ratios: the numbers, their intervals, and what has none."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import OrderError
from lem_models.statistics.summary import compare, improvement
from lem_models.statistics.tracking import std_interval, std_ratio
from tests.evaluation.tables import orders_table


def scaled(orders: pd.DataFrame, factor: float) -> pd.DataFrame:
    return orders.assign(slippage_bps=factor * orders["slippage_bps"])


def test_the_ratio_is_that_of_the_standard_deviations_by_group():
    a, b = orders_table(0, 5.0), orders_table(1, -20.0)
    found = std_ratio(a, b, "min_periods", draws=200).set_index("min_periods")
    table = compare({"a": a, "b": b}, "min_periods", draws=200).set_index(["policy", "min_periods"])
    assert found["ratio"].to_numpy() == pytest.approx(
        (table.loc["a", "std_vol"] / table.loc["b", "std_vol"]).to_numpy()
    )
    assert (found["low"] < found["ratio"]).all()
    assert (found["ratio"] < found["high"]).all()
    assert found["orders"].tolist() == table.loc["a", "orders"].tolist()


def test_a_ratio_that_is_certain_has_no_width():
    a = orders_table(3, 7.0)
    (row,) = std_ratio(scaled(a, 0.7), a.sample(frac=1.0, random_state=0), draws=200).itertuples()
    assert (row.ratio, row.low, row.high) == pytest.approx((0.7, 0.7, 0.7))


def test_a_large_mean_does_not_spoil_the_standard_deviation():
    a = orders_table(4, 0.0)
    (row,) = std_interval(a.assign(slippage_bps=a["slippage_bps"] + 1e9), unit="bps", draws=200).itertuples()
    assert row.std == pytest.approx(improvement(a).std(ddof=0), rel=1e-4)
    assert row.low < row.std < row.high


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = np.zeros(2)
    for seed in range(60):  # independent normals: the ratio is 1, the standard deviation 30 / 60
        a, b = orders_table(2 * seed, 5.0), orders_table(2 * seed + 1, 0.0)
        ratio, std = std_ratio(a, b, draws=200).iloc[0], std_interval(a, draws=200).iloc[0]
        held += [ratio["low"] < 1.0 < ratio["high"], std["low"] < 0.5 < std["high"]]
    assert (held >= 0.85 * 60).all()


def test_orders_without_a_price_count_for_neither():
    a, b = orders_table(5, 1.0), orders_table(6, 1.0)
    b.loc[:9, "slippage_bps"] = np.nan
    (row,) = std_ratio(a, b, draws=100).itertuples()
    assert row.orders == 230
    assert row.ratio == pytest.approx(improvement(a.iloc[10:]).std() / improvement(b.iloc[10:]).std())


def test_what_does_not_vary_has_no_ratio():
    a = orders_table(7, 1.0)
    (row,) = std_ratio(a, a.assign(slippage_bps=0.0), draws=100).itertuples()
    assert np.isnan([row.ratio, row.low, row.high]).all()


def test_other_orders_are_refused():
    a = orders_table(8, 1.0)
    with pytest.raises(OrderError, match="different orders"):
        std_ratio(a, a.iloc[1:])
