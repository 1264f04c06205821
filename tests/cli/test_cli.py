"""The command line: what a user types first."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import lem_models
from lem_models import Bars, Order, execute, synthetic_bars
from lem_models.cli.app import app, main
from lem_models.cli.commands.models.listing import print_models
from lem_models.errors import BarsError, ConfigError, LEMError, OrderError, UnknownNameError
from lem_models.execution.execute import NO_SYMBOL
from lem_models.hub.models.zoo import list_models
from lem_models.markets.download import record_of

runner = CliRunner()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    synthetic_bars(symbols=2, days=30, seed=4).write(path)
    return path


@pytest.fixture(scope="module")
def daily(tmp_path_factory):
    path = tmp_path_factory.mktemp("daily") / "bars.parquet"
    frame = synthetic_bars(symbols=1, days=600, frequency="1D", seed=4).frame
    frame = frame[frame["timestamp"].dt.day_of_week < 5].reset_index(drop=True)
    Bars.from_frame(frame, calendar="sessions").write(path)
    return path


def test_help_names_every_command():
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("list", "demo", "benchmark", "execute", "tca", "check-leak", "data", "train", "fit-convex"):
        assert command in result.output


@pytest.mark.parametrize("arguments", [[], ["data"], ["publish"]], ids=["lem", "lem data", "lem publish"])
def test_a_group_alone_shows_its_help(arguments):
    alone, asked = runner.invoke(app, arguments), runner.invoke(app, [*arguments, "-h"])
    assert (alone.exit_code, asked.exit_code) == (0, 0)
    assert alone.output == asked.output
    assert "Commands:" in alone.output


def _commands(group, path=()):
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*path, name))


COMMANDS = list(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_command_explains_itself_and_all_its_options(command, width):
    shown = [runner.invoke(app, [*command, option], terminal_width=width) for option in ("-h", "--help")]
    assert [result.exit_code for result in shown] == [0, 0]
    text = shown[0].output
    assert text == shown[1].output
    assert text.isascii()
    assert "..." not in text.replace("[ARGS]...", "")  # no sentence is cut
    assert max(map(len, text.splitlines())) <= width
    lines = text.partition("Options:")[2].partition("Commands:")[0].splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("  -")]
    for first, last in zip(starts, [*starts[1:], len(lines)], strict=True):
        assert len(" ".join(lines[first:last]).split()) > 2, lines[first]


def test_the_version_is_the_package_s():
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"lem {lem_models.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "closest"),
    [(["benchmrk"], "benchmark"), (["publish", "modle"], "model"), (["list", "--jso"], "--json")],
    ids=str,
)
def test_an_unknown_name_is_answered_with_the_closest(arguments, closest):
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert closest in result.stderr


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 155, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_list_cuts_nothing_at_any_width(width, encoding):
    console = Console(width=width, file=io.TextIOWrapper(io.BytesIO(), encoding, errors="replace"))
    with console.capture() as printed:
        print_models(console, list_models())
    text = printed.get()
    assert "\u2026" not in text
    for model in list_models():
        assert str(model) in text.replace("|", " ").split()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["benchmark", "--help"]], ids=" ".join)
def test_what_computes_nothing_loads_nothing_heavy(arguments):
    code = """if True:
    import sys
    from lem_models.cli.app import app
    app(sys.argv[1:], standalone_mode=False)
    sys.exit(bool({"torch", "pandas"} & set(sys.modules)))
    """
    assert (
        subprocess.run([sys.executable, "-c", code, *arguments], check=False, stdout=subprocess.DEVNULL).returncode == 0
    )


def test_list_names_every_bundled_model_and_what_it_is_for():
    shown, described = runner.invoke(app, ["list"]), json.loads(runner.invoke(app, ["list", "--json"]).output)["models"]
    assert [model["name"] for model in described] == list(list_models())
    for model in described:
        (line,) = [line for line in shown.output.splitlines() if line.split()[:1] == [model["name"]]]
        assert model["market"].split()[0] in line  # the rest may go on in the next line
        assert model["frequency"] in line
        assert str(model["horizon"]) in line.split()


@pytest.mark.usefixtures("quick_pictures")
def test_demo_prints_the_table_one_order_and_the_path_of_the_report(tmp_path, data):
    out = tmp_path / "[/demo] [red]"  # is no markup
    result = runner.invoke(app, ["demo", "--orders", "200", "--data", str(data), "--out", str(out)])
    assert result.exit_code == 0, result.output
    for text in ("lem-crypto-hourly", "stopping_rule", "volume_curve", "twap", "One order, bar by bar", "report.html"):
        assert text in result.output
    assert str(out / "report.html") in result.output
    assert "data:image/svg+xml" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick_pictures")
def test_demo_without_bars_runs_on_real_ones_first_and_says_what_they_are(tmp_path):
    result = runner.invoke(app, ["demo", "--orders", "200", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())
    real, synthetic = output.split("Synthetic bars: orders of 1 to 24 hours on a simulated crypto market")
    assert "lem-dow-daily on 200 orders of up to 20 periods, 2 symbols, 2017-" in real
    assert "2017 and 2018 are the validation split of lem-dow-daily" in real
    assert "lem-crypto-hourly on 100 orders" in synthetic
    assert "not a market" in synthetic
    assert [path.name for path in tmp_path.rglob("*.html")] == ["report.html"]
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (
        "2017 and 2018 are the validation split",
        "estimated by its typical price",
        "lem-dow-daily on the S&amp;P",
    ):
        assert text in report
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["data"]["symbols"] == ["SPX", "IXIC"]


@pytest.mark.usefixtures("quick_pictures")
def test_demo_of_a_model_runs_where_its_bars_are(tmp_path):
    arguments = ["demo", "--orders", "100", "--out", str(tmp_path), "--model"]
    result = runner.invoke(app, [*arguments, "lem-crypto-hourly"])
    assert result.exit_code == 0, result.output
    assert "Synthetic bars" in result.output
    assert "Real bars" not in result.output
    assert "lem-crypto-hourly on a synthetic market" in (tmp_path / "report.html").read_text(encoding="utf-8")
    refused = runner.invoke(app, [*arguments, "lem-equity-5min"])
    assert "lem-equity-5min' was trained on bars of 5min" in str(refused.exception)


@pytest.mark.usefixtures("quick_pictures")
def test_benchmark_of_a_baseline_against_another(tmp_path, data):
    arguments = ["benchmark", "--data", str(data), "--model", "stopping_rule", "--baselines", "twap", "--limit", "300"]
    result = runner.invoke(
        app, [*arguments, "--null", "1", "--placebos", "", "--max-periods", "6", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert set(table["policy"]) == {"stopping_rule", "twap"}
    assert table["min_periods"].max() == 6


@pytest.mark.usefixtures("quick_pictures")
def test_benchmark_with_costs_shows_what_is_left(tmp_path, data):
    arguments = ["benchmark", "--data", str(data), "--model", "stopping_rule", "--baselines", "twap", "--limit", "300"]
    arguments += [
        "--null",
        "2",
        "--information",
        "2",
        "--placebos",
        "",
        "--by",
        "weekday",
        "--benchmark",
        "vwap",
        "--target",
        "quantity",
    ]
    costs = ["--half-spread", "1", "--fee", "0.5", "--impact", "0.8", "--order-size", "0.01"]
    result = runner.invoke(app, [*arguments, *costs, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "costs: half-spread 1 bps, fees 0.5 bps, impact 0.8" in result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    chosen = {"half_spread_bps": 1, "fee_bps": 0.5, "impact": 0.8, "order_size": 0.01, "half_spreads_bps": {}}
    assert summary["settings"]["costs"] == chosen
    assert list(summary["breakdowns"]) == ["weekday"]
    assert {row["policy"] for row in summary["attribution"]} == {"stopping_rule", "twap"}
    assert {row["policy"] for row in summary["information"]} == {"stopping_rule"}
    assert summary["placebos"] is None
    for row in summary["comparison"]:
        assert row["cost_bps"] > 1.5  # spread and fee, and impact on top
        assert row["net_bps"] == pytest.approx(row["mean_bps"] - row["cost_bps"], abs=0.1)
    refused = runner.invoke(app, [*arguments, "--fee", "-1"])
    assert isinstance(refused.exception, ConfigError)


def test_power_of_a_quick_run_and_of_two_results(tmp_path, data):
    options = ["power", "--difference", "1bps", "--max-periods", "6"]
    done = runner.invoke(app, [*options, "--data", str(data), "--model", "stopping_rule", "--limit", "300"])
    assert done.exit_code == 0, done.output
    assert "stopping_rule and twap, orders of 1 to 6 periods" in done.output
    assert re.search(r"A difference of 1 bps shows after [\d,]+ days, [\d,]+ orders", done.output)
    assert "mean improvement" not in done.output
    bars = Bars.read(data)
    orders = Order.sample(bars, every=5, max_periods=6, min_periods=1)
    files = []
    for name in ("stopping_rule", "twap"):
        files.append(tmp_path / f"{name}.csv")
        execute(name, bars, orders).orders.to_csv(files[-1], index=False)
    joined = ",".join(map(str, files))
    done = runner.invoke(app, ["power", "--difference", "0.05vol", "--results", joined])
    assert done.exit_code == 0, done.output
    assert f"{len(orders):,} paired orders" in done.output
    both = runner.invoke(app, [*options, "--data", str(data), "--results", joined])
    assert isinstance(both.exception, ConfigError)
    assert "either --data" in str(both.exception)


@pytest.mark.parametrize("mixed", [False, True], ids=["symbol by symbol", "symbols mixed"])
def test_convert_writes_a_file_that_is_mapped_and_back(tmp_path, data, mixed):
    if mixed:
        pd.read_parquet(data).sort_values(["timestamp", "symbol"]).to_parquet(tmp_path / "mixed.parquet")
        data = tmp_path / "mixed.parquet"
    for source, target in ((data, "bars.arrow"), (tmp_path / "bars.arrow", "bars.csv.gz")):
        result = runner.invoke(app, ["data", "convert", str(source), str(tmp_path / target)])
        assert result.exit_code == 0, result.output
        assert "2 symbols, 1,440 bars" in result.output
    kept = [Bars.read(path).content_hash for path in (data, tmp_path / "bars.arrow", tmp_path / "bars.csv.gz")]
    assert len(set(kept)) == 1
    assert type(runner.invoke(app, ["data", "convert", "nothing.parquet", "bars.arrow"]).exception) is BarsError


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
    result = runner.invoke(app, ["data", "convert", str(numbered), str(tmp_path / target), "--unit", unit])
    assert result.exit_code == 0, result.output
    assert Bars.read(tmp_path / target).content_hash == Bars.read(data).content_hash


COMMANDS = {
    "demo": ["demo", "--data", "BARS"],
    "benchmark": ["benchmark", "--data", "BARS"],
    "execute": ["execute", "--orders", "orders.csv", "--policy", "twap", "--data", "BARS"],
    "check-leak": ["check-leak", "twap", "BARS"],
    "data convert": ["data", "convert", "BARS", "bars.arrow"],
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


@pytest.fixture(scope="module")
def candles(tmp_path_factory, data):
    """The bars of one symbol as a vendor writes them: local times, other names, no notional."""
    path = tmp_path_factory.mktemp("candles") / "AAPL.csv"
    bars = Bars.read(data)
    frame = bars.select(bars.symbols[0]).frame
    frame["Time"] = frame["timestamp"].dt.tz_convert("Asia/Tokyo").dt.tz_localize(None)
    frame = frame.rename(columns={"open": "O", "high": "H", "low": "L", "close": "Last", "volume": "Size"})
    frame[["Time", "O", "H", "L", "Last", "Size"]].to_csv(path, index=False)
    return path


NAMED = "timestamp=Time,open=O,high=H,low=L,close=Last,volume=Size"
VENDOR = ["--columns", NAMED, "--tz", "Asia/Tokyo", "--symbol", "{file}", "--notional", "hlc3"]


def test_convert_reads_a_table_of_a_vendor(tmp_path, data, candles):
    result = runner.invoke(app, ["data", "convert", str(candles), str(tmp_path / "bars.arrow"), *VENDOR])
    assert result.exit_code == 0, result.output
    assert "note: read as the format columns" in result.stderr
    bars, ours = Bars.read(tmp_path / "bars.arrow"), Bars.read(data)
    assert bars.symbols == ("AAPL",)
    np.testing.assert_array_equal(bars.timestamp, ours.select(ours.symbols[0]).timestamp)
    assert not bars.notional_exact.any()
    pattern = str(candles.with_name("AA*.csv"))
    several = runner.invoke(app, ["data", "convert", pattern, str(tmp_path / "same.arrow"), *VENDOR])
    assert several.exit_code == 0, several.output
    assert Bars.read(tmp_path / "same.arrow").content_hash == bars.content_hash
    assert "no file fits" in str(runner.invoke(app, ["data", "convert", "no*.csv", "bars.arrow"]).exception)


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_every_command_that_reads_bars_takes_the_options_of_vendors(tmp_path, monkeypatch, candles, arguments):
    monkeypatch.chdir(tmp_path)
    Order.sample(synthetic_bars(symbols=1, days=30), every="24h").to_csv("orders.csv", index=False)
    command = [str(candles) if argument == "BARS" else argument for argument in arguments]
    assert "no format that is known" in str(runner.invoke(app, command).exception)
    wrong = runner.invoke(app, [*command, *VENDOR[:2], *VENDOR[4:], "--tz", "Asia/Tokio"])
    assert "there is no time zone 'Asia/Tokio'" in str(wrong.exception), wrong.output


def test_columns_are_pairs(candles):
    command = ["data", "convert", str(candles), "bars.arrow", "--columns", "timestamp"]
    assert "--columns takes OURS=THEIRS" in str(runner.invoke(app, command).exception)


def test_the_demo_has_no_unit_without_bars():
    assert "is for reading --data, which is not given" in str(runner.invoke(app, ["demo", "--unit", "ms"]).exception)


def test_rounded_prices_are_said_on_one_line(tmp_path, monkeypatch, capsys, data):
    frame = pd.read_parquet(data)
    frame.loc[3, "close"] = frame.loc[3, "high"] * (1 + 1.2e-7)
    frame.to_parquet(tmp_path / "bars.parquet")
    monkeypatch.setattr(
        sys, "argv", ["lem", "data", "convert", str(tmp_path / "bars.parquet"), str(tmp_path / "bars.csv")]
    )
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: 1 bar has prices that contradict each other by a rounding error")


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
    assert (fine.exit_code, fine.output) == (0, "no decision of stopping_rule changed in 3 checks\n")
    (tmp_path / "mine.py").write_text(PEEKING)
    leaking = runner.invoke(app, ["check-leak", f"{tmp_path / 'mine.py'}:Peeking", str(data)])
    assert leaking.exit_code == 1
    assert leaking.output.startswith("LEAK: the fraction decided for the bar of 2024-01-")
    for name, problem in (("nothing.py:Peeking", "no Python file"), (f"{tmp_path / 'mine.py'}:Other", "no 'Other'")):
        refused = runner.invoke(app, ["check-leak", name, str(data)])
        assert problem in str(refused.exception)


HASTY = """
class Hasty:
    def decide(self, context, orders, state):
        from lem_models import Decision
        return Decision(2.0 / orders.max_periods, False)
"""


@pytest.mark.usefixtures("quick_pictures", "quick_regressions")
def test_a_policy_of_one_s_own_runs_in_benchmark_and_execute(tmp_path, data):
    (tmp_path / "mine.py").write_text(HASTY)
    mine, out = f"{tmp_path / 'mine.py'}:Hasty", tmp_path / "out"
    few = ["--limit", "200", "--null", "0", "--max-periods", "4", "--min-periods", "4", "--out", str(out)]
    result = runner.invoke(app, ["benchmark", "--data", str(data), "--model", mine, "--baselines", "twap", *few])
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(out / "summary.csv")["policy"]) == {"Hasty", "twap"}
    assert _executed(tmp_path, data, f"S000,{DAY}", policy=mine).exit_code == 0
    assert pd.read_csv(out / "schedule.csv")["fraction"].tolist() == pytest.approx([1 / 3] * 3)


DAY = "2024-01-20T00:00Z"


def _executed(tmp_path, bars, *rows, **options):
    """Result of ``lem execute`` with twap, on rows of ``symbol,start``."""
    lines = ["symbol,start,side,max_periods", *(f"{row},buy,6" for row in rows)]
    (tmp_path / "orders.csv").write_text("\n".join(lines), encoding="utf-8")
    options = {"data": bars, "orders": tmp_path / "orders.csv", "policy": "twap", "out": tmp_path / "out"} | options
    return runner.invoke(app, ["execute", *(f"--{name}={value}" for name, value in options.items() if value)])


def test_execute_counts_what_cannot_run_by_reason(tmp_path, data, caplog):
    result = _executed(tmp_path, data, f"S000,{DAY}", f"s00,{DAY}", f"BTC,{DAY}", "S001,2024-02-20T00:30Z")
    assert result.exit_code == 0, result.output
    assert "3 of 4 orders cannot run" in caplog.text
    assert f"2 {NO_SYMBOL} (first: order '1', 's00' at 2024-01-20 00:00 UTC)" in caplog.text
    assert "unknown symbol 's00'; did you mean 'S00" in caplog.text
    assert "unknown symbol 'BTC'; known: 'S000', 'S001'" in caplog.text
    assert (
        "1 no bar of this symbol starts at this time (first: order '3', 'S001' at 2024-02-20 00:30 UTC)" in caplog.text
    )
    reasons = pd.read_csv(tmp_path / "out" / "excluded.csv")["reason"].tolist()
    assert reasons == [NO_SYMBOL, NO_SYMBOL, "no bar of this symbol starts at this time"]


def test_starts_inside_a_bar_are_moved_with_a_line_or_refused(tmp_path, data, caplog):
    result = _executed(tmp_path, data, f"S000,{DAY}", "S001,2024-01-20T00:30Z")
    assert result.exit_code == 0, result.output
    assert (
        "1 of 2 orders start inside a bar or while the market is closed, and are moved to the next bar" in caplog.text
    )
    assert pd.read_csv(tmp_path / "out" / "orders.csv")["start"].tolist()[1] == "2024-01-20 01:00:00+00:00"
    refused = _executed(tmp_path, data, f"S000,{DAY}", "S001,2024-01-20T00:30Z", starts="exact")
    assert type(refused.exception) is OrderError
    assert "the next valid start is 2024-01-20 01:00:00 UTC (field 'start', row 1" in str(refused.exception)


@pytest.mark.parametrize("command", ["execute", "benchmark"])
def test_orders_of_a_json_file_have_durations_and_quantities(tmp_path, data, command):
    order = {"symbol": "S000", "side": "Buy", "min_periods": "1h", "max_periods": "6 hours", "quantity": 5}
    orders = [{**order, "start": f"2024-01-20T{hour:02}:00Z"} for hour in range(20)]
    (tmp_path / "orders.json").write_text(json.dumps({"orders": orders}), encoding="utf-8")
    arguments = [command, f"--data={data}", f"--orders={tmp_path / 'orders.json'}", f"--out={tmp_path / 'out'}"]
    if command == "benchmark":
        arguments += ["--model=twap", "--baselines=pov", "--null=0", "--information=0", "--placebos="]
    else:
        arguments += ["--policy=twap"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    refused = runner.invoke(app, [*arguments, "--starts", "later"])
    assert "starts: Input should be 'next' or 'exact'" in str(refused.exception)
    if command == "execute":
        table = pd.read_csv(tmp_path / "out" / "orders.csv")
        assert table[["min_periods", "max_periods", "amount"]].drop_duplicates().to_numpy().tolist() == [[1, 6, 5]]


def test_execute_of_orders_of_which_none_can_run_is_no_success(tmp_path, data, caplog):
    result = _executed(tmp_path, data, f"KO,{DAY}", "S001,2030-01-01T00:00Z")
    assert result.exit_code == 1
    file = tmp_path / "out" / "excluded.csv"
    assert result.stderr.endswith(f"\nerror: no order could run; the reason of each is in {file}\n")
    assert result.stderr.startswith("warning: 2 of 2 orders cannot run")
    assert "2 of 2 orders cannot run" in caplog.text
    assert len(pd.read_csv(tmp_path / "out" / "excluded.csv")) == 2


def test_without_a_model_the_one_that_fits_the_bars_is_taken_and_named(tmp_path, daily):
    result = _executed(tmp_path, daily, "S000,2025-06-02T00:00Z", policy=None)
    assert result.exit_code == 0, result.output
    assert "note: model: lem-dow-daily, the bundled one for bars of 1D" in result.stderr


def test_a_model_of_another_frequency_is_refused_unless_it_is_asked_for(tmp_path, daily, caplog):
    rows = ["S000,2025-06-02T00:00Z"]
    refused = _executed(tmp_path, daily, *rows, policy="lem-crypto-hourly")
    assert type(refused.exception) is BarsError
    assert "'lem-crypto-hourly' was trained on bars of 1h, and these bars are 1D long" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    benchmark = ["benchmark", "--data", str(daily), "--null", "0", "--out", str(tmp_path / "report")]
    for models in (["--model", "lem-crypto-hourly"], ["--model", "twap", "--baselines", "lem-crypto-hourly"]):
        result = runner.invoke(app, [*benchmark, *models, "--max-periods", "6"])
        assert "trained on bars of 1h" in str(result.exception)
    assert not (tmp_path / "report").exists()
    arguments = [
        "execute",
        "--data",
        str(daily),
        "--orders",
        str(tmp_path / "orders.csv"),
        "--out",
        str(tmp_path / "out"),
    ]
    allowed = runner.invoke(app, [*arguments, "--model", "lem-crypto-hourly", "--any-frequency"])
    assert allowed.exit_code == 0, allowed.output
    assert "its decisions are untested there" in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("data", ".", "is a folder; name a file"),
        ("data", "nothing.parquet", "there is no file"),
        ("orders", ".", "is a folder; name a file"),
        ("orders", "nothing.csv", "there is no file"),
        ("out", "orders.csv", "is not a folder"),
        ("out", "orders.csv/deeper/still", "is not a folder"),
    ],
)
def test_a_path_that_cannot_be_is_refused_before_anything_is_done(tmp_path, data, monkeypatch, option, value, problem):
    monkeypatch.setattr(Bars, "read", None)  # never called
    monkeypatch.chdir(tmp_path)
    result = _executed(tmp_path, data, f"S000,{DAY}", **{option: value})
    assert isinstance(result.exception, LEMError)
    assert problem in str(result.exception)
    assert str(result.exception).count("\n") == 0


@pytest.mark.parametrize(
    ("target", "problem"),
    [(".", "is a folder"), ("missing/bars.csv", "there is no folder missing"), ("bars.txt", "is neither an .arrow")],
)
def test_a_conversion_to_where_nothing_can_be_written_is_refused(tmp_path, data, monkeypatch, target, problem):
    monkeypatch.setattr(Bars, "read", None)
    monkeypatch.chdir(tmp_path)
    assert problem in str(runner.invoke(app, ["data", "convert", str(data), target]).exception)


def test_execute_writes_schedule_orders_and_exclusions(tmp_path, data):
    bars = synthetic_bars(symbols=2, days=30, seed=4)
    orders = Order.sample(bars, every="24h", min_periods=1, max_periods=12)
    orders.to_csv(tmp_path / "orders.csv", index=False)
    arguments = ["execute", "--data", str(data), "--orders", str(tmp_path / "orders.csv"), "--policy", "twap"]
    result = runner.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "out" / "orders.csv")) == len(orders)
    assert len(pd.read_csv(tmp_path / "out" / "schedule.csv")) == 12 * len(orders)
    counts, mean = result.stdout.splitlines()[:2]
    assert counts == f"{len(orders):,} orders executed, 0 left out"
    slippage = pd.read_csv(tmp_path / "out" / "orders.csv")["slippage_bps"].mean()
    assert mean == f"mean slippage against the own benchmark {slippage:+.2f} bps (positive = cost)"


def test_errors_are_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lem", "benchmark", "--data", "nowhere.parquet", "--model", "twap"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "nowhere.parquet" in message
    assert "Traceback" not in message


def test_data_check_prints_a_table_json_and_a_page(tmp_path, data):
    page = tmp_path / "check.html"
    result = runner.invoke(app, ["data", "check", str(data), "--html", str(page), "--licence", "cc-by-4.0"])
    assert result.exit_code == 0, result.output
    for text in ("1,440", "24/7 (2)", "starts of orders lost to gaps", "cc-by-4.0", "Symbols"):
        assert text in result.output
    html = page.read_text()
    assert "Coverage" in html
    assert "data:image/svg" in html
    assert "positive = cost" not in html  # no order was executed
    content = json.loads(runner.invoke(app, ["data", "check", str(data), "--json"]).stdout)
    assert content["facts"]["bars"] == 1440
    assert content["warnings"] == [
        "no licence is stated: look up the terms of the data before you publish anything made of them"
    ]
    assert [row["symbol"] for row in content["symbols"]] == list(Bars.read(data).symbols)


def test_data_check_takes_the_terms_from_the_record_of_a_download(tmp_path, data):
    bars = tmp_path / "bars.parquet"
    bars.write_bytes(data.read_bytes())
    record_of(bars).write_text(json.dumps({"terms": "https://example.org/terms"}), encoding="utf-8")
    licence = json.loads(runner.invoke(app, ["data", "check", str(bars), "--json"]).stdout)["facts"]["licence"]
    assert licence == "https://example.org/terms"
    named = runner.invoke(app, ["data", "check", str(bars), "--json", "--licence", "cc0-1.0"])
    assert json.loads(named.stdout)["facts"]["licence"] == "cc0-1.0"
    record_of(bars).write_text("[", encoding="utf-8")
    assert "not stated" in runner.invoke(app, ["data", "check", str(bars), "--json"]).stdout


def test_data_check_reads_a_table_of_a_vendor(candles):
    result = runner.invoke(app, ["data", "check", str(candles), "--json", *VENDOR])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["facts"]["bars with an estimated notional"] == "100.0 %"
    assert "read as the format columns" in content["facts"]["how it was read"]


def test_lines_in_a_file_do_not_end_with_spaces():
    lines = runner.invoke(app, ["list"]).stdout.splitlines()
    assert lines
    assert [line for line in lines if line != line.rstrip(" ")] == []


def test_a_path_to_no_model_is_called_a_path(tmp_path, data):
    (tmp_path / "orders.csv").write_text("symbol,side,start,max_periods\nX,buy,2024-01-10T00:00Z,3\n")
    files = ["--data", str(data), "--orders", str(tmp_path / "orders.csv")]
    failed = runner.invoke(app, ["execute", *files, "--model", str(tmp_path / "tunde"), "--out", str(tmp_path / "out")])
    assert isinstance(failed.exception, UnknownNameError)
    assert str(failed.exception).startswith(f"there is no folder '{str(tmp_path)[:8]}")
