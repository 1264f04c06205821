"""A model runs on bars of the length that it was trained on, or on others when it is asked to by name."""

import logging
from functools import lru_cache

import pandas as pd
import pytest

from lem_models import Bars, Order, execute, load_policy, synthetic_bars
from lem_models.errors import BarsError, ConfigError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.leak import check_leak
from lem_models.execution.frequency_check import check_frequency
from lem_models.hub.models.registry import zoo_market
from lem_models.hub.models.zoo import list_models, model_for
from lem_models.markets.calendar.frequency import clock
from tests.helpers import hourly, random_model, tiny_config

REFUSED = "'lem-crypto-30min' was trained on bars of 30min, and these bars are 1h long"
SMALL = BenchmarkSettings(
    max_periods=6, min_periods=(1,), every=12, limit=100, null=0, information=0, placebos=(), bootstrap=100
)


@lru_cache
def market(frequency="1h", closes=False):
    """Bars of a length, of a market that closes, or does not."""
    session = ("14:30", "21:00") if closes and pd.Timedelta(frequency) < pd.Timedelta("1D") else None
    bars = synthetic_bars(
        symbols=1, days=40 if frequency != "1D" else 400, frequency=frequency, session=session, seed=1
    )
    if not closes or session:
        return bars
    frame = bars.frame
    return Bars.from_frame(frame[frame["timestamp"].dt.day_of_week < 5].reset_index(drop=True), calendar="sessions")


@lru_cache
def other():
    return load_policy("lem-crypto-30min")


def an_order(bars, row=300):
    return Order(symbol=bars.symbols[0], start=bars.frame["timestamp"].iloc[row], side="buy", max_periods=6)


def test_execute_refuses_bars_of_another_length(caplog):
    bars = hourly(40, 1)
    with pytest.raises(BarsError, match=REFUSED) as refused:
        execute(other(), bars, an_order(bars))
    assert "allow_frequency=True (--any-frequency)" in str(refused.value)
    with caplog.at_level(logging.WARNING, logger="lem_models"):
        result = execute(other(), bars, an_order(bars), allow_frequency=True)
    assert len(result.orders) == 1
    assert f"{REFUSED}: its decisions are untested there" in caplog.text


def test_a_session_refuses_a_history_of_another_length(caplog):
    bars = hourly(40, 1)
    order = an_order(bars)
    history = bars.between(end=order.start)
    with pytest.raises(BarsError, match=REFUSED):
        other().session(order, history)
    session = other().session(order, history, allow_frequency=True)
    assert 0 <= float(session.decide().fraction) <= 1
    assert "untested there" in caplog.text


@pytest.mark.parametrize("tested_first", [True, False])
def test_a_benchmark_refuses_it_whichever_policy_it_is(tested_first):
    policies = {"twap": load_policy("twap"), "lem-crypto-30min": other()}
    if tested_first:
        policies = dict(reversed(policies.items()))
    with pytest.raises(BarsError, match=REFUSED):
        run_benchmark(policies, hourly(40, 1), SMALL)
    run = run_benchmark(policies, hourly(40, 1), SMALL.model_copy(update={"allow_frequency": True}))
    assert run.notes == (f"{REFUSED}: its decisions are untested there",)


def test_what_has_no_frequency_fits_every_market():
    for frequency in ("5min", "1h", "1D"):
        assert check_frequency(load_policy("twap"), market(frequency)) is None
    assert run_benchmark({"twap": load_policy("twap")}, hourly(40, 1), SMALL).notes == ()


def test_a_model_that_records_none_runs_with_a_note(caplog):
    bars = hourly(40, 1)
    model = random_model(tiny_config())
    assert model.frequencies == ()
    assert len(execute(model, bars, an_order(bars)).orders) == 1
    assert "does not record the length of the bars that it was trained on; these bars are 1h long" in caplog.text


@pytest.mark.parametrize("written", ["1h", "60min", "h", "3600s"])
def test_a_length_is_the_same_however_it_is_written(written):
    assert check_frequency(random_model(tiny_config(frequencies=(written,))), hourly(40, 1)) is None

    class Mine(type(load_policy("twap"))):
        frequencies = (written,)

    assert check_frequency(Mine(), hourly(40, 1)) is None
    with pytest.raises(BarsError, match="'Mine' was trained on bars of"):
        check_frequency(Mine(), market("5min"))


def test_a_model_with_another_horizon_or_head_is_for_the_same_bars():
    model = random_model(tiny_config(frequencies=("5min",)))
    assert model.with_horizon(3).frequencies == ("5min",)
    assert model.with_head("flexible", {"hidden_size": 4})[0].frequencies == ("5min",)


def test_a_search_for_leaks_takes_any_bars():
    assert check_leak(other(), hourly(40, 1), checks=1) is None


# --- the bundled models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "closes", "name"),
    [
        ("1h", False, "lem-crypto-hourly"),
        ("30min", False, "lem-crypto-30min"),
        ("1D", True, "lem-dow-daily"),
        ("5min", True, "lem-equity-5min"),
        ("30min", True, "lem-base"),
        ("5min", False, "lem-base"),
        ("1D", False, "lem-base"),
    ],
)
def test_the_one_that_fits_is_the_specialist_of_the_frequency_and_the_kind_of_market(frequency, closes, name):
    bars = market(frequency, closes)
    assert (clock(bars.frequency), bars.calendar.name == "24/7") == (frequency, not closes)
    assert model_for(bars) == name
    assert check_frequency(load_policy(name), bars) is None


def test_where_none_fits_all_are_listed():
    with pytest.raises(ConfigError, match="no bundled model was trained on bars of 2h of a market") as refused:
        model_for(market("2h"))
    assert "--any-frequency" in str(refused.value)
    for model in list_models():
        assert f"{model}: {model.market}, {' or '.join(model.frequencies)}" in str(refused.value)


@pytest.mark.parametrize("model", list_models())
def test_every_bundled_model_fits_the_markets_that_it_is_evaluated_on(model):
    for market_of in map(zoo_market, model.entry.evaluations):
        assert model.fits(clock(pd.Timedelta(market_of.frequency.replace("d", "D"))), market_of.calendar)
