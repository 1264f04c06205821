"""Explanations find what was planted, add up, and read no bar that had not closed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import CostModel, LEMModel, Order, execute
from lem_models.errors import ConfigError, OrderError
from lem_models.evaluation.explain.counterfactuals import Counterfactual
from lem_models.evaluation.explain.explanation import explain
from lem_models.evaluation.explain.gradients import TOLERANCE, ModelInputs, attribute
from lem_models.evaluation.explain.situation import situation_of
from lem_models.execution.records import Decision
from lem_models.features.causal import FEATURES
from lem_models.guard.output import json_text
from lem_models.modeling.heads import AllocationHead, HeadConfig
from tests.helpers import hourly, order_table, perturbed, random_model, rebuilt, tiny_config

HIDDEN = tiny_config().hidden_size
FEATURE = FEATURES.index("volume_to_level")


class Planted(AllocationHead):
    """Decides from one number by construction, and nothing else."""

    def __init__(self, read):
        super().__init__(HIDDEN + 2 * len(FEATURES), 6, HeadConfig())
        self.read = read

    def decide(self, context, orders, state):
        number = self.read(context, state).to(state.remaining)
        room = state.upper - state.lower
        return Decision(state.lower + room * torch.sigmoid(number), torch.sigmoid(number - 3.0))


def planted(read):
    model = random_model(tiny_config())
    model.head = Planted(read)
    return model


def executed(model, bars=None, row=370, **columns):
    bars = hourly() if bars is None else bars
    columns = {"min_periods": 1, "max_periods": 6, "order_id": "a", **columns}
    return execute(model, bars, order_table(bars, row, **columns))


def of_features(context, state):
    """The last closed bar's volume against its level: the context holds the features behind the backbone's."""
    return context[:, HIDDEN + FEATURE]


# --- planted effects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [0, 2])
def test_a_decision_that_reads_one_feature_is_attributed_to_it_in_the_bar_that_it_read(period):
    model = planted(of_features)
    situation = situation_of(model, executed(model, min_periods=6), "a", period)
    found = attribute(situation)
    # Fractions also lie between bounds, which are those of what is left: at the start they are 0 and 1.
    probability = found.features[1]
    others = np.delete(probability, FEATURE, axis=1)
    assert np.abs(others).max() == 0.0
    assert np.abs(probability[:-1, FEATURE]).max() == 0.0
    assert max(abs(values[1]) for values in found.path.values()) == 0.0
    value, mean = _volume(situation)
    expected = 1 / (1 + np.exp(3 - value)) - 1 / (1 + np.exp(3 - mean))
    assert probability[-1, FEATURE] == pytest.approx(expected, abs=2e-4)
    assert abs(expected) > 1e-3


def _volume(situation):
    """The planted feature in the last bar, and its mean over what the model reads."""
    market, row = situation.market, situation.last
    features = ModelInputs.of(situation).features
    assert float(features[-1, FEATURE]) == pytest.approx(float(market.features.values[row, FEATURE]))
    return float(features[-1, FEATURE]), float(features[:, FEATURE].mean())


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("left", lambda context, state: 4 * state.remaining),
        ("prices", lambda context, state: 100 * (state.last_close - state.vwap)),
        ("volumes", lambda context, state: state.volumes.sum(1) - 1),
    ],
)
def test_a_decision_that_reads_the_path_is_attributed_to_the_part_that_it_read(name, read):
    model = planted(read)
    found = attribute(situation_of(model, executed(model, min_periods=6), "a", 3))
    assert np.abs(found.features).max() == 0.0
    groups = {group: values[1] for group, values in found.by_group.items()}
    assert groups.pop(name) == pytest.approx(float(found.value[1] - found.reference[1]), abs=TOLERANCE)
    assert abs(found.value[1] - found.reference[1]) > 1e-3
    assert set(groups.values()) == {0.0}


def test_before_the_first_period_no_part_of_the_path_moves_anything():
    model = random_model(tiny_config())
    found = attribute(situation_of(model, executed(model), "a", 0))
    assert all((values == 0).all() for values in found.path.values())
    assert np.abs(found.features).max() > 0


@pytest.mark.parametrize(
    ("head", "side"),
    [
        *(("flexible", "buy"), ("flexible", "sell"), ("static_curve", "buy")),
        *(pytest.param(head, "sell", marks=pytest.mark.slow) for head in ("static_curve", "fixed_duration", "paper")),
    ],
)
def test_contributions_sum_to_the_difference_of_the_outputs(head, side):
    settings = (
        {} if head == "flexible" else {"head": head, "head_config": {"hidden_size": 8} if head == "paper" else {}}
    )
    model = random_model(tiny_config(**settings))
    result = executed(model, side=side, min_periods=6)
    situation = situation_of(model, result, "a", 2)
    found = attribute(situation)
    total = found.features.sum(axis=(1, 2)) + sum(found.path.values())
    np.testing.assert_allclose(total, found.value - found.reference, atol=TOLERANCE)
    np.testing.assert_allclose(found.residual, found.value - found.reference - total, atol=1e-12)
    # What is attributed is what was executed: the bounds of the simulator hold nothing back here.
    assert found.value[0] == pytest.approx(result.periods_of("a")["fraction"][2], abs=1e-5)
    assert np.abs(total).max() > 1e-4


# --- counterfactuals --------------------------------------------------------------------------------------------------


def test_a_change_that_the_model_ignores_changes_nothing():
    model = planted(of_features)
    situation = situation_of(model, executed(model, min_periods=6), "a", 2)
    was = situation.answer()
    for ignored in (
        Counterfactual("risk", order={"risk_aversion": 7.0}),
        Counterfactual("benchmark", order={"benchmark": "twap"}),
        Counterfactual("nothing"),
    ):
        changed = situation.changed(volume=ignored.volume, move=ignored.move, bars=ignored.bars, order=ignored.order)
        assert changed.answer() == was
    moved = situation.changed(volume=1.0, move=2.0, bars=1, order={}).answer()
    assert moved.fraction == pytest.approx(was.fraction, abs=1e-6)  # volumes do not depend on prices


def test_twice_the_last_volume_is_the_decision_on_bars_with_twice_that_volume():
    model, bars = random_model(tiny_config()), hourly()
    situation = situation_of(model, executed(model, min_periods=6), "a", 2)
    frame = bars.frame
    row = 371
    frame.loc[row, ["volume", "notional"]] *= 2.0
    again = executed(model, rebuilt(bars, frame), min_periods=6)
    # The earlier decisions did not read that bar.
    np.testing.assert_array_equal(again.periods_of("a")["fraction"][:2], situation.fills)
    would = situation.changed(volume=2.0, move=0.0, bars=1, order={}).answer()
    assert would.fraction == pytest.approx(float(again.periods_of("a")["fraction"][2]), abs=1e-6)
    assert abs(would.fraction - situation.answer().fraction) > 1e-6


def test_a_change_of_the_fills_is_that_of_what_is_left():
    model = planted(lambda context, state: 4 * state.remaining - 2)
    explained = explain(
        model,
        executed(model, min_periods=6),
        "a",
        period=3,
        paths=0,
        counterfactuals=[Counterfactual("c", on_curve=True)],
    )
    situation = situation_of(model, executed(model, min_periods=6), "a", 3)
    left = 1 - situation.neutral.fills.sum()
    (row,) = explained.counterfactuals.to_dict("records")
    lower, upper = max(left - 2.0, 0.0), left
    assert row["fraction"] == pytest.approx(lower + (upper - lower) / (1 + np.exp(2 - 4 * left)), abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"volume": 0.0}, "volume is a positive factor"),
        ({"move": np.nan}, "at most 20 bar volatilities"),
        ({"bars": 0}, "bars is 1 to 64"),
        ({"order": {"symbol": "X"}}, "changes benchmark, min_periods"),
    ],
)
def test_impossible_changes_are_refused_when_they_are_made(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Counterfactual("wrong", **wrong)


def test_a_change_that_breaks_a_rule_of_orders_is_the_rule_s_error():
    model = random_model(tiny_config())
    with pytest.raises(OrderError, match="min_periods"):
        model.explain(
            executed(model), "a", period=0, paths=0, counterfactuals=[Counterfactual("x", order={"min_periods": 99})]
        )


# --- causality --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [0, 2])
def test_later_bars_play_no_part(period):
    """Every number and word, bit for bit, although all later bars and the rest of the execution are others."""
    model, bars = random_model(tiny_config()), hourly()
    later = np.flatnonzero(bars.timestamp >= bars.timestamp[370 + period])
    first = executed(model, min_periods=6)
    second = executed(model, perturbed(bars, later), min_periods=6)
    assert not np.array_equal(first.periods_of("a")["price"], second.periods_of("a")["price"])
    explained = [model.explain(result, "a", period=period, paths=20).as_dict() for result in (first, second)]
    assert json_text(explained[0]) == json_text(explained[1])


# --- the rest ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explained():
    model = random_model(tiny_config())
    return model.explain(executed(model, min_periods=6), "a", period=2)


def test_weights_are_weights(explained):
    assert explained.selection.index[-1] == explained.bar - pd.Timedelta("1h")
    np.testing.assert_allclose(explained.selection.sum(axis=1), 1.0, atol=1e-5)
    heads = explained.attention.filter(like="head_")
    np.testing.assert_allclose(heads.sum(), 1.0, atol=1e-5)
    assert explained.attention["bars_ago"].tolist() == list(range(7, -1, -1))
    assert explained.attention["timestamp"].iloc[-1] == explained.selection.index[-1]


def test_futures_begin_with_the_decision_and_end_complete(explained):
    forecast = explained.futures.forecast
    first = forecast.traded[0]
    assert first.low == pytest.approx(explained.answer.fraction, abs=1e-6)
    assert first.high == pytest.approx(explained.answer.fraction, abs=1e-6)
    assert forecast.filled[0].middle == pytest.approx(explained.filled + first.middle, abs=1e-9)
    assert (np.diff(explained.futures.filled, axis=1) >= -1e-12).all()
    assert forecast.complete == 1.0
    assert forecast.filled[-1].low == pytest.approx(1.0, abs=1e-6)
    assert len(forecast.start) == 4
    band = np.quantile(explained.futures.slippage_bps, [0.1, 0.5, 0.9])
    np.testing.assert_allclose([forecast.slippage_bps.low, forecast.slippage_bps.middle], band[:2])


def test_words_and_json(explained):
    text = str(explained)
    assert text.startswith("Before bar 3 of 6 (from 2024-01-16 12:00 UTC) of order a, a buy of ")
    assert "\n" not in text
    assert text.endswith("they are no explanation.")
    assert f"trades {100 * explained.answer.fraction:.1f} % of the order" in text
    content = json.loads(json_text(explained.as_dict()))
    assert content["schema"] == 1
    assert content["text"] == text
    assert sum(row["fraction"] for row in content["attributions"]) == pytest.approx(
        content["decision"]["fraction"] - content["reference"]["fraction"], abs=2 * TOLERANCE
    )
    assert repr(explained).startswith("Explanation(order 'a', period 2: fraction 0.")


def test_the_fraction_of_a_model_that_finishes_is_what_it_would_trade_if_it_went_on():
    """A probability of exactly one has no slope, so the fraction is attributed."""
    ends = planted(lambda context, state: torch.full_like(state.remaining, 99.0 if state.period == 2 else -9.0))
    result = executed(ends)
    finishing = ends.explain(result, "a", period=2, paths=0)
    assert (finishing.answer.finishes, finishing.target) == (True, "fraction")
    assert "the fraction that it would trade if it went on would be" in str(finishing)
    assert "if it went on" not in str(ends.explain(result, "a", period=1, paths=0))


def test_the_period_by_default():
    """The choice to finish; without one, the decision that is furthest from an even pace."""
    ends = planted(lambda context, state: torch.full_like(state.remaining, 9.0 if state.period == 2 else -9.0))
    assert ends.explain(executed(ends), "a", paths=0).period == 2
    waits = planted(lambda context, state: torch.full_like(state.remaining, 2.0 if state.period == 1 else -2.0))
    assert waits.explain(executed(waits, min_periods=6), "a", paths=0).period == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"period": 5}, "the last of the order: it trades all that is left"),
        ({"period": 6}, "decided in the periods 0 to 5"),
        ({"period": -1}, "decided in the periods 0 to 5"),
        ({"paths": 1}, "at least 2"),
    ],
)
def test_what_cannot_be_explained_is_refused(changes, words):
    model = random_model(tiny_config())
    with pytest.raises(ConfigError, match=words):
        model.explain(executed(model, min_periods=6), "a", **changes)


def test_a_result_of_another_policy_is_refused_and_an_unknown_order_too():
    model = random_model(tiny_config())
    with pytest.raises(ConfigError, match="this model decides"):
        model.explain(executed("twap", min_periods=6), "a", period=0)
    with pytest.raises(KeyError, match="no executed order"):
        model.explain(executed(model), "b")


@pytest.mark.slow
def test_orders_with_an_amount_are_explained_by_their_costs():
    """A trained model that reads sizes: decided by other costs, the order is not the one that was executed."""
    model, bars, row = LEMModel.from_pretrained("lem-crypto-hourly"), hourly(days=40), 24 * 30
    amount = float(bars.volume[row - 24 : row].sum()) / 2
    costs = CostModel(impact=3.0, half_spread_bps=1.0)
    table = order_table(bars, row, min_periods=6, max_periods=6, amount=amount, order_id="a")
    result = execute(model, bars, table, costs=costs)
    assert model.explain(result, "a", period=0, costs=costs, paths=0).order["amount"] == pytest.approx(amount)
    with pytest.raises(ConfigError, match="or of other costs"):
        model.explain(result, "a", period=0, costs=CostModel(), paths=0)


def test_sampled_orders_of_several_symbols_are_found():
    model = random_model(tiny_config())
    table = Order.sample(hourly(), every=40, side="both", min_periods=6, max_periods=6)
    result = execute(model, hourly(), table)
    last = result.orders["order_id"].iloc[-1]
    assert model.explain(result, last, period=1, paths=0).order["symbol"] == hourly().symbols[-1]
