"""Bars published as data sets and read back over HTTP: by this package, and by the library ``datasets``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.errors import BarsError, HubError, LEMError, UnknownNameError
from lem_models.hub.commit import Plan
from lem_models.hub.datasets.push import plan_bars
from lem_models.hub.settings import BarsUpload
from lem_models.markets.bars import Bars
from lem_models.markets.storage.writer import store_bars
from tests.hub.datasets.dataset_client import point_datasets_at
from tests.hub.datasets.market_data import LICENCE, NAME, market, parquet, plain_frame
from tests.hub.server import HubServer

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


def push(hub: HubServer, bars: Bars | None = None, **settings) -> str:
    given = {"licence": LICENCE, "token": hub.token, "max_shard_size": "40KB", **settings}
    return (bars or market()).push_to_hub(NAME, **given)


def files(hub: HubServer, branch: str = "main") -> dict[str, bytes]:
    return dict(hub.repository(NAME, "datasets").at(branch).files)


def card(hub: HubServer, branch: str = "main") -> str:
    return files(hub, branch)["README.md"].decode()


def head(hub: HubServer) -> dict:
    return yaml.safe_load(card(hub).split("---")[1])


def history(hub: HubServer) -> list:
    return hub.repository(NAME, "datasets").history()


def same(a: Bars, b: Bars) -> bool:
    pd.testing.assert_frame_equal(a.frame, b.frame)
    return (a.content_hash, a.calendar.name, a.frequency) == (b.content_hash, b.calendar.name, b.frequency)


# --- there and back --------------------------------------------------------------------------------------------------


def test_bars_come_back_exactly_with_every_column_and_its_type(hub):
    url = push(hub)
    commit = hub.repository(NAME, "datasets").at("main")
    assert url == f"{hub.endpoint}/datasets/{NAME}/commit/{commit.sha}"
    assert sum(path.startswith("data/train-") for path in commit.files) == 4
    back = Bars.from_hub(NAME)
    assert same(back, market())
    assert back.frame["seen"].dtype == market().frame["seen"].dtype  # seconds, New York
    assert back.frame["trades"].dtype == np.int32
    assert back.frame["exact"].dtype == bool


def test_a_stream_gives_the_same_bars_and_downloads_as_it_goes(hub, tmp_path):
    push(hub)
    hub.requests.clear()
    stream = Bars.from_hub(NAME, streaming=True)
    assert not [request for request in hub.requests if request.host == "storage"]
    pieces = iter(stream)
    first = next(pieces)
    fetched = {request.path for request in hub.requests if request.host == "storage"}
    assert len(fetched) == 1  # of four shards
    assert all("range" in request.headers for request in hub.requests if request.host == "storage")
    assert first.num_rows + sum(piece.num_rows for piece in pieces) == len(market())
    assert same(stream.write(tmp_path / "bars.arrow"), market())
    assert same(store_bars(stream, tmp_path / "again.arrow"), market())
    assert not list((tmp_path / "home" / "hub").rglob("*.parquet"))
    assert {path.name for path in tmp_path.iterdir()} == {"home", "bars.arrow", "again.arrow"}


def test_a_mapped_file_is_published_as_its_bars(hub, tmp_path):
    market().write(tmp_path / "bars.arrow")
    push(hub, Bars.read(tmp_path / "bars.arrow"))
    assert same(Bars.from_hub(NAME), market())


def test_the_calendar_that_was_chosen_comes_back(hub):
    bars = Bars.from_frame(plain_frame(24), calendar="sessions", frequency="30min")
    push(hub, bars)
    assert same(Bars.from_hub(NAME), bars)
    other = Bars.from_hub(NAME, calendar="24/7", frequency="1h")
    assert (other.calendar.name, other.frequency) == ("24/7", pd.Timedelta("1h"))


@pytest.mark.parametrize("streaming", [True, False])
def test_the_library_datasets_reads_what_was_published(hub, monkeypatch, tmp_path, streaming):
    from datasets import load_dataset

    push(hub)
    push(hub, market().between("2024-01-15"), split="test")
    point_datasets_at(hub, monkeypatch, tmp_path)
    rows = load_dataset(NAME, split="train", streaming=streaming)
    types = {name: value.dtype for name, value in rows.features.items()}
    assert types["timestamp"] == "timestamp[ns, tz=UTC]"
    assert types["seen"] == "timestamp[s, tz=America/New_York]"
    assert (types["symbol"], types["close"], types["exact"], types["trades"]) == ("string", "float64", "bool", "int32")
    stored = Bars.from_dataset(rows, tmp_path / "bars.arrow", calendar="24/7")
    assert stored.content_hash == market().content_hash
    if not streaming:
        assert {name: len(split) for name, split in load_dataset(NAME).items()} == {
            "train": len(market()),
            "test": len(market().between("2024-01-15")),
        }


def test_what_the_library_datasets_published_is_read(hub, monkeypatch, tmp_path):
    from datasets import Dataset

    point_datasets_at(hub, monkeypatch, tmp_path)
    frame = plain_frame()
    Dataset.from_pandas(frame, preserve_index=False).push_to_hub(NAME, token=hub.token, max_shard_size="2KB")
    assert Bars.from_hub(NAME).content_hash == Bars.from_frame(frame).content_hash
    assert sum(piece.num_rows for piece in Bars.from_hub(NAME, streaming=True)) == len(frame)


@pytest.mark.parametrize("path", ["train.parquet", "data/train-00000-of-00001-abc.parquet", "anything.parquet"])
def test_parquet_without_a_card_is_read(hub, path):
    frame = plain_frame()
    hub.create(NAME, {path: parquet(frame)}, kind="datasets")
    assert Bars.from_hub(NAME).content_hash == Bars.from_frame(frame).content_hash


def test_a_revision_is_pinned_and_a_branch_read(hub):
    push(hub)
    old = hub.repository(NAME, "datasets").at("main").sha
    other = market().select("S001")
    push(hub, other)
    push(hub, market().select("S002"), branch="third")
    assert same(Bars.from_hub(NAME, revision=old), market())
    assert same(Bars.from_hub(NAME), other)
    assert Bars.from_hub(NAME, revision="third").symbols == ("S002",)


def test_a_stream_stays_at_its_commit(hub):
    push(hub)
    stream = Bars.from_hub(NAME, streaming=True)
    push(hub, market().select("S001"))
    assert sum(piece.num_rows for piece in stream) == len(market())


def test_a_pull_request_leaves_the_main_branch_as_it_is(hub):
    push(hub)
    before = hub.repository(NAME, "datasets").at("main")
    assert push(hub, market().select("S001"), create_pr=True).endswith("/discussions/1")
    assert hub.repository(NAME, "datasets").at("main") is before
    assert Bars.from_hub(NAME, revision="refs/pr/1").symbols == ("S001",)


def test_a_private_data_set_needs_the_token(hub):
    push(hub, private=True)
    with pytest.raises(HubError, match=NAME):
        Bars.from_hub(NAME)
    assert same(Bars.from_hub(NAME, token=hub.token), market())
    assert sum(piece.num_rows for piece in Bars.from_hub(NAME, token=hub.token, streaming=True)) == len(market())
    stored = [request for request in hub.requests if request.host == "storage"]
    assert stored
    assert all(request.token is None for request in stored)


@pytest.mark.parametrize("local_files_only", [True, False])
def test_bars_that_were_read_once_are_there_without_the_server(hub, tmp_path, local_files_only):
    push(hub)
    Bars.from_hub(NAME, cache_dir=tmp_path / "cache")
    hub.close()
    settings = {"cache_dir": tmp_path / "cache", "local_files_only": local_files_only}
    assert same(Bars.from_hub(NAME, **settings), market())
    assert sum(piece.num_rows for piece in Bars.from_hub(NAME, streaming=True, **settings)) == len(market())
    with pytest.raises(HubError, match=r"'desk/other'.*not cached.*hf download desk/other --repo-type dataset"):
        Bars.from_hub("desk/other", **settings)


def test_half_a_cached_copy_is_not_taken_for_the_whole(hub, tmp_path):
    push(hub)
    Bars.from_hub(NAME, cache_dir=tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("train-00002-*.parquet")
    shard.unlink()
    hub.close()
    with pytest.raises(
        LEMError, match=r"cached copy of 'desk/bars' has 3 of the 4 files .*; data/train-00002-of-00004\.parquet"
    ):
        Bars.from_hub(NAME, cache_dir=tmp_path / "cache")


# --- splits and shards -----------------------------------------------------------------------------------------------


def test_a_split_replaces_itself_and_leaves_the_others(hub):
    push(hub)
    push(hub, market().select("S001"), split="test", max_shard_size="1GB")
    push(hub, market().select(["S000", "S001"]), max_shard_size="1GB")
    data = [path for path in files(hub) if path.startswith("data/")]
    assert data == ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]
    assert Bars.from_hub(NAME).symbols == ("S000", "S001")
    assert Bars.from_hub(NAME, split="test").symbols == ("S001",)
    info = head(hub)["dataset_info"]
    counts = {split["name"]: split["num_examples"] for split in info["splits"]}
    assert counts == {"train": len(market().select(["S000", "S001"])), "test": len(market().select("S001"))}
    assert info["download_size"] == sum(
        len(content) for path, content in files(hub).items() if path.endswith("parquet")
    )
    with pytest.raises(UnknownNameError, match=r"split of 'desk/bars' 'tset'; did you mean 'test'"):
        Bars.from_hub(NAME, split="tset")


def test_the_same_bars_again_make_no_commit(hub):
    for split in ("train", "test", "train"):
        push(hub, split=split)
    assert len(history(hub)) == 3


def test_shards_that_are_there_are_not_sent_again(hub):
    push(hub)
    hub.requests.clear()
    push(hub, split="copy")  # other names, and the same bytes
    assert [request.method for request in hub.requests if request.host == "storage"] == []
    assert Bars.from_hub(NAME, split="copy").content_hash == market().content_hash


def test_splits_of_one_data_set_have_the_same_columns(hub):
    push(hub)
    with pytest.raises(LEMError, match="'test' has other columns than 'train'"):
        push(hub, Bars.from_frame(plain_frame()), split="test")
    assert len(history(hub)) == 2
    push(hub, Bars.from_frame(plain_frame()))  # the only split may change


def test_somebody_else_s_commit_in_between_is_built_upon(hub, monkeypatch):
    from huggingface_hub import HfApi

    push(hub)
    real, raced = HfApi.create_commit, []

    def slow(self, *args, **kwargs):
        if not raced:
            raced.append(True)
            hub.repository(NAME, "datasets").commit({"notes.txt": b"first"})
        return real(self, *args, **kwargs)

    monkeypatch.setattr(HfApi, "create_commit", slow)
    push(hub, market().select("S001"))
    assert raced
    assert files(hub)["notes.txt"] == b"first"
    assert Bars.from_hub(NAME).symbols == ("S001",)


@pytest.mark.parametrize("split", ["all", "a-b", "../x", "", "a b", None])
def test_a_split_has_a_plain_name(hub, split):
    with pytest.raises(LEMError, match="a split is named"):
        push(hub, split=split)
    assert hub.requests == []


@pytest.mark.parametrize("size", ["0", "-5", "many", "5 apples", True, "1e400"])
def test_a_size_that_is_none_is_refused(hub, size):
    with pytest.raises(LEMError, match="a size is a number of bytes"):
        push(hub, max_shard_size=size)
    assert hub.requests == []


# --- the licence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "licence", [None, "", "  ", "none", "N/A", "unknown", "unknown: ?", "other", "other: ", "other: ."]
)
def test_bars_without_a_licence_are_not_published(hub, licence):
    with pytest.raises(BarsError, match=r"pass licence= .*'cc-by-4\.0'") as caught:
        push(hub, licence=licence)
    assert caught.value.rule == "licence"
    assert hub.requests == []


def test_a_licence_with_a_slip_is_answered_with_the_closest(hub):
    with pytest.raises(BarsError, match=r"'ccby-4\.0'; did you mean .*'cc-by-4\.0'"):
        push(hub, licence="ccby-4.0")
    assert hub.requests == []


def test_terms_in_words_are_in_the_card_and_its_head(hub):
    push(hub, licence="other: Personal use only, see https://example.org/terms")
    assert "Licence: other: Personal use only, see https://example.org/terms." in card(hub)
    found = head(hub)
    assert (found["license"], found["license_link"]) == ("other", "https://example.org/terms")
    assert found["license_name"].startswith("personal-use-only")


def test_a_card_that_names_another_licence_is_a_contradiction(hub):
    push(hub)
    with pytest.raises(LEMError, match=r"has the licence cc-by-4\.0, and the upload has mit"):
        push(hub, licence="mit")
    assert len(history(hub)) == 2
    push(hub, licence="mit", replace_card=True)
    assert head(hub)["license"] == "mit"


# --- the card --------------------------------------------------------------------------------------------------------


def test_the_card_says_how_many_notionals_are_estimated(hub):
    exact = np.arange(len(market())) % 4 > 0
    push(hub, Bars.from_frame(market().frame.assign(notional_exact=exact)))
    text = card(hub)
    assert text.count("| Bars with an estimated notional | 25.0 % |\n| Content hash") == 1
    assert "| notional_exact | bool | whether the notional was measured; otherwise it is an estimate |" in text
    back = Bars.from_hub(NAME)
    assert back.notional_exact.tolist() == exact.tolist()


def test_the_card_says_what_was_measured_and_what_the_publisher_said(hub):
    push(
        hub,
        source="An exchange's | own files",
        quirks=["Volumes before 2024-01-05 are rounded."],
        columns={"spread": "bps, mean over the bar"},
    )
    text = card(hub)
    for expected in (
        "| Source | An exchange's \\| own files |",
        "| Period | 2024-01-01 00:00 to 2024-01-20 23:00",
        "| Frequency | 1h |",
        "| Calendar | 24/7 |",
        f"| Bars | {len(market()):,} |",
        "| Symbols | 3 |",
        "| Gaps | 2, 4 bars missing |",
        "| Bars without volume | 1 |",
        f"`{market().content_hash}`",
        "- Volumes before 2024-01-05 are rounded.",
        "| spread | float64 | bps, mean over the bar |",
        "| venue | string | not described |",
        "| volume | float64 | traded volume, in base units (coins, shares) |",
        "| S000 | 2024-01-01 00:00 | 2024-01-20 23:00 | 477 | 1 | 3 |",
        'Bars.from_hub("desk/bars", split="train")',
    ):
        assert expected in text, expected
    assert "estimated notional" not in text
    assert (head(hub)["license"], head(hub)["pretty_name"]) == (LICENCE, "bars")
    assert head(hub)["size_categories"] == ["1K<n<10K"]


def test_a_column_that_is_not_there_cannot_be_described(hub):
    with pytest.raises(LEMError, match="no column 'sprad' to describe"):
        push(hub, columns={"sprad": "?"})
    assert (("datasets", NAME) in hub.repositories) is False


def test_many_symbols_are_listed_up_to_a_limit(hub):
    frame = plain_frame(2)
    push(hub, Bars.from_frame(pd.concat([frame.assign(symbol=f"T{n:03d}|<b>") for n in range(130)]), calendar="24/7"))
    assert "| T099\\|&lt;b> |" in card(hub)
    assert "T100" not in card(hub)
    assert "and 30 more symbols" in card(hub)


def test_a_section_of_a_split_is_measured_again_and_the_rest_of_the_card_stays(hub):
    push(hub, source="the first")
    edited = card(hub).replace("# bars\n", "# Bars of the desk\n\nAsk Jo.\n")
    hub.repository(NAME, "datasets").commit({"README.md": edited.encode()})
    push(hub, market().select("S001"), source="the second")
    push(hub, market().select("S002"), split="test", source="the third")
    text = card(hub)
    assert "# Bars of the desk\n\nAsk Jo.\n" in text
    assert "the first" not in text
    assert text.index("the second") < text.index("## Split `test`") < text.index("the third")


WRITTEN = b"""---
# kept by hand
license: [cc-by-4.0]
configs:
- config_name: old
  data_files: old/*.parquet
language:
- en   # aligned
---
# A card of our own
No number in it is generated.\r
"""


def test_a_card_written_by_hand_keeps_every_byte_but_those_that_datasets_needs(hub):
    hub.create(NAME, {"README.md": WRITTEN, "old/a.parquet": parquet(plain_frame())}, kind="datasets")
    push(hub)
    text = card(hub).encode()
    start, end = WRITTEN.index(b"configs:"), WRITTEN.index(b"language:")
    assert text.startswith(WRITTEN[:start])
    assert WRITTEN[end : WRITTEN.index(b"---\n# A card")] in text
    assert text.endswith(WRITTEN[WRITTEN.index(b"---\n# A card") :])
    assert [config["config_name"] for config in head(hub)["configs"]] == ["old", "default"]
    assert same(Bars.from_hub(NAME), market())
    assert len(Bars.from_hub(NAME, config="old")) == 48
    with pytest.raises(UnknownNameError, match="configuration of 'desk/bars' 'odl'; did you mean 'old'"):
        Bars.from_hub(NAME, config="odl")


@pytest.mark.parametrize("line", ["", "Somebody's own words.\n"], ids=["as generated", "edited inside"])
def test_a_generated_section_that_was_edited_is_not_overwritten(hub, line):
    push(hub, source="the first")
    edited = card(hub).replace("| symbol | first bar |", f"{line}| symbol | first bar |")
    hub.repository(NAME, "datasets").commit({"README.md": edited.encode()})
    push(hub, market().select("S001"), source="the second")
    assert ("the first" in card(hub), "the second" in card(hub)) == (bool(line), not line)
    assert head(hub)["dataset_info"]["splits"][0]["num_examples"] == len(market().select("S001"))


@pytest.mark.parametrize(
    "old",
    [
        b"no head",
        b"---\nlicense: cc-by-4.0\n---",
        b"---\n{license: cc-by-4.0, configs: []}\n---\nx",
        b"---\n- 1\n---\n",
    ],
)
def test_a_card_in_an_odd_form_still_gets_what_datasets_needs(hub, old):
    hub.create(NAME, {"README.md": old}, kind="datasets")
    if old.startswith(b"---\n-"):
        with pytest.raises(LEMError, match="the metadata of the card of 'desk/bars' cannot be read"):
            push(hub)
        return
    push(hub)
    assert head(hub)["license"] == LICENCE
    assert same(Bars.from_hub(NAME), market())


# --- what is checked before anything is sent -------------------------------------------------------------------------


def test_bars_are_checked_again_before_anything_is_sent(hub, tmp_path):
    market().write(tmp_path / "bars.arrow")
    content = bytearray((tmp_path / "bars.arrow").read_bytes())
    at = bytes(content).index(market().close[500].tobytes())
    content[at : at + 8] = np.float64(-1.0).tobytes()
    (tmp_path / "bars.arrow").write_bytes(content)
    with pytest.raises(BarsError, match="a price is above 0"):
        push(hub, Bars.read(tmp_path / "bars.arrow"))
    content[at : at + 8] = np.float64(market().close[500] * (1 + 1e-12)).tobytes()
    (tmp_path / "bars.arrow").write_bytes(content)
    with pytest.raises(BarsError, match="content hash"):
        push(hub, Bars.read(tmp_path / "bars.arrow"))
    assert hub.requests == []


def test_columns_that_are_not_flat_are_not_published(hub):
    frame = plain_frame().assign(book=[[1.0, 2.0]] * 48)
    with pytest.raises(BarsError, match=r"of type list<.*column 'book'"):
        push(hub, Bars.from_frame(frame))
    assert hub.requests == []


def test_a_public_data_set_is_no_place_for_private_bars(hub):
    push(hub)
    with pytest.raises(HubError, match="exists and is public"):
        push(hub, market().select("S001"), private=True)
    assert len(history(hub)) == 2


def test_a_plan_says_everything_and_does_nothing(hub):
    def plan_of(bars: Bars, **settings) -> Plan:
        return plan_bars(bars, BarsUpload(repo_id=NAME, licence=LICENCE, token=hub.token, **settings))

    plan = plan_of(market(), max_shard_size="40KB")
    assert hub.repositories == {}
    assert plan.exists is False
    push(hub)
    sent = {path: content for path, content in files(hub).items() if path != ".gitattributes"}
    assert {file.path: file.size for file in plan.files} == {path: len(content) for path, content in sent.items()}
    assert {file.state for file in plan.files} == {"new"}
    assert plan.card == card(hub)
    before = len(hub.requests)
    again = plan_of(market(), max_shard_size="40KB")
    assert {file.state for file in again.files} == {"same"}
    other = plan_of(market().select("S001"), max_shard_size="1GB")
    states = {file.path: file.state for file in other.files}
    assert states["data/train-00000-of-00001.parquet"] == "new"
    assert states["data/train-00003-of-00004.parquet"] == "removed"
    assert states["README.md"] == "changed"
    assert {request.method for request in hub.requests[before:]} <= {"GET", "HEAD"}
    hub.close()
    blind = plan_of(market(), max_shard_size="40KB")
    assert blind.exists is None
    assert "not known" in str(blind)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_publishes_and_prints_the_url(hub, monkeypatch, tmp_path):
    market().write(tmp_path / "bars.arrow")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    arguments = [
        "publish",
        "data",
        str(tmp_path / "bars.arrow"),
        "--to",
        NAME,
        "--source",
        "made up",
        "--licence",
        "mit",
    ]
    arguments += ["--quirk", "One.", "--quirk", "Two.", "--column", "spread=in bps", "--max-shard-size", "40KB"]
    dry = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert hub.repositories == {}
    assert "- Two." in dry.output
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    commit = hub.repository(NAME, "datasets").at("main")
    assert f"published: {hub.endpoint}/datasets/{NAME}/commit/{commit.sha}" in done.output
    assert "| spread | float64 | in bps |" in card(hub)
    hashes = [line.split("sha256 ")[1] for line in dry.output.splitlines() if ".parquet  " in line]
    assert len(hashes) == 4
    assert all(f"sha256 {digest}" in done.output for digest in hashes)


@pytest.mark.parametrize(
    ("options", "message"), [([], "pass licence="), (["--licence", "mit", "--column", "spread"], "NAME=MEANING")]
)
def test_the_command_refuses_before_it_reads(hub, tmp_path, options, message):
    result = CliRunner().invoke(app, ["publish", "data", str(tmp_path / "nothing.arrow"), "--to", NAME, *options])
    assert message in str(result.exception)
    assert hub.requests == []


@pytest.mark.slow
def test_a_market_larger_than_what_is_held_in_memory(hub, tmp_path):
    """4 million bars (256 MB in memory) pushed from a mapped file and streamed back: memory is that of a shard."""
    code = (REPOSITORY / "tests" / "hub" / "datasets" / "push_large.py").read_text()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), NAME],
        env={**hub.environment(tmp_path / "other"), "HF_TOKEN": hub.token, "OMP_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    assert found["push_mb"] < 120, found
    assert found["stream_mb"] < 200, found
