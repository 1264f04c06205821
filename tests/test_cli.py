"""The command line: what a user types first."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from lem_models import Bars, Order, synthetic_bars
from lem_models.cli import app, main
from lem_models.errors import BarsError, ConfigError
from lem_models.hub.registry import list_models

runner = CliRunner()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    synthetic_bars(symbols=2, days=30, seed=4).write(path)
    return path


def test_help_names_every_command():
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("list", "demo", "benchmark", "execute", "check-leak", "convert", "train"):
        assert command in result.output


def test_help_does_not_import_torch():
    code = "import sys; from lem_models.cli import app; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_list_names_every_bundled_model_and_what_it_is_for():
    shown, described = runner.invoke(app, ["list"]), json.loads(runner.invoke(app, ["list", "--json"]).output)
    assert [model["name"] for model in described] == list(list_models())
    for model in described:
        (line,) = [line for line in shown.output.splitlines() if line.split()[:1] == [model["name"]]]
        assert model["market"].split()[0] in line  # the rest may go on in the next line
        assert model["frequency"] in line
        assert str(model["horizon"]) in line.split()


def test_demo_prints_the_table_one_order_and_the_path_of_the_report(tmp_path, data):
    result = runner.invoke(app, ["demo", "--orders", "200", "--data", str(data), "--out", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    for text in ("lem-crypto-hourly", "stopping_rule", "volume_curve", "twap", "One order, bar by bar", "report.html"):
        assert text in result.output
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000


def test_benchmark_of_a_baseline_against_another(tmp_path, data):
    arguments = ["benchmark", "--data", str(data), "--model", "stopping_rule", "--baselines", "twap", "--limit", "300"]
    result = runner.invoke(app, [*arguments, "--null", "1", "--max-periods", "6", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert set(table["policy"]) == {"stopping_rule", "twap"}
    assert table["min_periods"].max() == 6


def test_benchmark_with_costs_shows_what_is_left(tmp_path, data):
    arguments = ["benchmark", "--data", str(data), "--model", "stopping_rule", "--baselines", "twap", "--limit", "300"]
    arguments += ["--null", "2", "--null-of", "all", "--by", "weekday", "--benchmark", "vwap", "--target", "quantity"]
    costs = ["--half-spread", "1", "--fee", "0.5", "--impact", "0.8", "--order-size", "0.01"]
    result = runner.invoke(app, [*arguments, *costs, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "costs: half-spread 1 bps, fees 0.5 bps, impact 0.8" in result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["settings"]["costs"] == {"half_spread_bps": 1, "fee_bps": 0.5, "impact": 0.8, "order_size": 0.01}
    assert list(summary["breakdowns"]) == ["weekday"]
    assert {row["policy"] for row in summary["null_by_policy"]} == {"stopping_rule", "twap"}
    for row in summary["comparison"]:
        assert row["cost_bps"] > 1.5  # spread and fee, and impact on top
        assert row["net_bps"] == pytest.approx(row["mean_bps"] - row["cost_bps"], abs=0.1)
    refused = runner.invoke(app, [*arguments, "--fee", "-1"])
    assert isinstance(refused.exception, ConfigError)


@pytest.mark.parametrize("mixed", [False, True], ids=["symbol by symbol", "symbols mixed"])
def test_convert_writes_a_file_that_is_mapped_and_back(tmp_path, data, mixed):
    if mixed:
        pd.read_parquet(data).sort_values(["timestamp", "symbol"]).to_parquet(tmp_path / "mixed.parquet")
        data = tmp_path / "mixed.parquet"
    for source, target in ((data, "bars.arrow"), (tmp_path / "bars.arrow", "bars.csv.gz")):
        result = runner.invoke(app, ["convert", str(source), str(tmp_path / target)])
        assert result.exit_code == 0, result.output
        assert "2 symbols, 1,440 bars" in result.output
    kept = [Bars.read(path).content_hash for path in (data, tmp_path / "bars.arrow", tmp_path / "bars.csv.gz")]
    assert len(set(kept)) == 1
    assert type(runner.invoke(app, ["convert", "nothing.parquet", "bars.arrow"]).exception) is BarsError


@pytest.fixture(scope="module")
def numbered(tmp_path_factory, data):
    """The same bars with timestamps in milliseconds, as a CSV."""
    path = tmp_path_factory.mktemp("numbered") / "bars.csv"
    frame = Bars.read(data).frame
    frame.assign(timestamp=frame["timestamp"].dt.as_unit("ms").astype("int64")).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("unit", ["ms", "auto"])
@pytest.mark.parametrize("target", ["bars.arrow", "bars.parquet"])
def test_convert_reads_numbers_in_their_unit(tmp_path, data, numbered, unit, target):
    result = runner.invoke(app, ["convert", str(numbered), str(tmp_path / target), "--unit", unit])
    assert result.exit_code == 0, result.output
    assert Bars.read(tmp_path / target).content_hash == Bars.read(data).content_hash


COMMANDS = {
    "demo": ["demo", "--data", "BARS"],
    "benchmark": ["benchmark", "--data", "BARS"],
    "execute": ["execute", "--orders", "orders.csv", "--policy", "twap", "--data", "BARS"],
    "check-leak": ["check-leak", "twap", "BARS"],
    "convert": ["convert", "BARS", "bars.arrow"],
    "finetune": ["finetune", "--from", "lem-crypto-hourly", "--out", "tuned", "--data", "BARS"],
    "publish data": ["publish", "data", "BARS", "--to", "someone/bars", "--licence", "cc-by-4.0"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_every_command_that_reads_bars_takes_their_unit(tmp_path, monkeypatch, numbered, arguments):
    monkeypatch.chdir(tmp_path)
    Order.sample(synthetic_bars(symbols=1, days=30), every="24h").to_csv("orders.csv", index=False)
    command = [str(numbered) if argument == "BARS" else argument for argument in arguments]
    assert "name their unit, unit='ms'" in str(runner.invoke(app, command).exception)
    wrong = runner.invoke(app, [*command, "--unit", "s"])
    assert "in 's', but it is in 'ms'" in str(wrong.exception), wrong.output


def test_the_demo_has_no_unit_without_bars():
    assert "--data, which is not given" in str(runner.invoke(app, ["demo", "--unit", "ms"]).exception)


def test_rounded_prices_are_said_on_one_line(tmp_path, monkeypatch, capsys, data):
    frame = pd.read_parquet(data)
    frame.loc[3, "close"] = frame.loc[3, "high"] * (1 + 1.2e-7)
    frame.to_parquet(tmp_path / "bars.parquet")
    monkeypatch.setattr(sys, "argv", ["lem", "convert", str(tmp_path / "bars.parquet"), str(tmp_path / "bars.csv")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: 1 bar has prices that contradict each other by a rounding")


PEEKING = """
class Peeking:
    def encode(self, market, rows, side):
        import torch
        after = (rows + 1).clip(max=len(market.bars) - 1)
        return torch.from_numpy(market.bars.close[after] / market.bars.close[rows])[:, None]

    def decide(self, context, orders, state):
        return 0.1 * context[:, 0], False
"""


def test_check_leak_of_a_baseline_and_of_a_policy_of_one_s_own(tmp_path, data):
    fine = runner.invoke(app, ["check-leak", "stopping_rule", str(data), "--checks", "3"])
    assert (fine.exit_code, fine.output) == (0, "no decision of stopping_rule moved in 3 checks\n")
    (tmp_path / "mine.py").write_text(PEEKING)
    leaking = runner.invoke(app, ["check-leak", f"{tmp_path / 'mine.py'}:Peeking", str(data)])
    assert leaking.exit_code == 1
    assert leaking.output.startswith("LEAK: the fraction decided for the bar of 2024-01-")
    for name, problem in (("nothing.py:Peeking", "no Python file"), (f"{tmp_path / 'mine.py'}:Other", "no 'Other'")):
        refused = runner.invoke(app, ["check-leak", name, str(data)])
        assert problem in str(refused.exception)


def test_execute_writes_schedule_orders_and_exclusions(tmp_path, data):
    bars = synthetic_bars(symbols=2, days=30, seed=4)
    orders = Order.sample(bars, every="24h", min_periods=1, max_periods=12)
    orders.to_csv(tmp_path / "orders.csv", index=False)
    arguments = ["execute", "--data", str(data), "--orders", str(tmp_path / "orders.csv"), "--policy", "twap"]
    result = runner.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "out" / "orders.csv")) == len(orders)
    assert len(pd.read_csv(tmp_path / "out" / "schedule.csv")) == 12 * len(orders)


def test_errors_are_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lem", "benchmark", "--data", "nowhere.parquet", "--model", "twap"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "nowhere.parquet" in message
    assert "Traceback" not in message
