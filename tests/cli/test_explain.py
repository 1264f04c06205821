"""``lem explain``: from bars and orders to a picture and a paragraph."""

import json

import pytest
from typer.testing import CliRunner

from lem_models import Bars, Order
from lem_models.cli.app import app
from lem_models.errors import ConfigError, OrderError

runner = CliRunner()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    bars = Bars.sample("us-index-daily").select("SPX").between("2014-01-01", "2017-01-01")
    bars.write(folder / "bars.parquet")
    orders = Order.sample(bars, every=40, side="buy", min_periods=12, max_periods=12, start="2016-01-01")
    orders.assign(order_id=[f"o{n}" for n in range(len(orders))]).to_csv(folder / "orders.csv", index=False)
    return folder


def run(files, *arguments):
    given = ["--data", files / "bars.parquet", "--orders", files / "orders.csv", "--paths", "4", *arguments]
    return runner.invoke(app, ["explain", *map(str, given)])


@pytest.mark.usefixtures("quick_pictures")
def test_a_picture_and_a_paragraph(files, tmp_path):
    result = run(files, "--order-id", "o1", "--period", 0, "--out", tmp_path / "why.png")
    assert result.exit_code == 0, result.output
    assert "Before bar 1 of 12" in result.output
    assert "of order o1, a buy of SPX against vwap" in result.output
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("quick_pictures")
def test_json(files, tmp_path):
    result = run(files, "--json", "--period", 0, "--paths", 0, "--out", tmp_path / "why2.png")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["order"]["order_id"] == "o0"
    assert content["forecast"] is None
    assert content["picture"].endswith("why2.png")
    assert {"decision", "attributions", "counterfactuals", "attention", "selection", "text"} <= content.keys()


def test_refusals(files, tmp_path):
    refused = run(files, "--out", tmp_path / "why.txt")
    assert isinstance(refused.exception, ConfigError)
    assert ".png, .svg, .pdf, .html; got 'why.txt'" in str(refused.exception)
    refused = run(files, "--order-id", "zz", "--out", tmp_path / "why.png")
    assert isinstance(refused.exception, ConfigError)
    assert "no order that ran has this order_id; there are o0" in str(refused.exception)
    (tmp_path / "none.csv").write_text("symbol,start,side\nSPX,2014-01-03T00:00Z,buy\n")
    refused = run(files, "--orders", tmp_path / "none.csv", "--out", tmp_path / "why.png")
    assert isinstance(refused.exception, OrderError)
    assert not list(tmp_path.glob("why*"))
