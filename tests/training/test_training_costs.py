"""Training in a market in which trading costs: the same orders, the utility net of the costs."""

import json

import pytest
import torch

from lem_models import CostModel
from lem_models.errors import ConfigError
from lem_models.execution.records import CostlyWindow
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.modeling.model import LEMModel
from lem_models.training.recipe import Recipe
from tests.training.tiny import BARS, tiny_batches, tiny_recipe, trained

COSTS = {"half_spread_bps": 20.0, "impact": 1.0, "order_size": 0.02}
RECIPE = """
name: dear
data: {train_end: 2024-01-28, validation_end: 2024-02-14}
costs: {half_spread_bps: 1.5, impact: 1.0, order_size: 0.01}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    BARS.write(path)
    return path


class _Watch:
    """What the model was handed, and the score that it got."""

    def __init__(self, monkeypatch):
        self.batches, self.scores = [], []
        step, validate = LEMModel.training_step, LEMModel.validation_step

        def training_step(model, batch, index):
            self.batches.append(batch)
            return step(model, batch, index)

        def validation_step(model, batch, index):
            validate(model, batch, index)
            with torch.no_grad():
                paths = simulate(model, batch.orders, batch.window, model.order_contexts(batch))
                outcome = settle(finishing_fills(paths, chosen_period(paths)[:, None]), batch.orders, batch.window)
            gross = -batch.orders.side * (outcome.executed_price / outcome.benchmark_price - 1)[:, 0]
            self.scores.append((gross - outcome.improvement[:, 0]).mean().item() * 1e4)

        monkeypatch.setattr(LEMModel, "training_step", training_step)
        monkeypatch.setattr(LEMModel, "validation_step", validation_step)


def _train(data, folder, **changes):
    return trained(tiny_recipe(**changes), out=folder, data=data)


def test_a_recipe_names_costs(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    costs = Recipe.read(tmp_path / "recipe.yaml").costs
    assert costs == CostModel(half_spread_bps=1.5, impact=1.0, order_size=0.01)
    assert tiny_recipe().costs is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((", order_size: 0.01", ""), "an impact needs an order_size"),
        (("half_spread_bps: 1.5", "half_spread_bps: -1"), r"recipe\.yaml is refused: costs\.half_spread_bps"),
        (("half_spread_bps: 1.5", "spread: 1"), r"costs\.spread: Extra inputs"),
    ],
)
def test_costs_that_cannot_be_are_refused(tmp_path, change, message):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace(*change))
    with pytest.raises(ConfigError, match=message):
        Recipe.read(tmp_path / "recipe.yaml")


def test_costs_reach_the_objective_and_the_validation(data, tmp_path, monkeypatch):
    watch = _Watch(monkeypatch)
    _train(data, tmp_path, costs=COSTS)
    assert all(isinstance(batch.window, CostlyWindow) for batch in watch.batches)
    window = watch.batches[0].window
    assert window.flat_cost.unique().tolist() == pytest.approx([0.002])
    torch.testing.assert_close(window.impact, window.volatility)
    torch.testing.assert_close(window.size, 0.02 * window.horizon_volume)
    assert watch.scores[0] > 20  # bps that the validation counts off
    assert json.loads((tmp_path / "run.json").read_text())["recipe"]["costs"]["half_spread_bps"] == 20.0


def test_orders_and_bars_are_those_of_a_run_without(data, tmp_path, monkeypatch):
    watch = _Watch(monkeypatch)
    _train(data, tmp_path, costs=COSTS)
    module = tiny_batches()
    plain = module.batch(0, training=True)
    dear = watch.batches[0]
    for record in ("orders", "window"):
        for name, values in vars(getattr(plain, record)).items():
            if name == "horizon_volume":  # only sizes ask for it
                assert values.isnan().all()
            else:
                assert torch.equal(getattr(getattr(dear, record), name), values)
    assert type(plain.window) is not CostlyWindow


def test_costs_change_the_model_and_no_costs_do_not(data, tmp_path):
    free, zero, dear = (
        _train(data, tmp_path / name, costs=costs).state_dict()
        for name, costs in (("free", None), ("zero", {"order_size": 1.0}), ("dear", {**COSTS, "impact": 50.0}))
    )
    # A market that costs nothing gives the same utilities; their gradients are sums in another order.
    assert all(torch.allclose(free[name], zero[name], atol=1e-4) for name in free)
    assert any(not torch.allclose(free[name], dear[name], atol=1e-3) for name in free)
