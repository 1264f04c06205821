"""Texts from outside: recipes that ask for too much, symbols that would write to a terminal or a page."""

import io
from itertools import pairwise

import pytest
from rich.console import Console

from lem_models.baselines import load_policy
from lem_models.errors import BarsError, ConfigError
from lem_models.execution.execute import execute
from lem_models.guard.text import open_regular
from lem_models.hub.models.zoo import list_models
from lem_models.markets.bars import Bars
from lem_models.orders import Order
from lem_models.report.benchmark_console import print_execution
from lem_models.training.recipe import Recipe
from tests.helpers import hourly

RECIPE = "name: a\ndata: {train_end: 2024-01-01, validation_end: 2024-02-01}\n"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{now}: &{now} [{', '.join(f'*{before}' for _ in range(10))}]\n" for before, now in pairwise("abcdefghi")
)


def test_a_recipe_may_share_sections(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\ndata:\n- &d {train_end: 2024-01-01, validation_end: 2024-02-01}\n- {<<: *d, weight: 2.0}\n"
        "- {<<: *d, train_end: 2023-01-01}\n"
    )
    assert [(market.weight, market.train_end.year) for market in Recipe.read(path).data] == [
        (1.0, 2024),
        (2.0, 2024),
        (1.0, 2023),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECIPE + "seed: 1\nseed: 2\n", "a key occurs twice: 'seed'.*line 4"),
        (RECIPE + "trainer: {steps: 3, steps: 4}\n", "a key occurs twice: 'steps'"),
        (
            RECIPE + "seed: !!python/object/apply:os.system ['touch CODE-WAS-RUN']\n",
            "could not determine a constructor",
        ),
        (RECIPE + "seed: !!python/name:os.system\n", "could not determine a constructor"),
        (RECIPE + "model: &m {head_config: *m}\n", "contains itself"),
        (RECIPE + LAUGHS, "stands for more than 20,000 values"),
        (RECIPE + f"model: {'[' * 1000}", "nested more than 32"),
        (RECIPE + "#" * 200_000, "more than 131,072 bytes"),
        (RECIPE + "seed: \x1b[2J", "special characters are not allowed"),
        (RECIPE + '"\\e[2J": 1', r"'\\x1b\[2J'"),
        (
            RECIPE + f"model: [{', '.join('x' * 9 for _ in range(9999))}]",
            r"model: must hold settings, not \[.{0,80}\]$",
        ),
        (RECIPE + "model: {auto_map: {a: b}}", "names code"),
        ("name: ../../escape\n" + RECIPE.partition("\n")[2], "name: String should match pattern"),
    ],
)
def test_a_recipe_that_asks_for_too_much_is_refused(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe.read(path)
    assert "\x1b" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_only_regular_files_are_opened(path):
    with pytest.raises((ValueError, OSError), match=r"not a regular file|Permission denied|Is a directory"):
        open_regular(path)


@pytest.mark.parametrize("symbol", ["\x1b[2J", "a\nERROR all is lost", "a\0", "\u202etxt", "x" * 129, "a\tb"])
def test_a_symbol_that_cannot_be_printed_is_refused(symbol):
    frame = hourly().frame
    with pytest.raises(BarsError, match="that can be printed") as caught:
        Bars.from_frame(frame.assign(symbol=frame["symbol"].where(frame["symbol"] != frame["symbol"].iloc[0], symbol)))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "symbol", ["[/red]", "[bold]X", "../../etc/passwd", "<script>alert(1)</script>", "BTC/USD", "日経"]
)
def test_other_symbols_are_printed_as_they_are(symbol):
    frame = hourly(symbols=1).frame.assign(symbol=symbol)
    bars = Bars.from_frame(frame)
    start = frame["timestamp"].iloc[300]
    result = execute(load_policy("twap"), bars, Order(symbol=symbol, start=start, side="buy", max_periods=6))
    out = io.StringIO()
    print_execution(Console(file=out, width=200), result, 0)
    assert f"buy {symbol} from" in out.getvalue()


@pytest.mark.parametrize("name", list_models())
def test_a_bundled_folder_holds_known_files_only(name):
    files = list(name.folder.rglob("*"))
    assert {"config.json", "model.safetensors"} <= {file.name for file in files}
    for file in files:
        known = file.name in {"config.json", "metrics.json", "model.safetensors", "README.md"}
        assert file.is_file() or file.is_dir()
        assert known or file.suffix in {".png", ".svg"} or file.is_dir(), file
        assert not file.is_symlink()
        assert file.is_dir() or not file.stat().st_mode & 0o111, f"{file} can be run"
