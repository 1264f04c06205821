"""The heads of the papers: fixed duration, static curve, and the step-wise networks on closed bars."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import ConfigError, PolicyError
from lem_models.execution.execute import execute
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.simulator import simulate
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import build_head, list_heads
from lem_models.modeling.heads.paper import soft_mask_loss
from lem_models.modeling.layers.paper_steps import FusedMLP
from lem_models.modeling.model import LEMModel
from lem_models.modeling.paper.loss import slippage, with_branches
from lem_models.orders import Order
from tests.helpers import Recorder, hourly, order_batch, random_model, random_orders, random_window, tiny_config
from tests.training.tiny import tiny_batches

CONTEXT, HORIZON = 5, 12
SETTINGS = {"hidden_size": 8}
LOSSES = [
    ("fixed_duration", "quadratic"),
    ("fixed_duration", "absolute"),
    ("static_curve", "quadratic"),
    ("static_curve", "absolute"),
    ("static_curve", "volume_curve"),
    ("paper", "utility"),
    ("paper", "soft_mask"),
    ("flexible", None),
]


def _head(name, scale=1.0, seed=0, **settings):
    torch.manual_seed(seed)
    head = build_head(name, CONTEXT, HORIZON, SETTINGS | settings)
    with torch.no_grad():
        for weight in head.parameters():
            weight.mul_(scale)
    return head.requires_grad_(False)


def _simulated(head, orders, window, seed=0):
    """Paths, and what was decided on the way; contexts are random."""
    contexts = torch.randn(len(orders), window.price.shape[1], CONTEXT, generator=torch.Generator().manual_seed(seed))
    policy = Recorder(head)
    return simulate(policy, orders, window, head.project(contexts)), policy


# --- every head ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_heads())
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, HORIZON), scale=st.sampled_from([1.0, 30.0]))
def test_fractions_lie_in_the_feasible_interval(name, seed, horizon, scale):
    rng = np.random.default_rng(seed)
    orders = OrderBatch.from_frame(random_orders(rng, 10, horizon))
    _, policy = _simulated(_head(name, scale, seed % 7), orders, random_window(rng, 10, horizon, silent=0.1), seed)
    for period, state in enumerate(policy.states):
        fraction, finish = policy.decisions()[:, period].T
        live = state.remaining.numpy() * (period < orders.max_periods.numpy()) > 0
        assert (fraction >= state.lower.numpy() - 1e-9)[live].all()
        assert (fraction <= state.upper.numpy() + 1e-9)[live].all()
        assert ((finish >= 0) & (finish <= 1))[live].all()


@pytest.mark.parametrize(("name", "loss"), LOSSES)
def test_training_improves_the_head_s_own_objective(name, loss):
    torch.manual_seed(0)
    head_config = SETTINGS | ({"loss": loss} if loss else {})
    module = tiny_batches(model={"head": name, "head_config": head_config})
    model = LEMModel(module.model_config)
    batch = module.batch(1, training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for _ in range(12):
        paths = simulate(model, batch.orders, batch.window, model.order_contexts(batch))
        value = model.head.objective(paths, batch.orders, batch.window)
        assert value.shape == (len(batch.orders),)
        optimizer.zero_grad()
        (-value.mean()).backward()
        for parameter, weight in model.named_parameters():
            assert weight.grad is None or torch.isfinite(weight.grad).all(), parameter
        optimizer.step()
        values.append(value.mean().item())
    assert values[-1] > values[0]


@pytest.mark.parametrize("name", ["fixed_duration", "static_curve"])
def test_heads_of_a_fixed_duration_never_end_early(name):
    model = random_model(tiny_config(head=name, head_config=SETTINGS))
    orders = Order.sample(hourly(), every=20, min_periods=1, max_periods=6)
    result = execute(model, hourly(), orders).orders
    assert (result["periods_used"] == 6).mean() > 0.95


@pytest.mark.parametrize("name", ["fixed_duration", "static_curve", "paper"])
def test_a_fresh_head_starts_near_the_expected_curve(name):
    rng = np.random.default_rng(1)
    orders, window = order_batch(40, max_periods=HORIZON), random_window(rng, 40, HORIZON)
    paths, _ = _simulated(_head(name, scale=0.0 if name == "paper" else 1.0), orders, window)
    expected = torch.full_like(paths.fills, 1 / HORIZON) if name == "paper" else window.expected_volume / HORIZON
    assert (paths.fills - expected).abs().mean() < 0.03


# --- the static curve ------------------------------------------------------------------------------------------------


def test_a_static_curve_is_decided_before_the_order_starts():
    rng = np.random.default_rng(2)
    head = _head("static_curve", 3.0)
    orders, window = order_batch(20, max_periods=HORIZON, benchmark=["vwap", "twap"] * 10), random_window(rng, 20, 12)
    contexts = torch.randn(20, 12, CONTEXT)
    later = contexts.clone()
    later[:, 1:] = torch.randn(20, 11, CONTEXT)
    other = random_window(np.random.default_rng(3), 20, 12)
    moved = MarketWindow(**{**vars(window), "price": other.price, "close": other.close, "volume": other.volume})
    one = simulate(head, orders, window, head.project(contexts)).fills
    two = simulate(head, orders, moved, head.project(later)).fills
    torch.testing.assert_close(one, two, atol=1e-9, rtol=0)
    state = Recorder(head)
    simulate(state, orders, window, head.project(contexts))
    curve = head.curve(head.project(contexts[:, 0]), orders, state.states[0])
    torch.testing.assert_close(one, curve, atol=1e-9, rtol=0)
    torch.testing.assert_close(curve.sum(1), torch.ones(20, dtype=torch.float64))
    different = simulate(head, orders, window, head.project(torch.randn(20, 12, CONTEXT))).fills
    assert (different - one).abs().max() > 1e-3


def test_a_static_curve_asks_for_the_context_before_the_order():
    head, orders = _head("static_curve"), order_batch(2, max_periods=3)
    recorder = Recorder(_head("fixed_duration"))
    simulate(recorder, orders, random_window(np.random.default_rng(0), 2, 3), torch.zeros(2, 3, 8))
    assert recorder.states[2].start_context is not None
    state = recorder.states[0].__class__(**{**vars(recorder.states[0]), "start_context": None})
    with pytest.raises(PolicyError, match="start_context"):
        head.decide(torch.zeros(2, 24), orders, state)


def test_the_volume_curve_loss_is_least_for_the_volumes_that_came():
    window = random_window(np.random.default_rng(4), 30, HORIZON)
    orders = order_batch(30, max_periods=HORIZON)
    head = _head("static_curve", loss="volume_curve")
    paths, _ = _simulated(head, orders, window)
    perfect = paths.__class__(**{**vars(paths), "fills": window.volume / window.volume.sum(1, keepdim=True)})
    torch.testing.assert_close(head.objective(perfect, orders, window), torch.zeros(30, dtype=torch.float64))
    assert (head.objective(paths, orders, window) < 0).all()


# --- the paper's head ------------------------------------------------------------------------------------------------


def test_the_soft_mask_loss_is_the_paper_s():
    rng = np.random.default_rng(5)
    periods, count = 6, 24
    window = random_window(rng, count, periods, silent=0.1)
    minimum = rng.integers(1, periods + 1, count)
    columns = {
        "side": rng.choice(["buy", "sell"], count),
        "benchmark": rng.choice(["vwap", "twap"], count),
        "target": rng.choice(["quantity", "notional"], count),
    }
    orders = order_batch(count, max_periods=periods, min_periods=minimum, **columns)
    fills = torch.from_numpy(rng.dirichlet(np.ones(periods), count))
    fills[::3, 3:] = 0.0  # some finish early
    fills /= fills.sum(1, keepdim=True)
    market = with_branches(torch.stack([window.volume, window.price], -1))
    predicted = fills[:, :, None, None, None].expand(-1, -1, periods + 1, 4, 2)
    table = 100 * slippage(market, predicted, alpha=50.0)
    branch = 2 * (columns["side"] == "sell") + (columns["benchmark"] == "twap")
    difference = table[range(count), minimum - 1, branch, (columns["target"] == "notional").astype(int)]
    signed = torch.where(orders.min_periods == periods, difference.abs(), orders.side * difference)
    # The published TWAP counts bars without volume, for which this package has no price.
    same = (~orders.is_twap) | (window.volume > 0).all(1)
    expected = torch.nn.functional.softplus(signed)
    torch.testing.assert_close(soft_mask_loss(fills, orders, window, 50.0)[same], expected[same], atol=1e-5, rtol=0)
    assert same.sum() > 12


def test_the_paper_s_head_ends_when_it_asks_for_all_that_is_left():
    head = _head("paper", scale=0.0)
    with torch.no_grad():
        head.scale_factor.fill_(1.0)
        head.log_base[..., 2] = 50.0  # everything in the third period
    orders = order_batch(4, max_periods=HORIZON, min_periods=1)
    paths, _ = _simulated(head, orders, random_window(np.random.default_rng(6), 4, HORIZON))
    assert (paths.finish[:, :2] < 0.5).all()
    assert (paths.finish[:, 2] >= 0.5 - 1e-6).all()
    assert (paths.fills[:, 3:].sum(1) < 0.6).all()


def test_every_kind_of_order_has_a_network_of_its_own():
    head = _head("paper")
    rng = np.random.default_rng(7)
    kinds = {
        "side": ["buy", "sell"] * 4,
        "benchmark": ["vwap", "vwap", "twap", "twap"] * 2,
        "target": ["quantity"] * 4 + ["notional"] * 4,
        "min_periods": [1] * 8,
    }
    window = random_window(rng, 1, HORIZON)
    same = MarketWindow(**{name: value.expand(8, *value.shape[1:]) for name, value in vars(window).items()})
    first = [simulate(head, order_batch(8, max_periods=HORIZON, **kinds), same, torch.ones(8, 12, CONTEXT)).fills[:, 0]]
    kinds["min_periods"] = [HORIZON] * 8
    first.append(
        simulate(head, order_batch(8, max_periods=HORIZON, **kinds), same, torch.ones(8, 12, CONTEXT)).fills[:, 0]
    )
    assert len(set(torch.cat(first).tolist())) == 16


def test_a_paper_head_beyond_all_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"the 'paper' head would have .* weights at horizon 512"):
        LEMModel(LEMConfig(head="paper", horizon=512))


def test_one_network_per_order_gives_what_all_of_them_together_do():
    torch.manual_seed(0)
    networks = FusedMLP(7, 5, minima=4, branches=8)
    for bias in networks.biases:
        torch.nn.init.normal_(bias)
    x, minimum, branch = torch.randn(20, 7), torch.arange(20) % 4, torch.arange(20) % 8
    together = networks(x.unsqueeze(1).expand(-1, 4, -1))
    torch.testing.assert_close(networks.chosen(x, minimum, branch), together[torch.arange(20), minimum, branch])


@pytest.mark.parametrize("name", list_heads())
def test_heads_work_in_half_precision(name):
    module = tiny_batches(model={"head": name, "head_config": SETTINGS})
    model = LEMModel(module.model_config)
    batch = module.batch(1, training=True)
    with torch.autocast("cpu", torch.bfloat16):
        paths = simulate(model, batch.orders, batch.window, model.order_contexts(batch))
        value = model.head.objective(paths, batch.orders, batch.window).mean()
    value.backward()
    assert paths.fills.dtype == torch.float32
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)
    trained = random_model(tiny_config(head=name, head_config=SETTINGS))
    orders = Order.sample(hourly(), every=40, min_periods=[1, 6], max_periods=6)
    single = execute(trained, hourly(), orders).orders["executed_price"]
    half = execute(trained.to(torch.bfloat16), hourly(), orders).orders["executed_price"]
    np.testing.assert_allclose(half, single, rtol=2e-2)


@pytest.mark.parametrize("name", list_heads())
def test_every_head_saves_and_loads(name, tmp_path):
    model = random_model(tiny_config(head=name, head_config=SETTINGS, encoder="gru"))
    again = LEMModel.from_pretrained(model.save_pretrained(tmp_path / "model"))
    orders = Order.sample(hourly(), every=40, min_periods=[1, 6], max_periods=6)
    one, other = (execute(policy, hourly(), orders).schedule["fraction"] for policy in (model, again))
    np.testing.assert_array_equal(one, other)
