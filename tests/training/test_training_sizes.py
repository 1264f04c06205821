"""Training orders with a size: their impact, the utility net of it, and what the model is told."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import Bars, CostModel, Order, execute
from lem_models.errors import ConfigError
from lem_models.execution.objective import expected_utility
from lem_models.execution.records import CostlyWindow
from lem_models.execution.simulator import simulate
from lem_models.modeling.model import LEMModel
from lem_models.training.recipe import Recipe
from lem_models.training.sampling import VALIDATION_SIZES, OrderSampling, draw_orders
from tests.training.tiny import BARS, tiny_batches, tiny_recipe, trained

SIZED = {"sized": 0.75, "size": [0.001, 0.1], "impact": [0.5, 1.0], "full_vwap": 0.1, "arrival": 0.1}
RECIPE = "name: sized\ndata: {train_end: 2024-01-28, validation_end: 2024-02-14}\norders: "


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ("{size: [0, 0.1]}", r"orders\.size: must be two positive numbers"),
        ("{impact: [1.0, 0.5]}", r"orders\.impact: must be two positive numbers"),
        ("{sized: 1.5}", r"orders\.sized"),
        ("{twap: 0.5, arrival: 0.3, full_vwap: 0.3}", "twap, full_vwap and arrival together exceed 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path, orders, message):
    (tmp_path / "recipe.yaml").write_text(RECIPE + orders)
    with pytest.raises(ConfigError, match=message):
        Recipe.read(tmp_path / "recipe.yaml")


def test_sizes_are_drawn_as_the_recipe_says():
    sampling = OrderSampling(**SIZED)
    drawn = draw_orders(np.random.default_rng(0), np.ones(20_000, np.float32), 12, sampling)
    some = drawn.size > 0
    assert some.float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert (drawn.size[some].min().item(), drawn.size.max().item()) == pytest.approx((0.001, 0.1), rel=0.01)
    assert drawn.size[some].log10().mean().item() == pytest.approx(-2, abs=0.02)
    assert (drawn.impact.min().item(), drawn.impact.max().item()) == pytest.approx((0.5, 1.0), rel=0.01)
    shares = {name: drawn.orders.has_benchmark(name).float().mean().item() for name in sampling.benchmarks}
    assert shares == pytest.approx({"vwap": 0.55, "twap": 0.25, "full_vwap": 0.1, "arrival": 0.1}, abs=0.015)


def test_the_impact_of_an_order_is_that_of_its_costs():
    batch = tiny_batches(orders=SIZED).batch(0, training=True)
    orders, window = batch.orders, batch.window
    assert isinstance(window, CostlyWindow)
    torch.testing.assert_close(orders.impact, window.impact / window.volatility * window.size.sqrt())
    assert 0 < (orders.impact > 0).float().mean() < 1
    assert not window.flat_cost.any()


def test_a_larger_order_is_worth_less():
    batch = tiny_batches(orders=SIZED).batch(0, training=True)
    model = LEMModel(tiny_recipe().model).eval()
    with torch.no_grad():
        paths = simulate(model, batch.orders, batch.window, model.order_contexts(batch))
        values = expected_utility(paths, batch.orders, batch.window)
        free = CostlyWindow(**(vars(batch.window) | {"size": 0 * batch.window.size}))
        gross = expected_utility(paths, batch.orders, free)
    # A gain that risk makes unwelcome may be better with a cost: on average no order is.
    assert values[batch.orders.impact > 0.3].mean() < gross[batch.orders.impact > 0.3].mean()
    assert torch.equal(values[batch.orders.impact == 0], gross[batch.orders.impact == 0])


def test_validation_has_orders_of_every_size():
    batch = tiny_batches(orders=SIZED).batch(0, training=False)
    part = batch.window.size / batch.window.horizon_volume
    found = {round(size, 6) for size in part.tolist()}
    assert found == set(VALIDATION_SIZES)
    assert (part == 0).float().mean().item() == pytest.approx(0.5, abs=0.2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model trained with sizes, and one trained without."""
    folder = tmp_path_factory.mktemp("models")
    return [
        trained(
            tiny_recipe(
                orders=orders, model={"head_config": {"hidden_size": 8, "layers": 2, "sized": name == "sized"}}
            ),
            out=folder / name,
            data=BARS,
        )
        for name, orders in (("sized", SIZED), ("free", {}))
    ]


def test_a_head_that_does_not_know_the_orders_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="the 'flexible' head knows no orders against full_vwap, arrival; set them"):
        trained(tiny_recipe(orders=SIZED), out=tmp_path / "one", data=BARS)
    with pytest.raises(ConfigError, match=r"orders.sized: the 'flexible' head as it is does not read the size"):
        trained(tiny_recipe(orders={"sized": 0.5}), out=tmp_path / "two", data=BARS)


def test_a_model_learns_of_sizes_later(models):
    _, free = models
    later = free.with_head_settings(sized=True)
    table = Order.sample(BARS, every="12h", max_periods=6, min_periods=1, limit=40, seed=0).assign(amount=100.0)
    before, after = (execute(model, BARS, table, costs=CostModel(impact=1)).schedule for model in (free, later))
    pd.testing.assert_frame_equal(before, after)


def test_a_model_says_what_it_was_trained_on(models):
    sized, free = models
    assert sized.reads_size
    assert sized.benchmarks == ("vwap", "twap", "full_vwap", "arrival")
    assert sized.assumed_costs == CostModel(impact=0.707)  # the middle of the drawn ones on a log scale
    assert not free.reads_size
    assert free.benchmarks == ("vwap", "twap")
    assert free.assumed_costs is None


def test_the_amount_of_an_order_changes_what_a_model_decides(models):
    sized, _ = models
    bars = Bars.of(BARS)
    table = Order.sample(bars, every="12h", max_periods=6, min_periods=1, limit=40, seed=0)
    small, large = (table.assign(amount=amount) for amount in (1e-9, 1e9))
    fills = [np.concatenate(execute(sized, bars, each).part.fills) for each in (table, small, large)]
    np.testing.assert_allclose(fills[0], fills[1], atol=1e-6)  # an order without a size is infinitesimal
    assert np.abs(fills[0] - fills[2]).max() > 1e-4
    # Costs that are named replace those that the model assumes.
    free = np.concatenate(execute(sized, bars, large, costs=CostModel()).part.fills)
    np.testing.assert_allclose(free, fills[0], atol=1e-6)
    assumed = np.concatenate(execute(sized, bars, large, costs=CostModel(impact=0.707, fee_bps=5)).part.fills)
    np.testing.assert_array_equal(assumed, fills[2])


def test_a_model_that_names_no_impact_decides_the_same_at_every_size(models):
    sized, _ = models
    deaf = LEMModel(sized.config.model_copy(update={"impact": None}))
    deaf.load_state_dict(sized.state_dict())
    deaf.is_trained = True
    assert not deaf.reads_size
    table = Order.sample(BARS, every="12h", max_periods=6, min_periods=1, limit=40, seed=0)
    free, costly = (execute(deaf, BARS, table, costs=costs).schedule for costs in (None, CostModel(impact=1).at(0.1)))
    pd.testing.assert_frame_equal(free, costly)


def test_weights_of_a_start_that_is_kept_know_what_the_start_knew(models, tmp_path):
    sized, _ = models
    harmful = {"optimizer": {"learning_rate": 10.0}, "trainer": {"steps": 1, "steps_per_epoch": 1, "averaging": 0.0}}
    kept = trained(tiny_recipe(**harmful), out=tmp_path / "kept", data=BARS, start=sized)
    assert torch.equal(kept.head.from_size.weight, sized.head.from_size.weight)
    assert (kept.config.benchmarks, kept.config.impact) == (sized.config.benchmarks, sized.config.impact)


def test_a_model_still_knows_the_orders_that_its_start_knew(models, tmp_path):
    sized, _ = models
    moved = trained(
        tiny_recipe(trainer={"steps": 1, "steps_per_epoch": 1, "keep": "last"}),
        out=tmp_path / "moved",
        data=BARS,
        start=sized,
    )
    assert moved.benchmarks == sized.benchmarks
    assert moved.assumed_costs == sized.assumed_costs


def test_shares_that_sum_to_one_leave_no_vwap():
    assert OrderSampling(twap=0.2, full_vwap=0.7, arrival=0.1).benchmarks == ("twap", "full_vwap", "arrival")


def test_the_architecture_of_a_recipe_knows_its_orders():
    free, sized = tiny_recipe().architecture, tiny_recipe(orders=SIZED).architecture
    assert (free.benchmarks, free.impact) == (("vwap", "twap"), None)
    assert (sized.benchmarks, sized.impact) == (("vwap", "twap", "full_vwap", "arrival"), 0.707)
    assert tiny_recipe(orders=SIZED, model={"impact": 0.9}).architecture.impact == 0.9
