"""How many orders until a difference shows: against the textbook, against clustering, and against simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lem_models.errors import ConfigError, OrderError
from lem_models.statistics.power import parse_difference, power
from lem_models.statistics.summary import paired_difference

FACTOR = norm.ppf(0.975) + norm.ppf(0.8)


def pair(
    days: int, a_day: int, *, shared: float, seed: int = 0, gain: float = 0.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Orders of two policies, ``a_day`` of them a day, whose differences have the variance 1 + shared ** 2 bps^2."""
    generator = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), a_day)
    gap = gain + shared * generator.normal(size=days)[day] + generator.normal(size=len(day))
    start = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(day, "D")
    table = pd.DataFrame({"order_id": np.arange(len(day)), "start": start, "volatility_bps": 50.0})
    table["end"] = table["start"] + pd.Timedelta("1h")
    return table.assign(slippage_bps=-gap), table.assign(slippage_bps=0.0)


def test_independent_orders_need_what_the_textbook_says():
    found = power(*pair(400, 5, shared=0.0), 0.1, draws=1000)
    assert (found.orders, found.days) == (2000, 400)
    assert found.std == pytest.approx(1.0, rel=0.05)
    assert found.design_effect == pytest.approx(1.0, abs=0.2)
    assert found.orders_needed == pytest.approx((FACTOR / 0.1) ** 2, rel=0.2)
    assert found.orders_needed == pytest.approx(5 * found.days_needed, abs=5)
    assert found.detectable == pytest.approx(FACTOR / math.sqrt(2000), rel=0.1)


def test_orders_that_share_a_day_count_as_few():
    """With n a day and the correlation r the design effect is 1 + (n - 1) r (Kish); here r = 1/2 and n = 10."""
    found = power(*pair(400, 10, shared=1.0), 0.1, draws=1000)
    assert found.design_effect == pytest.approx(5.5, rel=0.2)


def test_a_difference_of_half_the_size_takes_four_times_as_long():
    tables = pair(200, 4, shared=0.5)
    long, short = power(*tables, 0.01, draws=300), power(*tables, 0.02, draws=300)
    assert long.days_needed == pytest.approx(4 * short.days_needed, abs=4)
    vol = power(*tables, 0.01 / 50, "vol", draws=300)  # a bar moves 50 bps
    assert vol.days_needed == long.days_needed


def test_the_power_is_kept():
    """Of simulated periods as long as it says about 80 % find a difference of that size."""
    gain = 0.3
    needed = power(*pair(300, 3, shared=1.0), gain, draws=500).days_needed
    found = [
        paired_difference(*pair(needed, 3, shared=1.0, seed=100 + seed, gain=gain), draws=50)["p_value_bps"].item()
        for seed in range(150)
    ]
    assert 0.7 < np.mean(np.array(found) < 0.05) < 0.9


def test_the_mean_is_not_looked_at():
    low, high = (power(*pair(100, 2, shared=0.3, gain=gain), 0.1, draws=200) for gain in (0.0, 1e3))
    assert high.standard_error == pytest.approx(low.standard_error)
    assert high.days_needed == low.days_needed


@pytest.mark.parametrize("text", ["1", "bps", "-1bps", "0bps", "1 percent", "1bps 2bps"])
def test_a_size_without_a_unit_is_refused(text):
    with pytest.raises(ConfigError, match="such as 1bps or"):
        parse_difference(text)


def test_what_cannot_be_estimated_is_refused():
    a, b = pair(100, 2, shared=0.0)
    with pytest.raises(OrderError, match="do the same with every order"):
        power(a, a, 1.0)
    with pytest.raises(OrderError, match="at least 12 days, got 5"):
        power(a.iloc[:10], b.iloc[:10], 1.0)
    with pytest.raises(ConfigError, match="is positive"):
        power(a, b, 0.0)
    with pytest.raises(ConfigError, match="the power above the level"):
        power(a, b, 1.0, chance=0.01)
