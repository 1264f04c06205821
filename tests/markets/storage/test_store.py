"""Bars in an Arrow file: opened without being read, whole or refused, and readable by anybody."""

import dataclasses
import hashlib
import json
import mmap
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError
from lem_models.markets.bars import Bars
from lem_models.markets.storage.grid_record import _packed
from lem_models.markets.storage.store import SCHEMA_VERSION
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import hourly

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume", "notional")

MARKETS = {
    "round the clock": synthetic_bars(symbols=3, days=10),
    "sessions": synthetic_bars(symbols=2, days=20, frequency="30min", session=("14:30", "21:00")),
    "days": synthetic_bars(symbols=2, days=60, frequency="1D"),
}


def exchange_bars(code, frequency):
    """Bars in every place of an exchange's schedule."""
    import exchange_calendars

    library = exchange_calendars.get_calendar(code, start="2024-01-02", end="2024-02-29")
    starts = (
        library.schedule.index.tz_localize("UTC")
        if frequency == "1D"
        else library.trading_index("2024-01-02", "2024-02-29", frequency, closed="left", intervals=False)
    )
    frame = pd.DataFrame({"timestamp": starts, "symbol": "A", "volume": 1.0, "notional": 2.0})
    return Bars.from_frame(frame.assign(open=2.0, high=2.0, low=2.0, close=2.0), calendar=code, frequency=frequency)


MARKETS["New York"] = exchange_bars("XNYS", "5min")
MARKETS["Hong Kong with its lunch break"] = exchange_bars("XHKG", "30min")
MARKETS["New York by day"] = exchange_bars("XNYS", "1D")


@pytest.fixture
def bars():
    return synthetic_bars(symbols=3, days=10)


@pytest.fixture
def path(bars, tmp_path):
    bars.write(tmp_path / "bars.arrow")
    return tmp_path / "bars.arrow"


def header_of(path):
    with pa.memory_map(str(path)) as source:
        return json.loads(pa.ipc.open_file(source).schema.metadata[b"lem_models.bars"])


def with_metadata(path, change):
    """The same file with another header (and a checksum that fits, as an attacker's would)."""
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    header = json.loads(table.schema.metadata[b"lem_models.bars"])
    change(header)
    text = json.dumps(header).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    metadata = {b"lem_models.bars": text, b"lem_models.bars.sha256": digest}
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema.with_metadata(metadata)) as file:
        file.write_table(table)


# What is written comes back


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_bars_calendar_and_places_come_back(market, tmp_path):
    market.write(tmp_path / "bars.arrow")
    copy = Bars.read(tmp_path / "bars.arrow", verify=True)
    assert repr(copy) == repr(market)
    assert copy.content_hash == market.content_hash
    for name in (*COLUMNS, "ordinal", "session", "slot", "gapless_start", "gapless_end", "session_end", "vwap"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(market, name), err_msg=name)
    for item in dataclasses.fields(market.calendar):
        np.testing.assert_array_equal(getattr(copy.calendar, item.name), getattr(market.calendar, item.name))
    placed = copy.calendar.place(copy.timestamp)
    np.testing.assert_array_equal(placed.ordinal, market.ordinal)


def test_parts_of_mapped_bars_are_those_of_the_bars(bars, path):
    mapped = Bars.read(path)
    for part in (lambda b: b.select(["S002", "S000"]), lambda b: b.between("2024-01-03", "2024-01-05")):
        pd.testing.assert_frame_equal(part(mapped).frame, part(bars).frame)
        assert part(mapped).content_hash == part(bars).content_hash


def test_other_columns_come_back(bars, tmp_path):
    extra = {
        "venue": np.where(np.arange(len(bars)) % 2, "A", "B"),
        "trades": np.arange(len(bars)),
        "missing": np.where(np.arange(len(bars)) % 5, 1.5, np.nan),
        "kind": pd.Categorical(["x", "y"] * (len(bars) // 2)),
    }
    wide = Bars.from_frame(bars.frame.assign(**extra))
    wide.write(tmp_path / "bars.arrow")
    copy = Bars.read(tmp_path / "bars.arrow")
    pd.testing.assert_frame_equal(copy.frame, wide.frame)
    part = copy.select(["S002", "S000"])
    pd.testing.assert_frame_equal(part.frame, wide.select(["S002", "S000"]).frame)
    part.write(tmp_path / "part.arrow")
    pd.testing.assert_frame_equal(Bars.read(tmp_path / "part.arrow").frame, part.frame)


def test_new_prices_are_new_content(path):
    mapped = Bars.read(path)
    doubled = mapped.with_prices(
        **{name: 2.0 * getattr(mapped, name) for name in COLUMNS[1:5]}, notional=2.0 * mapped.notional
    )
    assert doubled.content_hash != mapped.content_hash
    assert pickle.loads(pickle.dumps(doubled)).content_hash == doubled.content_hash


# Opening reads nothing


def test_columns_are_views_of_the_file(path):
    mapped = Bars.read(path)
    for name in COLUMNS:
        column = getattr(mapped, name)
        assert not column.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


def test_opening_looks_at_no_value_and_verifying_at_all(bars, path):
    place = path.read_bytes().rfind(bars.close[400:402].tobytes())  # the opens, which come before, repeat them
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        content[place : place + 8] = np.float64(-1.0).tobytes()
    mapped = Bars.read(path)
    assert mapped.close[400] == -1.0
    with pytest.raises(BarsError, match=r"close is -1\.0, a price is above 0") as caught:
        Bars.read(path, verify=True)
    assert caught.value.symbol == "S001"


def test_a_value_that_is_legal_but_not_what_was_written_is_found_by_its_hash(bars, path):
    place = path.read_bytes().rfind(bars.close[400:402].tobytes())  # the opens, which come before, repeat them
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        content[place : place + 8] = np.float64((bars.high[400] + bars.low[400]) / 2).tobytes()
    with pytest.raises(BarsError, match="its content was changed after it was written") as caught:
        Bars.read(path, verify=True)
    assert caught.value.rule == "content hash"


def test_a_header_that_misplaces_the_bars_is_found_by_verifying(path):
    def swap(header):
        header["symbols"] = header["symbols"][::-1]

    with_metadata(path, swap)
    with pytest.raises(BarsError, match="was changed after it was written"):
        Bars.read(path, verify=True)


def test_symbols_that_lie_outside_the_file_are_found_by_verifying(path):
    ends = np.array([0, 4, 8, 12], dtype=np.int32)  # of the texts S000, S001 and S002
    content = path.read_bytes()
    assert content.count(ends.tobytes()) == 1
    path.write_bytes(content.replace(ends.tobytes(), np.array([0, 2**30, -5, 12], dtype=np.int32).tobytes()))
    mapped = Bars.read(path)  # whose own symbols are in the header
    assert mapped.symbols == ("S000", "S001", "S002")
    with pytest.raises(BarsError, match="its symbols are not readable"):
        Bars.read(path, verify=True)


# Anybody can read it


def test_other_programs_read_the_file(bars, path):
    frame = pd.read_feather(path)
    pd.testing.assert_frame_equal(frame.astype({"symbol": object}), bars.frame.astype({"symbol": object}))
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset("arrow", data_files=str(path), split="train", streaming=True)
    assert next(iter(rows))["close"] == bars.close[0]


@pytest.mark.parametrize("form", ["file", "feather", "stream", "two batches"])
def test_an_arrow_file_of_others_is_checked_like_any_table(bars, tmp_path, form):
    table, target = pa.Table.from_pandas(bars.frame, preserve_index=False), tmp_path / "bars.arrow"
    if form == "feather":
        pyarrow.feather.write_feather(table, str(target), compression="zstd")
    else:
        writer = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        with writer(str(target), table.schema) as file:
            file.write_table(table, max_chunksize=100 if form == "two batches" else None)
    assert Bars.read(target).content_hash == bars.content_hash
    broken = table.set_column(table.column_names.index("low"), "low", pa.array(-bars.low))
    with pa.ipc.new_file(str(target), broken.schema) as file:
        file.write_table(broken)
    with pytest.raises(BarsError, match=r"low is .*, a price is above 0"):
        Bars.read(target)


# Calendars and frequencies that are asked for


def test_another_calendar_can_be_asked_for(path):
    assert Bars.read(path).calendar.name == "24/7"
    other = Bars.read(path, calendar="sessions")
    assert other.calendar.name == "sessions"
    assert pickle.loads(pickle.dumps(other)).calendar.name == "sessions"
    with pytest.raises(BarsError, match="grid of the calendar '24/7' at 7h"):
        Bars.read(path, calendar="24/7", frequency="7h")
    assert Bars.read(path, frequency="1h").frequency == pd.Timedelta("1h")


def test_what_is_not_asked_for_stays_what_was_written(tmp_path):
    """The frequency of hours that only every other has a bar of is not seen, nor the exchange of bars of New York."""
    hours = pd.date_range("2024-01-01", periods=200, freq="2h", tz="UTC")
    table = {"timestamp": hours, "symbol": "A", "volume": 1.0, "notional": 2.0}
    frame = pd.DataFrame({**table, "open": 2.0, "high": 2.0, "low": 2.0, "close": 2.0})
    Bars.from_frame(frame, calendar="24/7", frequency="1h").write(tmp_path / "bars.arrow")
    assert Bars.read(tmp_path / "bars.arrow", calendar="sessions").frequency == pd.Timedelta("1h")
    MARKETS["New York"].write(tmp_path / "bars.arrow")
    with pytest.raises(BarsError, match="grid of the calendar 'XNYS' at 15min"):
        Bars.read(tmp_path / "bars.arrow", frequency="15min")


# Pickles


def test_a_pickle_of_mapped_bars_names_the_file(bars, path):
    mapped = Bars.read(path)
    content = pickle.dumps(mapped)
    assert len(content) < 1000 < len(pickle.dumps(bars))
    pd.testing.assert_frame_equal(pickle.loads(content).frame, bars.frame)


def test_a_pickle_knows_when_the_file_has_changed(path):
    content = pickle.dumps(Bars.read(path))
    hourly().write(path)
    with pytest.raises(BarsError, match="holds other bars than when it was opened"):
        pickle.loads(content)


def test_mapped_bars_survive_the_replacement_of_their_file(bars, path):
    mapped = Bars.read(path)
    hourly().write(path)
    assert mapped.content_hash == bars.content_hash
    np.testing.assert_array_equal(mapped.close, bars.close)


# Damage


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BarsError, match=rf"{path} cannot be read as arrow") as caught:
        Bars.read(path)
    assert caught.value.rule == "readable file"


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"not an arrow file at all", b"PAR1" * 100, b"ARROW1\0\0" * 1000])
def test_what_is_no_arrow_file_is_refused(tmp_path, content):
    path = tmp_path / "bars.arrow"
    path.write_bytes(content)
    with pytest.raises(BarsError, match="cannot be read as arrow"):
        Bars.read(path)


def test_a_file_that_is_not_there(tmp_path):
    for name in ("bars.arrow", "."):
        with pytest.raises(BarsError, match=r"there is no file|neither an \.arrow"):
            Bars.read(tmp_path / name)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_outside_the_values_is_refused_or_harmless(bars, path, data):
    bars.write(path)
    content = bytearray(path.read_bytes())
    first = content.find(bars.timestamp[:4].tobytes())
    last = content.find(bars.notional[-4:].tobytes()) + 32
    place = data.draw(st.one_of(st.integers(0, first - 1), st.integers(last, len(content) - 1)))
    for offset in range(data.draw(st.integers(1, 8))):
        if place + offset < len(content) and not first <= place + offset < last:
            content[place + offset] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        mapped = Bars.read(path)
    except BarsError as error:
        message = str(error)
    else:
        message = f"{path} is as it was"
        assert mapped.content_hash == bars.content_hash
        pd.testing.assert_frame_equal(mapped.frame, bars.frame)
    assert str(path) in message


@pytest.mark.parametrize("shift", [8, -8, 64, 5760])
def test_a_column_that_is_looked_for_in_the_wrong_place_is_refused(bars, path, shift):
    """The places of the columns stand in the Arrow message before them, which no checksum protects."""
    content = path.read_bytes()
    first = content.find(bars.timestamp[:4].tobytes())
    place = content.find(bars.high[:4].tobytes()) - first
    entry = np.array([place, 8 * len(bars)]).tobytes()
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, np.array([place + shift, 8 * len(bars)]).tobytes()))
    with pytest.raises(BarsError, match="its columns are in a wrong place"):
        Bars.read(path)


def test_damaged_texts_are_refused_when_they_are_looked_at(bars, tmp_path):
    path = tmp_path / "bars.arrow"
    Bars.from_frame(bars.frame.assign(venue=[f"venue {row}" for row in range(len(bars))])).write(path)
    content = path.read_bytes()
    # Where the texts end; 64 bits wide with pandas 3, 32 before.
    ends = np.cumsum([len(f"venue {row}") for row in range(3)])
    kind = next(kind for kind in (np.int64, np.int32) if content.count(ends.astype(kind).tobytes()) == 1)
    path.write_bytes(content.replace(ends.astype(kind).tobytes(), np.array([2**30, 7, -5], dtype=kind).tobytes()))
    mapped = Bars.read(path)
    for look in (lambda: mapped.frame, lambda: mapped.select(["S002", "S000"]), lambda: mapped.write(path)):
        with pytest.raises(BarsError, match=r"the other columns of the file are damaged|cannot be written"):
            look()


BAD_HEADERS = {
    "a newer version": (
        lambda h: h.update(schema_version=SCHEMA_VERSION + 1),
        "schema version 2, this release reads 1",
    ),
    "no version": (lambda h: h.pop("schema_version"), "'schema_version' is missing"),
    "no calendar": (lambda h: h.pop("calendar"), "'calendar' is missing"),
    "more bars": (lambda h: h.update(bars=h["bars"] + 1), "its header says"),
    "a symbol twice": (lambda h: h.update(symbols=["S000"] * 3), "not distinct names"),
    "too few symbols": (lambda h: h.update(symbols=["S000"]), "at most 2 can be"),
    "no text": (lambda h: h.update(symbols=[1, 2, 3]), "not distinct names"),
    "runs of others": (lambda h: h.update(run=h["offsets"] | {"count": 3}), "cut short or too long"),
    "too many ordinals": (lambda h: h.update(number=h["offsets"]), "do not fit together"),
    "idle bars outside": (lambda h: h.update(idle=h["offsets"]), "do not fit together"),
    "a bomb": (lambda h: h["idle"].update(count=10**12), "at most 720 can be"),
    "no base64": (lambda h: h["run"].update(data="%%%"), "damaged"),
    "not compressed": (lambda h: h["run"].update(data="AAAA"), "cannot be read as arrow"),
    "an unknown kind": (lambda h: h["calendar"].update(kind="lunar"), "unknown kind 'lunar'"),
    "no frequency": (lambda h: h["calendar"].update(frequency=0), "its calendar is damaged"),
    "too many slots": (lambda h: h["calendar"].update(slots_per_session=10**12), "1,000,000,000,000 bars a day"),
    "too few slots": (lambda h: h["calendar"].update(slots_per_session=3), "3 bars a day"),
    "another frequency": (lambda h: h["calendar"].update(frequency=10**18), "24 bars a day"),
    "a huge phase": (lambda h: h["calendar"].update(phase=10**30), "its calendar is damaged"),
    "no truth": (lambda h: h["calendar"].update(is_session_bound="no"), "does not say whether orders stay"),
    "huge ordinals": (lambda h: h.update(number=_packed(np.array([2**62] * 3))), "not in its calendar"),
    "symbols as a text": (lambda h: h.update(symbols="abc"), "not distinct names"),
    "a list": (lambda h: h.update(calendar=[1]), "cannot be read as arrow"),
    "no hash": (lambda h: h.update(content_hash=None), "content hash is not a text"),
}


@pytest.mark.parametrize(("change", "message"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_that_makes_no_sense_is_refused(path, change, message):
    with_metadata(path, change)
    with pytest.raises(BarsError, match=message) as caught:
        Bars.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"5", b"\xff\xfe"])
def test_a_header_of_another_form_is_refused(path, text):
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    metadata = {b"lem_models.bars": text, b"lem_models.bars.sha256": hashlib.sha256(text).hexdigest().encode()}
    with pa.ipc.new_file(str(path), table.schema.with_metadata(metadata)) as file:
        file.write_table(table)
    with pytest.raises(BarsError, match="cannot be read as arrow"):
        Bars.read(path)


def test_a_header_that_was_edited_is_refused(path):
    content = path.read_bytes()
    assert content.count(b'"S001"') == 2  # in the schema at the beginning and in the footer
    path.write_bytes(content.replace(b'"S001"', b'"S009"'))
    with pytest.raises(BarsError, match="its header was changed after it was written"):
        Bars.read(path)


def test_columns_of_other_types_are_refused(bars, path):
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    changed = table.set_column(5, "close", table["close"].cast(pa.float32()))
    with pa.ipc.new_file(str(path), changed.schema) as file:
        file.write_table(changed)
    with pytest.raises(BarsError, match=r"of type float .*, not double"):
        Bars.read(path)
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table, max_chunksize=100)
    with pytest.raises(BarsError, match="8 record batches instead of one"):
        Bars.read(path)
    named = table.set_column(1, "symbol", table["symbol"].cast(pa.string()))
    with pa.ipc.new_file(str(path), named.schema) as file:
        file.write_table(named)
    with pytest.raises(BarsError, match="symbols is of type string, not a dictionary"):
        Bars.read(path)
    renamed = table.rename_columns(["time", *table.column_names[1:]])
    renamed = renamed.replace_schema_metadata(table.schema.metadata)
    with pa.ipc.new_file(str(path), renamed.schema) as file:
        file.write_table(renamed)
    with pytest.raises(BarsError, match="its columns are"):
        Bars.read(path)


def test_a_write_that_fails_leaves_the_old_file(bars, path, tmp_path):
    content = path.read_bytes()
    odd = Bars.from_frame(bars.frame.assign(odd=[object()] * len(bars)))
    with pytest.raises(BarsError, match="cannot be written"):
        odd.write(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(BarsError, match="cannot be written"):
        bars.write(tmp_path / "missing" / "bars.arrow")
