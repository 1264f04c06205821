"""Bars: flat read-only arrays that say where gaps, runs and sessions are."""

import dataclasses
import pickle
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars

FILES = ["bars.parquet", "bars.csv", "bars.csv.gz", "bars.arrow"]
FIRST_DAY = pd.Timestamp("2024-01-01", tz="UTC").value
HOUR = 3_600_000_000_000


def table(hours_of, start="2024-01-01"):
    """Valid hourly bars of random prices; ``hours_of`` maps a symbol to the hours it has."""
    rng = np.random.default_rng(0)
    parts = []
    for symbol, hours in hours_of.items():
        low = rng.uniform(9.0, 10.0, len(hours))
        high = low + rng.uniform(0.0, 1.0, len(hours))
        opening, close, vwap = (low + rng.uniform(0.0, 1.0, len(hours)) * (high - low) for _ in range(3))
        volume = rng.lognormal(size=len(hours))
        parts.append(
            pd.DataFrame(
                {
                    "timestamp": pd.Timestamp(start, tz="UTC") + pd.to_timedelta(list(hours), unit="h"),
                    "symbol": symbol,
                    "open": opening,
                    "high": high,
                    "low": low,
                    "close": close,
                    "volume": volume,
                    "notional": volume * vwap,
                    "venue": [f"{symbol}-{hour}" for hour in hours],
                    "exact": [hour % 2 == 0 for hour in hours],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def frame():
    """Two weeks; ETH lacks hours 100 and 101."""
    return table({"BTC": range(336), "ETH": [hour for hour in range(336) if hour not in (100, 101)]})


@pytest.fixture
def bars(frame):
    return Bars.from_frame(frame)


# Arrays


def test_the_columns_become_flat_arrays(bars, frame):
    assert bars.symbols == ("BTC", "ETH")
    assert bars.frequency == pd.Timedelta("1h")
    assert bars.calendar.name == "24/7"
    assert (bars.slots_per_session, bars.is_session_bound) == (24, False)
    assert len(bars) == 670
    np.testing.assert_array_equal(bars.offsets, [0, 336, 670])
    for name in ("open", "high", "low", "close", "volume", "notional"):
        np.testing.assert_array_equal(getattr(bars, name), frame[name])
    np.testing.assert_array_equal(bars.timestamp[:3], FIRST_DAY + HOUR * np.arange(3))
    np.testing.assert_array_equal(np.unique(bars.symbol_index, return_counts=True)[1], [336, 334])


def test_the_vwap_is_notional_over_volume_and_the_close_where_nothing_was_traded(frame):
    frame.loc[7, ["volume", "notional"]] = 0.0
    bars = Bars.from_frame(frame)
    traded = frame["volume"] > 0
    np.testing.assert_allclose(bars.vwap[traded], (frame["notional"] / frame["volume"])[traded], rtol=1e-15)
    assert bars.vwap[7] == bars.close[7]


def test_types(bars):
    whole = ("timestamp", "offsets", "ordinal", "gapless_start", "gapless_end", "session", "slot", "session_end")
    assert {getattr(bars, name).dtype for name in whole} == {np.dtype("int64")}
    prices = ("open", "high", "low", "close", "volume", "notional", "vwap")
    assert {getattr(bars, name).dtype for name in prices} == {np.dtype("float64")}
    assert bars.symbol_index.dtype == np.dtype("int32")


def test_interleaved_symbols_give_the_same_bars(bars, frame):
    interleaved = Bars.from_frame(frame.sort_values("timestamp", kind="stable"))
    assert interleaved.content_hash == bars.content_hash
    pd.testing.assert_frame_equal(interleaved.frame, bars.frame)


def test_symbols_keep_the_order_of_first_appearance(frame):
    assert Bars.from_frame(frame[::-1].sort_values("timestamp", kind="stable")).symbols == ("ETH", "BTC")


def test_a_categorical_with_unused_categories(bars, frame):
    frame["symbol"] = pd.Categorical(frame["symbol"], categories=["ZZZ", "ETH", "BTC"])
    assert Bars.from_frame(frame).content_hash == bars.content_hash


# Gaps, runs, sessions


def test_runs_end_at_gaps(bars):
    eth = slice(336, 670)
    np.testing.assert_array_equal(bars.gapless_start[:336], 0)
    np.testing.assert_array_equal(bars.gapless_end[:336], 336)
    np.testing.assert_array_equal(bars.gapless_start[eth], np.where(np.arange(334) < 100, 336, 436))
    np.testing.assert_array_equal(bars.gapless_end[eth], np.where(np.arange(334) < 100, 436, 670))
    assert bars.ordinal[436] - bars.ordinal[435] == 3


def test_sessions_are_days_round_the_clock(bars):
    np.testing.assert_array_equal(bars.slot[:336], np.arange(336) % 24)
    np.testing.assert_array_equal(bars.session[:336], 19723 + np.arange(336) // 24)
    np.testing.assert_array_equal(bars.session_end[:336], (np.arange(336) // 24 + 1) * 24)
    assert bars.slot[436] == 102 % 24
    assert bars.session_end[436] == 336 + 120 - 2


def test_gaps_are_listed(bars):
    (gap,) = bars.gaps.to_dict("records")
    assert gap == {
        "symbol": "ETH",
        "before": pd.Timestamp("2024-01-05 03:00", tz="UTC"),
        "after": pd.Timestamp("2024-01-05 06:00", tz="UTC"),
        "missing": 2,
    }


@settings(max_examples=40)
@given(st.lists(st.sets(st.integers(1, 238), max_size=12), min_size=1, max_size=3))
def test_every_missing_bar_is_a_gap_and_nothing_else_is(missing_by_symbol):
    hours = {f"S{i}": [h for h in range(240) if h not in missing] for i, missing in enumerate(missing_by_symbol)}
    bars = Bars.from_frame(table(hours), calendar="24/7")
    for index, missing in enumerate(missing_by_symbol):
        mine = slice(bars.offsets[index], bars.offsets[index + 1])
        present = np.array(hours[f"S{index}"])
        np.testing.assert_array_equal(np.diff(bars.ordinal[mine]), np.diff(present))
        for flat, hour in zip(range(mine.start, mine.stop), present, strict=True):
            run = slice(bars.gapless_start[flat], bars.gapless_end[flat])
            assert run.start <= flat < run.stop
            assert run.stop - run.start == bars.ordinal[run.stop - 1] - bars.ordinal[run.start] + 1
            if hour + 1 < 240:
                assert (run.stop == flat + 1) == (hour + 1 in missing)
    gaps = bars.gaps.groupby("symbol")["missing"].sum().to_dict()
    assert gaps == {f"S{i}": len(missing) for i, missing in enumerate(missing_by_symbol) if missing}


# Immutability


def test_arrays_cannot_be_written(bars):
    for item in dataclasses.fields(bars):
        value = getattr(bars, item.name)
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[0] = 0


def test_attributes_cannot_be_set(bars):
    with pytest.raises(dataclasses.FrozenInstanceError):
        bars.close = bars.open


def test_bars_share_nothing_with_the_table_they_came_from(frame):
    for source in (frame, frame.sort_values("timestamp", kind="stable")):
        bars = Bars.from_frame(source)
        before = bars.content_hash
        first = bars.close[0]
        source.loc[:, "close"] = 0.0
        source.loc[:, "venue"] = "changed"
        assert bars.close[0] == first
        assert bars.frame["venue"][0] != "changed"
        assert dataclasses.replace(bars).content_hash == before


def test_the_frame_is_a_copy(bars):
    frame = bars.frame
    frame.loc[:, "close"] = -1.0
    assert bars.close[0] > 0
    assert bars.frame["close"][0] > 0


def test_bars_can_be_pickled_and_stay_read_only(bars):
    copy = pickle.loads(pickle.dumps(bars))
    assert copy.content_hash == bars.content_hash
    assert repr(copy) == repr(bars)
    assert not copy.close.flags.writeable
    assert not copy.gapless_end.flags.writeable


def test_the_content_hash_sees_every_value(bars, frame):
    hashes = {bars.content_hash, bars.select("BTC").content_hash, bars.between("2024-01-02").content_hash}
    for column in ("open", "high", "low", "close", "volume", "notional"):
        changed = frame.copy()
        changed.loc[3, column] *= 1 + 1e-14 * (-1 if column in ("open", "close", "low") else 1)
        hashes.add(Bars.from_frame(changed).content_hash)
    hashes.add(Bars.from_frame(frame.replace({"symbol": {"ETH": "ETC"}})).content_hash)
    assert len(hashes) == 10
    assert Bars.from_frame(frame.drop(columns=["venue", "exact"])).content_hash == bars.content_hash


# Parts


def test_between_includes_the_start_and_excludes_the_end(bars):
    part = bars.between("2024-01-03", "2024-01-05 04:00")
    assert part.frame["timestamp"].min() == pd.Timestamp("2024-01-03", tz="UTC")
    assert part.frame["timestamp"].max() == pd.Timestamp("2024-01-05 03:00", tz="UTC")
    assert len(part) == 2 * 52
    assert len(bars.between()) == len(bars)
    assert bars.between().content_hash == bars.content_hash


def test_moments_without_a_zone_are_utc(bars):
    local = pd.Timestamp("2024-01-03", tz="America/New_York")
    assert bars.between(local).timestamp[0] == local.value
    for moment in ("2024-01-03", pd.Timestamp("2024-01-03"), pd.Timestamp("2024-01-03").date()):
        assert bars.between(moment).timestamp[0] == pd.Timestamp("2024-01-03", tz="UTC").value


def test_a_period_keeps_gaps_and_places(bars):
    part = bars.between("2024-01-05 02:00", "2024-01-05 09:00").select("ETH")
    np.testing.assert_array_equal(part.gapless_start, [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(part.gapless_end, [2, 2, 5, 5, 5])
    np.testing.assert_array_equal(part.slot, [2, 3, 6, 7, 8])
    np.testing.assert_array_equal(part.session_end, 5)
    at = bars.locate("ETH", part.timestamp)
    for name in ("ordinal", "session", "slot", "close"):
        np.testing.assert_array_equal(getattr(part, name), getattr(bars, name)[at])
    assert list(part.frame["venue"]) == [f"ETH-{hour}" for hour in (98, 99, 102, 103, 104)]


def test_a_symbol_without_bars_in_the_period_drops_out():
    bars = Bars.from_frame(table({"OLD": range(48), "NEW": range(200)}))
    assert bars.between("2024-01-04").symbols == ("NEW",)
    with pytest.raises(BarsError, match=r"none of the bars start in \[2025-01-01, None\)"):
        bars.between("2025-01-01")
    for moment in ("soon", pd.NaT):
        with pytest.raises(BarsError, match="not a date or time"):
            bars.between(moment)


def test_select_takes_symbols_in_the_order_given(bars):
    part = bars.select(["ETH", "BTC"])
    assert part.symbols == ("ETH", "BTC")
    assert len(part) == len(bars)
    np.testing.assert_array_equal(part.offsets, [0, 334, 670])
    np.testing.assert_array_equal(part.close, np.concatenate([bars.close[336:], bars.close[:336]]))
    assert part.gapless_end[0] == 100
    assert part.frame["symbol"].iloc[0] == "ETH"
    with pytest.raises(UnknownNameError, match="unknown symbol 'BTD'; did you mean 'BTC'"):
        bars.select("BTD")
    with pytest.raises(BarsError, match="twice"):
        bars.select(["BTC", "BTC"])
    with pytest.raises(BarsError, match="none of the bars"):
        bars.select([])


def test_locate(bars):
    wanted = FIRST_DAY + HOUR * np.array([0, 99, 100, 102, 335, 336, -1])
    np.testing.assert_array_equal(bars.locate("ETH", wanted), [336, 435, -1, 436, 669, -1, -1])
    np.testing.assert_array_equal(bars.locate("BTC", wanted), [0, 99, 100, 102, 335, -1, -1])
    assert bars.locate("BTC", []).shape == (0,)
    with pytest.raises(UnknownNameError, match="unknown symbol"):
        bars.locate("LTC", wanted)


def test_with_prices_replaces_prices_and_keeps_the_grid(bars):
    doubled = bars.with_prices(
        **{name: 2.0 * getattr(bars, name) for name in ("open", "high", "low", "close", "notional")}
    )
    np.testing.assert_array_equal(doubled.vwap, 2.0 * bars.vwap)
    np.testing.assert_array_equal(doubled.volume, bars.volume)
    np.testing.assert_array_equal(doubled.gapless_end, bars.gapless_end)
    assert doubled.calendar is bars.calendar
    assert doubled.content_hash != bars.content_hash
    assert not doubled.close.flags.writeable
    assert list(doubled.frame["venue"]) == list(bars.frame["venue"])


def test_with_prices_checks_the_prices(bars):
    low = bars.low.copy()
    low[400] = 100.0
    with pytest.raises(BarsError, match="above high") as caught:
        bars.with_prices(low=low)
    assert caught.value.symbol == "ETH"
    with pytest.raises(BarsError, match=r"expected is \(670,\)"):
        bars.with_prices(close=[1.0])
    low[400] = bars.low[400]
    copy = bars.with_prices(low=low)
    low[:] = -1.0
    assert copy.content_hash == bars.content_hash


# Files


@pytest.mark.parametrize("name", FILES)
def test_files_give_back_what_was_written(bars, tmp_path, name):
    bars.write(tmp_path / name)
    copy = Bars.read(tmp_path / name)
    assert copy.content_hash == bars.content_hash
    assert repr(copy) == repr(bars)
    pd.testing.assert_frame_equal(copy.frame, bars.frame, check_exact=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_csv_of_pandas_can_be_read(bars, tmp_path):
    bars.frame.to_csv(tmp_path / "bars.csv", index=False)
    assert Bars.read(tmp_path / "bars.csv").content_hash == bars.content_hash


def test_a_parquet_file_with_the_timestamp_as_index_can_be_read(bars, tmp_path):
    bars.frame.set_index("timestamp").to_parquet(tmp_path / "bars.parquet")
    assert Bars.read(str(tmp_path / "bars.parquet")).content_hash == bars.content_hash


@pytest.mark.parametrize("symbol", ["NA", "nan", "null", "TRUE", "0700", "BRK,B", 'quo"te', "Ω"])
@pytest.mark.parametrize("name", FILES)
def test_a_ticker_is_a_text_whatever_it_looks_like(tmp_path, symbol, name):
    bars = Bars.from_frame(table({symbol: range(5)}))
    bars.write(tmp_path / name)
    assert Bars.read(tmp_path / name).symbols == (symbol,)


def test_timestamps_finer_than_a_second_survive_a_csv(tmp_path):
    frame = table({"BTC": range(5)})
    frame["timestamp"] = frame["timestamp"].dt.as_unit("ns") + pd.Timedelta(1, "ns")
    bars = Bars.from_frame(frame)
    bars.write(tmp_path / "bars.csv")
    np.testing.assert_array_equal(Bars.read(tmp_path / "bars.csv").timestamp, bars.timestamp)


def test_a_csv_says_utc(bars, tmp_path):
    bars.write(tmp_path / "bars.csv")
    assert (tmp_path / "bars.csv").read_text().splitlines()[1].startswith('2024-01-01 00:00:00Z,"BTC",')


def test_a_write_that_fails_leaves_the_old_file(bars, tmp_path):
    target = tmp_path / "bars.csv"
    target.write_text("old")
    nested = Bars.from_frame(bars.frame.assign(nested=[[1, 2]] * len(bars)))
    with pytest.raises(BarsError, match="cannot be written"):
        nested.write(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(BarsError, match="cannot be written"):
        bars.write(tmp_path / "missing" / "bars.parquet")


def test_a_written_file_has_ordinary_permissions(bars, tmp_path):
    (tmp_path / "other").touch()
    bars.write(tmp_path / "bars.parquet")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


# Real files


def test_crypto_hourly(shared_data):
    bars = Bars.read(shared_data / "crypto_hourly.parquet")
    assert (bars.calendar.name, bars.slots_per_session, bars.is_session_bound) == ("24/7", 24, False)
    assert (len(bars), len(bars.symbols)) == (1_276_705, 29)
    gaps = bars.gaps.groupby("symbol")["missing"].agg(["count", "sum"])
    listed = _gaps_listed(shared_data / "README.md", "crypto_hourly.parquet")
    assert listed["BTCUSDT"] == (27, 120)
    assert {symbol: (row["count"], row["sum"]) for symbol, row in gaps.iterrows()} == listed


def test_equity_five_minutes(shared_data):
    bars = Bars.read(shared_data / "equity_intraday_5min.parquet")
    assert (bars.calendar.name, bars.slots_per_session, bars.is_session_bound) == ("sessions", 78, True)
    assert bars.gaps.empty
    aapl = bars.select("AAPL")
    sessions, size = np.unique(aapl.session, return_counts=True)
    assert len(sessions) == 162
    assert sorted(size)[:4] == [42, 42, 42, 78]
    assert aapl.slot.max() == 77
    np.testing.assert_array_equal(aapl.gapless_end, len(aapl))
    ends = np.unique(aapl.session_end)
    np.testing.assert_array_equal(np.diff(ends, prepend=0), size)


def test_dow_daily(shared_data):
    bars = Bars.read(shared_data / "dow_daily.parquet")
    assert (bars.calendar.name, bars.slots_per_session, bars.is_session_bound) == ("sessions", 1, False)
    assert bars.gaps.empty
    np.testing.assert_array_equal(bars.slot, 0)
    np.testing.assert_array_equal(bars.session_end, np.arange(len(bars)) + 1)


@pytest.mark.parametrize("name", ["crypto_30min", "crypto_perp_30min"])
def test_other_real_bars(shared_data, name):
    bars = Bars.read(shared_data / f"{name}.parquet")
    assert (bars.calendar.name, bars.slots_per_session) == ("24/7", 48)
    assert bars.gaps.empty


def _gaps_listed(readme, file):
    """Gaps and missing bars by symbol, from the table of the data's README; symbols without a gap left out."""
    section = readme.read_text().split(f"### {file}\n")[1].split("###")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ") and "symbol" not in line]
    return {row[0].strip(): (int(row[4]), int(row[5])) for row in rows if int(row[4])}


# The rest


def test_repr_says_size_period_frequency_and_gaps(bars):
    assert repr(bars) == (
        "Bars(2 symbols, 670 bars, 2024-01-01 00:00 to 2024-01-14 23:00 UTC, every 1h, calendar 24/7, "
        "1 gap (2 bars missing))"
    )


def test_reading_bars_does_not_import_torch():
    code = "import sys, lem_models.markets.bars; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
