"""Bars written piece by piece: what a whole table would give, whatever the pieces, or one error and no file."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.storage.writer import BarsWriter, store_bars
from lem_models.markets.synthetic import synthetic_bars

BARS = synthetic_bars(symbols=3, days=5)
FRAME = BARS.frame


def pieces(frame, size):
    return [frame.iloc[first : first + size] for first in range(0, len(frame), size)]


def refused(source, folder, **options):
    """The error; nothing is left behind."""
    with pytest.raises(BarsError) as caught:
        store_bars(source, folder / "bars.arrow", **options)
    assert list(folder.iterdir()) == []
    return caught.value


# Any pieces give the bars of the whole table


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(FRAME)), max_size=6))
def test_it_does_not_matter_where_a_table_is_cut(tmp_path, cuts):
    edges = [0, *sorted(cuts), len(FRAME)]
    source = (FRAME.iloc[first:last] for first, last in itertools.pairwise(edges))
    bars = store_bars(source, tmp_path / "bars.arrow")
    assert repr(bars) == repr(BARS)
    assert bars.content_hash == BARS.content_hash
    pd.testing.assert_frame_equal(bars.frame, FRAME)
    Bars.read(tmp_path / "bars.arrow", verify=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"symbols": 2, "days": 40, "frequency": "30min", "session": ("14:30", "21:00")},
        {"symbols": 2, "days": 90, "frequency": "1D"},
        {"symbols": 40, "days": 2},
        {"symbols": 1, "days": 3, "frequency": "1min"},
    ],
    ids=str,
)
def test_calendar_and_places_are_those_of_the_whole_table(tmp_path, settings):
    frame = synthetic_bars(**settings).frame
    keep = np.random.default_rng(0).random(len(frame)) > 0.02
    frame = frame[keep].reset_index(drop=True)
    frame.loc[::37, ["volume", "notional"]] = 0.0
    frame["venue"] = "X"
    whole, bars = Bars.from_frame(frame), store_bars(pieces(frame, 113), tmp_path / "bars.arrow")
    assert repr(bars) == repr(whole)
    for name in ("run", "number", "idle", "session_bounds"):
        np.testing.assert_array_equal(getattr(bars.grid, name), getattr(whole.grid, name))
    for name in ("session", "slot"):
        np.testing.assert_array_equal(getattr(bars, name), getattr(whole, name))
    pd.testing.assert_frame_equal(bars.frame, whole.frame)


FORMS = {
    "data frames": lambda frame: pieces(frame, 100),
    "one data frame": lambda frame: frame,
    "Arrow tables": lambda frame: [pa.Table.from_pandas(piece, preserve_index=False) for piece in pieces(frame, 100)],
    "record batches": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=100),
    "one Arrow table": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "lists": lambda frame: [piece.to_dict("list") for piece in pieces(frame, 100)],
    "arrays": lambda frame: [{name: piece[name].array for name in piece} for piece in pieces(frame, 100)],
    "texts": lambda frame: [piece.assign(timestamp=piece["timestamp"].astype(str)) for piece in pieces(frame, 100)],
    "an empty piece": lambda frame: [frame.iloc[:0], frame, frame.iloc[:0]],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_pieces_have_any_form_of_a_table(tmp_path, form):
    assert store_bars(form(FRAME), tmp_path / "bars.arrow").content_hash == BARS.content_hash


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "source.arrow"])
def test_a_file_is_converted(tmp_path, name):
    BARS.write(tmp_path / name)
    assert store_bars(tmp_path / name, tmp_path / "bars.arrow").content_hash == BARS.content_hash


def test_a_parquet_file_goes_row_group_by_row_group(tmp_path):
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    pyarrow.parquet.write_table(table, tmp_path / "bars.parquet", row_group_size=50)
    assert store_bars(tmp_path / "bars.parquet", tmp_path / "bars.arrow").content_hash == BARS.content_hash


def test_other_columns_travel_along(tmp_path):
    frame = FRAME.assign(venue=[f"v{row % 7}" for row in range(len(FRAME))], trades=np.arange(len(FRAME)), note=None)
    frame["kind"] = pd.Categorical(frame["venue"])
    bars = store_bars(pieces(frame, 100), tmp_path / "bars.arrow")
    got = bars.frame
    assert got["venue"].tolist() == frame["venue"].tolist()
    assert got["trades"].tolist() == frame["trades"].tolist()
    assert got["kind"].tolist() == frame["venue"].tolist()
    assert got["note"].isna().all()


def test_calendar_and_frequency_can_be_given(tmp_path):
    bars = store_bars(pieces(FRAME, 100), tmp_path / "bars.arrow", calendar="sessions", frequency="1h")
    assert bars.calendar.name == "sessions"


# Data sets of the library datasets


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    """The library, kept off the network, with its caches in the test's folder."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    library.disable_progress_bars()
    return library


def rows():
    yield from FRAME.to_dict("records")


def features(library):
    numbers = {name: library.Value("float64") for name in FRAME.columns[2:]}
    return library.Features(
        {"timestamp": library.Value("timestamp[ns, tz=UTC]"), "symbol": library.Value("string"), **numbers}
    )


def test_a_dataset_becomes_bars(datasets, tmp_path):
    dataset = datasets.Dataset.from_generator(rows, features=features(datasets), cache_dir=str(tmp_path / "cache"))
    bars = Bars.from_dataset(dataset, tmp_path / "bars.arrow")
    assert bars.content_hash == BARS.content_hash
    assert not bars.close.flags.owndata
    assert store_bars(dataset.iter(batch_size=77), tmp_path / "again.arrow").content_hash == BARS.content_hash


@pytest.mark.parametrize("is_typed", [True, False])
def test_a_streaming_dataset_becomes_bars(datasets, tmp_path, is_typed):
    dataset = datasets.IterableDataset.from_generator(rows, features=features(datasets) if is_typed else None)
    assert Bars.from_dataset(dataset, tmp_path / "bars.arrow").content_hash == BARS.content_hash


def test_a_parquet_file_streams_through_datasets(datasets, tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    dataset = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "bars.parquet"), split="train", streaming=True, cache_dir=str(tmp_path)
    )
    assert Bars.from_dataset(dataset, tmp_path / "bars.arrow").content_hash == BARS.content_hash
    shuffled = dataset.shuffle(seed=0, buffer_size=100)
    with pytest.raises(BarsError, match="sort"):
        Bars.from_dataset(shuffled, tmp_path / "shuffled.arrow")
    assert not (tmp_path / "shuffled.arrow").exists()


def test_what_is_no_dataset_is_refused(datasets, tmp_path):
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list([{"a": 1}])})
    with pytest.raises(BarsError, match=r"has the splits \['train'\]; take one of them"):
        Bars.from_dataset(splits, tmp_path / "bars.arrow")
    with pytest.raises(BarsError, match="not a DataFrame"):
        Bars.from_dataset(FRAME, tmp_path / "bars.arrow")
    with pytest.raises(BarsError, match="the table lacks 'timestamp'"):
        Bars.from_dataset(splits["train"], tmp_path / "bars.arrow")
    assert list(tmp_path.iterdir()) == []


# What is wrong in a piece, or between two


def test_a_bad_bar_in_a_later_piece_is_named(tmp_path):
    frame = FRAME.copy()
    frame.loc[250, "low"] = -1.0
    error = refused(pieces(frame, 100), tmp_path)
    assert str(error).startswith("in the piece after 200 rows: low is -1.0, a price is above 0")
    assert (error.symbol, error.column, error.rule) == ("S002", "low", "positive price")
    assert error.timestamp == FRAME["timestamp"][250]


SEAMS = {
    "a bar twice": ([FRAME[:50], FRAME[49:]], "two bars with this timestamp", "one bar per timestamp"),
    "back in time": ([FRAME[20:50], FRAME[:20]], "before the bar in the row above it", "ascending timestamps"),
    "a symbol comes back": ([FRAME[:300], FRAME[50:60]], "sort the rows by symbol and timestamp", "symbol by symbol"),
    "it comes back in the same piece": (
        [FRAME[:50], pd.concat([FRAME[130:140], FRAME[50:60]])],
        "sort the rows by symbol and timestamp",
        "symbol by symbol",
    ),
    "symbols take turns": (
        [FRAME.sort_values(["timestamp", "symbol"])],
        "sort the rows by symbol and timestamp",
        "symbol by symbol",
    ),
    "back in time in a piece": ([FRAME[:50][::-1]], "sort by timestamp", "ascending timestamps"),
    "two frequencies": (
        [FRAME[:120], FRAME[120:240:2].assign(symbol="slow")],
        "one table holds one frequency",
        "one frequency",
    ),
    "no rows": ([], "the table has no rows", "at least one bar"),
    "only empty pieces": ([FRAME[:0]], "the table has no rows", "at least one bar"),
    "nothing in it": ([pd.DataFrame()], "the table lacks", "required columns"),
    "a column is missing later": (
        [FRAME[:50], FRAME[50:].drop(columns="low")],
        "the table lacks 'low'",
        "required columns",
    ),
    "a column more later": ([FRAME[:50], FRAME[50:].assign(venue="X")], "the other columns are", "same columns"),
    "a column of another type": (
        [FRAME[:50].assign(trades=1), FRAME[50:].assign(trades="many")],
        "has other types than in the first piece",
        "same columns",
    ),
    "no time zone": (
        [FRAME[:50], FRAME[50:].assign(timestamp=FRAME["timestamp"].dt.tz_localize(None))],
        "has no time zone",
        "tz-aware timestamp",
    ),
    "a number": ([5], "not from int", None),
    "columns of different lengths": ([{"timestamp": [1, 2], "symbol": ["A"]}], "this dict is not one", None),
}


@pytest.mark.parametrize(("source", "message", "rule"), SEAMS.values(), ids=SEAMS)
def test_what_is_wrong_between_pieces(tmp_path, source, message, rule):
    error = refused(source, tmp_path)
    assert message in str(error)
    assert error.rule == rule


def test_a_calendar_that_does_not_exist_leaves_nothing_behind(tmp_path):
    source = iter([FRAME])
    with pytest.raises(UnknownNameError, match="XNYS"):
        store_bars(source, tmp_path / "bars.arrow", calendar="XNYZ")
    assert next(source) is FRAME  # said before anything is read
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_the_old_file(tmp_path):
    BARS.write(tmp_path / "bars.arrow")
    content = (tmp_path / "bars.arrow").read_bytes()

    def source():
        yield FRAME[:50]
        raise RuntimeError("the line went dead")

    with pytest.raises(RuntimeError, match="line went dead"):
        store_bars(source(), tmp_path / "bars.arrow")
    assert (tmp_path / "bars.arrow").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["bars.arrow"]


@pytest.mark.parametrize(
    "bad", [FRAME[50:100].assign(trades=1, venue="X"), FRAME[50:100].assign(low=-1.0), FRAME[:50], 5]
)
def test_a_piece_that_was_refused_is_not_forgotten(tmp_path, bad):
    def written(*after):
        with BarsWriter(tmp_path / "bars.arrow") as writer:
            writer.write(FRAME[:50].assign(trades=1))
            with pytest.raises(BarsError):
                writer.write(bad)
            for piece in after:
                writer.write(piece)

    for after in ((), (FRAME[100:].assign(trades=1),)):
        with pytest.raises(BarsError, match="an earlier piece was refused"):
            written(*after)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_is_used_as_a_context_and_once(tmp_path):
    writer = BarsWriter(tmp_path / "bars.arrow")
    with pytest.raises(BarsError, match="not used as a context"):
        writer.write(FRAME)
    with pytest.raises(BarsError, match="not used as a context"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
    with writer:
        writer.write(FRAME)
    with pytest.raises(BarsError, match="not used as a context"):
        writer.write(FRAME)
    with pytest.raises(BarsError, match="writes one file"), writer:
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["bars.arrow"]


@pytest.mark.parametrize("size", [1000, 8 * len(FRAME) - 3, 12_000, 7 * 8 * len(FRAME)])
def test_a_full_disk_is_seen_at_the_last_byte(tmp_path, size):
    """The files of the columns, of the other columns, or the file itself cannot be written to their ends."""
    resource = pytest.importorskip("resource")
    source = pieces(FRAME.assign(venue="a name of some length"), 77)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(BarsError, match=r"bars\.arrow cannot be written: .*too large") as caught:
            store_bars(source, tmp_path / "bars.arrow")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.rule == "writable file"
    assert list(tmp_path.iterdir()) == []


def test_names_of_columns_that_are_no_texts_become_texts(tmp_path):
    frame = FRAME.assign(trades=1).rename(columns={"trades": 7})
    assert store_bars(pieces(frame, 100), tmp_path / "bars.arrow").frame.columns[-1] == "7"


def test_a_parquet_file_without_symbols(tmp_path):
    FRAME.drop(columns="symbol").to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(BarsError, match="the table lacks 'symbol'"):
        store_bars(tmp_path / "bars.parquet", tmp_path / "bars.arrow")


def test_only_arrow_files_are_written_in_pieces(tmp_path):
    with pytest.raises(BarsError, match=r"is not an \.arrow file"):
        BarsWriter(tmp_path / "bars.parquet")
    (tmp_path / "folder.arrow").mkdir()
    for path in (tmp_path / "missing" / "bars.arrow", tmp_path / "folder.arrow"):
        with pytest.raises(BarsError, match="cannot be written"), BarsWriter(path):
            pass
    with pytest.raises(BarsError, match="there is no file"):
        store_bars(tmp_path / "missing.parquet", tmp_path / "bars.arrow")
    with pytest.raises(BarsError, match="not as a Bars"):
        store_bars(BARS, tmp_path / "bars.arrow")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(BarsError, match=r"broken\.parquet cannot be read as parquet"):
        store_bars(tmp_path / "broken.parquet", tmp_path / "bars.arrow")


def test_more_symbols_than_fit_into_a_byte(tmp_path):
    frame = synthetic_bars(symbols=300, days=0.5).frame
    bars = store_bars(pieces(frame, 1000), tmp_path / "bars.arrow", calendar="24/7")
    assert bars.symbols[299] == "S299"
    assert pd.read_feather(tmp_path / "bars.arrow")["symbol"].astype(str).tolist() == frame["symbol"].tolist()


def test_writing_takes_the_memory_of_a_piece(tmp_path):
    """A file of ten times the bars takes no more memory of the process's own."""
    code = """
import sys, numpy as np, pandas as pd
from pathlib import Path
sys.path.insert(0, "benchmarks")
from scaling import SYMBOL_BARS, generate
print(generate(Path(sys.argv[1]), int(sys.argv[2]))["write_peak_mib"])
"""
    peaks = []
    for count in (500_000, 2_500_000):
        command = [sys.executable, "-c", code, str(tmp_path / "bars.arrow"), str(count)]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    if np.isnan(peaks).any():
        pytest.skip("this system does not say how much memory a process has of its own")
    # Two million bars more are 112 MB.
    assert peaks[1] - peaks[0] < 30.0
