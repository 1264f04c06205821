"""The model: a policy that is trained, saved, loaded and refuses what it cannot do."""

import copy

import numpy as np
import pytest
import torch

from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.execution.execute import execute
from lem_models.features.causal import FEATURES, SIGNED, compute_features
from lem_models.features.market import Market
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.models.zoo import list_models
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.model import LEMModel
from lem_models.orders import Order
from tests.helpers import hourly, policy_named, random_model, tiny_config

BARS = hourly()
ORDERS = Order.sample(BARS, every=9, min_periods=[1, 6], max_periods=6, benchmark=["vwap", "twap"])


@pytest.fixture(scope="module")
def model():
    return random_model(tiny_config(features=("return_close", "range", "volume_to_profile", "time_sin")))


# --- untrained -------------------------------------------------------------------------------------------------------


def test_a_fresh_model_refuses_to_predict_and_to_be_saved(tmp_path):
    fresh = LEMModel(tiny_config())
    with pytest.raises(UntrainedHeadError, match="the 'flexible' head has random weights"):
        execute(fresh, BARS, ORDERS)
    with pytest.raises(UntrainedHeadError, match="train the model, or load one"):
        fresh.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_in_another_precision_runs(model, dtype):
    single = execute(model, BARS, ORDERS).orders["executed_price"]
    other = execute(copy.deepcopy(model).to(dtype), BARS, ORDERS).orders["executed_price"]
    np.testing.assert_allclose(other, single, rtol=2e-2 if dtype == torch.bfloat16 else 1e-6)


def test_a_decision_needs_a_context(model):
    with pytest.raises(ConfigError, match="from a context"):
        model.decide(None, None, None)


# --- saved and loaded ------------------------------------------------------------------------------------------------


def test_a_saved_model_loads_and_decides_the_same(model, tmp_path):
    folder = model.save_pretrained(tmp_path / "my-model")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = LEMModel.from_pretrained(str(folder))
    assert again.config == model.config
    assert again.name == "my-model"
    assert not again.training
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    one, other = (execute(policy, BARS, ORDERS) for policy in (model, again))
    np.testing.assert_array_equal(one.schedule["fraction"], other.schedule["fraction"])
    np.testing.assert_array_equal(one.orders["slippage_bps"], other.orders["slippage_bps"])


def test_saving_twice_gives_the_same_files(model, tmp_path):
    one, other = model.save_pretrained(tmp_path / "a"), model.save_pretrained(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_model_is_saved_over_an_older_one(model, tmp_path):
    random_model(tiny_config(), seed=5).save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert LEMModel.from_pretrained(tmp_path).config == model.config
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", list_models())
def test_bundled_models_load_and_say_what_they_are(name):
    loaded = LEMModel.from_pretrained(name)
    assert loaded.is_trained
    assert loaded.name == name
    assert loaded.lookback <= 256
    assert sum(path.stat().st_size for path in bundled_folder(name).iterdir()) < 12 * 2**20
    # At its default risk aversion a trained model beats an even pace on a market of its kind.
    orders = Order.sample(BARS, every=1, min_periods=1, max_periods=loaded.horizon)
    result = execute(loaded, BARS, orders, allow_frequency=True).orders
    assert (-result["slippage_bps"] / result["volatility_bps"]).mean() > 0.1


# --- contexts --------------------------------------------------------------------------------------------------------


def _block_of(model, market, row):
    config = model.config
    first = int(market.block_starts_at(config.block, np.array([row]))[0])
    columns = [FEATURES.index(name) for name in config.features]
    return first, market.features.values[first - config.warmup : first + config.block][:, columns]


@pytest.mark.parametrize("side", [1, -1])
def test_a_context_is_the_backbone_s_after_the_warm_up_of_its_block(model, side):
    market = Market(BARS)
    rows = np.array([200, 207, 215, 300])
    contexts = model.encode(market, rows, np.full(4, side))
    signs = torch.tensor([side if SIGNED[name] else 1 for name in model.config.features])
    for row, context in zip(rows, contexts, strict=True):
        first, features = _block_of(model, market, row)
        oriented = torch.from_numpy(features) * signs
        here = model.config.warmup + row - first
        with torch.no_grad():
            expected = model.backbone(oriented[None])[0, here]
            expected = model.head.project(torch.cat([expected, oriented[here], oriented[here - 1]]))
        torch.testing.assert_close(context, expected, atol=1e-5, rtol=0)


def test_contexts_keep_the_order_they_are_asked_in(model, monkeypatch):
    import lem_models.modeling.model as module

    rng = np.random.default_rng(0)
    rows, side = rng.integers(150, 384, 200), rng.choice([-1, 1], 200)
    market = Market(BARS)
    together = model.encode(market, rows, side)
    assert len(together) == 200
    shuffle = rng.permutation(200)
    torch.testing.assert_close(model.encode(market, rows[shuffle], side[shuffle]), together[shuffle], atol=1e-6, rtol=0)
    for size in (1, 3):
        monkeypatch.setattr(module, "_SEQUENCES_PER_PASS", size)
        torch.testing.assert_close(model.encode(market, rows, side), together, atol=1e-6, rtol=0)


def test_a_subclass_with_contexts_of_its_own_is_asked_for_them(model):
    class Doubled(LEMModel):
        def contexts(self, features):
            return 2 * super().contexts(features)

    doubled = Doubled(model.config)
    doubled.load_state_dict(model.state_dict())
    doubled.is_trained = True
    rows, bars = torch.tensor([150, 200, 341]), torch.from_numpy(compute_features(BARS).values)
    features = bars[:, [FEATURES.index(name) for name in model.config.features]]
    sequences = torch.stack([torch.arange(128), torch.arange(128) + 40, torch.arange(128) + 100])
    ours, theirs = (each.eval().contexts_of(features, sequences, rows) for each in (doubled, model))
    torch.testing.assert_close(ours, 2 * theirs, atol=1e-5, rtol=0)


def test_a_context_does_not_depend_on_the_history_that_was_loaded(model):
    row = 350
    full = model.encode(Market(BARS), np.array([row]), np.array([1]))
    needed = model.config.warmup + model.config.block + 127
    for cut in (1, 50, row + 1 - needed):
        bars = BARS.between(start=BARS.frame["timestamp"].iloc[cut])
        context = model.encode(Market(bars), np.array([row - cut]), np.array([1]))
        torch.testing.assert_close(context, full, atol=1e-6, rtol=0)


def test_a_sell_sees_the_mirror(model):
    features = torch.from_numpy(compute_features(BARS).values[None, 200:210][:, :, [1, 11]])
    two = random_model(tiny_config(features=("return_close", "range")))
    turned = two.oriented(features, torch.tensor([-1.0]))
    assert torch.equal(turned[..., 0], -features[..., 0])
    assert torch.equal(turned[..., 1], features[..., 1])
    assert torch.equal(two.oriented(features, torch.tensor([1.0])), features)


# --- one model for all orders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [{"benchmark": "twap"}, {"target": "notional"}, {"risk_aversion": 2.0}, {"max_rate": 0.3}, {"side": "sell"}],
    ids=str,
)
def test_the_model_is_told_what_the_order_is(setting):
    policy = policy_named("random weights")
    plain = Order.sample(BARS, every=20, side="buy", max_periods=12, risk_aversion=0.1)
    one, other = (execute(policy, BARS, orders) for orders in (plain, plain.assign(**setting)))
    assert not np.array_equal(one.schedule["fraction"], other.schedule["fraction"])


def test_prediction_leaves_no_gradients_and_no_random_numbers_behind():
    policy = policy_named("random weights")
    state = torch.random.get_rng_state()
    execute(policy, BARS, ORDERS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(weight.grad is None for weight in policy.parameters())


def test_default_sizes():
    model = LEMModel(LEMConfig())
    assert sum(weight.numel() for weight in model.parameters()) * 4 < 12 * 2**20
