"""Training on two processes is training on one: the same gradients, weights and metrics, up to the rounding of sums."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models.errors import ConfigError
from lem_models.modeling.model import LEMModel
from lem_models.training.metrics import ValidationScore
from lem_models.training.recipe import Recipe
from lem_models.training.run import train
from tests.distributed.job import ACCUMULATE, RESUMED, module_and_model, trained_gradients
from tests.training.tiny import BARS, Watched, tiny_batches, tiny_recipe

TWO_PROCESSES = pytest.mark.xdist_group("two processes")


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
        train(tiny_recipe(), out=tmp_path / "run", data=data, accelerator="cpu", devices=3, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", [{"strategy": "nonsense"}, {"strategy": "fsdp"}, {"precision": "8-bit"}], ids=str)
def test_settings_that_cannot_be_are_refused(setting, data, tmp_path):
    with pytest.raises(ConfigError, match=r"nonsense|requires a GPU|one of 32-true, bf16-mixed"):
        train(tiny_recipe(), out=tmp_path / "run", data=data, accelerator="cpu", progress=False, **setting)
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
    train(recipe, out=tmp_path, data=data, accelerator="cpu", progress=False)
    assert Watched.seen == list(range(12))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


def test_mixed_precision_trains_nearly_the_same_model(data, tmp_path):
    runs = {}
    for precision in ("32-true", "bf16-mixed"):
        out = tmp_path / precision
        train(tiny_recipe(), out=out, data=data, accelerator="cpu", precision=precision, progress=False)
        runs[precision] = pd.read_csv(out / "logs" / "csv" / "metrics.csv")["val_utility"].dropna().to_numpy()
        assert precision in (out / "run.json").read_text()
    assert not np.array_equal(*runs.values())
    np.testing.assert_allclose(*runs.values(), atol=0.01)


# --- two processes ---------------------------------------------------------------------------------------------------


@TWO_PROCESSES
def test_two_processes_have_the_gradient_of_the_whole_batch(two_processes):
    wanted = _mean_gradients()
    for rank in range(2):
        _assert_same(torch.load(two_processes / f"gradients-{rank}.pt"), wanted, atol=1e-12)


@TWO_PROCESSES
def test_two_processes_resume_a_run_of_one(two_processes, tmp_path):
    data = two_processes / "bars.parquet"
    straight = train(RESUMED, out=tmp_path / "straight", data=data, accelerator="cpu", progress=False)
    for rank in range(2):
        # In float32: sums of two halves differ in the last bit from sums over all, and Adam enlarges what is small.
        _assert_same(torch.load(two_processes / f"resumed-{rank}.pt"), straight.state_dict(), atol=2e-5)


@TWO_PROCESSES
def test_a_run_on_two_processes_is_the_run_of_one(two_processes, tmp_path):
    recipe, data = two_processes / "recipe.yaml", two_processes / "bars.parquet"
    train(Recipe.read(recipe), out=tmp_path, data=data, accelerator="cpu", progress=False)
    assert (two_processes / "train-0.txt").read_text().count("model: ") == 1
    assert (two_processes / "train-1.txt").read_text() == ""
    one, two = (LEMModel.from_pretrained(folder).state_dict() for folder in (tmp_path, two_processes / "train"))
    _assert_same(two, one, atol=2e-5)
    logs = [folder / "logs" / "csv" for folder in (tmp_path, two_processes / "train")]
    one, two = (pd.read_csv(log / "metrics.csv") for log in logs)
    pd.testing.assert_frame_equal(two, one, atol=2e-5, rtol=0)
    assert {path.name for path in logs[1].iterdir()} == {"metrics.csv"}
    assert (two_processes / "train" / "run.json").read_text() == (tmp_path / "run.json").read_text()
