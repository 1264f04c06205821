"""Every bundled model, the day it is added: offline, small, made by its recipe, lawful in its own market, unchanged.

Further laws are tested over every policy, bundled models included, in tests/properties (any moment of a round-the-clock
market), and over one bundled model of each architecture in tests/execution (units, mirrored markets, order of orders).
"""

import copy
import json
import socket
from functools import lru_cache

import numpy as np
import pytest
import torch

from lem_models import LEMConfig, LEMModel, execute
from lem_models.hub.models.registry import zoo_market
from lem_models.hub.models.zoo import list_models
from lem_models.training.recipe import Recipe
from tests.conftest import REPOSITORY
from tests.helpers import first_moved, from_bar, perturbed
from tests.zoo.golden import FOLDER, golden
from tests.zoo.markets import NATIVE, native_bars, native_orders

MODELS = list_models()
MAX_BYTES = 12_000_000
TOLERANCE = 2e-4
"""Of decided fractions and probabilities: float32 on another processor, with or without the compiled kernels."""


@lru_cache
def loaded(name):
    return LEMModel.from_pretrained(name)


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_it_loads_without_a_network(name, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("a bundled model asked for the network")

    for attribute in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, attribute, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    model = LEMModel.from_pretrained(name, cache_dir=tmp_path)
    assert model.is_trained
    assert model.name == name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", MODELS)
def test_it_is_small_and_holds_data_only(name):
    assert name.size <= MAX_BYTES
    found = {path.name for path in name.folder.iterdir() if path.suffix != ".png"}  # pictures of the card
    assert found == {"config.json", "model.safetensors", "metrics.json", "README.md"}
    assert LEMConfig.from_file(name.folder / "config.json") == loaded(name).config
    for key, value in loaded(name).state_dict().items():
        assert not value.is_floating_point() or bool(torch.isfinite(value).all()), key


@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_its_recipe_makes(name):
    recipe, config = Recipe.read(REPOSITORY / "recipes" / name.entry.recipe), loaded(name).config
    assert recipe.name == name
    if recipe.finetune is None:
        expected = recipe.architecture
        horizon, risk_aversion = expected.horizon, expected.risk_aversion
    else:
        expected = loaded(recipe.finetune.start).config
        settings = expected.head_config | recipe.finetune.head_config
        expected = expected.model_copy(update={"head_config": settings})
        horizon = recipe.finetune.horizon or expected.horizon
        risk_aversion = recipe.finetune.risk_aversion or expected.risk_aversion
        assert recipe.architecture.benchmarks == expected.benchmarks
    # Costs nothing to check, and a card that quotes another recipe would be wrong from its first line.
    left_out = {"horizon", "risk_aversion", "unseen_from", "frequencies"}
    assert config.model_dump(exclude=left_out) == expected.model_dump(exclude=left_out)
    assert (config.horizon, config.risk_aversion) == (horizon, risk_aversion)
    assert max(config.unseen_from.values()) >= recipe.validation_end
    markets = {zoo_market(market).frequency for market in name.entry.evaluations}
    assert (
        {frequency.replace("D", "d") for frequency in config.frequencies} == set(name.frequency.split(", ")) == markets
    )


# --- laws, in the market that it is for ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "frequency"), NATIVE)
@pytest.mark.parametrize("only_one_bar", [True, False])
def test_no_decision_reads_the_bar_it_trades_or_a_later_one(name, frequency, only_one_bar):
    bars, orders = native_bars(frequency), native_orders(name, frequency, limit=120)
    length = len(bars) // 2
    for seed, row in enumerate((length // 2 + 90, length - 30)):
        rows = np.array([row]) if only_one_bar else from_bar(bars, row, bars.symbols)
        changed = perturbed(bars, rows, seed=seed, silent=0.0 if only_one_bar else 0.1)
        assert first_moved(loaded(name), bars, changed, orders) is None


@pytest.mark.parametrize(("name", "frequency"), NATIVE)
def test_every_order_is_filled_inside_its_limits(name, frequency):
    bars = native_bars(frequency)
    horizon = name.horizon
    orders = native_orders(name, frequency, limit=160, max_rate=[min(1.0, 2.5 / min(12, horizon)), 1.0])
    orders["min_rate"] = np.where(orders.index % 2, 0.0, 0.5 / orders["max_periods"])
    result = execute(loaded(name), bars, orders)
    assert len(result.orders) == len(orders) > 40
    assert (result.orders["filled"] == 1.0).all()
    assert (result.orders["periods_used"] <= result.orders["max_periods"]).all()
    schedule = result.schedule.merge(result.orders, on="order_id")
    np.testing.assert_allclose(schedule.groupby("order_id")["fraction"].sum(), 1.0, atol=1e-11)
    assert (schedule["fraction"] > 0).all()
    assert (schedule["fraction"] <= schedule["max_rate"] + 1e-12).all()
    rest = schedule.groupby("order_id")["period"].transform("max") == schedule["period"]
    assert (schedule["fraction"] >= schedule["min_rate"] - 1e-12)[~rest].all()


# --- outputs ---------------------------------------------------------------------------------------------------------


def _recorded(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _difference(one, other):
    """Largest difference of a decided fraction or probability."""
    return max(
        np.abs(np.subtract(a, b)).max()
        for frequency in one
        for column in ("fraction", "finish")
        for a, b in zip(one[frequency][column], other[frequency][column], strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
def test_it_decides_what_it_decided_when_it_was_bundled(name):
    recorded, now = _recorded(name), golden(name, loaded(name))
    assert recorded.keys() == now.keys()
    for frequency, expected in recorded.items():
        found = now[frequency]
        assert found["mean_vwap"] == pytest.approx(expected["mean_vwap"], rel=1e-9), "another simulated market"
        assert found["max_periods"] == expected["max_periods"]
    assert _difference(recorded, now) < TOLERANCE, "after weights were exchanged on purpose: python -m tests.zoo.golden"
    for frequency, expected in recorded.items():
        # An order whose probability of finishing comes near to 1/2 may end elsewhere on another machine.
        clear = [min(abs(p - 0.5) for p in row) > 2 * TOLERANCE for row in expected["finish"]]
        assert np.mean(clear) > 0.8
        assert (
            np.array(now[frequency]["periods_used"])[clear].tolist()
            == np.array(expected["periods_used"])[clear].tolist()
        )
        gained = (np.array(part["improvement_bps"])[clear] for part in (now[frequency], expected))
        np.testing.assert_allclose(*gained, atol=0.05)


@pytest.mark.parametrize("name", MODELS)
def test_other_weights_would_be_noticed(name):
    changed = copy.deepcopy(loaded(name))
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1.01)
    assert _difference(_recorded(name), golden(name, changed)) > 10 * TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_the_recorded_orders_differ_from_each_other(name):
    for expected in _recorded(name).values():
        assert len({tuple(row) for row in expected["fraction"]}) > len(expected["fraction"]) // 2
        assert len(expected["fraction"]) >= 12
