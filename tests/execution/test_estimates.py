"""Results that are judged against estimated VWAPs say so, with the share of such bars."""

import logging

import numpy as np
import pytest
from typer.testing import CliRunner

from lem_models import Bars, Order, execute, load_policy, synthetic_bars
from lem_models.cli.app import app
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.report.benchmark_report import write_benchmark

SENTENCE = "judged against an estimated VWAP: the notional of {} % of the bars is an estimate"


@pytest.fixture(scope="module")
def bars() -> Bars:
    """The second half of each symbol's bars has estimated notionals."""
    frame = synthetic_bars(symbols=2, days=40, seed=3).frame
    return Bars.from_frame(frame.assign(notional_exact=np.tile(np.arange(960) < 480, 2)))


def test_only_the_bars_of_the_orders_count(bars, caplog):
    with caplog.at_level(logging.WARNING, "lem_models"):
        execute("twap", bars, Order.sample(bars.between(end="2024-01-19"), every="6h", max_periods=12))
    assert "estimated" not in caplog.text
    with caplog.at_level(logging.WARNING, "lem_models"):
        execute("twap", bars, [Order(symbol="S000", start=bars.frame["timestamp"][474], side="buy", max_periods=12)])
    assert SENTENCE.format("50.0") in caplog.text


def test_bars_that_were_measured_say_nothing(caplog):
    measured = synthetic_bars(symbols=1, days=40)
    assert measured.doubts_in_words() == []
    with caplog.at_level(logging.WARNING, "lem_models"):
        execute("twap", measured, Order.sample(measured, every="12h", max_periods=12))
    assert "estimated" not in caplog.text


def test_repairs_are_said():
    frame = synthetic_bars(symbols=1, days=40).frame
    frame.loc[7, "notional"] = 1.01 * frame.loc[7, "high"] * frame.loc[7, "volume"]
    bars = Bars.from_frame(frame, repair="clip_vwap")
    assert bars.doubts_in_words() == [
        SENTENCE.format("0.1") + ", not a measurement",
        "bars were repaired when they were read: clip_vwap 1 bar",
    ]
    assert bars.between(end="2024-01-10").doubts_in_words()[1:] == bars.doubts_in_words()[1:]
    assert bars.between("2024-01-10").doubts_in_words() == []
    assert bars.between("2024-01-10").repairs.empty


def test_the_report_of_a_benchmark_says_it(bars, tmp_path):
    settings = BenchmarkSettings(max_periods=6, min_periods=(3,), every=24, null=0, side="buy")
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap")}
    benchmark = run_benchmark(policies, bars.between("2024-01-25"), settings)
    assert benchmark.notes == (SENTENCE.format("100.0") + ", not a measurement",)
    page = write_benchmark(benchmark, tmp_path, command="lem benchmark").read_text()
    assert SENTENCE.format("100.0") in page


def test_the_command_line_says_it(bars, tmp_path, caplog):
    data, orders = tmp_path / "bars.arrow", tmp_path / "orders.csv"
    bars.write(data)
    Order.sample(bars.between("2024-01-25"), every="12h", max_periods=6).to_csv(orders, index=False)
    command = [
        "execute",
        "--data",
        str(data),
        "--orders",
        str(orders),
        "--policy",
        "twap",
        "--out",
        str(tmp_path / "out"),
    ]
    with caplog.at_level(logging.WARNING, "lem_models"):
        assert CliRunner().invoke(app, command).exit_code == 0
    assert SENTENCE.format("100.0") in caplog.text
