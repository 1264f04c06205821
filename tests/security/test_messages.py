"""What strangers write is shown escaped, on one line, and what they nest, leave out or fill up is a typed error."""

import json
import multiprocessing
import os
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.records import read_market_record
from lem_models.errors import BarsError, ConfigError, LEMError
from lem_models.guard.output import to_csv, to_json, write_bytes, write_text
from lem_models.guard.yaml import parse_yaml
from lem_models.hub.models.contents import contents_of
from lem_models.hub.models.eval_results import eval_results
from lem_models.hub.settings import ModelUpload
from lem_models.markets.bars import Bars
from lem_models.markets.storage.writer import store_bars
from lem_models.training.recipe import Recipe
from tests.helpers import hourly, random_model, tiny_config

EVIL = "a\x1b[2J\u202eb\u200b\r\nc"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return random_model(tiny_config()).save_pretrained(tmp_path_factory.mktemp("messages") / "model")


# --- files of bars ---------------------------------------------------------------------------------------------------


def refused(read, kind=BarsError):
    with pytest.raises(kind) as caught:
        read()
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_csv_in_another_encoding(tmp_path, encoding):
    path = tmp_path / "bars.csv"
    hourly().frame.head(5).assign(note="é").to_csv(path, index=False, encoding=encoding)
    refused(lambda: Bars.read(path))


@pytest.mark.parametrize("column", ["close", "timestamp", "symbol", "volume"])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_a_value_with_control_characters(tmp_path, column, suffix):
    frame = hourly().frame.head(5).astype({column: object})
    frame.loc[2, column] = EVIL
    frame[column] = frame[column].astype(str)
    path = tmp_path / f"bars.{suffix}"
    frame.to_parquet(path, index=False) if suffix == "parquet" else frame.to_csv(path, index=False)
    refused(lambda: Bars.read(path))


def test_a_column_with_control_characters(tmp_path):
    frame = hourly().frame.head(5).rename(columns={"close": EVIL})
    frame.to_parquet(tmp_path / "bars.parquet", index=False)
    refused(lambda: Bars.read(tmp_path / "bars.parquet"))


@pytest.mark.parametrize("name", [f"{EVIL}.csv", f"{EVIL}.parquet", f"{EVIL}.txt"])
def test_a_file_name_with_control_characters(tmp_path, name):
    refused(lambda: Bars.read(tmp_path / name))
    (tmp_path / name).write_bytes(b"x")
    refused(lambda: Bars.read(tmp_path / name))


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]",
        "!!python/object:lem_models.Bars {}",
        "a: !!python/name:os.system",
        "!evil\x85x",
        "a: [\n b: {",
        f"a: !<{EVIL!r}> 1",
        "%YAML 9.9\n---\na",
        "a\n\tb: 'c",
    ],
)
def test_yaml_with_tags_or_faults_is_one_line(tmp_path, text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_yaml(text)
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    refused(lambda: Recipe.read(tmp_path / "recipe.yaml"), LEMError)


DEEP = "[" * 100_000
NESTED = {"deep": DEEP, "deep maps": '{"a":' * 100_000, "no object": "3", "nothing": "", "not UTF-8": "\udcff"}


@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED)
def test_records_that_are_no_records(saved, tmp_path, text):
    for name in ("finetune.json", "metrics.json"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        for path in saved.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        refused(
            lambda folder=folder: contents_of(folder, ModelUpload(repo_id="org/a", eval_data={"x": "org/y"})), LEMError
        )
    refused(lambda: read_market_record(tmp_path / "metrics" / "metrics.json"), ConfigError)
    refused(lambda: eval_results(tmp_path / "metrics", "0" * 64, {}), ConfigError)


RECORD = {
    "start": EVIL,
    "sentence": EVIL,
    "data": {"content_hash": EVIL, "symbols": 3, "bars": 100},
    "parts": {"test": {"start": EVIL, "end": EVIL}},
    "warnings": [EVIL],
    "test": {
        "orders": 12,
        "net_of_costs": False,
        "fixed_duration_std_ratio": [{"ratio": 1.0, "low": 1.0, "high": 1.0, "policy": EVIL}],
        "policies": [
            {key: 1.0 for key in ("mean_bps", "std_bps", "mean_vol", "low_vol", "high_vol", "std_vol")}
            | {"min_periods": 1, "policy": EVIL, "orders": 3}
        ],
    },
}


def card_of(saved, tmp_path, record):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "finetune.json").write_text(json.dumps(record))
    return contents_of(folder, ModelUpload(repo_id="org/a"))


def test_a_plain_card_shows_texts_of_files_escaped(saved, tmp_path):
    contents = card_of(saved, tmp_path, RECORD)
    card = contents.files["README.md"].decode()
    assert [sign for sign in card if not sign.isprintable() and sign != "\n"] == []
    assert "\na\\x1b[2J" in card
    assert "\nc" not in card
    assert all(note.isprintable() for note in contents.notes)


def test_a_name_that_no_repository_has_reaches_no_card():
    refused(lambda: ModelUpload(repo_id=f"org/lem|<b>{EVIL}"), LEMError)


@pytest.mark.parametrize("missing", [("test", "orders"), ("parts", "test", "end"), ("warnings",), ("data", "bars")])
def test_a_record_that_lacks_what_the_card_shows_is_refused(saved, tmp_path, missing):
    record = json.loads(json.dumps(RECORD))
    place = record
    for key in missing[:-1]:
        place = place[key]
    del place[missing[-1]]
    refused(lambda: card_of(saved, tmp_path, record), ConfigError)


def test_notes_about_pictures_are_escaped(saved, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "README.md").write_text("---\nlicense: mit\n---\n![x](../\x1b[2Jy.png) ![x](z\u202e.png)")
    assert all(note.isprintable() for note in contents_of(folder, ModelUpload(repo_id="org/a")).notes)


# --- full disks ------------------------------------------------------------------------------------------------------

WRITERS = {
    "text": lambda path: write_text(path / "a.txt", "x" * 100_000),
    "bytes": lambda path: write_bytes(path / "a.png", b"x" * 100_000),
    "table": lambda path: to_csv(pd.DataFrame({"a": np.arange(50_000)}), path / "a.csv"),
    "facts": lambda path: to_json({"a": list(range(50_000))}, path / "a.json"),
    "arrow": lambda path: hourly(40).write(path / "a.arrow"),
    "parquet": lambda path: hourly(40).write(path / "a.parquet"),
    "csv": lambda path: hourly(40).write(path / "a.csv"),
    "csv.gz": lambda path: hourly(40).write(path / "a.csv.gz"),
    "pieces": lambda path: store_bars([hourly(40).frame], path / "a.arrow"),
}


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("there", [False, True], ids=["new", "there already"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_a_typed_error_and_leaves_what_was_there(tmp_path, write, there):
    if there:
        write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
            refused(lambda: write(tmp_path), LEMError)
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(lambda: write_text(tmp_path / "file" / "a.txt", "x"), ConfigError)
    assert (tmp_path / "file").read_text() == "mine"
    assert Path(tmp_path / "file").is_file()
