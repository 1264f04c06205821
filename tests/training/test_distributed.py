"""What training in several processes needs: shares of batches, metrics of shares, accumulated gradients, precision."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models.errors import ConfigError
from lem_models.modeling.validation_score import ValidationScore
from tests.training.gradients import assert_same_tensors, mean_gradients, trained_gradients
from tests.training.tiny import BARS, Watched, tiny_batches, tiny_recipe, trained


@pytest.fixture
def data(tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    return tmp_path / "bars.parquet"


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
    assert_same_tensors(trained_gradients(1), mean_gradients(), atol=1e-12)


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
