"""Options of costs and sizes: named cost models, numbers in place of theirs, spreads from the bars."""

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lem_models import CostModel, synthetic_bars
from lem_models.cli.app import app
from lem_models.cli.costs import CostOptions, read_sizes
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.execution.costs import cost_model, half_spreads_bps

BARS = synthetic_bars(symbols=2, days=40, seed=2)


def test_sizes_are_fractions_or_per_cent():
    assert read_sizes("10%, 0,0.1 %,0.03,1%,1 %") == (0.0, 0.001, 0.01, 0.03, 0.1)
    assert read_sizes("") == ()


@given(st.lists(st.integers(0, 10**6), max_size=5))
def test_a_size_in_per_cent_is_its_hundredth(numbers):
    per_cent = ",".join(f"{number}%" for number in numbers)
    assert read_sizes(per_cent) == tuple(sorted({number / 100 for number in numbers}))


@pytest.mark.parametrize("text", ["-1%", "much", "1%%", "nan", "1%x", "inf"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"--sizes takes parts of the expected volume, as 0.01 or 1%"):
        read_sizes(text)


def test_trading_is_free_unless_something_is_said():
    assert CostOptions().costs() is None
    assert CostOptions(cost_model="none").costs(default="crypto") is None


def test_a_named_model_is_changed_by_the_numbers_given():
    assert CostOptions(cost_model="crypto").costs() == cost_model("crypto")
    assert CostOptions().costs(default="us_equity") == cost_model("us_equity")
    options = CostOptions(cost_model="crypto", half_spread="0.5", fee=0.0, order_size="3%")
    assert options.costs() == CostModel(half_spread_bps=0.5, fee_bps=0, impact=0.8, order_size=0.03)
    with pytest.raises(UnknownNameError, match="crypto"):
        CostOptions(cost_model="krypto").costs()
    with pytest.raises(ConfigError, match="half_spread_bps"):
        CostOptions(half_spread="-1").costs()


def test_a_spread_is_estimated_from_the_bars_before_a_day():
    options = CostOptions(half_spread="corwin_schultz", impact=0.5)
    day = "2024-01-20"
    found = options.costs(BARS, default="crypto", before=day)
    assert found.half_spreads_bps == half_spreads_bps(BARS, "corwin_schultz", before=pd.Timestamp(day, tz="UTC"))
    assert (found.fee_bps, found.impact) == (2.0, 0.5)
    assert found.half_spreads_bps != options.costs(BARS).half_spreads_bps
    # No bar lies before the first: all of them are read.
    assert options.costs(BARS, before="2024-01-01").half_spreads_bps == options.costs(BARS).half_spreads_bps
    with pytest.raises(ConfigError, match="number of bps here; got 'abdi_ranaldo'"):
        CostOptions(half_spread="abdi_ranaldo").costs()
    with pytest.raises(UnknownNameError, match="corwin_schultz"):
        CostOptions(half_spread="corwin").costs(BARS)


class TestBenchmarkCommand:
    """``lem benchmark`` has net numbers and a capacity curve by default."""

    @pytest.fixture
    def run(self, tmp_path, quick_pictures, quick_regressions):
        BARS.write(tmp_path / "bars.parquet")

        def run(*options, baselines="stopping_rule"):
            out = tmp_path / "out"
            arguments = ["benchmark", "--model", "twap", "--baselines", baselines, "--data", tmp_path / "bars.parquet"]
            arguments += ["--out", out, "--null", 0, "--by", "side", "--max-periods", 4, *options]
            result = CliRunner().invoke(app, [str(argument) for argument in arguments])
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            return result.output, json.loads((out / "summary.json").read_text())

        return run

    def test_by_default_gross_and_net_of_the_costs_of_the_market_at_one_per_cent(self, run):
        output, summary = run("--limit", 200)
        assert "costs: crypto, for the market of the bars" in output
        assert "Net improvement against the size of the order, minimum 1" in output
        costs = summary["settings"]["costs"]
        assert (costs["fee_bps"], costs["impact"], costs["order_size"]) == (2.0, 0.8, 0.01)
        rows = pd.DataFrame(summary["capacity"])
        assert sorted(rows["size"].unique()) == [0.0, 0.01]
        assert set(rows["policy"]) == {"twap", "stopping_rule"}

    def test_sizes_costs_and_spreads_are_chosen(self, run):
        chosen = ["--sizes", "0,0.1%,5%", "--cost-model", "us_equity", "--half-spread", "abdi_ranaldo"]
        output, summary = run("--limit", 200, *chosen)
        assert "for the market of the bars" not in output
        costs = summary["settings"]["costs"]
        assert costs["fee_bps"] == 0.5
        assert set(costs["half_spreads_bps"]) == set(BARS.symbols)
        assert sorted({row["size"] for row in summary["capacity"]}) == [0.0, 0.001, 0.05]

    def test_without_costs_there_is_no_capacity(self, run):
        output, summary = run("--limit", 200, "--cost-model", "none")
        assert summary["capacity"] is None
        assert "Net improvement" not in output

    def test_orders_of_a_table_have_their_amounts(self, run, tmp_path):
        start = pd.to_datetime(BARS.timestamp[[300, 400, 500]], utc=True)
        table = pd.DataFrame({"symbol": BARS.symbols[0], "start": start, "side": "buy", "amount": [10.0, 20.0, 400.0]})
        table.assign(min_periods=1, max_periods=6).to_csv(tmp_path / "orders.csv", index=False)
        output, summary = run("--orders", tmp_path / "orders.csv")
        assert "Orders from" not in output  # no start is chosen for them
        row = next(row for row in summary["capacity"] if row["policy"] == "twap")
        assert row["orders"] == 3
        assert row["size"] is None
        assert row["largest_participation_percent"] > 1
