"""``lem buyback``, and the example on real bars."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lem_models import Bars
from lem_models.cli.app import app
from lem_models.errors import LEMError
from lem_models.programmes import BuybackProgramme
from tests.docs.pages import ROOT

runner = CliRunner()
DOW = ROOT.parent / "shared" / "data" / "dow_daily.parquet"


@pytest.fixture
def files(tmp_path):
    bars = Bars.sample("us-index-daily").select("SPX").between("2017-01-01T00:00Z")
    bars.write(tmp_path / "bars.parquet")
    terms = {"symbol": "SPX", "shares": 2_000_000, "first_day": "2018-10-01", "earliest": 5, "latest": 20}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(terms | {"lot_size": 100}))
    fills = "timestamp,quantity,price\n2018-10-01,100000,2924.6\n2018-10-02,100000,2923.4\n"
    (tmp_path / "fills.csv").write_text(fills)
    return tmp_path


def buyback(files: Path, *arguments: str):
    return runner.invoke(app, ["buyback", f"{files}/p.yaml", "--data", f"{files}/bars.parquet", *arguments])


def test_the_plan_the_decision_and_the_report(files):
    page = files / "page.html"
    options = ("--fills", f"{files}/fills.csv", "--policy", "twap", "--until", "2018-10-03", "--html", f"{page}")
    result = buyback(files, *options)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("buy 100,000 SPX on 2018-10-03, session 3")
    assert "bought 200,000 shares" in result.output
    assert "note: not checked: no opening trade and none in the last 30 minutes" in result.output
    assert "Sessions so far" in result.output
    assert page.exists()


def test_json_is_for_machines(files):
    result = buyback(files, "--policy", "twap", "--until", "2018-10-03", "--json")
    content = json.loads(result.stdout)
    assert content["decision"]["day"] == "2018-10-03"
    assert content["decision"]["shares"] == 111_100  # nothing was bought, and 18 sessions are left
    assert content["report"]["state"] == "under way"
    assert sum(row["shares"] for row in content["plan"]) == 2_000_000
    over = json.loads(buyback(files, "--policy", "twap", "--json").stdout)
    assert over["decision"] is None
    assert "was over on 2018-10-26" in over["no_decision"]


def test_a_backtest_compares_policies(files):
    result = buyback(files, "--policy", "volume_curve", "--backtest", "10")
    assert result.exit_code == 0, result.output
    assert "volume_curve minus twap, net:" in result.output
    content = json.loads(buyback(files, "--policy", "twap", "--backtest", "10", "--json").stdout)
    assert content["summary"][0]["policy"] == "twap"


def test_an_error_names_the_term(files):
    (files / "p.yaml").write_text("symbol: SPY\nshares: 5\nfirst_day: 2018-10-01\nlatest: 20\n")
    result = buyback(files, "--policy", "twap")
    assert isinstance(result.exception, LEMError)
    assert "SPY" in str(result.exception)


@pytest.mark.skipif(not DOW.exists(), reason="the daily bars of the Dow are not there")
def test_two_million_shares_of_ko_over_5_to_20_days():
    programme = BuybackProgramme.read(ROOT / "examples" / "buyback.yaml")
    bars = Bars.read(DOW, calendar="XNYS").select("KO").between("2015-01-01T00:00Z", "2019-01-01T00:00Z")
    tested = programme.backtest(bars, {"told": "lem-dow-daily", "twap": "twap"}, ["2018-10-01"])
    told, twap = (tested.purchases[name][0] for name in ("told", "twap"))
    assert told.sum() == twap.sum() == 2_000_000
    assert (told % 100 == 0).all()
    assert 5 <= tested.programmes["told"]["periods_used"][0] <= 20
    assert tested.programmes["told"]["largest_participation"][0] <= 0.25
    # Day by day with the fills that the backtest had, the decisions are the same.
    fills, number = [], 0
    for day in pd.DatetimeIndex(tested.programmes["told"]["start"]).repeat(6) + pd.to_timedelta(range(6), "D"):
        if day.day_of_week > 4:
            continue
        decision = programme.today(bars.between(end=day), pd.DataFrame(fills) if fills else None, "lem-dow-daily")
        assert abs(decision.shares - told[number]) <= 2_000_000 * 1e-4 + 100
        row = int(bars.locate("KO", [day.value])[0])
        fills.append({"timestamp": day, "quantity": int(told[number]), "price": bars.vwap[row]})
        number += 1
