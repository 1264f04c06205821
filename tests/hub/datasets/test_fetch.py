"""``lem data fetch hub``: a data set becomes a file of bars, with its commit in the record."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.errors import ConfigError, DownloadError, HubError, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.download import Download, fetch_bars, record_of
from tests.hub.datasets.market_data import LICENCE, NAME, market

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


@pytest.fixture
def published(hub):
    market().push_to_hub(NAME, licence=LICENCE, token=hub.token)
    return hub


@pytest.mark.parametrize("out", ["bars.parquet", "bars.arrow"])
def test_the_bars_are_those_of_the_data_set(published, tmp_path, out):
    bars = fetch_bars("hub", [NAME], tmp_path / out)
    pd.testing.assert_frame_equal(bars.frame, market().frame)
    assert Bars.read(tmp_path / out).content_hash == market().content_hash
    assert "calendar 24/7" in repr(bars)
    record = json.loads(record_of(tmp_path / out).read_text())
    commit = published.repository(NAME, "datasets").at("main").sha
    assert (record["data_set"], record["split"], record["revision"]) == (NAME, "train", commit)
    assert published.token not in json.dumps(record)


def test_symbols_and_a_period(published, tmp_path):
    symbol = market().symbols[1]
    bars = fetch_bars("hub", [NAME, symbol], tmp_path / "bars.arrow", start="2024-01-05", end="2024-01-08")
    assert bars.symbols == (symbol,)
    expected = market().select(symbol).between("2024-01-05", "2024-01-09")
    np.testing.assert_array_equal(bars.close, expected.close)


def test_the_command(published, tmp_path):
    out = tmp_path / "bars.parquet"
    dry = CliRunner().invoke(app, ["data", "fetch", "hub", NAME, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert f"hf://datasets/{NAME}" in dry.output
    result = CliRunner().invoke(app, ["data", "fetch", "hub", NAME, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert len(Bars.read(out)) == len(market())
    assert "does not say whether its notional is exact" in result.output


def test_refusals(published, tmp_path):
    out = tmp_path / "bars.parquet"
    with pytest.raises(UnknownNameError, match="is named 'org/name'"):
        Download.of("hub", ["bars"], out)
    with pytest.raises(ConfigError, match="leave --interval out"):
        Download.of("hub", [NAME], out, interval="1h")
    with pytest.raises(ConfigError, match="set HF_ENDPOINT"):
        Download.of("hub", [NAME], out, addresses={"url": "http://127.0.0.1:1"})
    with pytest.raises(UnknownNameError, match="NONE"):
        fetch_bars("hub", [NAME, "NONE"], out)
    with pytest.raises(DownloadError, match="has no bars of"):
        fetch_bars("hub", [NAME], out, start="2019", end="2020")
    with pytest.raises(HubError, match="cannot read the data set 'desk/none'"):
        fetch_bars("hub", ["desk/none"], out)
    assert not out.exists()
