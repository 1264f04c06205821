"""Training with a teacher: whose schedules are imitated, by which orders, and that it helps."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import execute
from lem_models.baselines.tracking.coefficients import shipped_coefficients
from lem_models.baselines.tracking.convex import ConvexPolicy
from lem_models.errors import BarsError, ConfigError, UnknownNameError
from lem_models.execution.objective import imitation_loss
from lem_models.execution.simulator import simulate
from lem_models.modeling.batch import TrainingBatch
from lem_models.modeling.model import LEMModel
from lem_models.training.batches import MarketBatches
from lem_models.training.recipe import Recipe
from lem_models.training.teacher import Teacher
from tests.training.tiny import BARS, tiny_batches, tiny_recipe, trained

FIXED = {"fixed_duration": 1.0, "full_horizon": 0.5, "twap": 0.3, "capped": 0.5, "floored": 0.3}


def _batches(orders, teacher="convex"):
    recipe = tiny_recipe(orders=orders)
    return MarketBatches(BARS, recipe.data[0], recipe.model, recipe.orders, seed=1, teacher=Teacher(teacher))


def test_the_schedule_is_that_of_an_execution():
    batches = _batches(FIXED)
    draw = batches.draw(0, training=True)
    start, some, bars = draw.first[draw.stretch] + draw.position + 1, draw.orders, batches.market.bars
    taught = batches.teacher.schedules(batches.market, start, some, torch.float64)
    table = pd.DataFrame(
        {
            "symbol": [bars.symbols[number] for number in bars.grid.symbol(start)],
            "side": np.where(some.side > 0, "buy", "sell"),
            "start": pd.to_datetime(bars.timestamp[start], utc=True),
            "max_periods": some.max_periods,
            "min_periods": some.min_periods,
            "benchmark": np.where(some.is_twap, "twap", "vwap"),
            "target": np.where(some.is_notional, "notional", "quantity"),
            "max_rate": some.max_rate.double(),
            "min_rate": some.min_rate.double(),
        }
    )
    fills = np.concatenate(execute("convex", bars, table).part.fills)
    assert len(fills) == len(table) == 64
    known = torch.isfinite(taught).numpy()
    np.testing.assert_allclose(np.cumsum(fills, 1)[known], taught.numpy()[known], atol=1e-6)
    assert np.array_equal(known.sum(1), some.max_periods)


def test_orders_of_a_fixed_duration_and_no_size_are_taught():
    orders = {"fixed_duration": 0.5, "sized": 0.5, "arrival": 0.3, "full_vwap": 0.3}
    batch = _batches(orders).batch(0, training=True)
    known, some = torch.isfinite(batch.taught), batch.orders
    fixed = some.min_periods == some.max_periods
    expected = fixed & (some.impact == 0) & ~some.has_benchmark("arrival")
    assert 0 < expected.sum() < len(some)
    assert torch.equal(known.any(1), expected)
    assert torch.equal(known.sum(1)[expected], some.max_periods[expected])
    assert expected[some.has_benchmark("full_vwap")].any()
    torch.testing.assert_close(batch.taught[expected, some.max_periods[expected] - 1], torch.ones(int(expected.sum())))


def test_validation_is_not_taught():
    assert _batches(FIXED).batch(0, training=False).taught is None
    assert tiny_batches(orders=FIXED).batch(0, training=True).taught is None


def test_the_loss_is_that_of_the_utility_on_a_martingale():
    batch = _batches(FIXED | {"twap": 0.0}).batch(0, training=True)
    model = LEMModel(tiny_recipe().model).eval()
    with torch.no_grad():
        paths = simulate(model, batch.orders, batch.window, model.order_contexts(batch))
    loss = imitation_loss(paths, batch.orders, batch.taught)
    # Steps of one variance, many times: what the squares of sum_k e_k (W_k - W*_k) are on average.
    steps = np.random.default_rng(0).standard_normal((100_000, batch.taught.shape[1]))
    for row in range(5):
        periods, risk = int(batch.orders.max_periods[row]), float(batch.orders.risk_aversion[row])
        distance = (torch.cumsum(paths.fills[row], 0) - batch.taught[row])[:periods].double().numpy()
        squares = ((steps[:, :periods] @ distance) ** 2).mean() * 12 / periods
        assert loss[row].item() == pytest.approx(risk / (1 + risk) * squares, rel=0.03, abs=1e-9)
    assert loss.max() > 1e-4


def test_what_is_not_taught_costs_nothing():
    batch = _batches({"fixed_duration": 0.5, "sized": 0.3}).batch(0, training=True)
    model = LEMModel(tiny_recipe().model)
    paths = simulate(model, batch.orders, batch.window, model.order_contexts(batch))
    loss = imitation_loss(paths, batch.orders, batch.taught)
    taught = torch.isfinite(batch.taught).any(1)
    assert torch.equal(loss[~taught], torch.zeros_like(loss[~taught]))
    assert (loss[taught & (batch.orders.max_periods > 1)] > 0).all()
    loss.sum().backward()
    gradients = [weight.grad for weight in model.head.parameters() if weight.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_share_of_a_batch_is_taught_the_same():
    batches = _batches(FIXED)
    whole = batches.batch(0, training=True).taught
    parts = []
    for rank in range(2):
        batches.take_share(rank, 2)
        part = batches.batch(0, training=True).taught
        missing = whole.shape[1] - part.shape[1]
        parts.append(torch.nn.functional.pad(part, (0, missing), value=torch.nan))
    torch.testing.assert_close(torch.cat(parts), whole, equal_nan=True)


def test_a_batch_moves_with_its_schedules():
    batch = _batches(FIXED).batch(0, training=True)
    moved = batch.to("cpu")
    assert isinstance(moved, TrainingBatch)
    torch.testing.assert_close(moved.taught, batch.taught, equal_nan=True)


def _distance(model, batch):
    with torch.no_grad():
        paths = simulate(model.eval(), batch.orders, batch.window, model.order_contexts(batch))
    return imitation_loss(paths, batch.orders, batch.taught).mean().item()


@pytest.mark.slow
def test_a_model_comes_closer_to_its_teacher(tmp_path):
    changes = {
        "orders": {"fixed_duration": 1.0, "full_horizon": 1.0, "twap": 0.0, "capped": 0.0, "floored": 0.0},
        "trainer": {"steps": 40, "steps_per_epoch": 40, "averaging": 0.0, "keep": "last"},
        "optimizer": {"learning_rate": 0.01, "teacher_weight": 100.0},
    }
    batch = _batches(changes["orders"]).batch(1000, training=True)
    models = [
        trained(tiny_recipe(teacher=teacher, **changes), out=tmp_path / str(teacher), data=BARS)
        for teacher in (None, "backloaded_curve", "convex")
    ]
    alone, _, taught = (_distance(model, batch) for model in models)
    assert taught < alone / 2


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        ("convexx", UnknownNameError, "convex"),
        ("oracle_vwap", ConfigError, "oracle_vwap cannot teach: it is a bound"),
        (
            "lem-crypto-hourly",
            ConfigError,
            "the teacher lem-crypto-hourly needs 256 bars before an order",
        ),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(tmp_path, teacher, error, message):
    with pytest.raises(error, match=message):
        trained(tiny_recipe(teacher=teacher), out=tmp_path / "model", data=BARS)
    assert not (tmp_path / "model").exists()


def test_a_teacher_may_be_a_folder_beside_the_recipe(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "recipe.yaml").write_text(
        "name: one\ndata: {train_end: 2024-01-28, validation_end: 2024-02-14}\nteacher: own\n"
    )
    assert Recipe.read(tmp_path / "recipe.yaml").teacher == str(tmp_path / "own")


def test_a_teacher_of_other_bars_is_refused(tmp_path):
    ConvexPolicy(shipped_coefficients()[3]).save(tmp_path / "own")  # of five-minute bars
    with pytest.raises(BarsError, match="was trained on bars of 5min, and these bars are 1h long"):
        trained(tiny_recipe(teacher=str(tmp_path / "own")), out=tmp_path / "model", data=BARS)


def test_orders_that_all_have_a_size_have_no_teacher():
    with pytest.raises(ValueError, match=r"teaches orders without a size, and orders\.sized is 1"):
        tiny_recipe(teacher="convex", orders={"sized": 1.0})


def test_a_registered_policy_is_meant_before_a_folder_of_its_name(tmp_path):
    (tmp_path / "convex").mkdir()
    (tmp_path / "recipe.yaml").write_text(
        "name: one\ndata: {train_end: 2024-01-28, validation_end: 2024-02-14}\nteacher: convex\n"
    )
    assert Recipe.read(tmp_path / "recipe.yaml").teacher == "convex"
