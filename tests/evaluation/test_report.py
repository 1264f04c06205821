"""What the report promises: one file that needs nothing else, escaped, complete, reproducible; figures, CSV, JSON."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lem_models.errors import ConfigError, LEMError, UnknownNameError
from lem_models.evaluation import figure_style, plots
from lem_models.evaluation.output import to_csv, to_json
from lem_models.evaluation.report import (
    DEFINITIONS,
    SIGN_CONVENTION,
    Column,
    Headline,
    ReportData,
    ReportFigure,
    ReportTable,
    SampleExecution,
    write_report,
)
from lem_models.evaluation.report_tables import comparison_table, difference_table, null_table
from lem_models.evaluation.statistics import compare, null_split, paired_difference, summarise

HOSTILE = "<script>alert('x')</script>\"&{{ 7 * 7 }}"
POLICIES = ("model", "twap", "stopping_rule")


def orders_table(seed: int, gain: float, *, orders: int = 240) -> pd.DataFrame:
    """Orders table of a policy that gains so many bps on average."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "order_id": np.arange(orders),
            "symbol": np.resize(["BTCUSDT", HOSTILE], orders),
            "start": pd.date_range("2024-01-01", periods=orders, freq="6h", tz="UTC"),
            "side": np.resize(["buy", "buy", "sell", "sell"], orders),
            "benchmark": "vwap",
            "target": "quantity",
            "min_periods": np.resize([1, 6, 12], orders),
            "max_periods": 12,
            "periods_used": np.resize([5, 8, 12], orders),
            "filled": 1.0,
            "completed": True,
            "volatility_bps": 60.0,
            "slippage_bps": generator.normal(-gain, 30.0, orders),
        }
    )


def one_order(
    target: str = "quantity", benchmark: str = "vwap"
) -> tuple[dict[str, object], pd.DataFrame, pd.DataFrame]:
    """An order that ends after 3 of 6 hours, its schedule, and the market around it."""
    start = pd.Timestamp("2024-03-01 06:00", tz="UTC")
    market = pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-03-01 04:00", periods=10, freq="h", tz="UTC"),
            "volume": [9.0, 9.0, 10.0, 30.0, 0.0, 20.0, 10.0, 10.0, 10.0, 10.0],
            "vwap": [99.0, 99.5, 100.0, 102.0, 101.0, 98.0, 97.0, 99.0, 100.0, 101.0],
        }
    )
    schedule = pd.DataFrame(
        {
            "order_id": [7, 7, 8, 7],
            "period": [0, 1, 0, 3],
            "timestamp": [start, start + pd.Timedelta(hours=1), start, start + pd.Timedelta(hours=3)],
            "fraction": [0.25, 0.25, 1.0, 0.5],
            "price": [100.0, 102.0, 55.0, 98.0],
        }
    )
    order: dict[str, object] = {
        "order_id": 7,
        "start": start,
        "side": "buy",
        "benchmark": benchmark,
        "target": target,
        "min_periods": 2,
        "max_periods": 6,
        "periods_used": 4,
        "completed": True,
    }
    return order, schedule, market


def report_data() -> ReportData:
    """A small report with everything in it."""
    results = {
        policy: orders_table(seed, gain) for seed, (policy, gain) in enumerate(zip(POLICIES, (25, 0, 12), strict=True))
    }
    comparison = compare(results, "min_periods", draws=200)
    split = null_split(results["model"], [orders_table(9, 20.0)], "min_periods", draws=200)
    differences = paired_difference(results["model"], results["twap"], "min_periods", draws=200)
    order, schedule, market = one_order()
    return ReportData(
        title=f"Report {HOSTILE}",
        subtitle="a test",
        summary="The model gains 25 bps.",
        headlines=[Headline.interval("Improvement", 25.04, 24.0, 26.1, unit="bps")],
        tables=[
            comparison_table(comparison, "min_periods", title="By minimum", model="model"),
            difference_table(differences.assign(policy="twap"), "min_periods", title="Against baselines"),
            ReportTable(
                "By symbol", summarise(results["model"], "symbol", draws=200), columns=[Column("symbol", "symbol")]
            ),
            comparison_table(compare({"model": results["model"]}, "side"), "side", title="By side", collapsed=True),
        ],
        null_split=null_table(split, "min_periods"),
        figures=[
            ReportFigure.from_plot(
                "By minimum", HOSTILE, lambda theme: plots.improvement_by_minimum(comparison, split, theme=theme)
            )
        ],
        sample=SampleExecution(
            "Buy BTCUSDT",
            {"improvement": -3.25},
            schedule,
            ReportFigure.from_plot(
                "Execution", "bar by bar", lambda theme: plots.execution(order, schedule, market, theme=theme)
            ),
        ),
        model={"name": "lem-test", "parameters": 1234567},
        data={"hash": "ab12", "symbols": f"BTCUSDT, {HOSTILE}", "bars": 8760},
        excluded={"not enough history": 84},
        command=f"lem benchmark --model {HOSTILE}",
    )


class Page(HTMLParser):
    """What a browser would see of a page: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        """Parse at once."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        """All text, one blank between pieces."""
        return " ".join(word for word in self.words if word)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report as written."""
    return write_report(tmp_path_factory.mktemp("report") / "report.html", report_data()).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    """The report as seen."""
    return Page(html)


@pytest.fixture(scope="module")
def results() -> dict[str, pd.DataFrame]:
    """Orders tables of three policies, one order without a fill."""
    tables = {policy: orders_table(seed, 10.0 * seed) for seed, policy in enumerate(POLICIES)}
    tables["model"].loc[3, ["slippage_bps", "completed"]] = [np.nan, False]
    return tables


class TestSelfContained:
    """One file, no network, no scripts."""

    def test_has_no_script_and_loads_nothing(self, page: Page) -> None:
        """No tag that runs or fetches; every image is inside the file."""
        names = {tag for tag, _ in page.tags}
        assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
        sources = [(tag, name, value) for tag, attrs in page.tags for name, value in attrs.items()]
        loaded = [value for _, name, value in sources if name in {"src", "srcset", "href", "data", "action", "poster"}]
        assert len(loaded) == 4
        assert all(value is not None and value.startswith("data:image/svg+xml;base64,") for value in loaded)
        assert not [name for _, name, _ in sources if name.startswith("on")]

    def test_names_no_address(self, html: str) -> None:
        """Neither in styles nor in text."""
        assert not re.search(r"https?:|url\(|@import|//[a-z]", html)

    def test_its_figures_load_nothing_either(self, html: str) -> None:
        """References inside the SVGs point into themselves."""
        figures = [base64.b64decode(content).decode() for content in re.findall(r"svg\+xml;base64,([^\"]+)", html)]
        assert len(figures) == 4
        for figure in figures:
            assert "<script" not in figure
            assert all(target.startswith("#") for target in re.findall(r"href=\"([^\"]*)\"", figure))
            assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", figure))

    def test_forbids_scripts_and_addresses_to_the_browser(self, page: Page) -> None:
        """Even content that slipped through could not run."""
        policies = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]

    def test_follows_dark_mode_and_phones(self, html: str, page: Page) -> None:
        """Styles and figures have a dark variant; the page has the width of the device."""
        assert "@media (prefers-color-scheme: dark)" in html
        assert [attrs["media"] for tag, attrs in page.tags if tag == "source"] == ["(prefers-color-scheme: dark)"] * 2
        assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags

    def test_images_outside_the_file_are_refused(self) -> None:
        """A figure is a data URI."""
        with pytest.raises(ConfigError, match="data:image/"):
            ReportFigure("title", "caption", "https://example.org/figure.png")


class TestContent:
    """Everything that was given is shown, and nothing is executed."""

    def test_hostile_text_is_escaped_everywhere(self, html: str, page: Page) -> None:
        """Title, symbols, captions, facts and commands show their text as text."""
        assert "<script" not in html
        for place in (f"Report {HOSTILE}", f"BTCUSDT, {HOSTILE}", f"lem benchmark --model {HOSTILE}"):
            assert place in page.text
        assert any(attrs.get("alt") == f"By minimum. {HOSTILE}" for _, attrs in page.tags)

    def test_sign_convention_and_definitions_come_before_any_table(self, page: Page) -> None:
        """A reader knows what positive means before the first number of a table."""
        text = page.text
        assert SIGN_CONVENTION in text
        assert "positive = cost; improvement is minus that" in SIGN_CONVENTION
        assert text.index(SIGN_CONVENTION) < text.index("By minimum")
        for term, meaning in DEFINITIONS.items():
            assert term in text
            assert meaning in text
            assert text.index(meaning) < text.index("By minimum")

    def test_shows_tables_facts_and_command(self, page: Page) -> None:
        """All sections are there."""
        text = page.text
        for part in (
            "By minimum",
            "Against baselines",
            "Option value and forecast value",
            "One order, bar by bar Buy BTCUSDT",
            "By side",
            "lem-test",
            "1,234,567",
            "not enough history 84",
            "+25.0 bps 95 % interval +24.0 to +26.1",
        ):
            assert part in text
        assert sum(tag == "table" for tag, _ in page.tags) == 6
        assert sum(tag == "details" for tag, _ in page.tags) == 1

    def test_numbers_of_the_table_are_those_of_the_frame(self, page: Page) -> None:
        """Rounded and signed, with a true minus."""
        results = {
            policy: orders_table(seed, gain)
            for seed, (policy, gain) in enumerate(zip(POLICIES, (25, 0, 12), strict=True))
        }
        for _, row in compare(results, "min_periods", draws=200).iterrows():
            interval = f"{row['low_bps']:+.1f} to {row['high_bps']:+.1f}".replace("-", "\u2212")
            assert f"{row['mean_bps']:+.1f} {interval} {row['std_bps']:.1f}".replace("-", "\u2212") in page.text

    def test_a_bare_report_is_a_report(self, tmp_path: Path) -> None:
        """Only the title is needed; the sign convention and the count of orders left out are never silent."""
        text = Page(write_report(tmp_path / "bare.html", ReportData("Bare")).read_text(encoding="utf-8")).text
        assert SIGN_CONVENTION in text
        assert "Orders left out None" in text

    def test_prints_a_date_only_when_given(self, tmp_path: Path) -> None:
        """A report without a date is reproducible."""
        moment = datetime(2025, 1, 2, 3, 4, tzinfo=timezone.utc)
        dated = write_report(tmp_path / "dated.html", ReportData("Dated", generated_at=moment))
        assert "2025-01-02 03:04 UTC" in dated.read_text(encoding="utf-8")

    def test_refuses_columns_that_are_not_there(self) -> None:
        """Before anything is written."""
        with pytest.raises(UnknownNameError, match="did you mean 'mean_bps'"):
            ReportTable("title", pd.DataFrame({"mean_bps": [1.0]}), columns=[Column("mean_bp", "mean")])

    @pytest.mark.parametrize(
        ("value", "form", "shown"),
        [
            (np.nan, "{:+.1f}", "\u2013"),
            (None, "{}", "\u2013"),
            (-0.04, "{:+.1f}", "0.0"),
            (0.04, "{:+.1f}", "0.0"),
            (-0.06, "{:+.1f}", "\u22120.1"),
            (-12345.678, "{:+,.1f}", "\u221212,345.7"),
            (0.5, "{:.0%}", "50%"),
            (True, "{}", "yes"),
            (-1234, "{}", "\u22121,234"),
            (pd.Timestamp("2024-01-02 03:00", tz="UTC"), "{}", "2024-01-02 03:00"),
            ("BTC-USDT-2024", "{}", "BTC-USDT-2024"),
        ],
    )
    def test_cells(self, tmp_path: Path, value: object, form: str, shown: str) -> None:
        """Missing values are dashes, zero has no sign, names stay as they are."""
        table = ReportTable("cell", pd.DataFrame({"x": [value]}), columns=[Column("x", "heading", form)])
        text = Page(write_report(tmp_path / "cell.html", ReportData("t", tables=[table])).read_text("utf-8")).text
        assert f"cell heading {shown} Data" in text

    def test_headline_is_good_or_bad_only_off_zero(self) -> None:
        """A number whose interval holds zero is no news."""
        tones = [Headline.interval("x", 1.0, *ends, unit="bps").tone for ends in ((0.5, 2), (-2, -1), (-1, 2))]
        assert tones == ["good", "bad", "plain"]
        nothing = Headline.interval("x", math.nan, math.nan, math.nan, unit="bps")
        assert (nothing.value, nothing.tone) == ("\u2013 bps", "plain")


class TestFiles:
    """Files are reproducible and never half-written."""

    def test_same_input_same_bytes(self, tmp_path: Path, html: str) -> None:
        """Figures included."""
        again = write_report(tmp_path / "deep" / "folder" / "report.html", report_data())
        assert again == tmp_path / "deep" / "folder" / "report.html"
        assert again.read_text(encoding="utf-8") == html

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rename is the only moment at which the target changes."""
        target = write_report(tmp_path / "report.html", ReportData("Old"))

        def fail(self: Path, _: Path) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_report(target, ReportData("New"))
        assert "Old" in target.read_text(encoding="utf-8")
        assert list(tmp_path.iterdir()) == [target]

    def test_csv_keeps_every_digit(self, tmp_path: Path) -> None:
        """What is read back is what was written."""
        frame = pd.DataFrame({"policy": ["model", HOSTILE], "mean_bps": [1 / 3, np.nan]})
        path = to_csv(frame, tmp_path / "table.csv")
        pd.testing.assert_frame_equal(pd.read_csv(path), frame, check_dtype=False, check_exact=True)

    def test_json_is_strict_and_in_order(self, tmp_path: Path) -> None:
        """NaN is null, numpy and pandas types are plain, keys keep their sequence."""
        frame = pd.DataFrame(
            {
                "zeta": [np.nan, 0.5],
                "alpha": [1, 2],
                "time": [pd.Timestamp("2024-01-01", tz="UTC"), pd.NaT],
                "done": [True, False],
            }
        )
        content = {"table": frame, "seed": np.int64(3), "level": np.float32(0.5), "path": Path("a"), "inf": math.inf}
        text = to_json(content, tmp_path / "table.json").read_text(encoding="utf-8")
        loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert loaded == {
            "table": [
                {"zeta": None, "alpha": 1, "time": "2024-01-01T00:00:00+00:00", "done": True},
                {"zeta": 0.5, "alpha": 2, "time": None, "done": False},
            ],
            "seed": 3,
            "level": 0.5,
            "path": "a",
            "inf": None,
        }
        assert list(loaded["table"][0]) == list(frame.columns)
        assert to_json(content, tmp_path / "again.json").read_text(encoding="utf-8") == text

    def test_json_refuses_what_it_cannot_say(self, tmp_path: Path) -> None:
        """A typed error, and no file."""
        with pytest.raises(LEMError, match="set has no form in JSON"):
            to_json({"x": {1, 2}}, tmp_path / "x.json")
        assert not list(tmp_path.iterdir())


class TestFigures:
    """Figures show what they were given, in both themes, without global state."""

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_every_figure_renders(self, results: dict[str, pd.DataFrame], theme: figure_style.Theme) -> None:
        """PNG and SVG, the same bytes each time."""
        comparison = compare(results, "min_periods", draws=50)
        split = null_split(results["model"], [results["twap"]], "min_periods", draws=50)

        def draw() -> list[Figure]:
            return [
                plots.improvement_by_minimum(comparison, split, theme=theme),
                plots.improvement_by_minimum(comparison, unit="bps", theme=theme),
                plots.frontier(comparison, theme=theme),
                plots.improvement_distribution(results, min_periods=6, theme=theme),
                plots.completion(results, theme=theme),
                plots.execution(*one_order(), theme=theme),
            ]

        for first, second in zip(draw(), draw(), strict=True):
            png = figure_style.figure_to_png_bytes(first, dpi=40)
            assert png.startswith(b"\x89PNG")
            assert png == figure_style.figure_to_png_bytes(second, dpi=40)
        first, second = draw()[0], draw()[0]
        assert "<svg" in figure_style.figure_to_svg_text(first)
        assert figure_style.figure_to_data_uri(draw()[0]) == figure_style.figure_to_data_uri(draw()[0])
        assert figure_style.figure_to_data_uri(second, "png").startswith("data:image/png;base64,")

    def test_lines_are_the_numbers(self, results: dict[str, pd.DataFrame]) -> None:
        """One line per policy at its means, then the null, dashed."""
        comparison = compare(results, "min_periods", draws=50)
        split = null_split(results["model"], [results["twap"]], "min_periods", draws=50)
        lines = plots.improvement_by_minimum(comparison, split, unit="bps").axes[0].get_lines()
        for line, policy in zip(lines, POLICIES, strict=False):
            assert line.get_label() == policy
            np.testing.assert_allclose(_values(line), comparison[comparison["policy"] == policy]["mean_bps"])
        assert lines[3].get_label() == "martingale null"
        np.testing.assert_allclose(_values(lines[3]), split["option_bps"])

    def test_policies_keep_their_colour(self) -> None:
        """Whatever else is in the figure."""
        full, part = (
            figure_style.policy_styles(("model", "twap", "stopping_rule")),
            figure_style.policy_styles(("stopping_rule",)),
        )
        assert full["stopping_rule"] == part["stopping_rule"]
        assert len({style.colour for style in full.values()}) == 3
        assert full["twap"] != figure_style.policy_styles(["twap"], "dark")["twap"]

    def test_policies_without_spread_and_empty_groups_do_not_break_the_distribution(self) -> None:
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
    def test_execution_shows_the_executed_price(self, target: str, executed: float) -> None:
        """The running average ends at the executed price of the target; fills of other orders are left out."""
        line = _line(plots.execution(*one_order(target)).axes[0], "executed so far")
        assert len(line) == 4
        assert line[-1] == pytest.approx(executed)

    @pytest.mark.parametrize(
        ("benchmark", "price"),
        [("vwap", (10 * 100 + 30 * 102 + 20 * 98) / 60), ("twap", (100 + 102 + 101 + 98) / 4)],
    )
    def test_execution_shows_the_running_benchmark(self, benchmark: str, price: float) -> None:
        """It ends where the order ends; bars before the start are left out."""
        line = _line(
            plots.execution(*one_order(benchmark=benchmark)).axes[0], f"{benchmark.upper()} so far (benchmark)"
        )
        assert len(line) == 4
        assert line[-1] == pytest.approx(price)

    def test_execution_takes_bars_with_notional(self) -> None:
        """The VWAP follows from notional and volume, and is the close of a bar without volume."""
        order, schedule, market = one_order()
        raw = market.assign(notional=market["vwap"] * market["volume"], close=market["vwap"]).drop(columns="vwap")
        first, second = plots.execution(order, schedule, market), plots.execution(order, schedule, raw)
        assert _line(first.axes[0], "bar VWAP") == pytest.approx(_line(second.axes[0], "bar VWAP"))

    def test_execution_refuses_a_market_that_ended_before(self) -> None:
        """There is nothing to draw."""
        order, schedule, market = one_order()
        with pytest.raises(ConfigError, match="no bar at or after the start"):
            plots.execution(order, schedule, market.head(2))

    def test_refuses_an_unknown_theme(self) -> None:
        """Two themes are known."""
        with pytest.raises(ConfigError, match="'light' or 'dark', got 'sepia'"):
            figure_style.policy_styles(["twap"], "sepia")  # type: ignore[arg-type]

    def test_imports_neither_torch_nor_pyplot(self) -> None:
        """Reports can be made where there is no display, and without waiting for torch."""
        code = (
            "import sys, lem_models.evaluation.report;"
            "print([name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"


def _values(line: Line2D) -> list[float]:
    """Heights of a line."""
    return [float(value) for value in np.asarray(line.get_ydata(), dtype=float)]


def _line(axes: Axes, label: str) -> list[float]:
    """Heights of the line with a label."""
    return next(_values(line) for line in axes.get_lines() if line.get_label() == label)
