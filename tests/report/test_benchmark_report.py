"""A benchmark in a report and in the terminal."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from lem_models import load_policy, synthetic_bars
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.execution.costs import CostModel
from lem_models.report.benchmark_console import print_benchmark
from lem_models.report.benchmark_report import headlines, strongest_rival, summary, write_benchmark
from lem_models.report.benchmark_tables import BenchmarkTables, cost_text, universe_table
from lem_models.report.numbers import number_text
from lem_models.report.samples import sample_executions, sample_rows, worst_executions, worst_rows, worst_table
from lem_models.statistics.summary import improvement
from tests.regressions import few_paths

COSTS = CostModel(half_spread_bps=1.0, fee_bps=0.5, impact=0.8, order_size=0.02)


@pytest.fixture(scope="module")
def benchmark():
    bars = synthetic_bars(symbols=3, days=40, seed=2)
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap", "volume_curve", "oracle_vwap")}
    settings = BenchmarkSettings(
        min_periods=(1, 6, 12),
        benchmark=("vwap", "twap"),
        limit=900,
        costs=COSTS,
        by=("symbol", "side", "volatility"),
        null=2,
        information=2,
        placebos=("longstaff_schwartz",),
        bootstrap=100,
    )
    with pytest.MonkeyPatch.context() as patch:
        few_paths(patch)
        return run_benchmark(policies, bars, settings)


@pytest.fixture(scope="module")
def tables(benchmark):
    return BenchmarkTables(benchmark)


@pytest.fixture(scope="module")
def free_tables(benchmark):
    return BenchmarkTables(free_of_costs(benchmark))


@pytest.fixture(scope="module")
def report(tables, tmp_path_factory):
    return write_benchmark(tables, tmp_path_factory.mktemp("out"), command="lem benchmark")


@pytest.fixture(scope="module")
def html(report):
    return report.read_text("utf-8")


def free_of_costs(benchmark):
    return replace(benchmark, settings=benchmark.settings.model_copy(update={"costs": None}))


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())


class TestSections:
    """What is shown, and when."""

    def test_every_section_is_there(self, html, benchmark):
        text = text_of(html)
        for part in (
            "Improvement by minimum duration and side",
            "stopping_rule minus each rival, order by order",
            "Holm",
            "on 2 draws of the martingale null",
            "Costs: gross and net",
            "half-spread 1 bps, fees 0.5 bps, impact 0.8 \u00d7 bar volatility \u00d7 \u221aparticipation, "
            "orders of 2 % of the volume expected over their maximum duration",
            "The same fills against other benchmarks",
            "Is stopping_rule better at equal or lower risk?",
            "Tracking at a fixed duration of 12 periods",
            "The worst orders of stopping_rule",
            "The worst 1 % of the orders of stopping_rule",
            "Post-trade reversion",
            "Where in the order the slippage arose",
            "Performance by minimum duration",
            "Sample executions of stopping_rule",
            "By symbol",
            "By volatility",
            benchmark.bars.content_hash,
            "starts: not enough history before the start",
        ):
            assert part in text

    def test_costs_are_shown_only_when_something_costs(self, benchmark, tables, free_tables):
        titles = [[table.title for table in t.open_sections()] for t in (tables, free_tables)]
        assert "Costs: gross and net" in titles[0]
        assert "Costs: gross and net" not in titles[1]
        only_size = replace(
            benchmark, settings=benchmark.settings.model_copy(update={"costs": CostModel(order_size=0.1)})
        )
        assert BenchmarkTables(only_size).costs is None

    def test_the_first_benchmark_is_open_and_the_others_folded_below_it(self, tables):
        main = tables.open_sections()[0]
        assert main.note.startswith("Against the VWAP, fixed quantity.")
        assert [more.title for more in main.more] == [
            "Against the TWAP, fixed quantity",
            "All statistics by side: spread, quantiles, durations",
        ]
        counts = tables.benchmark.orders["stopping_rule"].groupby("benchmark").size()
        shown = [main, main.more[0]]
        for table, benchmark in zip(shown, ("vwap", "twap"), strict=True):
            ours = table.frame[table.frame["policy"] == "stopping_rule"]
            assert ours["orders"].sum() == counts[benchmark]

    def test_no_row_is_wider_than_the_page(self, html):
        """1,180 pixels of a row: about 6.6 for a letter of 13 pixels, 12 between columns, 14 more between groups."""
        for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
            rows = [
                [text_of(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL)]
                for row in re.findall(r"<tr(?: class=\"highlight\")?>.*?</tr>", table, flags=re.DOTALL)
            ]
            rows = [row for row in rows if len(row) == len(rows[-1])]
            letters = sum(max(len(row[column]) for row in rows[1:]) for column in range(len(rows[-1])))
            assert 6.6 * letters + 12 * len(rows[-1]) + 14 * table.count("named") <= 1180

    @pytest.mark.usefixtures("quick_pictures")
    def test_days_seen_in_training_are_a_warning_above_the_first_number(self, benchmark, html, tmp_path):
        seen = write_benchmark(replace(benchmark, unseen_from=date(2030, 1, 1)), tmp_path, command="").read_text(
            "utf-8"
        )
        text = text_of(seen)
        assert text.index("100 % of the orders start before 2030-01-01") < text.index("bps 95 % interval")
        assert "too good" not in text_of(html)

    def test_its_pictures_are_drawn(self, report):
        pictures = [path.read_bytes() for path in report.parent.glob("*.png")]
        assert len(pictures) >= 5
        assert all(picture.startswith(b"\x89PNG") and len(picture) > 5_000 for picture in pictures)

    def test_the_same_benchmark_gives_the_same_bytes(self, benchmark, html, tmp_path):
        assert write_benchmark(benchmark, tmp_path, command="lem benchmark").read_text("utf-8") == html

    def test_json_has_what_the_report_shows(self, report):
        found = json.loads((report.parent / "summary.json").read_text())
        assert found["settings"]["costs"]["fee_bps"] == 0.5
        every = {"stopping_rule", "twap", "volume_curve", "longstaff_schwartz, matched"}
        assert {row["policy"] for row in found["attribution"]} == every
        assert len(found["attribution"]) == (3 * 2 + 1) * 3  # placebos run the first benchmark alone
        assert {row["policy"] for row in found["information"]} == {"stopping_rule"}  # the others read no contexts
        assert all(row["information_vol"] == 0 for row in found["information"])
        assert [row["placebo"] for row in found["placebos"]] == ["longstaff_schwartz, matched"] * 3
        assert set(found["breakdowns"]) == {"symbol", "volatility"}  # sides are in every table
        tested = [row for row in found["differences"] if row["p_value_vol"]]
        assert all(0 <= row["p_value_vol"] <= row["p_holm_vol"] <= 1 for row in tested)
        assert {"tracking", "reversion", "trajectory"} <= set(found)


def test_universe_counts_the_bars_and_orders_of_each_symbol(benchmark):
    table = universe_table(benchmark)
    assert table.frame["bars"].tolist() == [960] * 3
    assert table.frame["orders"].sum() == 900
    orders = benchmark.results["twap"].orders
    assert table.frame["orders"].tolist() == [(orders["symbol"] == name).sum() for name in benchmark.bars.symbols]
    assert table.frame["first"].tolist() == [pd.Timestamp("2024-01-01", tz="UTC")] * 3
    assert table.frame["last"].tolist() == [pd.Timestamp("2024-02-09 23:00", tz="UTC")] * 3


class TestSummary:
    """Headlines and the paragraph say what the tables do."""

    def test_headlines_are_of_the_first_benchmark_at_the_shortest_minimum(self, benchmark, tables, free_tables):
        found = headlines(tables)
        orders = benchmark.main()["stopping_rule"]
        orders = orders[orders["min_periods"] == 1]
        curve = benchmark.capacity(["min_periods"]).query("policy == 'stopping_rule' and min_periods == 1")
        for headline, price in zip(found, ("own", "full_vwap", "arrival"), strict=False):
            at = curve[(curve["against"] == price) & (curve["size"] == 0.01)].iloc[0]
            expected = number_text(f"{at['gross_bps']:+.1f} gross, {at['net_bps']:+.1f} net, bps")
            assert headline.value == expected
            assert "with costs at 1 %; TWAP" in headline.detail
        gross = -orders["slippage_bps"].mean()
        assert found[0].value.startswith(number_text(f"{gross:+.1f} gross"))
        assert [headline.label.split()[0] for headline in found] == [*["Against"] * 3, "Information:", "Ahead", "Ahead"]
        assert "longstaff_schwartz, matched, a placebo" in found[4].label
        free = headlines(free_tables)
        assert len(free) == 6
        assert free[0].value == number_text(f"{gross:+.1f} bps gross")

    def test_a_placebo_that_is_the_strongest_rival_too_is_shown_once(self):
        policies = {name: load_policy(name) for name in ("volume_curve", "stopping_rule", "twap")}
        settings = BenchmarkSettings(min_periods=(1, 12), limit=200, null=0, information=0, bootstrap=100)
        tables = BenchmarkTables(
            run_benchmark(
                policies,
                synthetic_bars(symbols=2, days=30, seed=2),
                settings.model_copy(update={"placebos": ("stopping_rule",)}),
            )
        )
        assert strongest_rival(tables) == "stopping_rule"
        ahead = [headline.label for headline in headlines(tables) if headline.label.startswith("Ahead of")]
        assert ahead == ["Ahead of stopping_rule, a placebo, on the same orders"]

    def test_a_price_that_is_the_own_benchmark_is_not_shown_twice(self, benchmark):
        settings = benchmark.settings.model_copy(update={"benchmark": ("full_vwap",), "target": ("quantity",)})
        orders = {name: result.orders.assign(benchmark="full_vwap") for name, result in benchmark.results.items()}
        results = {name: replace(benchmark.results[name], orders=table) for name, table in orders.items()}
        tables = BenchmarkTables(replace(benchmark, settings=settings, results=results))
        assert [each.against for each in tables.prices("twap")] == ["own", "arrival"]

    def test_the_strongest_rival_is_the_best_one_that_could_be_run(self, tables):
        rivals = tables.first(tables.comparison).query("min_periods == 1").set_index("policy")["mean_bps"]
        best = max(("twap", "volume_curve"), key=lambda name: rivals[name])
        assert strongest_rival(tables) == best
        table = tables.comparison.copy()
        table.loc[table["policy"] == "oracle_vwap (bound)", "mean_bps"] = 1e6
        flattered = BenchmarkTables.__new__(BenchmarkTables)
        flattered.__dict__ |= tables.__dict__ | {"comparison": table}
        assert strongest_rival(flattered) == best

    def test_the_paragraph_splits_the_gain(self, tables):
        text = summary(tables)
        assert "Free to end after 1 of 12 periods" in text
        assert "On the martingale null" in text
        assert "What it reads from the market adds 0.0 bps" in text
        assert "The same fills gain" in text
        assert "Net of costs, at 1 % of the expected volume, it gains" in text
        # At a fixed duration the stopping rule is the TWAP.
        assert "stopping_rule tracks neither closer nor less closely than twap: of its errors std 1.00" in text

    def test_costs_in_words(self):
        assert cost_text(CostModel(fee_bps=0.25)) == "half-spread 0 bps, fees 0.25 bps"


class TestSamples:
    """A rule picks them, not a hand."""

    def test_they_stand_at_fixed_quantiles_of_each_side(self):
        """Of 21 orders the ranks are 19, 10 and 1 from the worst, whatever the sequence of the table."""
        rng = np.random.default_rng(3)
        gains = rng.permutation(21)
        orders = pd.DataFrame(
            {
                "order_id": range(42),
                "side": ["buy", "sell"] * 21,
                "min_periods": 6,
                "slippage_bps": -np.repeat(gains, 2).astype(float),
                "volatility_bps": 50.0,
            }
        )
        found = sample_rows(orders)
        assert list(found) == [
            (name, side)
            for name in ("good (95 % quantile)", "median", "bad (5 % quantile)")
            for side in ("buy", "sell")
        ]
        assert [-orders["slippage_bps"][row] for row in found.values()] == [19, 19, 10, 10, 1, 1]
        assert [orders["side"][row] for row in found.values()] == ["buy", "sell"] * 3

    def test_they_are_of_the_middle_minimum_and_have_a_price(self):
        orders = pd.DataFrame(
            {
                "order_id": range(4),
                "side": "buy",
                "min_periods": [1, 6, 6, 12],
                "slippage_bps": [-9.0, np.nan, -1.0, -9.0],
                "volatility_bps": 50.0,
            }
        )
        assert set(sample_rows(orders).values()) == {2}
        assert sample_rows(orders.iloc[:0]) == {}

    @pytest.mark.usefixtures("quick_pictures")
    def test_their_facts_are_those_of_the_orders(self, benchmark):
        group = sample_executions(benchmark)
        assert len(group.samples) == 6
        rows = sample_rows(benchmark.main()["stopping_rule"])
        for sample, row in zip(group.samples, rows.values(), strict=True):
            order = benchmark.results["stopping_rule"].orders.loc[row]
            assert (order["benchmark"], order["min_periods"]) == ("vwap", 6)
            assert sample.facts["executed price"] == order["executed_price"]
            assert f"net {-order['net_slippage_bps']:+.1f}".replace("-", "\u2212") in str(sample.facts["improvement"])
            assert sample.schedule.frame["fraction"].sum() == pytest.approx(1.0)


class TestWorst:
    """The worst 1 % of the orders, by a rule."""

    def test_they_are_the_lowest_improvements_in_bar_volatilities(self, benchmark):
        orders = benchmark.main()["stopping_rule"]
        rows = worst_rows(orders)
        assert len(rows) == -(-len(orders) // 100)
        gained = improvement(orders, "vol")
        assert gained[rows].tolist() == sorted(gained)[: len(rows)]
        assert worst_rows(orders.assign(slippage_bps=np.nan)) == []

    def test_the_table_shows_what_the_rivals_paid_for_the_same_orders(self, benchmark):
        frame = worst_table(benchmark).frame
        assert frame["_vol"].is_monotonic_increasing
        twap = benchmark.main()["twap"].set_index("order_id")["slippage_bps"]
        assert frame["of twap"].tolist() == pytest.approx((-twap[frame["order_id"]]).tolist())

    @pytest.mark.usefixtures("quick_pictures")
    def test_the_worst_few_have_pictures(self, benchmark):
        rows = worst_rows(benchmark.main()["stopping_rule"])[:3]
        group = worst_executions(benchmark)
        prices = benchmark.results["stopping_rule"].orders["executed_price"]
        assert [sample.facts["executed price"] for sample in group.samples] == prices[rows].tolist()


class TestTerminal:
    """The same numbers, compact."""

    @pytest.mark.parametrize("width", [50, 60, 80, 110, 160])
    def test_fits_the_terminal(self, tables, width):
        console = Console(width=width, record=True, file=io.StringIO())
        print_benchmark(console, tables)
        text = console.export_text()
        assert "\u2026" not in text  # no cell is cut
        assert "net bps" in text
        assert ("periods" in text.split("Improvement against")[1]) == (width == 160)

    def test_without_costs_nothing_is_net(self, free_tables):
        console = Console(width=160, record=True, file=io.StringIO())
        print_benchmark(console, free_tables)
        text = console.export_text()
        assert "net" not in text
        for part in (
            "option value",
            "above the null",
            "control",
            "placebos at matched risk",
            "Diebold-Mariano",
            "left out:",
            "oracle_vwap (bound)",
        ):
            assert part in text
