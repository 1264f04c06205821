"""Capacity tables, figure and the section of a report."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from lem_models import CostModel, load_policy, synthetic_bars
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.report.benchmark_console import print_benchmark
from lem_models.report.benchmark_report import write_benchmark
from lem_models.report.benchmark_tables import BenchmarkTables, cost_text
from lem_models.report.capacity import break_even_table, break_even_text, capacity_figure, capacity_table, size_text
from lem_models.report.figure_style import figure_to_png_bytes
from lem_models.report.markdown import markdown_table

SIZES = (0.0, 0.001, 0.01, 0.1)


ALONE = {"null": 0, "information": 0, "placebos": ()}


@pytest.fixture(scope="module")
def tables():
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap", "volume_curve")}
    costs = CostModel(half_spread_bps=1.0, fee_bps=2.0, impact=0.8, order_size=0.01)
    settings = BenchmarkSettings(
        min_periods=(1, 12), limit=600, costs=costs, sizes=SIZES, by=("symbol",), bootstrap=100, **ALONE
    )
    return BenchmarkTables(run_benchmark(policies, synthetic_bars(symbols=2, days=40, seed=2), settings))


@pytest.fixture(scope="module")
def curve(tables):
    return tables.capacity[tables.capacity["min_periods"] == 1].reset_index(drop=True)


def test_a_size_in_words():
    assert [size_text(size) for size in (0.0, 0.001, 0.015, 1.0, np.nan)] == [
        *("0 %", "0.1 %", "1.5 %", "100 %", "as ordered"),
    ]


def test_a_break_even_in_words():
    assert break_even_text(0.0123, 0.1, True) == "1.2 %"
    assert break_even_text(1e-6, 0.1, True) == "< 0.01 %"
    assert break_even_text(np.nan, 0.03, False) == "none: below 0"
    assert break_even_text(0.02, 0.1, False) == "above 0 from 2 %"
    assert break_even_text(np.nan, 0.1, None) == "\u2013"
    assert break_even_text(0.0123, 0.1, True, 0.0, np.inf) == "1.2 % [0, \u2265 10]"
    assert break_even_text(0.0123, 0.1, True, 1e-6, 0.025) == "1.2 % [0.01, 2.5]"
    assert break_even_text(np.nan, 0.1, True, 0.05, np.inf) == "none: above 0 [5, \u2265 10]"
    assert break_even_text(np.nan, 0.1, False, 0.0, 0.0) == "none: below 0"  # beyond doubt
    assert break_even_text(np.nan, 0.1, True, np.inf, np.inf) == "none: above 0"
    assert break_even_text(1e-6, 0.1, True, 0.0, 1e-5) == "< 0.01 %"
    assert break_even_text(0.02, 0.1, True, np.nan, np.nan) == "2 %"


def test_the_table_has_a_group_per_size_and_the_numbers_of_the_curve(curve):
    table = capacity_table(curve, model="stopping_rule")
    rows = list(table.rows())
    assert [row.group[0] for row in rows if row.is_first] == ["0 %", "0.1 %", "1 %", "10 %"]
    assert [row.emphasis for row in rows[:3]] == ["strong", "", ""]
    columns = {(column.group, column.label): place for place, column in enumerate(table.columns)}
    place = columns["net, full-horizon VWAP, bps", "minus twap"]
    ours = curve[(curve["policy"] == "stopping_rule") & (curve["against"] == "full_vwap")]
    shown = [row.cells[place].replace("\u2212", "-") for row in rows if row.emphasis]
    assert [float(text) for text in shown] == [float(f"{value:.1f}") for value in ours["difference_bps"]]
    assert rows[1].cells[place] == "\u2013"  # twap has no difference to itself
    assert "stopping_rule" in markdown_table(table)


def test_the_break_even_table_says_none_plainly(tables, curve):
    table = break_even_table(tables.capacity, ["min_periods"])
    cells = {(row.group[0], row.cells[0]): row.cells[1:] for row in table.rows()}
    assert re.fullmatch(r"[\d.]+ % \[[\d.]+, (\u2265 10|[\d.]+)\]", cells["1", "stopping_rule"][0])
    assert cells["12", "twap"][1] in ("none: below 0", "< 0.01 %")
    assert cells["1", "twap"][3:] == ("\u2013",) * 2
    assert len(cells) == 3 * 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_of_the_figure_are_the_numbers(curve, theme):
    figure = capacity_figure(curve, theme=theme)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "against the full-horizon VWAP",
        "against the own benchmark",
    ]
    for axes, price in zip(figure.axes, ("full_vwap", "own"), strict=True):
        for line, policy in zip(axes.get_lines(), ("stopping_rule", "twap", "volume_curve"), strict=False):
            rows = curve[(curve["policy"] == policy) & (curve["against"] == price)]
            np.testing.assert_allclose(line.get_xdata(), np.sqrt(rows["size"]))
            np.testing.assert_allclose(line.get_ydata(), rows["net_bps"])
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["0 %", "0.1 %", "1 %", "10 %"]
    png = figure_to_png_bytes(figure, dpi=40)
    assert png.startswith(b"\x89PNG")
    assert png == figure_to_png_bytes(capacity_figure(curve, theme=theme), dpi=40)


@pytest.mark.usefixtures("quick_pictures")
def test_a_report_has_the_capacity_section_figure_and_numbers(tables, tmp_path):
    path = write_benchmark(tables, tmp_path, command="lem benchmark")
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", path.read_text("utf-8"), flags=re.DOTALL).split())
    for part in (
        "Net improvement against the size of the order, minimum 1",
        "How large an order may be",
        "Costs: half-spread 1 bps, fees 2 bps, impact 0.8 \u00d7 bar volatility \u00d7 \u221aparticipation. The same",
        "which no market would fill",
        "size 10 %",
        "Minimum 12",
    ):
        assert part in text
    assert (tmp_path / "capacity.png").is_file()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["capacity"]) == len(tables.capacity)
    assert summary["settings"]["sizes"] == list(SIZES)


@pytest.fixture(scope="module")
def attributed(tables):
    """With the ablation and placebos, without a null."""
    settings = tables.benchmark.settings.model_copy(update={"information": 1, "placebos": ("stopping_rule",)})
    policies = {name: load_policy(name) for name in ("twap", "stopping_rule")}
    return BenchmarkTables(run_benchmark(policies, synthetic_bars(symbols=2, days=40, seed=2), settings))


@pytest.mark.parametrize("width", [80, 160])
def test_attribution_without_a_null_fits_the_terminal(attributed, width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_benchmark(console, attributed)
    text = console.export_text()
    assert "\u2026" not in text
    assert "Information" in text


@pytest.mark.parametrize("width", [50, 80, 160])
def test_it_fits_the_terminal(tables, width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_benchmark(console, tables)
    text = console.export_text()
    assert "\u2026" not in text
    assert "Net improvement against the size of the order, minimum 1" in " ".join(text.split())


def test_costs_in_words():
    assert cost_text(CostModel(half_spreads_bps={"A": 1.234, "B": 5.0})) == (
        "half-spread by symbol from 1.2 to 5.0 bps, fees 0 bps"
    )
    costs = CostModel(fee_bps=1, order_size=0.02)
    assert cost_text(costs, with_size=False) == "half-spread 0 bps, fees 1 bps"
    assert cost_text(costs).endswith("orders of 2 % of the volume expected over their maximum duration")
