"""Nobody looks at a test period without a line in the log."""

import ast
import json
from pathlib import Path

import pytest

from benchmarks import looks, paper, zoo
from benchmarks.looks import UNDATED, append, count, open_bars, open_file, read_looks
from lem_models import Bars, synthetic_bars
from lem_models.errors import ConfigError
from lem_models.report.markdown import markdown_table
from tests.benchmarks.script import FOLDER, run_script

COMMITTED = FOLDER / "results" / "looks.jsonl"
TEST_START = "2024-01-01"
GIVEN = {"weights": {"mine": "ab" * 32}, "command": "python benchmarks/zoo.py --market crypto-hourly --data FOLDER"}
TIMES_ONLY = ("export.py", "scaling.py", "workloads.py")
"""Scripts that read bars, or make them, and measure times, no improvements."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars")
    synthetic_bars(symbols=2, days=60, seed=1, start="2023-12-01").write(path / "crypto_hourly.parquet")
    return path


def test_a_test_period_is_logged_before_its_bars_are_given_out(folder, log):
    opened = open_bars("crypto-hourly", folder, TEST_START, None, None, **GIVEN)
    (line,) = [json.loads(text) for text in log.read_text().splitlines()]
    assert (opened.split, opened.look) == ("test", line["id"])
    assert line["market"] == "crypto-hourly"
    assert line["weights"] == {"mine": "ab" * 6}
    assert line["command"] == GIVEN["command"]
    assert line["orders"] is None
    assert line["headline"] is None
    assert len(line["date"]) == 10
    assert str(folder) not in log.read_text()
    opened.report(40, "0.3 bar volatilities")
    (look,) = read_looks()
    assert look == line | {"orders": 40, "headline": "0.3 bar volatilities"}
    assert len(log.read_text().splitlines()) == 2  # appended, nothing rewritten


def test_no_bars_without_the_line(folder, monkeypatch):
    monkeypatch.setattr(looks, "LOG", folder / "no such folder" / "looks.jsonl")
    with pytest.raises(ConfigError, match="cannot be written, so no test period is given out"):
        open_bars("crypto-hourly", folder, TEST_START, None, None, **GIVEN)
    opened = open_bars("crypto-hourly", folder, TEST_START, "2023-12-15", "2024-01-01", **GIVEN)
    assert opened.split == "validation"  # no look, no line


def test_a_validation_period_is_no_look(folder, log):
    opened = open_bars("crypto-hourly", folder, TEST_START, "2023-12-15", "2024-01-01", **GIVEN)
    opened.report(3, "any")
    assert opened.look is None
    assert not log.exists()
    assert opened.bars.timestamp.max() < synthetic_bars(symbols=1, days=1, start="2024-01-01").timestamp.min()


def test_a_run_that_breaks_off_is_counted(folder, log):
    given = zoo.parser().parse_args(["--market", "crypto-hourly", "--data", str(folder), "--max-periods", "99"])
    with pytest.raises(ConfigError, match="has no run of"):
        zoo.measure(given, zoo.Plan.of(), lambda _: None)
    (look,) = read_looks()
    assert look["headline"] is None
    assert set(look["weights"]) == {"lem-crypto-hourly", "lem-base"}
    assert "not finished" in markdown_table(looks.looks_table([look]))


def test_the_file_of_a_market_is_a_look_whatever_the_script(folder, log, tmp_path):
    assert open_file(folder / "crypto_hourly.parquet", "2024-01-02", None, models=[], command="x").look is not None
    assert count("crypto-hourly") == 1
    Bars.read(folder / "crypto_hourly.parquet").write(tmp_path / "mine.parquet")
    assert open_file(tmp_path / "mine.parquet", None, None, models=[], command="x").look is None
    assert count("crypto-hourly") == 1


def test_only_the_function_that_logs_reads_bars_of_markets():
    """A script that reads bars in another way could look without a line."""
    readers = {"read", "read_parquet", "from_frame", "from_dataset", "from_hub", "read_table"}
    found = set()
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in readers
                and ast.unparse(node.value) in {"Bars", "pd", "pq"}
            ):
                found.add(path.name)
    assert found == {"looks.py", *TIMES_ONLY}
    tree = ast.parse((FOLDER / "looks.py").read_text(encoding="utf-8"))
    where = {
        function.name
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and "Bars.read" in ast.unparse(function)
    }
    assert where == {"open_bars", "open_file", "symbols_of"}


def test_scripts_that_only_measure_times_execute_no_orders():
    for name in TIMES_ONLY:
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert "run_benchmark" not in text
        assert "slippage_bps" not in text
        assert "improvement" not in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "line 2: not a look"),
        ('{"date": "2026-01-01"}', "line 2: not a look"),
        ("[1]", "line 2: not a look"),
        ('{"id": "b", "date": "2026-01-01"}', "line 2: a look without market, weights"),
    ],
)
def test_a_line_that_is_no_look_is_refused_by_number(log, text, reason):
    append({"id": "a", "date": "d", "market": "m", "weights": {}, "command": "c", "orders": 1, "headline": "h"})
    with log.open("a") as file:
        file.write(text + "\n")
    with pytest.raises(ConfigError, match=reason):
        read_looks()


def test_the_committed_log_names_no_machine_and_no_invented_date():
    text = COMMITTED.read_text(encoding="utf-8")
    assert all(path not in text for path in ("/home", "/work", "/tmp", "/root"))
    committed = read_looks(COMMITTED)
    of_the_paper = {market.name for market in paper.MARKETS.values()}
    assert {look["market"] for look in committed} == set(zoo.Plan.of().markets) | of_the_paper
    for look in committed:
        assert look["date"] == UNDATED or len(look["date"]) == 10
        assert all(len(short) == looks.SHORT for short in look["weights"].values())


def test_the_weights_of_every_test_record_are_in_the_log():
    logged = {(look["market"], look["command"], *look["weights"].values()) for look in read_looks(COMMITTED)}
    records = [json.loads(path.read_text()) for path in Path(FOLDER / "results").glob("*.json")]
    tested = [record for record in records if isinstance(record, dict) and record.get("split") == "test"]
    assert len(tested) >= 8
    for record in tested:
        if "markets" in record:  # of several markets, each with weights of its own
            for market in record["markets"]:
                assert any(look[:2] == (market, record["command"]) for look in logged), market
            continue
        short = [value[: looks.SHORT] for value in record["weights"].values()]
        assert (record["market"], record["command"], *short) in logged, record["command"]


def test_the_log_is_printed_as_a_table():
    done = run_script("looks.py", "--market", "dow-daily")
    assert done.returncode == 0
    assert "| date (UTC) | market | weights (SHA-256) | orders | headline | command |" in done.stdout
    looks_of = [look for look in read_looks(COMMITTED) if look["market"] == "dow-daily"]
    assert done.stdout.count("| dow-daily |") == len(looks_of)
    assert f"{len(looks_of)} looks" in done.stdout
