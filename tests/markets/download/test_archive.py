"""Binance's archive: months and days, checksums, faults of the server, and downloads that go on where they stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest

from lem_models import Bars
from lem_models.errors import BarsError, ConfigError, DownloadError, UnknownNameError
from lem_models.markets.download import Download, record_of
from lem_models.markets.download.transfer import Manners
from tests.markets.download.kline_archive import KlineArchive, csv_of, klines, zipped
from tests.markets.download.web import Answer, serving

NOW = pd.Timestamp("2025-02-11 05:30", tz="UTC")
QUICK = Manners(per_second=2000, first_wait=0.01, longest_wait=2.0, attempts=4, timeout=5.0)


@pytest.fixture
def archive():
    return KlineArchive()


@pytest.fixture
def web(archive):
    with serving(archive) as web:
        yield web


@pytest.fixture
def download(web, tmp_path):
    def make(names="BTCUSDT", start="2024-11", end="2024-12", out="bars.parquet", **settings):
        settings = {"interval": "1h", "addresses": {"url": web.url}, "now": NOW, "manners": QUICK} | settings
        return Download.of("binance", names.split(","), tmp_path / out, start=start, end=end, **settings)

    return make


def zips(web):
    return [path for path in web.paths() if path.endswith(".zip")]


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


class TestBars:
    @pytest.mark.parametrize("out", ["bars.parquet", "bars.arrow"])
    def test_months_then_days_of_the_month_that_is_not_published(self, archive, download, out):
        archive.add("BTCUSDT", ["2024-12", "2025-01"])
        archive.add("BTCUSDT", [f"2025-02-{day:02d}" for day in range(1, 11)])
        bars = download(start="2024-12", end="2025-02", out=out).write()
        expected = klines("BTCUSDT", "2024-12-01", "2025-02-11")
        assert bars.timestamp.tolist() == pd.DatetimeIndex(expected["opened"]).as_unit("ns").asi8.tolist()
        for name in ("open", "high", "low", "close", "volume"):
            assert getattr(bars, name).tolist() == expected[name].tolist(), name
        assert bars.notional.tolist() == expected["quote"].tolist()  # exact, in milliseconds as in microseconds
        assert bars.frame["notional_exact"].all()
        assert "calendar 24/7" in repr(bars)

    def test_several_symbols_keep_their_order(self, archive, download):
        for symbol in ("ETHUSDT", "BTCUSDT"):
            archive.add(symbol, ["2024-11", "2024-12"])
        bars = download("ETHUSDT,BTCUSDT").write()
        assert bars.symbols == ("ETHUSDT", "BTCUSDT")
        assert np.diff(bars.offsets).tolist() == [61 * 24] * 2

    @pytest.mark.parametrize("header", [True, False])
    @pytest.mark.parametrize("market", ["spot", "usdm"])
    def test_a_header_may_be_there_or_not(self, archive, download, market, header):
        archive.add("BTCUSDT", ["2024-12"], market=market, header=header)
        bars = download(start="2024-12", options={"market": market}).write()
        assert len(bars) == 31 * 24
        assert bars.open[0] == klines("BTCUSDT", "2024-12-01", "2024-12-02")["open"].iloc[0]

    @pytest.mark.parametrize(("symbol", "size"), [("BTCUSD_PERP", 100.0), ("ETHUSD_PERP", 10.0)])
    def test_an_inverse_contract_counts_coins_and_money(self, archive, download, symbol, size):
        archive.add(symbol, ["2024-12"], market="coinm")
        bars = download(symbol, start="2024-12", options={"market": "coinm"}).write()
        raw = klines(symbol, "2024-12-01", "2025-01-01", market="coinm")
        assert bars.volume.tolist() == raw["quote"].tolist()
        assert bars.notional.tolist() == (raw["volume"] * size).tolist()
        np.testing.assert_allclose(bars.vwap, raw["open"] + 0.25, rtol=1e-6)

    def test_a_contract_of_another_size_is_refused(self, archive, download):
        frame = klines("BTCUSD_PERP", "2024-12-01", "2025-01-01", market="coinm")
        frame["volume"] *= 10  # contracts of 10 USD
        archive.add("BTCUSD_PERP", ["2024-12"], market="coinm", frame=frame)
        with pytest.raises(DownloadError, match="contracts of BTCUSD_PERP are not worth 100 USD, rather 10"):
            download("BTCUSD_PERP", start="2024-12", options={"market": "coinm"}).write()

    def test_only_bars_of_the_period(self, archive, download):
        archive.add("BTCUSDT", ["2024-12"])
        bars = download(start="2024-12-05", end="2024-12-06T12:00:00Z").write()
        assert str(bars.frame["timestamp"].iloc[0]) == "2024-12-05 00:00:00+00:00"
        assert str(bars.frame["timestamp"].iloc[-1]) == "2024-12-06 11:00:00+00:00"

    def test_a_bar_that_has_not_closed_is_left_out_and_counted(self, archive, download):
        archive.add("BTCUSDT", ["2025-02-10"])
        archive.add("BTCUSDT", ["2025-02-11"], frame=klines("BTCUSDT", "2025-02-11", "2025-02-11 06:00"))
        job = download(start="2025-02-10", end=None)
        bars = job.write()
        assert str(bars.frame["timestamp"].iloc[-1]) == "2025-02-11 04:00:00+00:00"  # 05:00 to 06:00 is open at 05:30
        assert job.repairs == {"bars left out because they had not closed": 1}

    def test_bars_that_were_stamped_late_move_to_their_interval(self, archive, download):
        frame = klines("BTCUSDT", "2024-12-01", "2025-01-01")
        frame.loc[5, "opened"] += pd.Timedelta("17min")
        archive.add("BTCUSDT", ["2024-12"], frame=frame)
        job = download(start="2024-12")
        assert len(job.write().gaps) == 0
        assert job.repairs == {"bars stamped late, moved to the start of their interval": 1}

    def test_a_bar_that_occurs_twice_is_taken_once(self, archive, download):
        frame = klines("BTCUSDT", "2024-12-01", "2025-01-01")
        archive.add("BTCUSDT", ["2024-12"], frame=pd.concat([frame.iloc[:3], frame.iloc[2:]]))
        job = download(start="2024-12")
        assert len(job.write()) == 31 * 24
        assert job.repairs == {"bars that occurred twice, left out once": 1}

    def test_a_wrong_bar_is_refused_by_the_rules_of_bars(self, archive, download, tmp_path):
        frame = klines("BTCUSDT", "2024-12-01", "2025-01-01")
        frame.loc[7, "quote"] *= 3.0
        archive.add("BTCUSDT", ["2024-12"], frame=frame)
        with pytest.raises(BarsError, match="VWAP") as caught:
            download(start="2024-12").write()
        assert str(caught.value.timestamp) == "2024-12-01 07:00:00+00:00"
        assert left_behind(tmp_path) == ["bars.parquet.download"]


class TestListing:
    def test_a_symbol_that_was_listed_later_is_said(self, archive, download):
        archive.add("NEWUSDT", ["2024-12"])
        job = download("NEWUSDT", start="2024-09")
        (line,) = job.plan()
        assert (line.what, line.period) == ("1 month", "2024-12 to 2024-12")
        note = "NEWUSDT: the archive has no bars for 2024-09 to 2024-11 (not listed, or not published yet)"
        assert job.notes == [note]
        assert len(job.write()) == 31 * 24
        assert job.notes == [note]

    def test_a_month_that_is_missing_is_taken_day_by_day(self, archive, download):
        archive.add("BTCUSDT", ["2024-10", "2024-12"])
        archive.add("BTCUSDT", [f"2024-11-{day:02d}" for day in range(1, 31) if day not in (13, 14, 20)])
        job = download(start="2024-10")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bars = job.write()
        assert bars.gaps["missing"].tolist() == [48, 24]
        assert job.notes == [
            "BTCUSDT: the archive has no bars for 2024-11-13 to 2024-11-14, 2024-11-20 "
            "(not listed, or not published yet)"
        ]

    @pytest.mark.parametrize("page", [1, 3, 7])
    def test_the_listing_may_have_pages(self, archive, download, page):
        archive.add("BTCUSDT", ["2024-09", "2024-10", "2024-11"])
        archive.add("BTCUSDT", [f"2024-12-{day:02d}" for day in range(1, 32)])
        whole = [vars(line) for line in download(start="2024-09").plan()]
        archive.page = page
        assert [vars(line) for line in download(start="2024-09").plan()] == whole
        assert whole[0]["what"] == "3 months, 31 days"

    def test_a_plan_fetches_no_bars(self, archive, web, download, tmp_path):
        keys = archive.add("BTCUSDT", ["2024-11", "2024-12"])
        (line,) = download().plan()
        assert line.bytes == sum(len(archive.objects[key]) for key in keys)
        assert set(web.paths()) == {"/"}
        assert left_behind(tmp_path) == []

    def test_nothing_at_all_is_an_error_that_names_the_causes(self, archive, download, tmp_path):
        archive.add("BTCUSDT", ["2024-12"])
        with pytest.raises(DownloadError, match=r"no spot bars of GONEUSDT and 1h .* another market"):
            download("BTCUSDT,GONEUSDT").write()
        assert left_behind(tmp_path) == []

    def test_a_file_without_a_checksum_is_refused(self, archive, download):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        del archive.objects[f"{key}.CHECKSUM"]
        with pytest.raises(DownloadError, match="no checksum of data/spot/monthly"):
            download(start="2024-12").plan()

    @pytest.mark.parametrize(
        "body",
        [b"<html>sign in</html>", b"no xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>"],
        ids=["page", "text", "entities"],
    )
    def test_what_is_no_listing_is_refused(self, web, download, body):
        web.faults["/"] = [Answer(body=body)]
        with pytest.raises(DownloadError, match="sends no listing of files"):
            download().plan()


class TestFaults:
    def test_429_is_obeyed_by_all_threads(self, archive, web, download):
        keys = archive.add("BTCUSDT", ["2024-11", "2024-12"])
        web.faults[f"/{keys[0]}"] = [Answer(429, headers={"Retry-After": "1"})]
        started = time.monotonic()
        assert len(download().write()) == 61 * 24
        assert time.monotonic() - started >= 1.0
        assert zips(web).count(f"/{keys[0]}") == 2

    def test_a_wait_that_is_too_long_ends_the_download(self, archive, web, download):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        web.faults[f"/{key}"] = [Answer(429, headers={"Retry-After": "3600"})]
        with pytest.raises(DownloadError, match=r"answers 429 .*try again in 3600 seconds") as caught:
            download(start="2024-12").write()
        assert (caught.value.status, caught.value.retry_after) == (429, 3600.0)

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_server_that_recovers_is_asked_again(self, archive, web, download, status):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        web.faults["/"] = [Answer(status)]
        web.faults[f"/{key}.CHECKSUM"] = [Answer(status)]
        web.faults[f"/{key}"] = [Answer(status), Answer(status)]
        assert len(download(start="2024-12").write()) == 31 * 24

    def test_a_server_that_does_not_recover(self, archive, web, download, tmp_path):
        keys = archive.add("BTCUSDT", ["2024-11", "2024-12"])
        web.faults[f"/{keys[1]}"] = [Answer(503)] * 4
        with pytest.raises(DownloadError, match="answers 503") as caught:
            download().write()
        assert caught.value.status == 503
        assert caught.value.__context__ is None
        assert left_behind(tmp_path) == ["bars.parquet.download"]

    def test_a_connection_that_breaks_is_made_again(self, archive, web, download):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        web.faults[f"/{key}"] = [Answer(body=archive.objects[key], cut=100)]
        assert len(download(start="2024-12").write()) == 31 * 24
        assert len(zips(web)) == 2

    def test_a_wrong_checksum_is_fetched_again(self, archive, web, download):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        web.faults[f"/{key}"] = [Answer(body=archive.objects[key][:-50]), Answer(body=b"x" * 99)]
        assert len(download(start="2024-12").write()) == 31 * 24

    def test_a_file_that_is_replaced_while_it_is_fetched(self, archive, web, download):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        old = archive.objects[f"{key}.CHECKSUM"]
        archive.add("BTCUSDT", ["2024-12"], frame=klines("BTCUSDTX", "2024-12-01", "2025-01-01"))
        web.faults[f"/{key}.CHECKSUM"] = [Answer(body=old)]
        bars = download(start="2024-12").write()
        assert bars.open[0] == klines("BTCUSDTX", "2024-12-01", "2024-12-02")["open"].iloc[0]

    def test_a_checksum_that_stays_wrong(self, archive, web, download, tmp_path):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        archive.objects[key] = archive.objects[key][:-50]  # truncated at the source
        with pytest.raises(DownloadError, match=r"2024-12\.zip is damaged: it has .* bytes and the SHA-256"):
            download(start="2024-12").write()
        assert not list(tmp_path.rglob("*.zip"))

    @pytest.mark.parametrize(
        "text",
        ["", "abc  BTCUSDT-1h-2024-12.zip", "0" * 64, f"{'0' * 64}  OTHER.zip"],
        ids=["none", "short", "bare", "other"],
    )
    def test_a_checksum_file_that_is_none(self, archive, download, text):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        archive.objects[f"{key}.CHECKSUM"] = text.encode()
        with pytest.raises(DownloadError, match=r"holds no checksum of BTCUSDT-1h-2024-12\.zip"):
            download(start="2024-12").write()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"PK\x03\x04 truncated", "not a zip file"),
            (zipped("a.txt", b"hello"), "not one CSV file"),
            (zipped("a.csv", b""), "cannot be read"),
            (zipped("a.csv", b"1,2,3\n"), "columns"),
            (zipped("a.csv", b"1733011200,1,1,1,1,1,2,1,1,1,1,0\n"), "neither all in milliseconds nor all in micro"),
            (zipped("a.csv", b"1733011200000,1,1,1,x,1,2,1,1,1,1,0\n"), "invalid value 'x'"),
            (zipped("a.csv", b"1704067200000,1,1,1,1,1,2,1,1,1,1,0\n"), "outside of its name"),
        ],
        ids=["truncated", "no csv", "empty", "columns", "seconds", "text", "month"],
    )
    def test_a_file_that_is_no_file_of_klines(self, archive, download, tmp_path, content, message):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        archive.put(key, content)
        with pytest.raises(DownloadError, match=message):
            download(start="2024-12").write()
        assert not (tmp_path / "bars.parquet").exists()

    def test_a_zip_that_expands_enormously(self, archive, download):
        (key,) = archive.add("BTCUSDT", ["2024-12"])
        archive.put(key, zipped("a.csv", bytes(300 << 20)))
        with pytest.raises(DownloadError, match="would expand to more than"):
            download(start="2024-12").write()

    def test_no_server(self, download):
        with pytest.raises(DownloadError, match="are you online"):
            download(addresses={"url": "http://127.0.0.1:9"}).plan()


class TestResuming:
    def test_files_that_are_here_are_not_fetched_again(self, archive, web, download, tmp_path):
        keys = archive.add("BTCUSDT", ["2024-10", "2024-11", "2024-12"])
        web.faults[f"/{keys[2]}"] = [Answer(404)]
        with pytest.raises(DownloadError, match="404"):
            download(start="2024-10", workers=1).write()
        assert zips(web) == [f"/{key}" for key in keys]
        web.asked.clear()
        assert len(download(start="2024-10").write()) == 92 * 24
        assert zips(web) == [f"/{keys[2]}"]
        assert left_behind(tmp_path) == ["bars.parquet", "bars.parquet.source.json"]

    def test_a_file_that_changed_here_or_there_is_fetched_again(self, archive, web, download, tmp_path):
        keys = archive.add("BTCUSDT", ["2024-10", "2024-11", "2024-12"])
        download(start="2024-10", files=tmp_path / "kept").write()
        kept = sorted((tmp_path / "kept").rglob("*.zip"))
        assert len(kept) == 3
        kept[0].write_bytes(b"damaged")
        archive.add("BTCUSDT", ["2024-11"], frame=klines("BTCUSDTX", "2024-11-01", "2024-12-01"))
        web.asked.clear()
        bars = download(start="2024-10", files=tmp_path / "kept").write()
        assert sorted(zips(web)) == [f"/{keys[0]}", f"/{keys[1]}"]
        assert (
            bars.between("2024-11-01", "2024-12-01").open[0]
            == klines("BTCUSDTX", "2024-11-01", "2024-11-02")["open"].iloc[0]
        )

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
    def test_a_download_that_was_killed_goes_on(self, archive, web, tmp_path, number):
        keys = archive.add("BTCUSDT", ["2024-09", "2024-10", "2024-11", "2024-12"])
        reached, go_on = threading.Event(), threading.Event()

        class Waits(dict):
            def get(self, path, default=None):
                if path == f"/{keys[2]}":
                    reached.set()
                    go_on.wait(30)
                return default

        web.faults = Waits()
        command = [sys.executable, "-m", "lem_models.cli", "data", "fetch", "binance", "BTCUSDT", "--interval", "1h"]
        command += ["--from", "2024-09", "--to", "2024-12", "--out", str(tmp_path / "bars.parquet"), "--rate", "1000"]
        command += ["--workers", "1", "--url", web.url]
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert reached.wait(60)
        first.send_signal(number)
        go_on.set()
        _, errors = first.communicate(timeout=60)
        assert first.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 143), errors
        assert number == signal.SIGKILL or "repeat the command to go on" in errors
        assert left_behind(tmp_path) == ["bars.parquet.download"]
        web.faults = {}
        web.asked.clear()
        again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert again.returncode == 0, again.stderr
        assert zips(web) == [f"/{key}" for key in keys[2:]]
        assert again.stderr == ""  # no progress bar in a pipe
        assert len(Bars.read(tmp_path / "bars.parquet")) == 122 * 24
        assert left_behind(tmp_path) == ["bars.parquet", "bars.parquet.source.json"]

    def test_a_folder_of_other_files_is_left_alone(self, archive, download, tmp_path):
        archive.add("BTCUSDT", ["2024-12"])
        other = tmp_path / "bars.parquet.download" / "mine.txt"
        other.parent.mkdir()
        other.write_text("mine")
        with pytest.raises(ConfigError, match="holds other files"):
            download(start="2024-12").write()
        assert other.read_text() == "mine"


class TestRecord:
    def test_the_record_names_source_files_and_checksums(self, archive, web, download, tmp_path):
        keys = archive.add("BTCUSDT", ["2024-11", "2024-12"])
        bars = download().write()
        record = json.loads(record_of(tmp_path / "bars.parquet").read_text())
        assert (record["source"], record["market"], record["names"]) == ("binance", "spot", ["BTCUSDT"])
        assert record["content_hash"] == bars.content_hash
        assert record["period"] == {"start": "2024-11-01T00:00:00+00:00", "end": "2025-01-01T00:00:00+00:00"}
        assert record["notional_exact_share"] == 1.0
        assert record["addresses"] == {"url": web.url, "listing_url": web.url}
        assert record["versions"].keys() == {"lem_models"}
        stated = [archive.objects[f"{key}.CHECKSUM"].decode().split()[0] for key in keys]
        assert [file["sha256"] for file in record["files"]] == stated
        assert [file["url"] for file in record["files"]] == [f"{web.url}/{key}" for key in keys]

    def test_an_address_of_the_environment(self, archive, web, download, monkeypatch):
        archive.add("BTCUSDT", ["2024-12"])
        monkeypatch.setenv("LEM_FETCH_BINANCE_URL", web.url)
        assert len(download(start="2024-12", addresses={}).write()) == 31 * 24


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"names": "BTC/USDT"}, "not a symbol of Binance's archive"),
            ({"names": "../../etc"}, "not a symbol of Binance's archive"),
            ({"names": "BTCUSDT,BTCUSDT"}, "named twice"),
            ({"interval": "7m"}, "has bars of 1s, 1min"),
            ({"interval": "1w"}, "is not the length of a bar"),
            ({"interval": None}, "--interval"),
            ({"start": None, "end": None}, "--from"),
            ({"start": "2025", "end": "2024"}, "holds no closed bar"),
            ({"start": "yesterday"}, "is not a time"),
            ({"options": {"feed": "sip"}}, "has no option 'feed'"),
            ({"options": {"market": "usdm"}, "interval": "1s"}, "a second for spot markets only"),
            ({"addresses": {"url": "ftp://host"}}, "not the address of a source"),
            ({"out": "missing/bars.parquet"}, "no folder"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_before_any_request(self, web, download, changed, message):
        with pytest.raises(ConfigError, match=message):
            download(**changed)
        assert web.asked == []

    def test_names_that_do_not_exist(self, download, tmp_path):
        with pytest.raises(UnknownNameError, match="unknown market 'swap'"):
            download(options={"market": "swap"})
        with pytest.raises(UnknownNameError, match="unknown source 'binanze'; did you mean 'binance'"):
            Download.of("binanze", ["BTCUSDT"], tmp_path / "bars.parquet")
        with pytest.raises(BarsError, match=r"a \.parquet or an \.arrow file"):
            download(out="bars.csv")


def test_microseconds_and_milliseconds_are_not_mixed(archive, download):
    frame = klines("BTCUSDT", "2024-12-01", "2025-01-01")
    content = csv_of(frame.iloc[:9], unit="ms", header=False) + csv_of(frame.iloc[9:], unit="us", header=False)
    (key,) = archive.add("BTCUSDT", ["2024-12"])
    archive.put(key, zipped("a.csv", content))
    with pytest.raises(DownloadError, match="neither all in milliseconds nor all in microseconds"):
        download(start="2024-12").write()


def test_the_environment_is_not_changed():
    assert not any(name.startswith("LEM_FETCH_") for name in os.environ)
