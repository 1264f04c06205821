"""The example and the page run as they are."""

from __future__ import annotations

import runpy
import sys

import pytest

pytest.importorskip("nautilus_trader", reason="nautilus_trader is the extra 'nautilus', which is not installed")

from lem_models import synthetic_bars
from tests.docs.pages import NOT_RUN, ROOT, Page


@pytest.mark.parametrize("extra", [[], ["--stock-fills"]], ids=["vwap", "close"])
def test_the_example_reports_both_algorithms(extra, tmp_path, monkeypatch, capsys, quick_pictures):
    synthetic_bars(symbols=("BTCUSDT",), days=40, seed=2).write(tmp_path / "bars.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example", "bars.parquet", "--orders", "4", "--quantity", "12.000", *extra])
    runpy.run_path(str(ROOT / "examples" / "nautilus_backtest.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert {line.split()[0] for line in said.splitlines() if line} >= {"LEM", "TWAP"}
    page = (tmp_path / "nautilus.html").read_text(encoding="utf-8")
    assert page.count("LEM 2024-") >= 4
    assert page.count("TWAP 2024-") >= 4


def test_the_page_shows_how_the_algorithm_is_added(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [each for each in Page(ROOT / "docs" / "nautilus.md").blocks if each.text.startswith(NOT_RUN)]
    names: dict[str, object] = {}
    exec(block.text.split("# In a method of a strategy:")[0], names)
    assert [str(each.id) for each in names["engine"].trader.exec_algorithms()] == ["LEM"]
