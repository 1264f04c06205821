"""One style for every command: --json, --quiet, examples that parse, exit codes, notes beside the result."""

import datetime
import json
import logging
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from lem_models import synthetic_bars
from lem_models.cli.app import app
from lem_models.cli.help import EXIT_CODES, examples
from lem_models.cli.options import add_command
from lem_models.cli.output import Output, note, warn
from lem_models.errors import ConfigError
from lem_models.guard.output import json_text
from lem_models.guard.settings import Settings
from lem_models.report.tables import Column, Table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
runner = CliRunner()


def _commands(group, path=()):
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*path, name))
    yield path, group


EVERYTHING = list(_commands(typer.main.get_command(app)))
COMMANDS = [(path, command) for path, command in EVERYTHING if not hasattr(command, "commands")]
each_command = pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
SCHEMA = dict(re.findall(r"^\| `lem ([a-z -]+)` \| (.+) \|$", PAGE, re.MULTILINE))


@each_command
def test_every_command_has_json_and_quiet_and_its_keys_are_documented(path, command):
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--quiet"} <= options
    assert " ".join(path) in SCHEMA


def test_no_command_is_documented_that_is_not_there():
    assert set(SCHEMA) == {" ".join(path) for path, _ in COMMANDS}


def _parsed(example):
    """Command and values of a command line; an error if an option does not exist or lacks its value."""
    words = shlex.split(example)
    assert words[0] == "lem"
    command, words = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command, command.make_context("lem", words).params


@pytest.mark.parametrize(("path", "command"), EVERYTHING, ids=[" ".join(("lem", *path)) for path, _ in EVERYTHING])
def test_every_help_has_examples_that_parse(path, command):
    found = examples(command.help)
    assert found
    shown = runner.invoke(app, [*path, "--help"], terminal_width=200).output
    for example in found:
        assert example in shown
        assert example.startswith(" ".join(("lem", *path)))
        _parsed(example)


def test_an_example_with_an_unknown_option_would_not_parse():
    with pytest.raises(Exception, match="No such option"):
        _parsed("lem list --jsonn")


def test_a_long_example_can_be_copied_into_a_shell():
    shown = runner.invoke(app, ["next", "--help"], terminal_width=60).output.partition("Example:\n")[2]
    lines = [line for line in shown.splitlines() if line.strip()]
    assert len(lines) > 1
    assert all(line.endswith(" \\") for line in lines[:-1])
    whole = shlex.split("\n".join(lines).replace("\\\n", ""))
    (_, command) = next(each for each in COMMANDS if each[0] == ("next",))
    assert whole == shlex.split(examples(command.help)[0])


def test_exit_codes_are_documented_in_the_help_and_on_the_page():
    shown = runner.invoke(app, ["--help"], terminal_width=200).output
    table = PAGE.partition("| exit code | meaning |")[2].partition("\n\n")[0]
    for codes, meaning in EXIT_CODES:
        assert meaning in shown
        for code in codes.split(", "):
            assert re.search(rf"^\|.*\b{code}\b.*\|.*\|$", table, re.MULTILINE)


# --- the mechanism ---------------------------------------------------------------------------------------------------


class CountOptions(Settings):
    how: str = "well"


@pytest.fixture
def command():
    group = typer.Typer(rich_markup_mode=None)
    frame = pd.DataFrame(
        {
            "symbol": ["A", "B"],
            "mean": [1 / 3, np.nan],
            "start": pd.to_datetime(["2024-03-01T09:30", "2024-03-01T10:30"]).tz_localize("America/New_York"),
            "unused": [1, 2],
        }
    )

    def count(options: CountOptions, out: Output) -> None:
        """Count.

        Example: lem count
        """
        note("a note")
        warn("a warning\nof two lines")
        logging.getLogger("lem_models").warning("the package warns")
        warnings.warn("the user's own code warns", UserWarning, stacklevel=1)
        out.table(
            "symbols",
            Table(frame, [Column("mean", "mean", "{:.2f}"), Column("start", "start")], grouped=[Column("symbol", "")]),
        )
        out.say("three of them", count=np.int64(3), day=datetime.date(2024, 3, 1), rate=np.inf)
        if options.how == "badly":
            raise ConfigError("refused")
        if options.how == "no":
            raise typer.Exit(1)

    add_command(group, count, name="count", summary="Count.")
    return group


DOCUMENT = {
    "schema": 1,
    "symbols": [
        {"symbol": "A", "mean": 1 / 3, "start": "2024-03-01T14:30:00+00:00"},
        {"symbol": "B", "mean": None, "start": "2024-03-01T15:30:00+00:00"},
    ],
    "count": 3,
    "day": "2024-03-01",
    "rate": None,
}


def test_in_words_the_result_is_on_standard_output_and_the_rest_on_standard_error(command):
    with pytest.warns(UserWarning, match="own code"):
        result = runner.invoke(command, [])
    assert result.stderr == "note: a note\nwarning: a warning\\nof two lines\nwarning: the package warns\n"
    assert "0.33" in result.stdout
    assert result.stdout.endswith("three of them\n")
    assert "note" not in result.stdout


@pytest.mark.filterwarnings("ignore:the user")
def test_json_is_one_object_with_every_digit_null_and_utc(command):
    result = runner.invoke(command, ["--json"])
    assert json.loads(result.stdout) == DOCUMENT
    assert result.stderr.startswith("note: a note\n")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("arguments", [["--quiet"], ["-q"], ["--quiet", "--json"]], ids=" ".join)
def test_quiet_prints_the_result_and_nothing_else(command, arguments):
    result = runner.invoke(command, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout


@pytest.mark.filterwarnings("ignore:the user")
def test_a_negative_answer_has_its_json_and_a_refusal_has_none(command):
    no = runner.invoke(command, ["--json", "--quiet", "--how", "no"])
    assert (no.exit_code, json.loads(no.stdout)) == (1, DOCUMENT)
    refused = runner.invoke(command, ["--json", "--quiet", "--how", "badly"])
    assert isinstance(refused.exception, ConfigError)
    assert refused.stdout == ""


def test_nothing_stays_behind_in_the_process(command):
    before = list(logging.getLogger("lem_models").handlers), logging.getLogger("lem_models.cli").level
    runner.invoke(command, ["--quiet"])
    assert (list(logging.getLogger("lem_models").handlers), logging.getLogger("lem_models.cli").level) == before


def test_events_are_objects_on_a_line(capsys):
    with Output(is_json=True) as out:
        out.event("fill", {"price": np.nan, "time": pd.Timestamp("2024-03-01", tz="UTC")}, "filled")
        out.event("message", {"text": "late"}, "late", is_note=True)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"type": "fill", "price": None, "time": "2024-03-01T00:00:00+00:00"},
        {"type": "message", "text": "late"},
    ]
    with Output(is_quiet=True) as out:
        out.event("fill", {}, "filled")
        out.event("message", {}, "late", is_note=True)
    assert capsys.readouterr() == ("filled\n", "")


def test_json_has_no_form_for_what_it_cannot_hold():
    with pytest.raises(ConfigError, match="a set has no form in JSON"):
        json_text({"x": {1}})


# --- real commands ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    synthetic_bars(symbols=1, days=30, seed=4).write(place / "bars.parquet")
    orders = "symbol,start,side,max_periods\nS000,2024-01-15T00:00Z,buy,6\nS000,2024-01-15T00:00Z,sell,6\n"
    (place / "orders.csv").write_text(orders, encoding="utf-8")
    return place


RUNS = {
    "list": [],
    "info": ["lem-base"],
    "power": ["--difference", "1bps", "--data", "bars.parquet", "--model", "stopping_rule", "--limit", "200"],
    "compare": ["stopping_rule", "twap", "--data", "bars.parquet", "--limit", "200", "--max-periods", "6"],
    "execute": ["--data", "bars.parquet", "--orders", "orders.csv", "--policy", "twap", "--out", "out"],
    "check-leak": ["twap", "bars.parquet", "--checks", "1"],
    "data check": ["bars.parquet"],
    "data convert": ["bars.parquet", "bars.csv"],
}


@pytest.mark.parametrize("name", RUNS)
def test_the_keys_of_a_command_are_those_of_its_documentation(place, monkeypatch, name):
    monkeypatch.chdir(place)
    result = runner.invoke(app, [*name.split(), *RUNS[name], "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    content = json.loads(result.stdout)
    assert content.pop("schema") == 1
    assert content
    undocumented = [key for key in content if f"`{key}`" not in SCHEMA[name]]
    assert not undocumented


@pytest.mark.parametrize("name", ["compare", "execute", "data check"])
def test_words_hold_a_result_and_no_notes(place, monkeypatch, name):
    monkeypatch.chdir(place)
    result = runner.invoke(app, [*name.split(), *RUNS[name]])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert "note: " not in result.stdout
