"""Fine-tuning: what a method may change, how a history is split, and whether the verdict is honest."""

import copy
import importlib.util
import io
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from lem_models import LEMModel, synthetic_bars
from lem_models.cli.app import app
from lem_models.errors import BarsError, ConfigError, OrderError
from lem_models.evaluation.capacity import AGAINST
from lem_models.execution.costs import CostModel, cost_model
from lem_models.execution.records import Decision
from lem_models.execution.simulator import simulate
from lem_models.features.causal import SUPPORT
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.models.zoo import list_models
from lem_models.markets.bars import Bars
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import AllocationHead, FlexibleHead
from lem_models.report.policy_tables import CHANGE
from lem_models.training.adapters import called_layers, merged, restrict
from lem_models.training.finetune.run import finetune
from lem_models.training.finetune.split import choose_split
from lem_models.training.finetune.text import print_finetune
from lem_models.training.finetune.verdict import AFTER, BEFORE, compare_models, comparison_settings
from lem_models.training.recipe import Recipe, read_sections, shipped_recipe
from lem_models.training.settings import FinetuneSettings
from tests.helpers import rebuilt, sessions
from tests.training.tiny import TINY, Watched, tiny_batches, trained

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")
METHODS = ["full", "head", pytest.param("lora", marks=needs_peft)]

SMALL = {
    "name": "small",
    "finetune": {"start": "lem-crypto-hourly", "rank": 2},
    "data": {"stretches": 8, "orders_per_stretch": 16, "stretch": 24, "validation_batches": 4},
    "optimizer": {"learning_rate": 0.01, "warmup_steps": 2},
    "trainer": {"steps": 30, "steps_per_epoch": 10, "averaging": 0.5},
}


def tiny_model(*, seed: int = 0, **changes) -> LEMModel:
    """An untaught model that may predict: everything is to be learnt."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LEMModel(LEMConfig(**{**TINY["model"], **changes})).eval()
    model.is_trained, model.name = True, "untaught"
    return model


@pytest.fixture(scope="module")
def month():
    return synthetic_bars(symbols=1, days=30, seed=5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(json.dumps(SMALL))  # JSON is YAML
    return path


def tuned(start, bars, out, config=None, *, resume=None, overwrite=False, report=lambda _: None, **settings):
    """A fine-tuning on the CPU, without a progress bar."""
    quiet = FinetuneSettings(**{"accelerator": "cpu", "progress": False, "orders": 400} | settings)
    how = {"resume": resume, "overwrite": overwrite, "settings": quiet, "report": report}
    return finetune(start, bars, out=out, config=config, **how)


def late_start() -> LEMModel:
    """A tiny model that trades too late: easily bettered."""
    start = tiny_model()
    with torch.no_grad():
        start.head.output.bias[0] = -3
    return start


@pytest.fixture(scope="module")
def usual_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("usual")


@pytest.fixture(scope="module")
def usual(month, small, usual_folder):
    """The fine-tuning of a late start; tests change copies of it alone."""
    return tuned(late_start(), month, usual_folder, small)


def changed(result) -> set[str]:
    """Names of the weights that differ from the start's."""
    before, after = result.start.state_dict(), result.model.state_dict()
    assert before.keys() == after.keys()
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


# --- what a method may change ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_method_changes_what_it_may_and_saves_a_plain_model(method, month, small, tmp_path):
    start = late_start()
    given = {name: weight.clone() for name, weight in start.state_dict().items()}
    result = tuned(start, month, tmp_path / "new", small, method=method)
    assert all(torch.equal(weight, given[name]) for name, weight in start.state_dict().items())  # left alone
    assert not result.kept_start
    names = changed(result)
    assert names
    if method == "head":
        assert all(name.startswith("head.") for name in names)
    if method == "full":
        assert {name.split(".")[0] for name in names} == {"backbone", "head"}
    if method == "lora":
        layers = called_layers(start, tiny_batches().batch(0, training=True))
        assert names == {f"{layer}.weight" for layer in layers}
        rank = max(torch.linalg.matrix_rank(result.model.state_dict()[n] - given[n], rtol=1e-3).item() for n in names)
        assert rank <= 2
    loaded = LEMModel.from_pretrained(tmp_path / "new")
    settings = start.config.model_dump(exclude={"unseen_from", "frequencies"})
    assert loaded.config.model_dump(exclude={"unseen_from", "frequencies"}) == settings
    assert all(torch.equal(weight, loaded.state_dict()[name]) for name, weight in result.model.state_dict().items())
    assert loaded.config.unseen_from == {"1h": result.split.test.start}
    assert loaded.config.frequencies == ("1h",)


@needs_peft
def test_every_adapter_learns_and_the_merged_model_decides_alike(monkeypatch):
    batch = tiny_batches().batch(0, training=True)
    model, plain = tiny_model(), tiny_model()
    torch.manual_seed(0)
    restrict(model, "lora", batch, rank=2)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)

    def decisions(policy) -> tuple[torch.Tensor, torch.Tensor]:
        paths = simulate(policy, batch.orders, batch.window, policy.order_contexts(batch))
        return paths.fills, paths.finish

    untouched = decisions(plain)
    with monkeypatch.context() as both_period_by_period:  # a kernel rounds otherwise than layers with adapters
        both_period_by_period.setattr(FlexibleHead, "roll_out", AllocationHead.roll_out)
        for now, before in zip(decisions(model), decisions(plain), strict=True):
            assert torch.equal(now, before)  # adapters start at zero
    with torch.no_grad():
        for name, weight in trained.items():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    fills, finish = decisions(model)
    (fills.square().sum() + finish.sum()).backward()
    assert [name for name, weight in trained.items() if weight.grad is None or not weight.grad.abs().sum() > 0] == []
    plain.load_state_dict(merged(model.state_dict()), strict=True)
    for now, expected, before in zip(decisions(plain), (fills, finish), untouched, strict=True):
        torch.testing.assert_close(now, expected, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(now, before, atol=1e-4)


def test_layers_that_are_read_without_a_call_get_no_adapter():
    model = tiny_model()
    layers = called_layers(model, tiny_batches().batch(0, training=True))
    assert {"head.from_path", "head.output", "backbone.attention.query_key_value"} <= set(layers)
    assert not {"head.from_context", "head.outlook"} & set(layers)
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in layers)


def test_without_peft_the_error_says_what_to_install(monkeypatch, month, small, tmp_path):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'lem-models\[lora\]'"):
        tuned(tiny_model(), month, tmp_path, small, method="lora")
    assert not (tmp_path / "model.safetensors").exists()


# --- the parts of the history ----------------------------------------------------------------------------------------


def test_parts_meet_and_cover_the_history(month):
    split = choose_split(month, horizon=12)
    assert [part.days for part in split.parts] == [18, 6, 6]
    assert sum(part.bars for part in split.parts) == len(month)
    assert split.training.end == split.validation.start
    assert split.validation.end == split.test.start


def test_validation_shares_its_lookback_with_training_but_no_fill(month):
    split = choose_split(month, horizon=6)
    days = {"train_end": split.training.end, "validation_end": split.validation.end}
    module = tiny_batches(month, data={**days, "shared_lookback": True})
    border, end = (pd.Timestamp(day, tz="UTC").value for day in days.values())
    warmup, length = module.model_config.warmup, module.model_config.warmup + 24
    train_starts, starts = module.starts(training=True).index, module.starts(training=False).index
    time = np.asarray(month.timestamp)
    assert time[train_starts + length - 1].max() < border
    # The first order of the earliest stretch starts with the part; the last one of the latest ends with it.
    assert time[starts + warmup + 1].min() == border
    assert time[starts + length - 1].max() == end - pd.Timedelta("1h").value
    assert starts.min() >= SUPPORT - 1
    draw = module.draw(0, training=False)
    first = np.repeat(draw.first, 10) + draw.position + 1
    assert (time[first] >= border).all()
    assert (time[first + draw.orders.max_periods.numpy() - 1] < end).all()
    # Six days hold no stretch with a lookback of its own.
    with pytest.raises(BarsError, match="no stretch"):
        tiny_batches(month, data={**days, "stretch": 40})


def test_decisions_of_the_test_part_are_of_no_earlier_part(month, small, tmp_path, monkeypatch):
    import lem_models.training.finetune.verdict as verdict

    tables = []
    real = verdict.paired_comparison
    monkeypatch.setattr(verdict, "paired_comparison", lambda a, b, *r, **k: tables.append(a) or real(a, b, *r, **k))
    result = tuned(tiny_model(), month, tmp_path, small, steps=10)
    (orders,) = tables
    assert orders["start"].min() >= pd.Timestamp(result.split.test.start, tz="UTC")
    assert len(orders) == result.comparison.orders > 100
    assert set(orders["side"]) == {"buy", "sell"}


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (5, r"training part .* at most \d+ bars .* \d+ bars are needed: 256 of lookback and 4 orders of 12 periods"),
        (19, r"There are 456 bars of 1h per symbol .* about \d+ \(\d+ days\) are needed"),
        (1, "too little data to fine-tune"),
    ],
)
def test_too_little_data_says_how_much_is_needed(days, message, tmp_path):
    bars = synthetic_bars(symbols=1, days=days, seed=1)
    with pytest.raises(BarsError, match=message):
        tuned(tiny_model(horizon=12), bars, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_the_error_asks_for_is_enough():
    import re

    with pytest.raises(BarsError) as error:
        choose_split(synthetic_bars(symbols=1, days=10, seed=1), horizon=12)
    days = int(re.search(r"\((\d+) days\) are needed", str(error.value))[1])
    choose_split(synthetic_bars(symbols=1, days=days, seed=1), horizon=12)
    with pytest.raises(BarsError):
        choose_split(synthetic_bars(symbols=1, days=days - 3, seed=1), horizon=12)


def test_a_month_of_sessions_is_enough_for_orders_of_a_session():
    split = choose_split(sessions(days=30), horizon=78)
    assert min(part.days for part in split.parts) >= 4


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"train_end": "2024-01-20"}, ConfigError, "train_end and validation_end, or neither"),
        ({"train_end": "2024-01-25", "validation_end": "2024-01-20"}, ConfigError, "must be after train_end"),
        (
            {"train_end": "2023-12-01", "validation_end": "2024-01-20"},
            ConfigError,
            r"^train_end \(2023-12-01\) outside the bars, which are of 2024-01-01 to 2024-01-30",
        ),
        (
            {"train_end": "2024-01-20", "validation_end": "2024-02-20"},
            ConfigError,
            r"^validation_end .* outside the bars",
        ),
        ({"train_end": "soon", "validation_end": "2024-01-20"}, ConfigError, "train_end: 'soon' is not a day"),
        ({"train_end": "2024-01-26", "validation_end": "2024-01-30"}, BarsError, "test part"),
        ({"method": "feet"}, ConfigError, "method"),
        ({"horizon": 600}, ConfigError, "horizon"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, error, message, month, small, tmp_path):
    with pytest.raises(error, match=message):
        tuned(tiny_model(), month, tmp_path / "new", small, **settings)
    assert not (tmp_path / "new").exists()


def test_given_days_and_another_horizon(month, small, tmp_path):
    days = {"train_end": "2024-01-21", "validation_end": "2024-01-25"}
    result = tuned(tiny_model(), month, tmp_path / "my model", small, **days, horizon=4, steps=10)
    assert [str(part.end) for part in result.split.parts[:2]] == list(days.values())
    assert result.model.horizon == result.start.horizon == 4
    assert result.run.recipe.name == "my-model"
    assert result.comparison.policies["min_periods"].max() == 4


# --- the verdict -----------------------------------------------------------------------------------------------------


class Late(LEMModel):
    """Trades everything in the last period."""

    def decide(self, context, orders, state):
        return Decision(fraction=state.lower, finish=torch.zeros_like(state.lower))


class WhenAhead(LEMModel):
    """Ends as soon as the last price is better than the benchmark so far."""

    def decide(self, context, orders, state):
        ahead = orders.side * (state.last_price - state.benchmark(orders)) < -1e-9
        return Decision(fraction=1.0 / orders.max_periods, finish=ahead)


def _late(model):
    return _like(Late, model)


def _like(kind, model):
    """A model of another class with the same weights."""
    other = kind(model.config).eval()
    other.load_state_dict(model.state_dict())
    other.is_trained = True
    return other


def test_the_verdict_knows_better_from_worse_and_from_the_same():
    bars = synthetic_bars(symbols=2, days=90, seed=5)
    model = tiny_model(fixed_risk_aversion=2.0, risk_aversion=2.0)
    start = choose_split(bars, horizon=6).test.start
    late = _late(model)
    settings = comparison_settings(6, start=start, limit=1000)
    assert compare_models(late, model, bars, settings).outcome == "better"
    assert compare_models(model, late, bars, settings).outcome == "worse"
    same = compare_models(model, model, bars, settings)
    assert same.outcome == "no measurable difference"
    assert same.difference == same.low == same.high == 0
    assert same.tracking.query("measure == 'std'").set_index("against")["ratio"]["before"] == pytest.approx(1)


def half_days(bars, *days):
    """Bars of sessions that close at 18:00 on some days."""
    time = bars.frame["timestamp"]
    late = time.dt.strftime("%Y-%m-%d").isin(days) & (time.dt.hour >= 18)
    return rebuilt(bars, bars.frame[~late])


@pytest.fixture(scope="module")
def market():
    """Many symbols in sessions of 13 bars."""
    return synthetic_bars(symbols=40, days=60, frequency="30min", session=("14:30", "21:00"), seed=5)


def test_orders_of_a_whole_session_cover_every_full_day_of_the_test_part(market):
    bars = half_days(market, "2024-02-22")
    test = choose_split(bars, horizon=13).test
    model = tiny_model(horizon=13)
    found = compare_models(model, model, bars, comparison_settings(13, start=test.start, limit=1000))
    assert found.days == test.days - 1 == 8
    assert found.orders == 1000
    assert found.untested == ()


def test_a_test_part_without_any_order_is_refused_before_training(market, small, tmp_path):
    bars = half_days(market, *pd.date_range("2024-02-19", "2024-03-01").strftime("%Y-%m-%d"))
    with pytest.raises(OrderError, match="no order of 13 periods"):
        tuned(tiny_model(horizon=13), bars, tmp_path / "new", small)
    assert not (tmp_path / "new").exists()


def test_few_days_with_test_orders_are_told_before_training(market, small, tmp_path):
    bars = half_days(market.select(market.symbols[:3]), *pd.date_range("2024-02-19", "2024-02-26").strftime("%Y-%m-%d"))
    told = []
    result = tuned(tiny_model(horizon=13), bars, tmp_path / "new", small, steps=2, report=told.append)
    assert result.comparison.days == 3
    (warning,) = [line for line in told if line.startswith("warning: test: ")]
    assert "its orders start on 3 of its 9 days" in warning


def test_starts_and_symbols_left_out_of_the_test_are_named(month, small, tmp_path):
    frame = month.frame
    late = frame[frame["timestamp"] >= "2024-01-26"].assign(symbol="LATE")  # no lookback
    bars = rebuilt(month, pd.concat([frame, late]))
    result = tuned(tiny_model(), bars, tmp_path, small, steps=2)
    assert result.comparison.untested == ("LATE",)
    assert result.comparison.excluded["not enough history before the start"] == len(late)
    assert result.comparison.excluded["the bars end before the order does"] == 5
    test = json.loads((tmp_path / "finetune.json").read_text())["test"]
    assert test["excluded"] == result.comparison.excluded
    assert test["symbols_without_orders"] == ["LATE"]
    shown = printed(result)
    assert f"{len(late)} starts: not enough history before the start" in shown
    assert "without any test order: LATE" in shown


def printed(result, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO())
    print_finetune(console, result)
    return console.file.getvalue()


def test_three_prices_fit_the_terminal_and_name_the_costs(usual, usual_folder):
    assert not usual.kept_start
    narrow, wide = printed(usual, 80), printed(usual)
    assert "\u2026" not in narrow
    table = narrow[narrow.index("three prices") : narrow.index("left out of the test")].splitlines()
    assert max(map(len, table)) <= 80
    rows = [line.split() for line in table if "after \u2212 before" in line]
    mean = usual.comparison.by_price.query("policy == @CHANGE and min_periods.isna() and against == 'full_vwap'")
    assert [float(row[6].replace("\u2212", "-")) for row in rows] == pytest.approx(mean["mean_bps"].tolist(), abs=0.006)
    assert "Net of costs (crypto): half-spread 1 bps, fees 2 bps" in " ".join(wide.split())
    record = json.loads((usual_folder / "finetune.json").read_text())["test"]["by_price"]
    assert (record["cost_model"], record["costs"]["order_size"]) == ("crypto", 0.01)
    assert {row["policy"] for row in record["improvements"]} == {"before", "after", "twap", "volume_curve", CHANGE}


def test_costs_count_in_the_verdict(month):
    """Both trade the whole order, so that a fee per unit changes each improvement and hardly their difference."""
    model = tiny_model()
    start = choose_split(month, horizon=6).test.start
    free, paid = (
        compare_models(model, model, month, comparison_settings(6, start=start, costs=costs, limit=500))
        for costs in (None, CostModel(fee_bps=10))
    )
    gap = free.policies["mean_bps"] - paid.policies["mean_bps"]
    assert paid.net
    np.testing.assert_allclose(gap, 10, atol=0.1)
    assert paid.utility_after < free.utility_after


def by_price(comparison):
    return comparison.by_price.set_index(["policy", "costs", "against", "min_periods"]).sort_index()


def test_improvements_stand_against_three_prices_gross_and_net():
    bars = synthetic_bars(symbols=2, days=90, seed=5)
    model, early = (_like(kind, tiny_model()) for kind in (Late, WhenAhead))
    start = choose_split(bars, horizon=6).test.start
    free = compare_models(model, early, bars, comparison_settings(6, start=start, limit=600))
    assert free.costs == cost_model("crypto").at(0.01)  # the market never closes
    table = by_price(free)
    minima = sorted(free.policies["min_periods"].unique())
    assert len(table) == 5 * 2 * 3 * (len(minima) + 1)
    # Gross and against the own benchmark: the numbers of the comparison.
    by_minimum = free.policies.set_index(["policy", "min_periods"])
    for policy in (BEFORE, AFTER, "twap", "volume_curve"):
        own = table.loc[(policy, "gross", "own")].loc[minima]
        columns = ["mean_bps", "low_bps", "high_bps"]
        np.testing.assert_allclose(own[columns], by_minimum.loc[policy].loc[minima][columns], rtol=1e-9, atol=1e-9)
    change = table.loc[(CHANGE, "gross", "own")].loc[minima]
    paired = free.differences.set_index("min_periods")[["mean_bps", "low_bps", "high_bps"]]
    np.testing.assert_allclose(change[["mean_bps", "low_bps", "high_bps"]], paired, rtol=1e-9, atol=1e-9)
    # All minima together; the fixed duration has one benchmark; what ends early has two.
    everything = (
        free.by_price[free.by_price["min_periods"].isna()].set_index(["policy", "costs", "against"]).sort_index()
    )
    assert set(everything["orders"]) == {free.orders}
    mean = everything["mean_bps"]
    for costs in ("gross", "net"):
        for price in AGAINST:
            gained = mean[AFTER, costs, price] - mean[BEFORE, costs, price]
            assert mean[CHANGE, costs, price] == pytest.approx(gained)
        ends = [table.loc[(AFTER, costs, price, 6)]["mean_bps"] for price in ("own", "full_vwap")]
        assert ends[0] == pytest.approx(ends[1])
    assert mean[AFTER, "gross", "own"] > mean[AFTER, "gross", "full_vwap"] + 1  # the benchmark ends when it is good
    # Given costs are those of the table, at their own size.
    costs = CostModel(fee_bps=7, impact=0.5, order_size=0.05)
    paid = compare_models(model, early, bars, comparison_settings(6, start=start, costs=costs, limit=600))
    assert paid.costs == costs
    net = by_price(paid)
    for policy in (BEFORE, AFTER):
        own = net.loc[(policy, "net", "own")].loc[minima]["mean_bps"]
        given = paid.policies.set_index(["policy", "min_periods"]).loc[policy].loc[minima]["mean_bps"]
        np.testing.assert_allclose(own, given, rtol=1e-9)
        gross = net.loc[(policy, "gross", "own")].loc[minima]["mean_bps"]
        np.testing.assert_allclose(gross, table.loc[(policy, "gross", "own")].loc[minima]["mean_bps"], rtol=1e-9)
    unsized = CostModel(fee_bps=7)
    paid = compare_models(model, early, bars, comparison_settings(6, start=start, costs=unsized, limit=60))
    assert paid.costs == unsized.at(0.01)


def test_a_start_that_is_never_beaten_is_kept_and_said(month, usual, tmp_path):
    path = tmp_path / "harmful.yaml"
    harmful = {**SMALL, "optimizer": {"learning_rate": 0.3, "warmup_steps": 0}}
    path.write_text(json.dumps({**harmful, "trainer": {"steps": 4, "steps_per_epoch": 2, "averaging": 0}}))
    good = copy.deepcopy(usual.model)
    good.config = good.config.model_copy(update={"frequencies": ("5min",)})
    result = tuned(good, month, tmp_path / "bad", path)
    assert any("trained on bars of 5min, these are 1h long" in warning for warning in result.warnings)
    assert result.model.frequencies == ("5min",)  # the weights learnt nothing of other bars
    assert result.kept_start
    assert result.verdict == "start kept"
    assert "START KEPT" in result.sentence
    assert changed(result) == set()
    shown = printed(result)
    minima = result.comparison.policies["min_periods"].nunique()
    assert shown.count("before = after") == minima + 2  # and no row of each; gross and net
    assert "after \u2212 before" not in shown
    assert "that of before" not in shown
    record = json.loads((tmp_path / "bad" / "finetune.json").read_text())
    assert record["kept_start"] is True
    assert record["validation_utility"]["start"] >= record["validation_utility"]["best_step"]
    loaded = LEMModel.from_pretrained(tmp_path / "bad")
    assert all(torch.equal(weight, loaded.state_dict()[name]) for name, weight in good.state_dict().items())


def test_weights_that_diverge_are_said_with_the_cure(month, tmp_path):
    path = tmp_path / "diverging.yaml"
    harmful = {**SMALL, "optimizer": {"learning_rate": 1e30, "warmup_steps": 0}}
    path.write_text(json.dumps({**harmful, "trainer": {"steps": 4, "steps_per_epoch": 2, "averaging": 0}}))
    with pytest.raises(ConfigError, match=r"the training diverged before step .*Lower optimizer\.learning_rate"):
        tuned(tiny_model(), month, tmp_path / "out", path)


def test_a_sentence_for_every_verdict(usual):
    shifted = {
        "BETTER": {"low": 0.1, "high": 0.2},
        "WORSE": {"low": -0.2, "high": -0.1},
        "NO MEASURABLE DIFFERENCE": {"low": -0.1, "high": 0.1},
    }
    for word, ends in shifted.items():
        run = replace(usual.run, best_utility=usual.run.start_utility + 1)
        some = replace(usual, run=run, comparison=replace(usual.comparison, **ends))
        assert some.sentence.startswith(word)
        assert (word == "BETTER") != ("ept" in some.sentence or "Keep" in some.sentence)


def test_a_better_utility_without_better_means_says_so(usual):
    run = replace(usual.run, best_utility=usual.run.start_utility + 1)
    for verdict, is_said in (("no measurable difference", True), ("better at equal or lower risk", False)):
        differences = usual.comparison.differences.assign(verdict=verdict)
        comparison = replace(usual.comparison, low=1.2e-5, high=0.0041, differences=differences)
        sentence = replace(usual, run=run, comparison=comparison).sentence
        assert "95 % interval +1.2e-05 to +0.0041" in sentence
        assert ("mean slippages alone show no measurable difference" in sentence) == is_said


def test_the_folder_of_the_start_is_no_folder_for_the_new_model(month, small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lem_models.training.finetune.run.train", lambda *_, **__: pytest.fail("the start is overwritten")
    )
    tiny_model().save_pretrained(tmp_path / "start")
    (tmp_path / "link").symlink_to(tmp_path / "start")
    before = (tmp_path / "start" / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="is the folder of the start"):
        tuned(LEMModel.from_pretrained(tmp_path / "start"), month, tmp_path / "link", small, overwrite=True)
    for out in ("start", "link", "start/../start"):
        with pytest.raises(ConfigError, match="is the folder of the start"):
            tuned(tmp_path / "start", month, tmp_path / out, small)
    with pytest.raises(ConfigError, match="is the folder of the start"):
        tuned("lem-base", month, bundled_folder("lem-base"), small)
    assert (tmp_path / "start" / "model.safetensors").read_bytes() == before


def test_a_folder_that_holds_a_run_is_asked_about_before_anything_is_read(month, small, tmp_path):
    (tmp_path / "finetune.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"already holds a run \(finetune\.json\)"):
        tuned(tiny_model(), tmp_path / "no bars", tmp_path, small)
    assert (tmp_path / "finetune.json").read_text() == "{}"


def test_the_record_of_an_overwritten_run_is_gone_before_training(
    month, small, usual, usual_folder, tmp_path, monkeypatch
):
    shutil.copytree(usual_folder, tmp_path, dirs_exist_ok=True)
    assert {path.name for path in tmp_path.glob("*.json")} == {"config.json", "finetune.json", "run.json"}

    def fit(*_, **__):
        assert sorted(path.name for path in tmp_path.glob("*.json")) == []
        raise RuntimeError("power cut")

    monkeypatch.setattr("lem_models.training.run.L.Trainer.fit", fit)
    with pytest.raises(RuntimeError, match="power cut"):
        tuned(tiny_model(), month, tmp_path, small, overwrite=True)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_fine_tuning_goes_on_where_it_was_interrupted(month, small, usual, tmp_path, monkeypatch):
    monkeypatch.setattr("lem_models.training.run.MarketBatches", Watched)
    monkeypatch.setattr(Watched, "seen", [])
    monkeypatch.setattr(Watched, "stop_at", 15)
    with pytest.raises(RuntimeError, match="power cut"):
        tuned(late_start(), month, tmp_path / "new", small)
    assert [path for path in (tmp_path / "new").iterdir() if path.is_file()] == []
    monkeypatch.setattr(Watched, "stop_at", None)
    with pytest.raises(ConfigError, match=r"weights of the start '[0-9a-f.]+' -> '[0-9a-f.]+'"):
        tuned(tiny_model(seed=1), month, tmp_path / "new", small, resume="auto")
    with pytest.raises(ConfigError, match=r"finetune\.method 'full' -> 'head'"):
        tuned(late_start(), month, tmp_path / "new", small, method="head", resume="auto")
    resumed = tuned(late_start(), month, tmp_path / "new", small, resume="auto")
    assert resumed.run.best_utility == pytest.approx(usual.run.best_utility, abs=1e-6)
    for name, weight in usual.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], weight, atol=1e-6, rtol=0, msg=name)
    assert json.loads((tmp_path / "new" / "finetune.json").read_text())["verdict"] == usual.verdict


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("data", {"stretch": "long"}, r"data\.stretch: Input should be a valid integer$"),
        ("finetune", {"horizon": "day"}, r"finetune\.horizon: Input should be a valid integer$"),
        ("finetune", {"start": 5}, r"finetune\.start: Input should be a valid string$"),
        ("trainer", {"steps": None}, r"trainer\.steps: Input should be a valid integer$"),
        ("orders", 5, "orders: must hold settings, not 5$"),
        ("data", 5, "data: one section of settings is needed$"),
    ],
)
def test_a_bad_recipe_is_refused_by_its_settings(section, value, message, month, tmp_path):
    content = {**SMALL, section: {**SMALL.get(section, {}), **value} if isinstance(value, dict) else value}
    (tmp_path / "bad.yaml").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=f"^the recipe bad.yaml is refused: {message}"):
        tuned(tiny_model(), month, tmp_path / "new", tmp_path / "bad.yaml")
    assert not (tmp_path / "new").exists()


# --- from a file -----------------------------------------------------------------------------------------------------


def test_from_a_csv_to_a_model_on_the_command_line(month, small, tmp_path):
    month.frame.to_csv(tmp_path / "mine.csv", index=False)
    tiny_model().save_pretrained(tmp_path / "start")
    arguments = ["finetune", "--from", str(tmp_path / "start"), "--data", str(tmp_path / "mine.csv")]
    arguments += ["--out", str(tmp_path / "new"), "--config", str(small), "--method", "head", "--steps", "20"]
    arguments += ["--orders", "300", "--half-spread", "1", "--accelerator", "cpu", "--no-progress"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    for text in (
        "training 2024-01-01",
        "validation",
        "test",
        "warning: training: 432 bars are few",
        "volume_curve",
        "after",
    ):
        assert text in shown.output
    record = json.loads((tmp_path / "new" / "finetune.json").read_text())
    assert record["sentence"] in shown.output.replace("\n", " ")
    assert record["method"] == "head"
    assert record["test"]["net_of_costs"] is True
    assert record["data"]["content_hash"] == month.content_hash
    assert {row["policy"] for row in record["test"]["policies"]} == {"before", "after", "twap", "volume_curve"}
    assert record["verdict"] in ("better", "worse", "no measurable difference", "start kept")
    assert LEMModel.from_pretrained(tmp_path / "new").horizon == 6


def test_the_shipped_recipe_and_defaults_run(month, tmp_path):
    sections = read_sections(shipped_recipe("finetune"))
    assert set(sections["finetune"]) == {"start", "method", "rank"}
    assert sections["finetune"]["start"] == "lem-base"
    start = tiny_model(horizon=30)
    result = tuned(start, month, tmp_path / "new", steps=2, orders=200)
    assert result.run.recipe.optimizer.learning_rate == sections["optimizer"]["learning_rate"]
    assert result.model.horizon == 24  # at most, where there are no sessions
    assert result.run.recipe.data[0].stretch == 48  # a third of six days


def test_a_recipe_names_its_method(month, tmp_path):
    """`lem train` with a finetune section trains what the section says, too."""
    data = {**TINY["data"], "train_end": "2024-01-19", "validation_end": "2024-01-31"}
    content = {"name": "x", "data": data, "finetune": {"start": "x", "method": "head"}, "trainer": {"steps": 2}}
    start = tiny_model()
    model = trained(Recipe(**content), out=tmp_path, data=month, start=start)
    assert all(torch.equal(weight, start.backbone.state_dict()[n]) for n, weight in model.backbone.state_dict().items())


# --- real bars -------------------------------------------------------------------------------------------------------

PAIR = "ATOMUSDT"  # held out by the recipe of lem-base
START = "lem-base" if "lem-base" in list_models() else "lem-crypto-hourly"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_three_months_of_a_withheld_pair_do_no_harm(shared_data, tmp_path, method):
    bars = Bars.read(shared_data / "crypto_hourly.parquet").select([PAIR]).between("2024-03-01", "2024-06-01")
    result = tuned(START, bars, tmp_path, method=method, orders=20_000)
    kept = "kept" if result.kept_start else "bettered"
    print(
        f"{method}: start {kept} ({result.run.start_utility:.4f}, best step {result.run.best_utility:.4f}). "
        f"{result.sentence}"
    )
    assert result.verdict != "worse"
    assert result.comparison.difference > -0.01


@pytest.mark.slow
def test_thirty_days_of_a_withheld_pair_work(shared_data, tmp_path):
    bars = Bars.read(shared_data / "crypto_hourly.parquet").select([PAIR]).between("2023-12-02", "2024-01-01")
    assert len(bars) == 720
    result = tuned(START, bars, tmp_path, orders=20_000)
    assert any("few to train on" in text for text in result.warnings)
    assert result.verdict != "worse"
    assert LEMModel.from_pretrained(tmp_path).horizon == result.model.horizon


@pytest.mark.slow
def test_a_model_of_another_market_gets_better(shared_data, tmp_path):
    """A model that knows synthetic bars alone learns from three months of one pair, and the verdict says so."""
    bars = Bars.read(shared_data / "crypto_hourly.parquet").select([PAIR]).between("2023-10-01", "2024-01-01")
    result = tuned(tiny_model(horizon=12), bars, tmp_path, orders=20_000)
    assert result.verdict == "better"
