"""Sources that are asked symbol by symbol: an interrupted download goes on with the symbols that are missing."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import DownloadError
from lem_models.markets.download import Download
from lem_models.markets.download.by_symbol import SymbolSource
from lem_models.markets.download.fetch import SOURCES
from lem_models.markets.download.source import Fetched, closed_bars, plain_table

NOW = pd.Timestamp("2025-01-03 12:34:56", tz="UTC")


class Vendor(SymbolSource):
    """A vendor whose requests are counted, and that fails for some symbols."""

    name = "vendor"
    terms = "none"
    notional = "made up"
    default_addresses: ClassVar = {"url": "http://127.0.0.1:1"}
    options: ClassVar = {"feed": "slow"}
    asked: ClassVar[list[str]] = []
    fails: ClassVar[set[str]] = set()

    def plan(self):
        return []

    def fetch(self, client, symbol, report):
        self.asked.append(symbol)
        if symbol in self.fails:
            raise DownloadError(f"no {symbol}")
        opened = pd.date_range(self.period.start, periods=100, freq="h", tz="UTC")
        ones = {name: np.full(100, 10.0) for name in ("open", "high", "low", "close", "volume")} | {
            "notional": np.full(100, 100.0)
        }
        fetched = Fetched(plain_table(symbol, opened, ones, exact=True), notes=[f"a note on {symbol}"])
        closed_bars(fetched, self.request)
        return fetched


@pytest.fixture
def vendor(monkeypatch):
    monkeypatch.setitem(SOURCES, "vendor", Vendor)
    monkeypatch.setattr(Vendor, "asked", [])
    monkeypatch.setattr(Vendor, "fails", set())
    return Vendor


def download(folder, names="AAA,BBB,CCC", **settings):
    settings = {"interval": "1h", "start": "2025-01-01", "now": NOW} | settings
    return Download.of("vendor", names.split(","), folder / "bars.parquet", **settings)


def interrupted(folder, vendor):
    vendor.fails.add("CCC")
    with pytest.raises(DownloadError, match="no CCC"):
        download(folder).write()
    assert vendor.asked == ["AAA", "BBB", "CCC"]
    vendor.fails.clear()
    vendor.asked.clear()


def test_only_what_is_missing_is_asked_for_again(vendor, tmp_path):
    interrupted(tmp_path, vendor)
    job = download(tmp_path, now=NOW + pd.Timedelta("10min"))  # the same last closed bar
    bars = job.write()
    assert vendor.asked == ["CCC"]
    assert np.diff(bars.offsets).tolist() == [60, 60, 60]
    assert job.notes == ["a note on AAA", "a note on BBB", "a note on CCC"]
    assert job.repairs == {"bars left out because they had not closed": 3 * 40}
    assert job.exact_share == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.parquet", "bars.parquet.source.json"]


def test_the_bars_are_those_of_a_download_in_one_go(vendor, tmp_path):
    interrupted(tmp_path, vendor)
    resumed = download(tmp_path).write()
    (tmp_path / "whole").mkdir()
    whole = download(tmp_path / "whole").write()
    pd.testing.assert_frame_equal(resumed.frame, whole.frame)


@pytest.mark.parametrize(
    "changed",
    [
        {"start": "2025-01-02"},
        {"end": "2025-01-02"},
        {"now": NOW + pd.Timedelta("1h")},
        {"options": {"feed": "fast"}},
        {"addresses": {"url": "http://127.0.0.1:2"}},
    ],
    ids=["start", "end", "now", "options", "address"],
)
def test_another_request_starts_from_the_beginning(vendor, tmp_path, changed):
    interrupted(tmp_path, vendor)
    download(tmp_path, **changed).write()
    assert vendor.asked == ["AAA", "BBB", "CCC"]


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_table_that_is_damaged_is_fetched_again(vendor, tmp_path, suffix):
    interrupted(tmp_path, vendor)
    path = min((tmp_path / "bars.parquet.download").glob(f"*{suffix}"))
    path.write_bytes(path.read_bytes()[:-9])
    download(tmp_path).write()
    assert len(vendor.asked) == 2
    assert "CCC" in vendor.asked
