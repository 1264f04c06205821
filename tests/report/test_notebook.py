"""What a notebook shows: short cards with units, without scripts; figures of both libraries from one chart."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest

from lem_models import Bars, LEMModel, Order, execute, load_policy
from lem_models.errors import ConfigError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.notebook import cells_html, facts_html
from lem_models.report.charts.chart import Chart, Panel, Stairs
from lem_models.report.charts.draw import draw_chart
from lem_models.report.charts.market import bars_chart
from lem_models.report.charts.results import order_chart, result_chart
from lem_models.report.explain.picture import explanation_chart
from tests.evaluation.tables import HOSTILE
from tests.helpers import hourly, order_table, random_model, rebuilt, tiny_config


@pytest.fixture(scope="module")
def hostile() -> Bars:
    """Bars of a symbol with tags in its name."""
    bars = hourly()
    frame = bars.frame
    frame["symbol"] = frame["symbol"].replace({bars.symbols[0]: HOSTILE})
    return rebuilt(bars, frame)


@pytest.fixture(scope="module")
def result(hostile):
    model = random_model(tiny_config())
    orders = order_table(hostile, [300, 310, 320, 2], min_periods=1, max_periods=6, order_id=["<i>", "b", "c", "d"])
    return execute(model, hostile, orders)


@pytest.fixture(scope="module")
def explanation(result):
    return random_model(tiny_config()).explain(result, "<i>", period=0, paths=10)


@pytest.fixture(scope="module")
def shown(hostile, result, explanation):
    """One object of each kind."""
    model = LEMModel.from_pretrained("lem-dow-daily")
    order = Order(symbol=HOSTILE, start="2024-05-01T00:00Z", side="buy", min_periods=1, max_periods=12, quantity=40)
    history = hostile.between(end=pd.Timestamp(int(hostile.timestamp[300]), tz="UTC"))
    live = {"symbol": HOSTILE, "start": pd.Timestamp(int(hostile.timestamp[300]), tz="UTC"), "side": "buy"}
    session = load_policy("twap").session(live | {"max_periods": 6}, history)
    desk = load_policy("twap").desk({"symbol": HOSTILE, "side": "buy", "amount": "4", "max_duration": "6h"}, history)
    settings = BenchmarkSettings(limit=20, null=0, information=0, placebos=(), min_periods=(1,), bootstrap=100)
    benchmark = run_benchmark({"twap": load_policy("twap")}, hostile, settings)
    return {
        "bars": hostile,
        "result": result,
        "order": order,
        "model": model,
        "summary": model.summary(),
        "session": session,
        "desk session": desk,
        "benchmark": benchmark,
        "explanation": explanation,
    }


@pytest.mark.usefixtures("quick_pictures")
def test_cards_are_short_and_hold_no_tags_of_others(shown):
    for name, thing in shown.items():
        card = thing._repr_html_()
        assert "<script" not in card, name
        assert "<i>" not in card, name
        assert len(card) < 12_000, name
    for name in ("bars", "result", "order", "session", "desk session"):
        assert "&lt;script&gt;alert(" in shown[name]._repr_html_(), name


def test_reprs_are_a_line_with_units(shown):
    for name in ("bars", "result", "order", "model", "session", "desk session", "benchmark", "explanation"):
        text = repr(shown[name])
        assert "\n" not in text, name
        assert len(text) < 300, name
    model = shown["model"]
    assert repr(model) == (
        "LEMModel(name='lem-dow-daily', head=flexible, bars=1D, horizon=20 bars, weights="
        f"{sum(weight.numel() for weight in model.parameters()):,})"
    )
    assert "trained=no" in repr(LEMModel(tiny_config()))
    assert "Linear(" not in str(model)


def test_the_repr_of_an_order_makes_it_again(shown):
    order = shown["order"]
    assert eval(repr(order)) == order
    assert "risk_aversion" not in repr(order)
    short = Order(symbol="X", start="2024-05-01T12:30+02:00", side="sell", benchmark="twap", max_periods="12h")
    text = "Order(symbol='X', start='2024-05-01T10:30:00Z', side='sell', benchmark='twap', max_periods='12h')"
    assert repr(short) == text


def test_the_weights_of_the_parts_are_those_of_the_model(shown):
    model, parts = shown["model"], shown["summary"].to_frame()
    assert parts["weights"].sum() == sum(weight.numel() for weight in model.parameters())
    assert parts["share"].sum() == pytest.approx(1.0)
    assert parts["part"].iloc[-1] == "head"


def test_the_length_of_a_result_is_its_orders_and_a_result_without_orders_is_still_one(result):
    assert len(result) == len(result.orders) == 3
    empty = execute("twap", hourly(), order_table(hourly(), 0, max_periods=6))
    assert len(empty) == 0
    assert bool(empty)
    assert "nothing filled" in empty._repr_html_()
    with pytest.raises(ConfigError, match="no order ran"):
        empty.plot()


def test_frames_in_and_out_in_the_sequence_of_the_table(hostile):
    """Orders that could not run stay in it, with the reason."""
    orders = order_table(hostile, [300, 2, 310], min_periods=1, max_periods=6, order_id=["z", "a", "m"])
    model = random_model(tiny_config())
    table = model.execute_df(hostile.frame, orders)
    assert table["order_id"].tolist() == ["z", "a", "m"]
    assert table["excluded"].str.len().gt(0).tolist() == [False, True, False]
    assert table["slippage_bps"].isna().tolist() == [False, True, False]
    assert table["completed"].tolist() == [True, False, True]
    same = execute(model, hostile, orders)
    np.testing.assert_array_equal(table["slippage_bps"].dropna(), same.orders["slippage_bps"])
    schedule = model.execute_df(hostile.frame, orders, table="schedule")
    assert schedule.groupby("order_id")["fraction"].sum().to_dict() == pytest.approx({"z": 1.0, "m": 1.0})
    with pytest.raises(ConfigError, match="'orders' or 'schedule'; got 'x'"):
        model.execute_df(hostile.frame, orders, table="x")


def test_none_of_the_orders_runs(hostile):
    table = load_policy("twap").execute_df(hostile, order_table(hostile, [0, 0], max_periods=6, order_id=[2, 1]))
    assert table["order_id"].tolist() == [2, 1]
    assert table["excluded"].ne("").all()


# --- charts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def charts(hostile, result, explanation) -> dict[str, Chart]:
    return {
        "order": order_chart(result, "<i>"),
        "result": result_chart(result),
        "bars": bars_chart(hostile),
        "one symbol": bars_chart(hostile.select(hostile.symbols[1])),
        "explanation": explanation_chart(explanation),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_libraries_draw_every_chart(charts, theme):
    """As many panels, the same labels, and the numbers of the chart in the lines of both."""
    pytest.importorskip("plotly")
    for name, chart in charts.items():
        ours, theirs = draw_chart(chart, theme=theme), draw_chart(chart, theme=theme, backend="plotly")
        panels = [panel for row in chart.rows for panel in row if panel is not None]
        assert len(ours.axes) == len(panels), name
        assert [axes.get_xlabel() for axes in ours.axes] == [panel.x_label for panel in panels], name
        assert len(list(theirs.select_xaxes())) == len(panels), name
        for panel, axes in zip(panels, ours.axes, strict=True):
            for line in panel.drawn:
                if type(line).__name__ == "Line":
                    wanted = np.asarray(line.y, dtype=float)
                    assert any(np.array_equal(each.get_ydata(), wanted, equal_nan=True) for each in axes.get_lines())
                    drawn = [np.asarray(each.y) for each in theirs.data if each.type == "scatter"]
                    assert any(np.array_equal(each, wanted, equal_nan=True) for each in drawn), name
        page = theirs.to_html(include_plotlyjs=False, full_html=False)
        assert "<i>" not in page.replace("\\u003ci\\u003e", "&lt;i&gt;")
    assert ours.page == {"light": "#ffffff", "dark": "#12171e"}[theme]


def test_a_figure_shows_itself_in_a_notebook(charts):
    figure = draw_chart(charts["order"])
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_plots_are_those_charts(hostile, result):
    assert [axes.get_ylabel() for axes in result.plot("b").axes] == ["price", "share"]
    assert [axes.get_title(loc="left") for axes in result.plot().axes][1:] == [
        "against the full-horizon VWAP",
        "against the own benchmark",
    ]
    assert result.plot(sizes=()).axes[0].get_xlabel().startswith("improvement of an order (bps)")
    assert hostile.plot(hostile.symbols[1], start="2024-01-10").axes[0].get_ylabel() == "close"
    with pytest.raises(KeyError, match="no executed order"):
        result.plot("nobody")
    with pytest.raises(ConfigError, match="'matplotlib' or 'plotly'; got 'gnuplot'"):
        result.plot(backend="gnuplot")
    with pytest.raises(ConfigError, match="at least 0"):
        result.plot(sizes=(-1.0,))


def test_without_plotly_the_cure_is_named(monkeypatch, result):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.subplots", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'lem-models[plotly]'")):
        result.plot("b", backend="plotly")


def test_a_thinned_line_keeps_its_extremes():
    """A line of thousands of points is drawn with hundreds."""
    bars = hourly(days=80, symbols=1)
    (line,) = bars_chart(bars).rows[0][0].drawn
    assert len(line.y) < 700 < len(bars)
    assert (min(line.y), max(line.y)) == (bars.close.min(), bars.close.max())
    assert (line.y[0], line.y[-1]) == (bars.close[0], bars.close[-1])


def test_cards_escape_everything():
    card = facts_html("<b>", {"<u>": "<s>", "nothing": None}, cells_html(["<q>"], [["<p>"]], rest=3), note="<em>")
    assert not re.findall(r"<(?:u|s|q|p|em)>", card)
    assert "nothing" not in card
    assert "3 more" in card
    assert len(facts_html("t", {"long": "x" * 10_000})) < 2_000


def test_a_chart_of_one_panel_has_its_edges():
    """Stairs: as many steps in both libraries."""
    pytest.importorskip("plotly")
    chart = Chart([[Panel([Stairs([1.0, 2.0], [0.0, 1.0, 2.0], "#0b62a8")])]])
    (trace,) = draw_chart(chart, backend="plotly").data
    assert list(trace.x) == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert list(trace.y) == [0.0, 1.0, 1.0, 2.0, 2.0, 0.0]
