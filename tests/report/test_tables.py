"""The model of a table, and its three renderers: the same texts in HTML, in the terminal and in Markdown."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from lem_models.report.console import fitting_table
from lem_models.report.html import Report, write_report
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval, mean_std, number
from lem_models.report.policy_tables import before_after_table, means_by_minimum, overview_table
from lem_models.report.tables import Column, Table, pivot
from lem_models.statistics.summary import compare, null_split, paired_difference
from tests.evaluation.tables import orders_table

HOSTILE = "a|b<i>\n[red]"


@pytest.fixture(scope="module")
def results() -> dict[str, pd.DataFrame]:
    return {"model": orders_table(0, 25.0), "twap": orders_table(1, 0.0)}


@pytest.fixture(scope="module")
def comparison(results: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return compare(results, "min_periods", draws=50)


def small_table() -> Table:
    frame = pd.DataFrame(
        {
            "min_periods": [1, 1, 6],
            "policy": ["model", "twap", "model"],
            "mean": [0.5, -0.25, None],
            "low": [0.25, -0.5, None],
            "high": [0.75, 0.125, None],
        }
    )
    columns = [
        Column("policy", "policy"),
        Column("mean", "mean", "{:+.2f}"),
        Column(("low", "high"), "95 %", "{:+.2f} to {:+.2f}", dropped=1),
    ]
    return Table(frame, columns, grouped=[Column("min_periods", "minimum")], emphasis={"model": "strong"})


def in_terminal(table: Table, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(fitting_table(console, table))
    return console.export_text()


class TestModel:
    """What stands in which row."""

    def test_rows_know_their_group_and_their_emphasis(self) -> None:
        rows = list(small_table().rows())
        assert [row.group for row in rows] == [("1",), ("1",), ("6",)]
        assert [(row.is_first, row.is_last) for row in rows] == [(True, False), (False, True), (True, True)]
        assert [row.emphasis for row in rows] == ["strong", "", "strong"]
        assert rows[1].cells == ("twap", "\u22120.25", "\u22120.50 to +0.12")
        assert rows[2].cells == ("model", "\u2013", "\u2013")

    def test_a_pivot_has_a_dash_where_the_frame_has_no_row(self) -> None:
        frame = pd.DataFrame({"policy": ["b", "a", "b"], "min_periods": [6, 1, 1], "x": [1, 2, 3]})
        table = pivot(frame, "policy", "min_periods", lambda row: f"x{row['x']}", corner="policy", label="min {}")
        assert [column.label for column in table.columns] == ["policy", "min 1", "min 6"]
        assert [row.cells for row in table.rows()] == [("b", "x3", "x1"), ("a", "x2", "\u2013")]

    def test_numbers(self) -> None:
        assert number(-0.0004) == "\u22120.000"  # below zero, as the end of an interval
        assert interval(0.5, -0.25, None, "+.2f") == "+0.50 [\u22120.25, \u2013]"
        assert mean_std(-0.5, 1.0) == "\u22120.500 ± 1.000"
        assert (mean_std(None, 1.0), mean_std(None, float("nan"))) == ("\u2013 ± 1.000", "\u2013")


class TestRenderers:
    """One table, three pages."""

    def test_markdown(self) -> None:
        assert markdown_table(small_table()).splitlines() == [
            "| minimum | policy | mean | 95 % |",
            "|---|---|---|---|",
            "| 1 | **model** | +0.50 | +0.25 to +0.75 |",
            "| 1 | twap | \u22120.25 | \u22120.50 to +0.12 |",
            "| 6 | **model** | \u2013 | \u2013 |",
        ]

    def test_the_terminal_prints_a_group_once_and_leaves_missing_numbers_blank(self) -> None:
        lines = [line.split() for line in in_terminal(small_table()).splitlines() if line.strip()]
        assert lines[0] == ["minimum", "policy", "mean", "95", "%"]
        assert lines[2:] == [
            ["1", "model", "+0.50", "+0.25", "to", "+0.75"],
            ["twap", "\u22120.25", "\u22120.50", "to", "+0.12"],
            ["6", "model"],
        ]

    def test_a_narrow_terminal_drops_columns_and_cuts_no_cell(self) -> None:
        text = in_terminal(small_table(), width=24)
        assert "\u2026" not in text
        assert "95 %" not in text
        assert "+0.50" in text

    def test_every_renderer_prints_the_same_cells(self, comparison: pd.DataFrame, tmp_path: Path) -> None:
        table = means_by_minimum(comparison)
        html = write_report(tmp_path / "report.html", Report("t", sections=[table])).read_text("utf-8")
        cells = [text for row in table.rows() for text in row.cells]
        assert len(cells) == 2 * (1 + comparison["min_periods"].nunique())
        assert re.findall(r"<td[^>]*>(?:<i [^>]*></i>)?([^<]*)</td>", html)[-len(cells) :] == cells
        assert [
            cell.strip() for line in markdown_table(table).splitlines()[2:] for cell in line.split("|")[1:-1]
        ] == cells
        assert all(text in in_terminal(table) for text in cells)

    def test_texts_from_outside_are_escaped(self, tmp_path: Path) -> None:
        table = Table(pd.DataFrame({"policy": [HOSTILE]}), [Column("policy", "policy")])
        assert markdown_table(table).splitlines()[2] == "| a\\|b&lt;i>\\n[red] |"
        assert "[red]" in in_terminal(table)
        html = write_report(tmp_path / "report.html", Report("t", sections=[table])).read_text("utf-8")
        assert "a|b&lt;i&gt;" in html
        assert "<i>" not in html

    def test_a_title_is_printed_as_it_is(self) -> None:
        table = Table(pd.DataFrame({"x": ["a wide cell"]}), [Column("x", "x")], title="[red]Title")
        assert "[red]Title" in in_terminal(table)


class TestOverview:
    """The table of the terminal."""

    def test_the_split_stands_below_the_policies_of_each_minimum(
        self, results: dict[str, pd.DataFrame], comparison: pd.DataFrame
    ) -> None:
        split = null_split(results["model"], [results["twap"]], "min_periods", draws=50)
        differences = paired_difference(results["model"], results["twap"], "min_periods", draws=50)
        differences = differences.assign(policy="twap", p_holm_bps=0.02)
        table = overview_table(comparison, differences, split, model="model", with_costs=False)
        policies = table.frame["policy"].tolist()
        assert policies == ["model", "twap", "  option value", "  above the null"] * split["min_periods"].nunique()
        null = table.frame[table.frame["policy"] == "  above the null"]
        assert null["mean_bps"].tolist() == pytest.approx(split["above_bps"].tolist())
        assert null["low_vol"].tolist() == pytest.approx(split["above_low_vol"].tolist())
        labels = [column.label for column in table.columns]
        assert "p" in labels
        assert "net bps" not in labels

    def test_before_and_after_stand_above_their_difference(self, results: dict[str, pd.DataFrame]) -> None:
        tables = {"before": results["twap"], "after": results["model"], "twap": results["twap"]}
        differences = paired_difference(results["model"], results["twap"], "min_periods", draws=50)
        table = before_after_table(compare(tables, "min_periods", draws=50), differences)
        assert table.frame["policy"].tolist()[:4] == ["before", "after", "twap", "  after \u2212 before"]
        row = table.frame.iloc[3]
        assert row["mean_bps"] == pytest.approx(table.frame["mean_bps"][1] - table.frame["mean_bps"][0])
