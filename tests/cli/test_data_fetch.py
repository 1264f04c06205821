"""``lem data fetch``: what it prints, where it writes, and how it refuses."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lem_models import Bars
from lem_models.cli.app import app
from lem_models.errors import ConfigError, DownloadError, LEMError
from tests.cli.terminals import on_a_terminal
from tests.markets.download.kline_archive import KlineArchive
from tests.markets.download.web import serving

runner = CliRunner()


@pytest.fixture
def web():
    archive = KlineArchive()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        archive.add(symbol, ["2023-02", "2023-03"])
    archive.add("BTCUSDT", ["2023-02"], market="usdm")
    with serving(archive) as web:
        yield web


def fetch(web, *arguments, symbols="BTCUSDT,ETHUSDT"):
    command = ["data", "fetch", "binance", symbols, "--interval", "1h", "--from", "2023-01", "--to", "2023-03"]
    return runner.invoke(app, [*command, "--url", web.url, "--rate", "1000", *map(str, arguments)])


def test_bars_and_their_record(web, tmp_path):
    result = fetch(web, "--out", tmp_path / "bars.arrow")
    assert result.exit_code == 0, result.output
    bars = Bars.read(tmp_path / "bars.arrow")
    assert bars.symbols == ("BTCUSDT", "ETHUSDT")
    lines = result.output.splitlines()
    assert lines[0] == repr(bars)
    assert "note: ETHUSDT: the archive has no bars for 2023-01 (not listed, or not published yet)" in lines
    assert lines[-2:] == [str(tmp_path / "bars.arrow"), str(tmp_path / "bars.arrow.source.json")]
    record = json.loads((tmp_path / "bars.arrow.source.json").read_text())
    assert record["bars"] == len(bars)
    assert len(record["files"]) == 4


def test_a_dry_run_writes_nothing(web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = fetch(web, "--dry-run")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert re.fullmatch(
        r"BTCUSDT: 2 months, [0-9.]+ kB, 2023-02 to 2023-03, from http://\S+/data/spot/monthly/klines/BTCUSDT/1h",
        lines[0],
    )
    assert lines[-1].startswith("dry run: no bars were fetched; ")
    assert list(tmp_path.iterdir()) == []
    assert set(web.paths()) == {"/"}


def test_another_market(web, tmp_path):
    result = fetch(web, "--out", tmp_path / "bars.parquet", "--market", "usdm", symbols="BTCUSDT")
    assert result.exit_code == 0, result.output
    assert len(Bars.read(tmp_path / "bars.parquet")) == 28 * 24


def test_symbols_may_be_several_words(web):
    command = [
        "data",
        "fetch",
        "binance",
        "BTCUSDT",
        "ETHUSDT",
        "--interval",
        "1h",
        "--from",
        "2023-02",
        "--to",
        "2023-03",
    ]
    result = runner.invoke(app, [*command, "--url", web.url, "--dry-run"])
    assert [line.split(":")[0] for line in result.output.splitlines()] == ["BTCUSDT", "ETHUSDT", "dry run"]


def test_files_stay_where_they_are_told_to(web, tmp_path):
    for _ in range(2):
        result = fetch(web, "--out", tmp_path / "bars.parquet", "--files", tmp_path / "files")
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "files").rglob("*.zip"))) == 4
    assert len([path for path in web.paths() if path.endswith(".zip")]) == 4


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], ConfigError, "name the file to write with --out"),
        (["--out", "bars.csv"], LEMError, r"a \.parquet or an \.arrow file"),
        (["--dry-run", "--market", "swap"], LEMError, "unknown market 'swap'"),
        (["--dry-run", "--feed", "sip"], ConfigError, "has no option 'feed'"),
        (["--dry-run", "--rate", "0"], ConfigError, "the download is refused: rate"),
        (["--dry-run", "--url", "host"], ConfigError, "is not the address of a source"),
    ],
)
def test_refusals(web, arguments, kind, message):
    result = fetch(web, *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, kind)
    assert re.search(message, str(result.exception))
    assert web.asked == []


def test_a_symbol_that_does_not_exist(web, tmp_path):
    result = fetch(web, "--out", tmp_path / "bars.parquet", symbols="BTCUSDT,NONE")
    assert isinstance(result.exception, DownloadError)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_on_a_terminal_only(web, tmp_path):
    command = ["data", "fetch", "binance", "BTCUSDT", "--interval", "1h", "--from", "2023-02", "--to", "2023-03"]
    command += ["--url", web.url, "--rate", "1000", "--out", str(tmp_path / "bars.parquet")]
    lem = [sys.executable, "-m", "lem_models.cli", *command]
    shown = on_a_terminal(lem)
    assert "downloading" in shown
    piped = subprocess.run(lem, capture_output=True, text=True, check=True)
    assert piped.stderr == ""
