"""The page of a transaction cost analysis: one file, complete, escaped, plain."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from lem_models import Order, execute
from lem_models.evaluation.tca import analyse_fills
from lem_models.report.tca.figures import causes_figure, progress_figure
from lem_models.report.tca.page import chosen_orders
from tests.evaluation.tables import HOSTILE
from tests.helpers import hourly


class Text(HTMLParser):
    """The texts of a page, and the tags that would load something."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.loads, self.headings = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.headings += [tag] if tag in ("h1", "h2") else []
        values = dict(attributes)
        if tag in ("script", "link", "iframe") or any(
            str(values.get(name, "")).startswith(("http", "//")) for name in ("src", "href", "srcset")
        ):
            self.loads.append((tag, values))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def analysis():
    bars = hourly()
    orders = Order.sample(bars, every=29, side="both", max_periods=6, amount=10.0)
    orders["order_id"] = [f"{HOSTILE}{n}" for n in range(len(orders))]
    result = execute("pov", bars, orders)
    fills = result.schedule.assign(quantity=9.0 * result.schedule["fraction"], is_maker=True)
    fills = fills.assign(fee=0.001 * fills["quantity"])
    columns = ["order_id", "timestamp", "quantity", "price", "fee", "is_maker"]
    lost = pd.DataFrame([fills[columns].iloc[0].to_dict() | {"order_id": "<script>alert(1)</script>"}])
    return analyse_fills(pd.concat([fills[columns], lost]), bars, orders, against=["twap"], draws=50)


@pytest.mark.usefixtures("quick_pictures")
def test_the_page_is_complete_and_needs_nothing_else(analysis, tmp_path):
    path = analysis.to_html(tmp_path / "tca.html", title=f"Costs {HOSTILE}", command="lem tca fills.csv")
    page = path.read_text(encoding="utf-8")
    text = Text(page)
    assert not text.loads
    joined = " ".join(text.texts)
    for words in (
        *("Slippage by cause", "timing of the schedule", "price within the bar", "implementation shortfall"),
        *("What policies would have paid", "twap", "Reversion", "Fills by liquidity", "maker", "Fills to look at"),
        *("Most expensive order", "Cheapest order", "Median order", "filled against the volume", "lem tca fills.csv"),
        *("fills: the table of orders has no such order", "1 of"),
    ):
        assert words in joined, words
    assert "<script>alert(1)" not in page
    assert 'name="viewport"' in page
    assert page.count("<figure") >= 7
    # The causes of the page add up to its total, as printed.
    rows = dict(re.findall(r'<td class="[^"]*">([a-z ]+)</td>\s*<td class="num[^"]*">([+\u2212\d,.]+)</td>', page))
    money = {name: float(value.replace("\u2212", "-").replace(",", "")) for name, value in rows.items()}
    causes = [money[name] for name in ("timing of the schedule", "price within the bar", "fees")]
    assert sum(causes) == pytest.approx(money["total"], abs=0.03)


@pytest.mark.usefixtures("quick_pictures")
def test_the_same_analysis_gives_the_same_page(analysis, tmp_path):
    first, second = (analysis.to_html(tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


@pytest.mark.usefixtures("quick_pictures")
def test_a_page_of_one_order_and_of_none(tmp_path):
    bars = hourly()
    start = pd.Timestamp(bars.timestamp[100], tz="UTC")
    fill = {"time": start, "quantity": 1.0, "price": bars.close[100], "side": "buy", "symbol": bars.symbols[0]}
    one = analyse_fills([fill], bars, against=["twap"], draws=50)
    assert chosen_orders(one) == {"The order": 0}
    page = one.to_html(tmp_path / "one.html").read_text(encoding="utf-8")
    assert "One order says nothing about skill" in page
    none = analyse_fills([fill | {"symbol": "ZZZ"}], bars, draws=50)
    page = none.to_html(tmp_path / "none.html").read_text(encoding="utf-8")
    assert "the bars hold no such symbol" in page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures(analysis, theme):
    causes = causes_figure(analysis.causes, theme=theme)
    assert [label.get_text() for label in causes.axes[0].get_yticklabels()][-1] == "total"
    periods = analysis.periods_of(analysis.orders["order_id"].iloc[0])
    lines = progress_figure(periods, theme=theme).axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["market's volume", "expected volume", "filled"]
    assert all(line.get_ydata()[-1] == pytest.approx(1.0) for line in lines)
