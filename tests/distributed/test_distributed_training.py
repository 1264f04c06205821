"""Training on two processes is training on one: the same gradients, weights and metrics, up to the rounding of sums."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lem_models.errors import ConfigError
from lem_models.modeling.model import LEMModel
from lem_models.modeling.validation_score import ValidationScore
from lem_models.training.recipe import Recipe
from tests.distributed.job import ACCUMULATE, RESUMED, benchmark, module_and_model, trained_gradients
from tests.distributed.launch import torchrun
from tests.training.tiny import BARS, TINY, Watched, tiny_batches, tiny_recipe, trained


@pytest.fixture
def data(tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    return tmp_path / "bars.parquet"


def _mean_gradients():
    """Mean of the gradients of the first batches, each taken whole, without a trainer."""
    module, model = module_and_model()
    for number in range(ACCUMULATE):
        batch = module.training_batch(number)
        (model.training_step(batch, number) / ACCUMULATE).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def _assert_same(found, wanted, *, atol, rtol=0.0):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, atol=atol, rtol=rtol, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- the shares ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_shares_of_a_batch_make_up_the_batch(training):
    whole = tiny_batches()
    batch = whole.batch(0, training=training)
    shares = []
    for rank in range(2):
        module = tiny_batches()
        module.take_share(rank, 2)
        shares.append(module.batch(0, training=training))
    for part in shares:
        assert part.features.shape[0] == len(part.side) == 2
        assert len(part.orders) == len(batch.orders) // 2
    for name in ("features", "side", "position"):
        assert torch.equal(torch.cat([getattr(part, name) for part in shares]), getattr(batch, name))
    assert torch.equal(torch.cat([shares[0].stretch, shares[1].stretch + 2]), batch.stretch)
    for name in ("min_periods", "max_rate", "risk_aversion"):
        assert torch.equal(torch.cat([getattr(part.orders, name) for part in shares]), getattr(batch.orders, name))
    for name in ("price", "volume", "expected_volume", "volatility"):
        assert torch.equal(torch.cat([getattr(part.window, name) for part in shares]), getattr(batch.window, name))
    assert batch.auxiliary_share == 1.0
    assert sum(part.auxiliary_share for part in shares) == pytest.approx(2.0)


def test_stretches_that_cannot_be_shared_equally_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.stretches \(4\) .* by 3 processes; make it 3 or 6"):
        tiny_batches().take_share(0, 3)
    with pytest.raises(ConfigError, match=r"data\.stretches \(4\) .* by 8 processes; make it 8,"):
        tiny_batches().take_share(0, 8)
    with pytest.raises(ConfigError, match=r"by 3 processes"):
        trained(tiny_recipe(), out=tmp_path / "run", data=data, devices=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", [{"strategy": "nonsense"}, {"strategy": "fsdp"}, {"precision": "8-bit"}], ids=str)
def test_settings_that_cannot_be_are_refused(setting, data, tmp_path):
    with pytest.raises(ConfigError, match=r"nonsense|requires a GPU|precision: Input should be '32-true'"):
        trained(tiny_recipe(), out=tmp_path / "run", data=data, **setting)
    assert not (tmp_path / "run").exists()


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_validation_metrics_are_those_of_all_orders_however_they_are_spread():
    rng = np.random.default_rng(0)
    x, minimum = torch.from_numpy(rng.normal(0.3, 2.0, 300)), torch.from_numpy(rng.integers(1, 4, 300))
    score = ValidationScore(horizon=6)
    for part in torch.arange(300).split([1, 120, 179]):
        score.update(x[part] / 2, x[part], minimum[part])
    found = score.compute()
    assert found["val_utility"].item() == pytest.approx(x.mean().item() / 2)
    assert set(found) == {"val_utility", *(f"val/{kind}_min{m}" for kind in ("mean", "std") for m in (1, 2, 3))}
    for m in (1, 2, 3):
        assert found[f"val/mean_min{m}"].item() == pytest.approx(x[minimum == m].mean().item())
        assert found[f"val/std_min{m}"].item() == pytest.approx(x[minimum == m].std().item())


# --- accumulation and precision --------------------------------------------------------------------------------------


def test_accumulated_batches_give_the_gradient_of_all_of_them():
    _assert_same(trained_gradients(1), _mean_gradients(), atol=1e-12)


def test_steps_are_steps_of_the_optimiser_however_many_batches_each_takes(data, tmp_path, monkeypatch):
    monkeypatch.setattr("lem_models.training.run.MarketBatches", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    recipe = tiny_recipe(trainer={"steps": 4, "steps_per_epoch": 2, "accumulate": 3})
    trained(recipe, out=tmp_path, data=data)
    assert Watched.seen == list(range(12))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


def test_mixed_precision_trains_nearly_the_same_model(data, tmp_path):
    runs = {}
    for precision in ("32-true", "bf16-mixed"):
        out = tmp_path / precision
        trained(tiny_recipe(), out=out, data=data, precision=precision)
        runs[precision] = pd.read_csv(out / "logs" / "csv" / "metrics.csv")["val_utility"].dropna().to_numpy()
        assert precision in (out / "run.json").read_text()
    assert not np.array_equal(*runs.values())
    np.testing.assert_allclose(*runs.values(), atol=0.01)


# --- two processes ---------------------------------------------------------------------------------------------------


def test_two_processes_have_the_gradient_of_the_whole_batch_resume_a_run_of_one_and_keep_the_order_of_orders(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr("lem_models.training.run.MarketBatches", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    settings = {"data": data, "accelerator": "cpu", "progress": False}
    straight = trained(RESUMED, out=tmp_path / "straight", **settings)
    monkeypatch.setattr(Watched, "seen", [])
    monkeypatch.setattr(Watched, "stop_at", 4)
    with pytest.raises(RuntimeError, match="power cut"):
        trained(RESUMED, out=tmp_path / "broken", **settings)
    torchrun("tests.distributed.job", tmp_path)
    wanted = _mean_gradients()
    for rank in range(2):
        _assert_same(torch.load(tmp_path / f"gradients-{rank}.pt"), wanted, atol=1e-12)
        # In float32: sums of two halves differ in the last bit from sums over all, and Adam enlarges what is small.
        _assert_same(torch.load(tmp_path / f"resumed-{rank}.pt"), straight.state_dict(), atol=2e-5)
    alone = benchmark()
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "orders.pkl"), alone.results["stopping_rule"].orders)
    null = pd.read_pickle(tmp_path / "null.pkl")
    np.testing.assert_array_equal(null.improvement_bps, alone.nulls["stopping_rule"].improvement_bps)


def test_a_run_on_two_processes_is_the_run_of_one(data, tmp_path):
    trainer = {"steps": 4, "steps_per_epoch": 2, "accumulate": 2, "averaging": 0.9}
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump({**TINY, "trainer": trainer}))
    trained(Recipe.read(config), out=tmp_path / "one", data=data)
    arguments = ["--config", config, "--data", data, "--out", tmp_path / "two", "--accelerator", "cpu", "--no-progress"]
    printed = torchrun("lem_models.cli", "train", *arguments)
    assert printed.count("model: ") == 1
    one, two = (LEMModel.from_pretrained(tmp_path / name).state_dict() for name in ("one", "two"))
    _assert_same(two, one, atol=2e-5)
    one, two = (pd.read_csv(tmp_path / name / "logs" / "csv" / "metrics.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(two, one, atol=2e-5, rtol=0)
    assert {path.name for path in (tmp_path / "two" / "logs" / "csv").iterdir()} == {"metrics.csv"}
    assert (tmp_path / "two" / "run.json").read_text() == (tmp_path / "one" / "run.json").read_text()
