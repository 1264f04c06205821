"""Training on several markets at once, on some of their assets, and from a model of another horizon."""

from datetime import date

import numpy as np
import pytest
import torch
import yaml

from lem_models.errors import BarsError, ConfigError
from lem_models.execution.execute import execute
from lem_models.orders import Order
from lem_models.training.datamodule import ExecutionDataModule
from lem_models.training.recipe import Recipe
from tests.helpers import hourly, random_model, sessions, tiny_config
from tests.training.tiny import BARS, TINY, tiny_batches, tiny_recipe, trained

OTHER = hourly(days=45, symbols=3, seed=9)
SEVERAL = """
name: both
data:
  - &first {path: hours.parquet, train_end: 2024-01-28, validation_end: 2024-02-14, weight: 3, stretch: 24,
            stretches: 4, orders_per_stretch: 16, validation_batches: 2}
  - {<<: *first, path: more/other.parquet, weight: 1, horizon: 4, validation_end: 2024-02-10, held_out: [S002]}
model: {horizon: 6, warmup: 16, block: 16, hidden_size: 8, tkan_layers: 1, attention_heads: 2, attention_window: 8,
        features: [return_close, range], head_config: {hidden_size: 8, layers: 2}}
trainer: {steps: 4, steps_per_epoch: 2}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bars")
    BARS.write(folder / "hours.parquet")
    OTHER.write(folder / "other.parquet")
    return folder


@pytest.fixture
def several(tmp_path):
    (tmp_path / "several.yaml").write_text(SEVERAL)
    return Recipe.read(tmp_path / "several.yaml")


def module(weights, batches=400):
    markets = [
        tiny_batches(bars, data={"weight": weight, "horizon": horizon})
        for bars, weight, horizon in zip((BARS, OTHER), weights, (6, 3), strict=True)
    ]
    return ExecutionDataModule(markets, batches_per_epoch=batches, seed=1)


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_a_recipe_lists_markets(several, tmp_path):
    first, second = several.data
    assert (first.weight, first.horizon, second.weight, second.horizon) == (3, None, 1, 4)
    assert (first.stretches, second.stretches) == (4, 4)
    assert second.path == (tmp_path / "more" / "other.parquet").resolve()
    assert str(several.validation_end) == "2024-02-14"


def test_one_market_needs_no_list():
    (only,) = tiny_recipe().data
    assert str(only.train_end) == TINY["data"]["train_end"]


@pytest.mark.parametrize("data", [[], {}, [{"train_end": "2024-01-01"}], "bars.parquet", [3]])
def test_bad_markets_are_refused(data, tmp_path):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({"name": "bad", "data": data}))
    with pytest.raises(ConfigError, match="data"):
        Recipe.read(tmp_path / "bad.yaml")


def test_a_model_section_and_a_start_exclude_each_other(tmp_path):
    content = {**TINY, "finetune": {"start": "lem-base"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"model: .* finetune\.start"):
        Recipe.read(tmp_path / "recipe.yaml")


# --- batches ---------------------------------------------------------------------------------------------------------


def test_markets_are_drawn_by_weight():
    drawn = [batch.window.price.shape[1] for batch in module((3, 1)).train_dataloader()]
    assert set(drawn) == {6, 3}  # windows are as wide as the market's own horizon
    assert np.mean(np.equal(drawn, 6)) == pytest.approx(0.75, abs=0.07)


def test_a_market_alone_gives_the_same_batches_as_beside_a_rare_one():
    alone = [b.features for b in ExecutionDataModule([tiny_batches()], batches_per_epoch=4, seed=1).train_dataloader()]
    beside = [b.features for b in module((1e9, 1), batches=4).train_dataloader()]
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))


def test_validation_reads_the_batches_of_every_market():
    found = [batch.window.price.shape[1] for batch in module((1e9, 1)).val_dataloader()]
    assert found == [6, 6, 3, 3]


def test_orders_are_as_long_as_their_market_allows():
    batch = tiny_batches(data={"horizon": 3}).batch(0, training=True)
    assert batch.orders.max_periods.max() == 3
    validation = tiny_batches(data={"horizon": 3}).batch(0, training=False)
    assert set(validation.orders.max_periods.tolist()) == {3}
    with pytest.raises(ConfigError, match=r"data\.horizon \(7\) must not exceed the model's \(6\)"):
        tiny_batches(data={"horizon": 7})
    with pytest.raises(ConfigError, match="twice the horizon"):
        tiny_batches(sessions(40), data={"train_end": "2024-01-20", "validation_end": "2024-02-01", "stretch": 12})


def test_held_out_symbols_are_never_read():
    batches = tiny_batches(OTHER, data={"held_out": ["S001"]})
    assert batches.market.bars.symbols == ("S000", "S002")
    only = tiny_batches(OTHER, data={"symbols": ["S001", "S002"], "held_out": ["S001"]})
    assert only.market.bars.symbols == ("S002",)
    with pytest.raises(BarsError, match="symbols that the bars lack: NOBODY"):
        tiny_batches(OTHER, data={"held_out": ["NOBODY"]})
    with pytest.raises(BarsError, match="leaves no symbol"):
        tiny_batches(OTHER, data={"held_out": list(OTHER.symbols)})


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_over_two_markets_saves_a_model(several, files, tmp_path):
    model = trained(several, out=tmp_path / "run", data=files)
    assert model.config.unseen_from == {"1h": date(2024, 2, 14)}
    in_order = [files / "hours.parquet", files / "other.parquet"]
    again = trained(several, out=tmp_path / "again", data=in_order)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert (tmp_path / "run" / "run.json").read_text() == (tmp_path / "again" / "run.json").read_text()


def test_every_market_needs_its_file(several, files, tmp_path):
    with pytest.raises(ConfigError, match="2 markets, and data names 1 files"):
        trained(several, out=tmp_path / "run", data=files / "hours.parquet")
    nameless = tiny_recipe()
    with pytest.raises(ConfigError, match=r"names no data\.path"):
        trained(nameless, out=tmp_path / "run", data=files)


def test_recorded_launches_need_one_shape(several, files, tmp_path):
    other = several.data[1].model_copy(update={"stretches": 2})
    recipe = several.model_copy(
        update={
            "data": (several.data[0], other),
            "trainer": several.trainer.model_copy(update={"cuda_graphs": True}),
        }
    )
    with pytest.raises(ConfigError, match="the same stretches and stretch in every market"):
        trained(recipe, out=tmp_path / "run", data=files)


def test_a_recipe_may_start_from_a_model(files, tmp_path):
    start = random_model(tiny_config(horizon=6, warmup=16, block=16))
    start.save_pretrained(tmp_path / "start")
    content = {key: value for key, value in TINY.items() if key != "model"}
    content["finetune"] = {"start": "start", "horizon": 4, "risk_aversion": 0.7}
    content["trainer"] = {"steps": 1, "steps_per_epoch": 1, "averaging": 0}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**content, "optimizer": {"learning_rate": 1e-9}}))
    recipe = Recipe.read(tmp_path / "recipe.yaml")
    model = trained(recipe, out=tmp_path / "run", data=files / "hours.parquet")
    assert model.horizon == 4
    assert model.config.risk_aversion == 0.7 != start.config.risk_aversion
    expected = start.with_horizon(4).state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)


# --- another horizon -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["flexible", "fixed_duration"])
def test_another_horizon_leaves_the_decisions_within_it_alone(head):
    model = random_model(tiny_config(horizon=6, head=head, head_config={"hidden_size": 8}))
    bars = hourly()
    orders = Order.sample(bars, every=9, side="both", min_periods=[1, 4], max_periods=4)
    expected = execute(model, bars, orders).orders
    for horizon in (4, 9):
        other = model.with_horizon(horizon)
        assert (other.horizon, other.is_trained, other.name) == (horizon, True, model.name)
        found = execute(other, bars, orders).orders
        assert found["periods_used"].equals(expected["periods_used"])
        np.testing.assert_allclose(found["slippage_bps"], expected["slippage_bps"], atol=1e-3)
    assert model.horizon == 6
    assert model.with_horizon(6) is model


def test_beyond_the_horizon_forecasts_go_on_as_for_its_last_period():
    model = random_model(tiny_config(horizon=6))
    longer = model.with_horizon(9)
    assert torch.equal(longer.head.outlook.weight[6:], model.head.outlook.weight[5:].expand(3, -1))
    bars = hourly()
    result = execute(longer, bars, Order.sample(bars, every=9, min_periods=[9], max_periods=9))
    assert result.orders["completed"].all()


def test_some_heads_have_one_horizon():
    with pytest.raises(ConfigError, match="'static_curve' head has a fixed horizon of 6 periods"):
        random_model(tiny_config(horizon=6, head="static_curve", head_config={})).with_horizon(5)
    with pytest.raises(ConfigError, match="horizon"):
        random_model(tiny_config(horizon=6)).with_horizon(0)
