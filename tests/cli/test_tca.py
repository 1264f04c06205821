"""``lem tca``: from a file of fills to a page."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from lem_models import Order, execute, synthetic_bars
from lem_models.cli.app import app
from lem_models.errors import FillError, OrderError, UnknownNameError

runner = CliRunner()
pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Bars, orders and fills of a simulated execution."""
    folder = tmp_path_factory.mktemp("tca")
    bars = synthetic_bars(symbols=2, days=12, seed=4)
    bars.write(folder / "bars.parquet")
    orders = Order.sample(bars, every=31, side="both", max_periods=6, amount=10.0)
    orders["order_id"] = range(100, 100 + len(orders))
    orders.to_csv(folder / "orders.csv", index=False)
    result = execute("pov", bars, orders)
    fills = result.schedule.assign(qty=10.0 * result.schedule["fraction"])
    fills = fills.merge(result.orders[["order_id", "symbol", "side"]], on="order_id")
    fills = fills.rename(columns={"timestamp": "Date/Time"})
    fills[["order_id", "Date/Time", "qty", "price", "symbol", "side"]].to_csv(folder / "fills.csv", index=False)
    return folder


def run(files, *arguments):
    return runner.invoke(app, ["tca", *map(str, arguments), "--data", str(files / "bars.parquet")])


def test_fills_with_orders_and_policies(files, tmp_path):
    arguments = ["--orders", files / "orders.csv", "--against", "twap,pov", "--against", "volume_curve"]
    result = run(files, files / "fills.csv", *arguments, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for words in ("Slippage by cause", "What policies would have paid", "volume_curve", "tca.html"):
        assert words in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fills.csv", "orders.csv", "tca.html", "tca.json"]
    written = json.loads((tmp_path / "tca.json").read_text())
    (pov,) = [
        row
        for row in written["comparison"]
        if (row["policy"], row["against"], row["weighting"]) == ("pov", "own", "equal")
    ]
    assert pov["difference_bps"] == pytest.approx(0.0, abs=1e-6)
    orders = pd.read_csv(tmp_path / "orders.csv")
    assert orders["cost"].sum() == pytest.approx(orders.filter(regex=r"^cause_[a-z]+$").sum().sum())


def test_without_orders_and_as_json(files, tmp_path):
    result = run(files, files / "fills.csv", "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert "parent orders are inferred from the fills, by order_id" in content["notes"][0]
    assert content["fills_measured"] > 0
    assert content["totals"][0]["measure"] == "slippage_bps"


def test_columns_and_zone_of_the_fills(files, tmp_path):
    table = pd.read_csv(files / "fills.csv")
    when = pd.to_datetime(table["Date/Time"]).dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    table.assign(when=when).drop(columns="Date/Time").to_csv(tmp_path / "local.csv", index=False)
    arguments = ["--fills-columns", "time=when", "--fills-tz", "America/New_York", "--out", tmp_path]
    result = run(files, tmp_path / "local.csv", "--json", *arguments)
    assert result.exit_code == 0, result.output
    other = run(files, files / "fills.csv", "--json", "--out", tmp_path)
    assert json.loads(result.stdout)["totals"] == json.loads(other.stdout)["totals"]


def test_no_measured_order_is_exit_code_1(files, tmp_path):
    table = pd.read_csv(files / "fills.csv").assign(symbol="ZZZ")
    table.to_csv(tmp_path / "other.csv", index=False)
    result = run(files, tmp_path / "other.csv", "--out", tmp_path)
    assert result.exit_code == 1
    assert "no order could be measured" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["missing.csv"], OrderError, "there is no file missing.csv"),
        (["fills.csv", "--against", "twop"], UnknownNameError, "twap"),
        (["fills.csv", "--fills-columns", "time=when"], FillError, "have no column 'when'"),
        (["fills.csv", "--benchmark", "close"], OrderError, "benchmark must be one of"),
    ],
    ids=str,
)
def test_what_is_refused(files, tmp_path, arguments, error, message):
    name, *others = arguments
    path = files / name if (files / name).exists() else name
    result = run(files, path, *others, "--out", tmp_path / "out")
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()
