"""Another head on the same backbone: what is kept, what is fresh, and that fresh weights decide nothing."""

import numpy as np
import pytest
import torch

from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.execution.execute import execute
from lem_models.modeling.model import LEMModel
from lem_models.orders import Order
from tests.helpers import hourly, random_model, tiny_config
from tests.training.tiny import BARS, TINY, tiny_recipe, trained

SETTINGS = {"hidden_size": 12, "layers": 1}


@pytest.fixture
def model():
    return random_model(tiny_config(risk_aversion=0.7))


def test_the_backbone_is_kept_and_the_head_is_fresh(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other, report = model.with_head("flexible", SETTINGS)
    assert other.config == model.config.model_copy(update={"head_config": SETTINGS})
    weights = other.state_dict()
    assert set(report.kept) | set(report.fresh) == set(weights)
    assert set(report.kept) | set(report.dropped) == set(before)
    assert all(name.startswith("backbone.") for name in report.kept)
    for name in report.kept:
        assert torch.equal(weights[name], before[name])
        assert weights[name].data_ptr() != model.state_dict()[name].data_ptr()  # a copy: training it moves nothing
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_report_names_every_tensor(model):
    other, report = model.with_head("flexible", SETTINGS)
    text = str(report)
    for name in {**model.state_dict(), **other.state_dict()}:
        assert name in text
    assert "head.output.weight [3, 12]" in text.split("fresh")[1]
    assert "head.output.weight [3, 8]" in text.split("dropped")[1].split("fresh")[0]


def test_the_same_head_again_is_fresh_too(model):
    other, report = model.with_head("flexible", dict(model.config.head_config))
    assert set(report.fresh) == set(report.dropped)
    assert not torch.equal(other.head.output.weight, model.head.output.weight)
    again, _ = model.with_head("flexible", dict(model.config.head_config))
    assert torch.equal(other.head.output.weight, again.head.output.weight)


def test_a_setting_that_adds_neutral_weights_changes_no_decision(model):
    bars = hourly()
    orders = Order.sample(bars, every=9, max_periods=6, min_periods=[1, 6])
    other = model.with_head_settings(profile_exponent=True)
    assert other.is_trained
    assert other.state_dict().keys() - model.state_dict().keys() == {"head.exponent.weight", "head.exponent.bias"}
    before, after = (execute(m, bars, orders).orders["slippage_bps"] for m in (model, other))
    np.testing.assert_allclose(after, before, atol=1e-3)
    with torch.no_grad():
        other.head.exponent.bias.fill_(-3.0)
    moved = execute(other, bars, orders).orders["slippage_bps"]
    assert (moved - before).abs().max() > 0.05
    assert model.with_head_settings(**model.config.head_config) is model


@pytest.mark.parametrize("settings", [{"hidden_size": 12}, {"layers": 1}, {"width": 3}])
def test_a_setting_that_changes_what_was_learnt_is_refused(model, settings):
    with pytest.raises(ConfigError):
        model.with_head_settings(**settings)


def test_a_fresh_head_refuses_to_predict_and_to_be_saved(model, tmp_path):
    other, _ = model.with_head("flexible", SETTINGS)
    bars = hourly()
    with pytest.raises(UntrainedHeadError):
        execute(other, bars, Order.sample(bars, every=9, max_periods=6))
    with pytest.raises(UntrainedHeadError):
        other.stream()
    with pytest.raises(UntrainedHeadError):
        other.save_pretrained(tmp_path / "model")


def test_unknown_heads_and_settings_are_refused(model):
    with pytest.raises(ConfigError, match="unknown head 'flexibel'"):
        model.with_head("flexibel")
    with pytest.raises(ConfigError, match="head_config of 'flexible': width"):
        model.with_head("flexible", {"width": 3})


def test_the_new_model_is_of_the_old_one_s_type(model):
    other, _ = model.double().with_head("flexible", SETTINGS)
    assert {value.dtype for value in other.state_dict().values()} == {torch.float64}


def test_a_run_may_start_from_a_model(tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    tiny = LEMModel(tiny_config(**TINY["model"], risk_aversion=0.7, unseen_from={"1h": "2025-01-01"}))
    start, _ = tiny.with_head("flexible", SETTINGS)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}
    model = trained(
        tiny_recipe(trainer={"steps": 1, "steps_per_epoch": 1}, optimizer=still),
        out=tmp_path / "run",
        data=tmp_path / "bars.parquet",
        start=start,
        devices=1,
    )
    assert model.is_trained
    assert not start.is_trained
    # Seen is seen: the later of the two days. What it was trained on is recorded.
    assert model.config == start.config.model_copy(update={"frequencies": ("1h",)})
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-6, rtol=0)
    assert LEMModel.from_pretrained(tmp_path / "run").config.head_config == SETTINGS
