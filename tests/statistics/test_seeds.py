"""What a claim over several training seeds promises: the same orders, three seeds, both kinds of chance."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, OrderError
from lem_models.statistics.seeds import across_seeds
from lem_models.statistics.summary import summarise


def orders_table(improvement_bps, **columns):
    """One order a day, each over within it."""
    count = len(improvement_bps)
    start = pd.date_range("2024-01-01", periods=count, freq="D", tz="UTC")
    table = {"order_id": np.arange(count), "symbol": "X", "start": start, "end": start + pd.Timedelta("12h")}
    table |= {"side": "buy", "min_periods": 1, "max_periods": 12, "periods_used": 12, "filled": 1.0, "completed": True}
    return pd.DataFrame(table | {"volatility_bps": 50.0, "slippage_bps": -np.asarray(improvement_bps)} | columns)


def test_numbers_worked_out_by_hand():
    runs = {"a": orders_table([1.0, 3.0]), "b": orders_table([2.0, 2.0]), "c": orders_table([4.0, 6.0])}
    row = across_seeds(runs).iloc[0]
    assert row[["seeds", "orders", "mean_bps", "worst_bps", "best_bps"]].tolist() == [3, 2, 3.0, 2.0, 5.0]
    assert row["between_bps"] == pytest.approx(np.std([2.0, 2.0, 5.0], ddof=1))
    assert row[["mean_vol", "worst_vol"]].tolist() == pytest.approx([0.06, 0.04])
    twap = orders_table([1.0, 0.0])
    assert across_seeds(runs, against=twap)["mean_bps"].tolist() == [2.5]


def test_orders_count_where_every_seed_priced_them():
    runs = {"a": orders_table([1.0, 3.0]), "b": orders_table([2.0, np.nan]), "c": orders_table([4.0, 6.0])}
    row = across_seeds(runs).iloc[0]
    assert row[["orders", "mean_bps", "best_bps"]].tolist() == pytest.approx([1, 7 / 3, 4.0])
    nothing = {
        name: table.assign(slippage_bps=[np.nan, float(place)]) for place, (name, table) in enumerate(runs.items())
    }
    nothing["c"]["slippage_bps"] = [1.0, np.nan]
    row = across_seeds(nothing).iloc[0]
    assert row["orders"] == 0
    assert np.isnan(row["mean_bps"])


def test_groups_and_the_sequence_of_rows():
    generator = np.random.default_rng(0)
    runs = {name: orders_table(generator.normal(size=60), min_periods=[1, 6] * 30) for name in "abc"}
    table = across_seeds(runs, "min_periods", draws=100)
    shuffled = {name: run.sample(frac=1.0, random_state=1) if name != "a" else run for name, run in runs.items()}
    pd.testing.assert_frame_equal(across_seeds(shuffled, "min_periods", draws=100), table)
    means = np.array([summarise(run, "min_periods", draws=10)["mean_bps"] for run in runs.values()])
    np.testing.assert_allclose(table["mean_bps"], means.mean(axis=0))
    np.testing.assert_allclose(table["between_bps"], means.std(axis=0, ddof=1))


def test_the_interval_covers_days_and_seeds():
    """Worlds in which the seeds matter, or the days as well: 95 % intervals of three seeds hold the truth."""
    generator = np.random.default_rng(1)
    for day_noise, seed_noise in ((0.5, 2.0), (10.0, 1.0)):
        held = 0
        for world in range(60):
            market = generator.normal(3.0, day_noise, 100)
            runs = {
                str(k): orders_table(market + generator.normal(0.0, seed_noise) + generator.normal(0, 0.5, 100))
                for k in range(3)
            }
            row = across_seeds(runs, draws=150, seed=world).iloc[0]
            held += row["low_bps"] <= 3.0 <= row["high_bps"]
        assert held / 60 >= 0.88


def test_seeds_that_agree_leave_the_interval_of_the_days():
    market = np.random.default_rng(2).normal(3.0, 10.0, 300)
    runs = {name: orders_table(market + 1e-6 * place) for place, name in enumerate("abc")}
    row, alone = across_seeds(runs).iloc[0], summarise(orders_table(market)).iloc[0]
    assert row[["low_bps", "high_bps"]].tolist() == pytest.approx(alone[["low_bps", "high_bps"]].tolist(), abs=1e-4)


def test_fewer_than_three_seeds_or_one_model_twice_are_no_claim():
    a, b = orders_table([1.0, 2.0]), orders_table([1.0, 3.0])
    with pytest.raises(ConfigError, match="at least 3 training seeds, got 2"):
        across_seeds({"a": a, "b": b})
    with pytest.raises(ConfigError, match="a and c have the same improvement of every order"):
        across_seeds({"a": a, "b": b, "c": a.iloc[::-1]})


def test_other_orders_are_refused():
    runs = {name: orders_table([value, 1.0]) for name, value in zip("abc", (1.0, 2.0, 3.0), strict=True)}
    with pytest.raises(OrderError, match="different orders"):
        across_seeds(runs | {"c": orders_table([1.0, 2.0, 3.0])})
    with pytest.raises(OrderError, match="not the same order"):
        across_seeds(runs, against=orders_table([1.0, 2.0], side="sell"))
