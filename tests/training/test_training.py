"""Training: recipes, the batches they draw, and runs that repeat and resume."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lem_models import load_policy, synthetic_bars
from lem_models.errors import BarsError, ConfigError
from lem_models.execution.execute import execute
from lem_models.execution.objective import utility
from lem_models.features.causal import FEATURES, SUPPORT
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.model import LEMModel
from lem_models.orders import Order
from lem_models.training.recipe import Recipe
from lem_models.training.run import train
from lem_models.training.sampling import VALIDATION_SIZES, OrderSampling, draw_orders, validation_orders
from lem_models.training.settings import TrainingSettings
from tests.helpers import Recorder, random_model, rebuilt, sessions
from tests.training.tiny import BARS, TINY, Watched, tiny_batches, tiny_recipe, trained

REPOSITORY = Path(__file__).parents[2]
# That of `lem finetune` takes its dates from the bars: test_finetune.py runs it.
RECIPES = sorted(path for path in (REPOSITORY / "recipes").glob("*.yaml") if path.stem != "finetune")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "bars.parquet"
    BARS.write(path)
    return path


def _train(recipe, out, data, **settings):
    return trained(recipe, out=out, data=data, **settings)


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_reads(path):
    recipe = Recipe.read(path)
    assert recipe.model.lookback <= 256
    for data in recipe.data:
        assert data.train_end < data.validation_end
        assert data.stretch > (data.horizon or recipe.model.horizon)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold sections"),
        ("- 1", "must hold sections, not a list"),
        ("name: [", "cannot read the recipe"),
        (b"\xff\xfe\xff", "cannot read the recipe"),
        ({**TINY, "colour": "red"}, "colour"),
        ({**TINY, "name": "../up"}, "name"),
        ({**TINY, "data": {"train_end": "soon"}}, r"data.train_end.*data.validation_end"),
        ({**TINY, "trainer": {"steps": 0}}, "trainer.steps"),
        ({**TINY, "model": {"head": "none"}}, "unknown head"),
        ({**TINY, "model": 5}, "model: must hold settings"),
        ({**TINY, "orders": {"risk_aversion": [0, 2]}}, "orders.risk_aversion"),
        ({**TINY, "orders": {"risk_aversion": [3, 2]}}, "orders.risk_aversion"),
        ({**TINY, "data": {"train_end": "2024-02-01", "validation_end": "2024-01-01"}}, "must be after train_end"),
        ({**TINY, "orders": {"twap": 1.5}}, "orders.twap"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_bad_recipe_is_refused(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    text = yaml.safe_dump(content) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        Recipe.read(path)


def test_a_refusal_has_no_empty_place_and_no_word_of_the_validator(tmp_path):
    path = tmp_path / "recipe.yaml"
    late = {"train_end": "2024-02-01", "validation_end": "2024-01-01"}
    for content, message in (
        ({"finetune": {"start": "x"}}, "recipe.yaml is refused: model: the architecture is that of finetune.start"),
        ({"data": {**TINY["data"], **late}}, "recipe.yaml is refused: data: validation_end must be after train_end"),
        ({"orders": {"arrival": 0.9}}, "recipe.yaml is refused: orders: twap, full_vwap and arrival together exceed 1"),
    ):
        path.write_text(yaml.safe_dump({**TINY, **content}))
        with pytest.raises(ConfigError) as error:
            Recipe.read(path)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": {"stretches": 0}}, "data.stretches: Input should be greater than or equal to 1"),
        ({"data": {"weight": float("inf")}}, "data.weight: Input should be a finite number"),
        ({"data": {"symbols": "BTC"}}, "data.symbols: must be a list, not 'BTC'"),
        ({"data": [5]}, "data.0: must hold settings, not 5"),
        ({"data": [{**TINY["data"], "stretch": 1}]}, "data.0.stretch: Input should be greater than or equal to 2"),
        ({"data": []}, "data: at least one market is needed"),
        ({"data": 5}, "data: must be a list, not 5"),
        ({"data": None}, "data: Field required"),
        ({"orders": {"risk_aversion": []}}, "orders.risk_aversion: must be two positive numbers, the smaller first"),
        (
            {"orders": {"risk_aversion": [1, 2, 3]}},
            "orders.risk_aversion: must be two positive numbers, the smaller first",
        ),
        ({"model": {"horizon": 0}}, "model.horizon: Input should be greater than or equal to 1"),
        ({"model": []}, "model: must hold settings, not []"),
        ({"model": {1: 2}}, "model.1: the name of a setting must be a text"),
        ({True: 2}, "True: the name of a setting must be a text"),
        ({"orders": {"impact": [1, -1]}}, "orders.impact: must be two positive numbers, the smaller first"),
        ({"hub": 5}, "hub: must hold settings, not 5"),
        ({"hub": {}}, "hub.repo_id: Field required"),
        ({"optimizer": {"learning_rate": float("inf")}}, "optimizer.learning_rate: Input should be a finite number"),
        ({"trainer": {"steps": True}}, "trainer.steps: Input should be a valid integer"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"seed": 2**70}, "seed: Input should be less than 4294967296"),
    ],
    ids=str,
)
def test_one_fault_is_one_problem(tmp_path, changes, problem):
    path = tmp_path / "recipe.yaml"
    whole = {k: {**TINY[k], **v} if isinstance(v, dict) and k in TINY else v for k, v in changes.items()}
    path.write_text(yaml.safe_dump({**TINY, **whole}))
    with pytest.raises(ConfigError) as error:
        Recipe.read(path)
    assert str(error.value) == f"the recipe recipe.yaml is refused: {problem}"


def test_faults_of_several_sections_are_named_together(tmp_path):
    path = tmp_path / "recipe.yaml"
    content = {**TINY, "model": {"horizon": 0}, "trainer": {"steps": 0}, "data": [{**TINY["data"], "weight": 0}]}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"data\.0\.weight: .*; model\.horizon: .*; trainer\.steps: ") as error:
        Recipe.read(path)
    assert str(error.value).count(";") == 2


def test_a_section_without_settings_is_one_left_out(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**TINY, "orders": None, "hub": None}))
    assert Recipe.read(path) == Recipe.of(TINY, name="tiny", folder=tmp_path)


def test_an_empty_training_part_is_named_by_its_end():
    with pytest.raises(BarsError, match=r"^no stretch of 40 bars without gap or halt lies before 2024-01-02 ?"):
        tiny_batches(data={"train_end": "2024-01-02"})


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        Recipe.read(tmp_path / "none.yaml")


def test_paths_start_at_the_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**TINY, "data": {**TINY["data"], "path": "bars.parquet"}}))
    assert Recipe.read(path).data[0].path == tmp_path / "bars.parquet"


def test_a_run_needs_bars(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.path"):
        trained(tiny_recipe(), out=tmp_path)


# --- orders ----------------------------------------------------------------------------------------------------------


def test_drawn_orders_are_feasible_and_of_every_kind():
    rng = np.random.default_rng(0)
    side = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), 4000)
    drawn = draw_orders(rng, side, 12, OrderSampling())
    orders = drawn.orders
    assert not drawn.size.any()
    minimum, maximum = orders.min_periods, orders.max_periods
    assert ((minimum >= 1) & (minimum <= maximum) & (maximum <= 12)).all()
    assert (orders.max_rate * maximum >= 1).all()
    assert ((orders.min_rate >= 0) & (orders.min_rate <= orders.max_rate) & (orders.max_rate <= 1)).all()
    assert ((orders.risk_aversion >= 0.05) & (orders.risk_aversion <= 2.0)).all()
    assert set(minimum.tolist()) == set(range(1, 13))
    for share, wanted in (
        ((orders.is_twap).float().mean(), 0.25),
        ((orders.is_notional).float().mean(), 0.3),
        ((orders.max_rate < 1).float().mean(), 0.3),
        ((orders.min_rate > 0).float().mean(), 0.15),
    ):
        assert abs(share.item() - wanted) < 0.05


def test_validation_orders_are_the_same_every_time():
    model = LEMConfig(risk_aversion=0.5, fixed_risk_aversion=3.0)
    orders, larger = (
        validation_orders(np.ones(20, dtype=np.float32), model, 12, sized=sized) for sized in (False, True)
    )
    assert not orders.size.any()
    assert larger.size.view(4, 5).tolist() == [[pytest.approx(size)] * 5 for size in VALIDATION_SIZES]
    orders = larger.orders
    assert orders.min_periods.tolist() == [1, 3, 6, 9, 12] * 4
    assert orders.risk_aversion.tolist() == [0.5, 0.5, 0.5, 0.5, 3.0] * 4
    assert (orders.max_periods == 12).all()


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_its_seed():
    module = tiny_batches()
    one, same, other = (module.batch(n, training=True) for n in (5, 5, 6))
    assert torch.equal(one.features, same.features)
    assert torch.equal(one.window.price, same.window.price)
    assert not torch.equal(one.features, other.features)
    assert one.features.shape == (4, 40, 2)
    assert one.features.dtype == one.window.price.dtype == torch.float32
    assert len(one.orders) == 64


def _starts_of(batch, bars):
    """Flat index of each order's first bar, found by its prices."""
    arrival = batch.window.arrival_price.numpy()
    volatility = batch.window.volatility.numpy()
    close = bars.close.astype(np.float32)
    known = Market(bars).volatility.astype(np.float32)
    rows = [np.flatnonzero((close == a) & (known == v)) for a, v in zip(arrival, volatility, strict=True)]
    assert all(len(r) == 1 for r in rows)
    return np.array([r[0] for r in rows]) + 1


@pytest.mark.parametrize("training", [True, False])
def test_an_order_reads_the_context_of_the_bar_before_it(training):
    module = tiny_batches()
    batch = module.batch(0, training=training)
    starts = _starts_of(batch, BARS)
    columns = [FEATURES.index(name) for name in module.model_config.features]
    values = module.market.features.values[:, columns]
    last_closed = batch.features[batch.stretch, batch.position].numpy()
    np.testing.assert_array_equal(last_closed, values[starts - 1])
    assert (batch.position >= module.model_config.warmup).all()
    # Every context that a decision needs lies in the stretch.
    assert (batch.position + batch.orders.max_periods - 1 < batch.features.shape[1]).all()
    arrays = module.market.over_orders(starts, batch.orders.max_periods.numpy(), 6)
    np.testing.assert_allclose(batch.window.price.numpy(), arrays["price"], rtol=1e-6)


def test_splits_are_purged_at_the_border():
    module = tiny_batches()
    border = pd.Timestamp("2024-01-28", tz="UTC").value
    end = pd.Timestamp("2024-02-14", tz="UTC").value
    length = 16 + 24
    train, validation = module.starts(training=True).index, module.starts(training=False).index
    assert (BARS.timestamp[train + length - 1] < border).all()
    assert (BARS.timestamp[validation - SUPPORT + 1] >= border).all()
    assert (BARS.timestamp[validation + length - 1] < end).all()
    # Nothing is wasted either.
    assert BARS.timestamp[train + length - 1].max() == border - 3_600_000_000_000
    assert BARS.timestamp[validation - SUPPORT + 1].min() == border


def test_stretches_keep_away_from_gaps_halts_and_other_symbols():
    frame = BARS.frame
    frame.loc[400, ["volume", "notional"]] = 0.0
    module = tiny_batches(rebuilt(BARS, frame.drop(index=250)), data={"skip_bars": 130})
    bars = module.market.bars
    silent = int(np.flatnonzero(bars.volume == 0)[0])
    for start in module.starts(training=True).index:
        window = np.arange(start - SUPPORT + 1, start + 40)
        assert bars.gapless_start[window[0]] == bars.gapless_start[window[-1]]
        assert silent not in window
        assert start - bars.offsets[bars.symbol_index[start]] >= 130


def test_session_orders_stay_in_their_session():
    bars = sessions(days=20)
    module = tiny_batches(bars, data={"train_end": "2024-01-13", "validation_end": "2024-01-21", "stretch": 80})
    batch = module.batch(0, training=True)
    starts = _starts_of(batch, bars)
    ends = starts + batch.orders.max_periods.numpy()
    assert (ends <= bars.session_end[starts]).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"stretch": 6}, ConfigError, "data.stretch"),
        ({"train_end": "2024-01-02"}, BarsError, "no stretch of 40 bars"),
        ({"validation_end": "2024-01-29"}, BarsError, "no stretch of 40 bars"),
    ],
)
def test_splits_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        tiny_batches(data=changes)


def test_contexts_in_training_are_those_of_the_backbone():
    module = tiny_batches()
    batch = module.batch(0, training=True)
    model = LEMModel(module.model_config).eval()
    with torch.no_grad():
        contexts = model.order_contexts(batch).dense()
        whole = model.head.project(model.contexts(model.oriented(batch.features, batch.side)))
    assert contexts.shape == (64, 6, whole.shape[-1])
    for order in range(0, 64, 7):
        for period in range(int(batch.orders.max_periods[order])):
            expected = whole[batch.stretch[order], batch.position[order] + period]
            torch.testing.assert_close(contexts[order, period], expected)


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr("lem_models.training.run.MarketBatches", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    monkeypatch.setattr(Watched, "stop_at", None)
    return Watched


def test_a_run_leaves_a_model_logs_and_checkpoints(data, tmp_path, watched):
    model = _train(tiny_recipe(), tmp_path, data)
    assert watched.seen == [0, 1, 2, 3, 4, 5]
    assert not model.training
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "model.safetensors", "logs", "checkpoints"}
    again = LEMModel.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    log = pd.read_csv(next(tmp_path.rglob("metrics.csv")))
    assert np.isfinite(log["val_utility"].dropna()).all()
    orders = Order.sample(BARS, every=50, min_periods=1, max_periods=6)
    assert execute(again, BARS, orders).orders["completed"].all()


def test_a_run_says_what_it_made_from_what(data, tmp_path):
    recipe = tiny_recipe()
    run = train(recipe, out=tmp_path, data=data, settings=TrainingSettings(accelerator="cpu", progress=False))
    assert (run.folder, run.recipe) == (tmp_path, recipe)
    assert run.bars_hashes == (BARS.content_hash,)
    assert run.start_utility == -np.inf
    assert np.isfinite(run.best_utility)
    assert run.seconds > 0
    start = run.model
    settings = TrainingSettings(accelerator="cpu", progress=False, precision="bf16-mixed")
    tuned = train(recipe, out=tmp_path / "tuned", data=data, start=start, settings=settings)
    assert np.isfinite(tuned.start_utility)
    assert tuned.recipe.trainer.precision == "bf16-mixed"
    assert tuned.recipe.model == start.config


def test_two_runs_with_one_seed_are_the_same_and_with_another_are_not(data, tmp_path):
    weights = [_train(tiny_recipe(seed=seed), tmp_path / str(n), data).state_dict() for n, seed in enumerate((1, 1, 2))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_an_interrupted_run_resumes_as_if_nothing_had_happened(data, tmp_path, watched):
    recipe = tiny_recipe(trainer={"steps": 9, "steps_per_epoch": 3})
    straight = _train(recipe, tmp_path / "straight", data)
    batches = list(watched.seen)
    watched.seen.clear()
    watched.stop_at = 6
    with pytest.raises(RuntimeError, match="power cut"):
        _train(recipe, tmp_path / "broken", data)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    watched.seen.clear()
    watched.stop_at = None
    checkpoint = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    resumed = _train(recipe, tmp_path / "broken", data, resume=checkpoint)
    assert batches == list(range(9))
    assert watched.seen == [3, 4, 5, 6, 7, 8]
    for name, weight in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, atol=1e-6, rtol=0, msg=name)


def test_a_run_stops_after_its_steps(data, tmp_path, watched):
    _train(tiny_recipe(trainer={"steps": 4, "steps_per_epoch": 3}), tmp_path, data)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert watched.seen == [0, 1, 2, 3]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_after_the_last_full_epoch_are_validated_too(data, tmp_path, accumulate):
    settings = {"steps": 4, "steps_per_epoch": 3, "averaging": 0.5, "accumulate": accumulate}
    _train(tiny_recipe(trainer=settings), tmp_path, data)
    log = pd.read_csv(tmp_path / "logs" / "csv" / "metrics.csv").dropna(subset=["val_utility"])
    assert log["step"].tolist() == [2, 3]  # counted from 0


def test_the_last_weights_come_out_where_the_recipe_asks_for_them(data, tmp_path):
    settings = {"steps": 6, "steps_per_epoch": 1, "patience": 1, "averaging": 0.5}
    worse = {"learning_rate": 0.5, "warmup_steps": 0}
    last, best = (
        _train(tiny_recipe(trainer=settings | {"keep": keep}, optimizer=worse), tmp_path / keep, data)
        for keep in ("last", "best")
    )
    checkpoint = torch.load(tmp_path / "last" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6  # not stopped early
    for name, value in last.state_dict().items():
        assert torch.equal(value, checkpoint["state_dict"][name]), name
    assert any(not torch.equal(value, best.state_dict()[name]) for name, value in last.state_dict().items())


def test_training_improves_the_utility(data, tmp_path):
    recipe = tiny_recipe(
        trainer={"steps": 60, "steps_per_epoch": 20, "averaging": 0.9},
        optimizer={"learning_rate": 0.01, "warmup_steps": 5},
        data={"orders_per_stretch": 32, "stretches": 8, "validation_batches": 4},
    )
    start = tiny_recipe(
        trainer={"steps": 1, "steps_per_epoch": 1, "averaging": 0.0},
        optimizer={"learning_rate": 1e-9, "warmup_steps": 0},
        data={"orders_per_stretch": 32, "stretches": 8, "validation_batches": 4},
    )
    _train(start, tmp_path / "start", data)
    _train(recipe, tmp_path / "trained", data)
    before, after = (
        pd.read_csv(tmp_path / run / "logs" / "csv" / "metrics.csv")["val_utility"].dropna().iloc[-1]
        for run in ("start", "trained")
    )
    assert after > before + 0.02


def test_the_model_knows_from_when_on_it_has_seen_nothing(data, tmp_path):
    _train(tiny_recipe(trainer={"steps": 1, "steps_per_epoch": 1}), tmp_path, data)
    assert LEMModel.from_pretrained(tmp_path).config.unseen_from == {"1h": date(2024, 2, 14)}


def test_the_model_knows_which_bars_it_was_trained_on(data, tmp_path):
    recipe = tiny_recipe(trainer={"steps": 1, "steps_per_epoch": 1}, model={"frequencies": ["5min"]})
    _train(recipe, tmp_path, data)
    assert LEMModel.from_pretrained(tmp_path).frequencies == ("1h",)


# --- the shipped recipes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_runs_on_a_tiny_budget(path, tmp_path):
    recipe = Recipe.read(path)
    small = {"stretches": 2, "orders_per_stretch": 4, "validation_batches": 1, "skip_bars": 0, "held_out": ("S000",)}
    files = []
    for number, data in enumerate(recipe.data):
        start = data.train_end - timedelta(days=60)
        days = (data.validation_end - start).days
        files.append(tmp_path / f"bars{number}.parquet")
        synthetic_bars(symbols=2, days=min(days, 150), start=str(start)).write(files[-1])
    tiny = recipe.model_copy(
        update={
            "data": tuple(data.model_copy(update=small) for data in recipe.data),
            "trainer": recipe.trainer.model_copy(update={"steps": 2, "steps_per_epoch": 1}),
        }
    )
    model = trained(tiny, out=tmp_path / "run", data=files)
    assert model.is_trained
    assert LEMModel.from_pretrained(tmp_path / "run").config == model.config


@pytest.mark.slow
def test_the_recipe_learns_more_than_the_stopping_rule_knows(shared_data, tmp_path):
    """Two minutes of the crypto recipe beat the stopping rule on validation bars: in mean, and in utility."""
    recipe = Recipe.read(REPOSITORY / "recipes" / "scratch.yaml")
    short = recipe.model_copy(
        update={"trainer": recipe.trainer.model_copy(update={"steps": 120, "steps_per_epoch": 120, "averaging": 0.95})}
    )
    source = shared_data / "crypto_hourly.parquet"
    model = trained(short, out=tmp_path, data=source)
    bars = Bars.read(source).between("2023-06-01", "2024-01-01")
    orders = Order.sample(bars, every="12h", min_periods=[1, 6], max_periods=12, start="2023-07-01", limit=8000)
    for minimum in (1, 6):
        some = orders[orders["min_periods"] == minimum]
        ours, rule = (execute(policy, bars, some).orders for policy in (model, load_policy("stopping_rule")))
        gains = [-o["slippage_bps"] / o["volatility_bps"] for o in (ours, rule)]
        assert gains[0].mean() > gains[1].mean() + 0.02
        ours, rule = (
            utility(torch.tensor(gain.to_numpy()), torch.tensor(0.5), torch.tensor(12)).mean() for gain in gains
        )
        assert ours > rule


@pytest.mark.parametrize("past", [0, 3])
def test_orders_expect_the_same_volumes_in_training_and_execution(past):
    batches = tiny_batches(model={"sessions": past})
    draw, bars = batches.draw(0, training=True), batches.market.bars
    start = draw.first[draw.stretch] + draw.position + 1
    recorder = Recorder(random_model(batches.model_config))
    table = pd.DataFrame(
        {
            "symbol": [bars.symbols[number] for number in bars.grid.symbol(start)],
            "side": "buy",
            "start": pd.to_datetime(bars.timestamp[start], utc=True),
            "max_periods": draw.orders.max_periods,
        }
    )
    execute(recorder, bars, table)
    found = {value.item() for state in recorder.states if state.period == 0 for value in state.expected_volume[:, 0]}
    expected = batches.gather(draw).window.expected_volume[:, 0].double().numpy()
    found = np.array(sorted(found))  # orders without the lookback of an execution are left out
    nearest = expected[np.abs(expected[:, None] - found).argmin(0)]
    np.testing.assert_allclose(found, nearest, rtol=1e-6)
    assert len(found) > 20
