"""A settings class declares the options of a command: names, help, defaults and bounds, each once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from lem_models.cli.app import app as lem
from lem_models.cli.options import add_command, as_arguments, narrowed
from lem_models.cli.output import Output
from lem_models.errors import ConfigError
from lem_models.guard.settings import Settings

runner = CliRunner()


class Shared(Settings):
    refusal: ClassVar[str] = "refused"

    pace: int = Field(3, ge=1, description="Periods.")
    bar: bool = Field(True, description="Progress bar.")
    kind: Literal["fast", "slow"] | None = Field(None, description="Kind.")


class Own(Shared):
    flags: ClassVar[dict[str, str]] = {"start": "--from -f", "share": "--public/--private", "token": ""}

    file: Annotated[Path, typer.Argument()] = Field(description="A file.")
    out: Path = Field(description="A folder.")
    dry_run: bool = Field(False, description="Nothing is done.")
    start: str | None = Field(None, description="A start.")
    share: bool | None = Field(None, description="For whom.")
    names: str | Sequence[str] = Field((), description="Names.")
    token: str | None = Field(None, description="Never an option.")
    size: int | str = Field("auto", description="Size.")


@pytest.fixture
def command():
    """The command, and the list that it adds its settings to."""
    app, seen = typer.Typer(rich_markup_mode=None), []

    def work(options: Own, out: Output) -> None:
        """Work."""
        del out
        seen.append(options)

    add_command(app, work, name="work", summary="Works.")
    return app, seen


def test_defaults_are_those_of_the_class(command):
    app, seen = command
    result = runner.invoke(app, ["x", "--out", "y"])
    assert result.exit_code == 0, result.output
    assert seen == [Own(file=Path("x"), out=Path("y"))]
    assert as_arguments(seen[0], Shared) == []


def test_every_option_reaches_its_field_and_back(command):
    app, seen = command
    given = ["--pace", "5", "--no-bar", "--kind", "slow", "--out", "y", "--dry-run", "--from", "s", "--private"]
    result = runner.invoke(app, [*given, "--size", "7", "--names", "a", "--names", "b", "x"])
    assert result.exit_code == 0, result.output
    (options,) = seen
    assert options == Own(
        **{"pace": 5, "bar": False, "kind": "slow", "out": "y", "dry_run": True, "start": "s", "share": False},
        **{"size": "7", "names": ["a", "b"], "file": "x"},
    )
    assert narrowed(options, Shared) == Shared(pace=5, bar=False, kind="slow")
    assert as_arguments(options, Shared) == ["--pace", "5", "--no-bar", "--kind", "slow"]


def test_help_has_names_descriptions_bounds_and_what_is_required_first(command):
    app, _ = command
    text = " ".join(runner.invoke(app, ["--help"], terminal_width=120).output.split())
    for line in ("--pace", "Periods.", "default: 3; x>=1", "--bar / --no-bar", "-f, --from", "--public / --private"):
        assert line in text
    assert "--no-dry-run" not in text
    assert "token" not in text
    assert text.index("--out") < text.index("--pace")


@pytest.mark.parametrize("arguments", [["x"], ["--out", "y"], ["x", "--out", "y", "--pace", "0"]], ids=" ".join)
def test_what_is_missing_or_out_of_bounds_is_a_usage_error(command, arguments):
    app, seen = command
    assert (runner.invoke(app, arguments).exit_code, seen) == (2, [])


def test_a_value_that_the_class_refuses_is_its_typed_error(command):
    app, _ = command
    refused = runner.invoke(app, ["x", "--out", "y", "--kind", "odd"])
    assert type(refused.exception) is ConfigError
    assert str(refused.exception).startswith("refused: kind: Input should be 'fast' or 'slow'")


def _options(group, path=()):
    for name, command in getattr(group, "commands", {}).items():
        yield from _options(command, (*path, name))
    yield from ((" ".join(path), option) for option in group.params if option.name not in ("version", "help"))


def test_options_of_one_name_have_one_help():
    """What commands share is declared once; the few that mean something of their own are named here."""
    helps = {}
    for command, option in _options(typer.main.get_command(lem)):
        helps.setdefault(option.opts[0], {}).setdefault(option.help, []).append(command)
    several = {name for name, texts in helps.items() if len(texts) > 1}
    own = {"--data", "--out", "--model", "--config", "--orders", "--seed", "--licence", "--horizon", "data"}
    own |= {
        "--against",
        "--benchmark",
        "--html",
        "--start",
        "--end",
        "--until",
        "--policy",
        "--fills",
        "--history",
    }
    own |= {"--symbol", "--side", "--amount", "--risk-aversion", "--max-participation", "order"}  # of the one order
    own |= {"--watch", "--by", "--revision", "--host", "name"}
    assert several <= own | {"--from", "--to", "--split", "--dry-run"}
