"""The paper's whole model, its loss and its metrics give the authors' numbers; and nobody can trade on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lem_models.errors import ConfigError, LEMError, LookAheadError, WeightsError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.execution.execute import execute
from lem_models.execution.session import LiveSession
from lem_models.hub.models.push import ModelUpload, push_model
from lem_models.modeling.paper import (
    PAPER_METRICS,
    LookAheadPaperModel,
    PaperConfig,
    PaperMetrics,
    from_arrays,
    paper_loss,
    with_branches,
)
from lem_models.orders import Order
from tests.helpers import hourly
from tests.parity.weights import load_fixture

LOOKBACK = 9
TINY = PaperConfig(
    features=5,
    lookback=6,
    horizon=4,
    hidden_size=8,
    tkan_layers=1,
    attention_heads=2,
    embedding_dim=2,
    mlp_hidden_size=4,
)


@pytest.fixture
def fixture():
    return load_fixture("model")


@pytest.fixture
def small():
    torch.manual_seed(0)
    return LookAheadPaperModel(TINY)


def _tensors(fixture, *names):
    return [torch.from_numpy(fixture[name]) for name in names]


# --- the model -------------------------------------------------------------------------------------------------------


def test_allocations(fixture):
    model = from_arrays(fixture, lookback=LOOKBACK)
    with torch.no_grad():
        ours = model(*_tensors(fixture, "X", "min_rate", "max_rate"))
    np.testing.assert_allclose(ours, fixture["y_pred"], rtol=0, atol=1e-5)


def test_every_layer_on_the_way(fixture):
    model = from_arrays(fixture, lookback=LOOKBACK)
    inputs, expected = _tensors(fixture, "standard_inputs", "attended")
    with torch.no_grad():
        embedded = model.embedding(inputs)
        selected, _ = model.selection(embedded)
        recurrent, _ = model.tkan(selected)
        context = model.recurrent_gate(recurrent, selected)
        enriched = model.enrichment(context)
        found = {
            "embedded": embedded,
            "selected": selected,
            "rnn_hidden": recurrent,
            "context": context,
            "enriched": enriched,
        }
        for name, ours in found.items():
            np.testing.assert_allclose(ours, fixture[name], rtol=0, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(model.contexts(inputs), expected, rtol=0, atol=1e-5)


def test_the_loss_of_the_model(fixture):
    market, predicted = _tensors(fixture, "y_small", "y_pred")
    assert paper_loss(with_branches(market), predicted).item() == pytest.approx(float(fixture["loss"][0]), rel=1e-5)


def _moved(model, look_ahead, row):
    """First period whose allocation depends on a row of the input."""
    config = model.config
    generator = torch.Generator().manual_seed(1)
    x = 1 + torch.rand(2, config.lookback + config.horizon - 1, config.features, generator=generator)
    rates = torch.zeros(2, 1), torch.ones(2, 1)
    changed = x.clone()
    changed[:, row:] += 1.0
    with torch.no_grad():
        before, after = (model(inputs, *rates, look_ahead=look_ahead) for inputs in (x, changed))
    moved = (before != after).flatten(2).any(-1).any(0).nonzero().flatten().tolist()
    return min(moved, default=None)


def test_the_published_alignment_reads_the_bar_it_trades_and_the_causal_one_does_not(small):
    for period in range(TINY.horizon - 1):
        bar = TINY.lookback + period
        assert _moved(small, True, bar) == period
        assert _moved(small, False, bar) == (period + 1 if period + 1 < TINY.horizon - 1 else None)


def test_allocations_are_fractions_of_a_whole(small):
    x = torch.randn(3, TINY.lookback + TINY.horizon - 1, TINY.features)
    x[..., -2:] = 1 + x[..., -2:].abs()
    y = small(x, torch.full((3, 1), 0.02), torch.full((3, 1), 0.5))
    assert y.shape == (3, 4, 5, 4, 2)
    assert (y >= 0).all()
    torch.testing.assert_close(y.sum(1), torch.ones(3, 5, 4, 2))
    with pytest.raises(ConfigError, match=r"x must be \[batch, 9, 5\]"):
        small(x[:, 1:], torch.zeros(3, 1), torch.ones(3, 1))


def test_every_weight_gets_a_gradient(small):
    x = 1 + torch.rand(8, TINY.lookback + TINY.horizon - 1, TINY.features)
    market = 1 + torch.rand(8, TINY.horizon, 2)
    rates = torch.zeros(8, 1), torch.full((8, 1), 0.6)
    paper_loss(with_branches(market), small(x, *rates)).backward()
    for name, weight in small.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
        assert weight.grad is None or torch.isfinite(weight.grad).all(), name


# --- refused as a policy ---------------------------------------------------------------------------------------------


def test_nobody_trades_on_a_look_ahead(small, tmp_path):
    bars = hourly()
    orders = Order.sample(bars, every=50, max_periods=4)
    with pytest.raises(LookAheadError, match="LookAheadPaperModel looks ahead: its decisions read the bars"):
        execute(small, bars, orders)
    with pytest.raises(LookAheadError):
        run_benchmark(
            {"paper": small},
            bars,
            BenchmarkSettings(min_periods=(1,), max_periods=4, null=0, information=0, placebos=()),
        )
    with pytest.raises(LookAheadError):
        LiveSession(small, orders.iloc[0].to_dict(), bars)
    with pytest.raises(LookAheadError):
        push_model(small, ModelUpload(repo_id="org/name"))
    for forbidden in (small.decide, small.push_to_hub):
        with pytest.raises(LookAheadError):
            forbidden()
    with pytest.raises(LookAheadError):
        small.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


# --- the converter ---------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_arrays(fixture):
    assert from_arrays(fixture, lookback=LOOKBACK).config == PaperConfig(
        features=7,
        lookback=LOOKBACK,
        horizon=4,
        hidden_size=8,
        tkan_layers=2,
        attention_heads=2,
        embedding_dim=3,
        mlp_hidden_size=6,
    )


def test_names_may_come_without_their_prefix(fixture):
    bare = {name[2:]: array for name, array in fixture.items() if name.startswith("w.")}
    one, other = from_arrays(fixture, lookback=LOOKBACK), from_arrays(bare, lookback=LOOKBACK)
    for name, weight in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("w.mlp1.bias_2"), r"'mlp1.bias_2' is missing"),
        (lambda w: w.pop("w.vsn.grn3.norm.beta"), r"'vsn.grn3.norm.beta' is missing"),
        (lambda w: w.update({"w.extra": np.zeros(3, np.float32)}), r"1 arrays have no place in the model: \['extra'\]"),
        (lambda w: w.update({"w.rnn2.kernel": w["w.rnn1.kernel"]}), r"'rnn2.* is missing"),
        (lambda w: w.update({"w.mlp2.kernel_0": w["w.mlp1.kernel_0"]}), r"steps.2.kernels.0 has the shape \[5"),
        (lambda w: w.update({"w.grn.skip.bias": np.full(8, np.nan, np.float32)}), r"grn.skip.bias must be an array"),
        (lambda w: w.update({"w.grn.skip.bias": [0.0] * 8}), r"grn.skip.bias must be an array"),
        (lambda w: w.update({"w.rnn0.sub0.grid": w["w.rnn0.sub0.grid"] * 2}), r"rnn0.sub0.grid is not 10 knots"),
        (lambda w: w.update({"w.gate.gated.kernel": np.zeros((8, 3, 2), np.float32)}), r"do not fit"),
        (lambda w: w.clear(), r"is missing"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fixture, change, message):
    change(fixture)
    with pytest.raises(WeightsError, match=message):
        from_arrays(fixture, lookback=LOOKBACK)


def test_sizes_out_of_bounds_are_refused(fixture):
    with pytest.raises(ConfigError, match="lookback"):
        from_arrays(fixture, lookback=0)


# --- loss and metrics ------------------------------------------------------------------------------------------------


def test_branches():
    fixture = load_fixture("loss_metrics")
    ours = with_branches(torch.from_numpy(fixture["y_small"]))
    np.testing.assert_array_equal(ours, fixture["y_true"])


def test_loss_and_gradient():
    fixture = load_fixture("loss_metrics")
    market, predicted = _tensors(fixture, "y_true", "y_pred")
    predicted.requires_grad_()
    loss = paper_loss(market, predicted)
    assert loss.item() == pytest.approx(float(fixture["loss"][0]), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, predicted)
    np.testing.assert_allclose(gradient, fixture["grad_loss_y_pred"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PAPER_METRICS)
def test_metrics(name):
    fixture = load_fixture("loss_metrics")
    metrics = PaperMetrics()
    metrics.update(*_tensors(fixture, "y_true", "y_pred"))
    assert metrics.compute()[name].item() == pytest.approx(float(fixture[name][0]), rel=1e-4, abs=1e-5)


def test_metrics_of_batches_and_of_processes_add_up():
    fixture = load_fixture("loss_metrics")
    market, predicted = _tensors(fixture, "y_true", "y_pred")
    whole, parts, first = PaperMetrics(), PaperMetrics(), PaperMetrics()
    whole.update(market, predicted)
    for rows in (slice(0, 2), slice(2, 5)):
        parts.update(market[rows], predicted[rows])
    first.update(market[:2], predicted[:2])
    second = PaperMetrics()
    second.update(market[2:], predicted[2:])
    for name in first._defaults:
        assert first._reductions[name] is not None
        setattr(first, name, getattr(first, name) + getattr(second, name))
    first._computed = None
    for name, value in whole.compute().items():
        assert parts.compute()[name].item() == pytest.approx(value.item(), rel=1e-9)
        assert first.compute()[name].item() == pytest.approx(value.item(), rel=1e-9)


def test_shapes_are_checked():
    with pytest.raises(LEMError, match="periods"):
        paper_loss(torch.zeros(1, 3, 4, 4, 2), torch.zeros(1, 3, 3, 4, 2))
    with pytest.raises(LEMError, match="volume, price"):
        with_branches(torch.zeros(1, 3))
