"""Figures show what they were given, in both themes, without global state."""

from __future__ import annotations

import base64
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lem_models.errors import ConfigError
from lem_models.report import figure_style, plots
from lem_models.report.execution_plot import execution
from lem_models.statistics.summary import compare, null_split
from tests.evaluation.tables import POLICIES, one_order, orders_table


@pytest.fixture(scope="module")
def results() -> dict[str, pd.DataFrame]:
    """Orders tables of three policies, one order without a fill."""
    tables = {policy: orders_table(seed, 10.0 * seed) for seed, policy in enumerate(POLICIES)}
    tables["model"].loc[3, ["slippage_bps", "completed"]] = [np.nan, False]
    return tables


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_renders(results: dict[str, pd.DataFrame], theme: figure_style.Theme) -> None:
    """PNG and SVG, the same bytes each time."""
    comparison = compare(results, "min_periods", draws=50)
    split = null_split(results["model"], [results["twap"]], "min_periods", draws=50)

    def draw() -> list[Figure]:
        return [
            plots.improvement_by_minimum(comparison, split, theme=theme),
            plots.improvement_by_minimum(comparison, unit="bps", theme=theme),
            plots.performance_curves(comparison, split, theme=theme),
            plots.frontier(comparison, theme=theme),
            plots.improvement_distribution(results, min_periods=6, theme=theme),
            plots.completion(results, theme=theme),
            execution(*one_order(), theme=theme),
        ]

    for first, second in zip(draw(), draw(), strict=True):
        png = figure_style.figure_to_png_bytes(first, dpi=40)
        assert png.startswith(b"\x89PNG")
        assert png == figure_style.figure_to_png_bytes(second, dpi=40)
    first, second = draw()[0], draw()[0]
    uri, dark = figure_style.figure_to_data_uris(first)
    assert b"<svg" in base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,"))
    assert (uri, dark) == figure_style.figure_to_data_uris(second)


def test_lines_are_the_numbers(results: dict[str, pd.DataFrame]) -> None:
    """One line per policy at its means, then the null, dashed."""
    comparison = compare(results, "min_periods", draws=50)
    split = null_split(results["model"], [results["twap"]], "min_periods", draws=50)
    lines = plots.improvement_by_minimum(comparison, split, unit="bps").axes[0].get_lines()
    for line, policy in zip(lines, POLICIES, strict=False):
        assert line.get_label() == policy
        np.testing.assert_allclose(_values(line), comparison[comparison["policy"] == policy]["mean_bps"])
    assert lines[3].get_label() == "martingale null"
    np.testing.assert_allclose(_values(lines[3]), split["option_bps"])


def test_performance_curves_are_a_panel_for_each_policy(results: dict[str, pd.DataFrame]) -> None:
    """Mean, interval of the mean inside the band of the orders, and option value where there is a null."""
    comparison = compare(results, "min_periods", draws=50)
    split = null_split(results["twap"], [results["model"]], "min_periods", draws=50).assign(policy="twap")
    figure = plots.performance_curves(comparison, split)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(POLICIES)
    for axes, policy in zip(figure.axes, POLICIES, strict=True):
        table = comparison[comparison["policy"] == policy]
        lines = axes.get_lines()
        np.testing.assert_allclose(_values(lines[0]), table["mean_bps"])
        band, interval = (area.get_datalim(axes.transData).intervaly for area in axes.collections)
        np.testing.assert_allclose(band, [table["q05_bps"].min(), table["q95_bps"].max()])
        np.testing.assert_allclose(interval, [table["low_bps"].min(), table["high_bps"].max()])
        if policy == "twap":
            np.testing.assert_allclose(_values(lines[1]), split["option_bps"])
        assert len(lines) == (3 if policy == "twap" else 2)  # the last is zero


@pytest.mark.parametrize(("minimum", "labels"), [(4, ["minimum, finished (4)"]), (2, ["minimum (2)", "finished (4)"])])
def test_execution_marks_minimum_and_end_without_writing_one_over_the_other(minimum: int, labels: list[str]) -> None:
    """Where both are the same, one label says so."""
    order, schedule, market = one_order()
    upper = execution(order | {"min_periods": minimum}, schedule, market).axes[0]
    assert [text.get_text() for text in upper.texts] == labels


def test_policies_keep_their_colour() -> None:
    """Whatever else is in the figure."""
    full, part = (
        figure_style.policy_styles(("model", "twap", "stopping_rule")),
        figure_style.policy_styles(("stopping_rule",)),
    )
    assert full["stopping_rule"] == part["stopping_rule"]
    assert len({style.colour for style in full.values()}) == 3
    assert full["twap"] != figure_style.policy_styles(["twap"], "dark")["twap"]


def test_policies_without_spread_and_empty_groups_do_not_break_the_distribution() -> None:
    """TWAP against a TWAP benchmark is a spike at zero."""
    flat = orders_table(0, 0.0).assign(slippage_bps=0.0)
    figure_style.figure_to_png_bytes(plots.improvement_distribution({"twap": flat}), dpi=40)
    figure_style.figure_to_png_bytes(
        plots.improvement_distribution({"model": orders_table(1, 5.0), "twap": flat, "none": flat.iloc[:0]}), dpi=40
    )
    figure_style.figure_to_png_bytes(plots.completion({"none": flat.iloc[:0]}), dpi=40)


@pytest.mark.parametrize(
    ("target", "executed"),
    [("quantity", (0.25 * 100 + 0.25 * 102 + 0.5 * 98)), ("notional", 1 / (0.25 / 100 + 0.25 / 102 + 0.5 / 98))],
)
def test_execution_shows_the_executed_price(target: str, executed: float) -> None:
    """The running average ends at the executed price of the target; fills of other orders are left out."""
    line = _line(execution(*one_order(target)).axes[0], "executed so far")
    assert len(line) == 4
    assert line[-1] == pytest.approx(executed)


@pytest.mark.parametrize(
    ("benchmark", "price"),
    [("vwap", (10 * 100 + 30 * 102 + 20 * 98) / 60), ("twap", (100 + 102 + 98) / 3)],
)
def test_execution_shows_the_running_benchmark(benchmark: str, price: float) -> None:
    """It ends where the order ends. Bars before the start are left out, and bars without volume too."""
    line = _line(execution(*one_order(benchmark=benchmark)).axes[0], f"{benchmark.upper()} so far (benchmark)")
    assert len(line) == 4
    assert line[-1] == pytest.approx(price)


def test_execution_takes_bars_with_notional() -> None:
    """The VWAP follows from notional and volume, and is the close of a bar without volume."""
    order, schedule, market = one_order()
    raw = market.assign(notional=market["vwap"] * market["volume"], close=market["vwap"]).drop(columns="vwap")
    first, second = execution(order, schedule, market), execution(order, schedule, raw)
    assert _line(first.axes[0], "bar VWAP") == pytest.approx(_line(second.axes[0], "bar VWAP"))


def test_execution_refuses_a_market_that_ended_before() -> None:
    """There is nothing to draw."""
    order, schedule, market = one_order()
    with pytest.raises(ConfigError, match="no bar at or after the start"):
        execution(order, schedule, market.head(2))


def test_refuses_an_unknown_theme() -> None:
    """Two themes are known."""
    with pytest.raises(ConfigError, match="'light' or 'dark', got 'sepia'"):
        figure_style.policy_styles(["twap"], "sepia")  # type: ignore[arg-type]


def test_does_not_import_pyplot() -> None:
    """Reports can be made where there is no display."""
    code = "import sys, lem_models.report.html; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _values(line: Line2D) -> list[float]:
    """Heights of a line."""
    return [float(value) for value in np.asarray(line.get_ydata(), dtype=float)]


def _line(axes: Axes, label: str) -> list[float]:
    """Heights of the line with a label."""
    return next(_values(line) for line in axes.get_lines() if line.get_label() == label)
