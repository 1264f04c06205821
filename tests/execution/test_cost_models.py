"""Named cost models, spreads by symbol, and costs of one size."""

import numpy as np
import pytest
import torch

from lem_models import CostModel, Order, execute, synthetic_bars
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.execution.costs import COST_MODELS, cost_model, cost_model_for
from tests.helpers import hourly, random_window, sessions

BARS = hourly()


@pytest.mark.parametrize("name", COST_MODELS)
def test_a_named_cost_model_has_a_source_and_leaves_the_size_open(name):
    row = COST_MODELS[name]
    assert cost_model(name) is row.costs
    assert row.costs.order_size is None
    assert row.source
    assert row.description
    assert row.costs.is_free == (name == "none")
    assert name == "none" or 0.5 <= row.costs.impact <= 1.0


def test_retail_pays_more_than_a_desk():
    assert cost_model("crypto_retail").fee_bps > cost_model("crypto").fee_bps


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"cost model.*crypto"):
        cost_model("crypt")


def test_the_market_chooses():
    assert cost_model_for(BARS) == "crypto"
    assert cost_model_for(sessions()) == "us_equity"


def test_a_symbol_with_a_spread_of_its_own_pays_it():
    bars = synthetic_bars(symbols=2, days=20, seed=1)
    own, other = bars.symbols
    costs = CostModel(half_spread_bps=1, fee_bps=2, half_spreads_bps={own: 5.0})
    orders = execute("twap", bars, Order.sample(bars, every=9, max_periods=6, side="both"), costs=costs).orders
    paid = orders.groupby("symbol")["cost_bps"].agg(["min", "max"])
    np.testing.assert_allclose(paid.loc[own], 7.0)
    np.testing.assert_allclose(paid.loc[other], 3.0)
    assert not CostModel(half_spreads_bps={own: 5.0}).is_free


def test_spreads_by_symbol_need_symbols():
    window = random_window(np.random.default_rng(0), 2, 3)
    costs = CostModel(half_spreads_bps={"A": 5.0})
    with pytest.raises(ConfigError, match="set half_spread_bps"):
        costs.priced(window, torch.zeros(2))
    assert costs.priced(window, torch.zeros(2), ["A", "B"]).flat_cost.tolist() == [5e-4, 0.0]
    with pytest.raises(ConfigError, match=r"half_spreads_bps.A: .*greater than or equal to 0"):
        CostModel(half_spreads_bps={"A": -1})


def test_costs_of_one_size():
    costs = cost_model("crypto")
    assert costs.needs_size
    assert costs.at(0.03) == CostModel(half_spread_bps=1, fee_bps=2, impact=0.8, order_size=0.03)
    free = costs.at(0)
    assert not free.needs_size
    assert (free.half_spread_bps, free.fee_bps, free.impact) == (1, 2, 0)
