"""What the report promises: one file that needs nothing else, escaped, complete, reproducible."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.report import plots
from lem_models.report.definitions import DEFINITIONS, SIGN_CONVENTION
from lem_models.report.execution_plot import execution
from lem_models.report.html import (
    FigureGroup,
    Headline,
    Report,
    ReportFigure,
    SampleExecution,
    SampleGroup,
    write_report,
)
from lem_models.report.policy_tables import attribution_table, difference_table, main_table, statistics_table
from lem_models.report.tables import Column, Table
from lem_models.statistics.summary import compare, null_split, paired_difference, summarise
from tests.evaluation.tables import HOSTILE, POLICIES, one_order, orders_table


def report_data() -> Report:
    """A small report with everything in it."""
    results = {
        policy: orders_table(seed, gain) for seed, (policy, gain) in enumerate(zip(POLICIES, (25, 0, 12), strict=True))
    }
    comparison = compare(results, "min_periods", draws=200)
    split = null_split(results["model"], [orders_table(9, 20.0)], "min_periods", draws=200)
    differences = paired_difference(results["model"], results["twap"], "min_periods", draws=200)
    order, schedule, market = one_order()
    by_side = statistics_table(compare({"model": results["model"]}, "side"), ["side"])
    main = main_table(comparison, compare(results, ["min_periods", "side"], draws=200), ["min_periods"], model="model")
    symbols = Table(summarise(results["model"], "symbol", draws=200), [Column("symbol", "symbol")])
    periods = Table(schedule, [Column(name, name) for name in schedule.columns])
    return Report(
        title=f"Report {HOSTILE}",
        subtitle="a test",
        policies=POLICIES,
        warnings=["Seen in training."],
        summary="The model gains 25 bps.",
        headlines=[Headline.interval("Improvement", 25.04, 24.0, 26.1, unit="bps", more="p <0.001")],
        universe=Table(
            pd.DataFrame({"symbol": [HOSTILE], "bars": [8760]}),
            [Column("symbol", "symbol"), Column("bars", "bars")],
            title="Universe",
        ),
        sections=[
            replace(main, title="By minimum", more=[replace(by_side, title="By side")]),
            replace(difference_table(differences.assign(policy="twap"), ["min_periods"]), title="Against baselines"),
            replace(
                attribution_table(split.assign(policy="model"), None, ["min_periods"]),
                title="Attribution: option value, above the null",
            ),
            FigureGroup(
                "Figures",
                [
                    ReportFigure.from_plot(
                        "Mean", HOSTILE, lambda theme: plots.improvement_by_minimum(comparison, split, theme=theme)
                    )
                ],
            ),
            SampleGroup(
                "Sample executions",
                [
                    SampleExecution(
                        "Buy BTCUSDT",
                        {"improvement": -3.25},
                        periods,
                        ReportFigure.from_plot(
                            "Execution", "bar by bar", lambda theme: execution(order, schedule, market, theme=theme)
                        ),
                    )
                ],
                "chosen by rule",
            ),
            replace(symbols, title="By symbol", collapsed=True),
        ],
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


class TestSelfContained:
    """One file, no network, no scripts."""

    def test_has_no_script_and_loads_nothing(self, page: Page) -> None:
        """No tag that runs or fetches; every image is inside the file."""
        names = {tag for tag, _ in page.tags}
        assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
        sources = [(tag, name, value) for tag, attrs in page.tags for name, value in attrs.items()]
        loaded = [value for _, name, value in sources if name in {"src", "srcset", "data", "action", "poster"}]
        assert len(loaded) == 4
        assert all(value is not None and value.startswith("data:image/svg+xml;base64,") for value in loaded)
        assert not [name for _, name, _ in sources if name.startswith("on")]
        links = [value for _, name, value in sources if name == "href"]
        places = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
        assert len(links) == 7
        assert {value.removeprefix("#") for value in links if value is not None} == places

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
        assert any(attrs.get("alt") == f"Mean. {HOSTILE}" for _, attrs in page.tags)

    def test_sign_convention_and_definitions_come_before_any_table(self, page: Page) -> None:
        """A reader knows what positive means before the first number of a table."""
        text = page.text
        assert SIGN_CONVENTION in text
        assert "positive = cost; improvement is minus that" in SIGN_CONVENTION
        assert text.index(SIGN_CONVENTION) < text.index("minimum duration")
        for term, meaning in DEFINITIONS.items():
            assert term in text
            assert meaning in text
            assert text.index(meaning) < text.index("minimum duration 1")

    def test_shows_tables_facts_and_command(self, page: Page) -> None:
        """All sections are there."""
        text = page.text
        for part in (
            "By minimum",
            "Against baselines",
            "Attribution: option value, above the null",
            "Sample executions chosen by rule Buy BTCUSDT",
            "By side",
            "Universe",
            "Seen in training.",
            "lem-test",
            "1,234,567",
            "not enough history 84",
            "+25.0 bps 95 % interval +24.0 to +26.1; p <0.001",
        ):
            assert part in text
        assert sum(tag == "table" for tag, _ in page.tags) == 7
        assert sum(tag == "details" for tag, _ in page.tags) == 4  # universe, more of a table, a schedule, a section

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
        text = Page(write_report(tmp_path / "bare.html", Report("Bare")).read_text(encoding="utf-8")).text
        assert SIGN_CONVENTION in text
        assert "Left out None" in text

    def test_prints_a_date_only_when_given(self, tmp_path: Path) -> None:
        """A report without a date is reproducible."""
        moment = datetime(2025, 1, 2, 3, 4, tzinfo=timezone.utc)
        dated = write_report(tmp_path / "dated.html", Report("Dated", generated_at=moment))
        assert "2025-01-02 03:04 UTC" in dated.read_text(encoding="utf-8")

    def test_refuses_columns_that_are_not_there(self) -> None:
        """Before anything is written."""
        with pytest.raises(UnknownNameError, match="did you mean 'mean_bps'"):
            Table(pd.DataFrame({"mean_bps": [1.0]}), [Column("mean_bp", "mean")])

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
        table = Table(pd.DataFrame({"x": [value]}), [Column("x", "heading", form)], title="cell")
        text = Page(write_report(tmp_path / "cell.html", Report("t", sections=[table])).read_text("utf-8")).text
        assert text.endswith(f"cell heading {shown}")

    def test_headline_is_good_or_bad_only_off_zero(self) -> None:
        """A number whose interval holds zero is no news."""
        tones = [Headline.interval("x", 1.0, *ends, unit="bps").tone for ends in ((0.5, 2), (-2, -1), (-1, 2))]
        assert tones == ["good", "bad", "plain"]
        nothing = Headline.interval("x", math.nan, math.nan, math.nan, unit="bps")
        assert (nothing.value, nothing.tone) == ("\u2013 bps", "plain")
        assert Headline.interval("x", -1.0, -2.0, -0.04, unit="bps").tone == "plain"  # it reads "to 0.0"

    def test_same_input_same_bytes(self, tmp_path: Path, html: str) -> None:
        """Figures included."""
        again = write_report(tmp_path / "deep" / "folder" / "report.html", report_data())
        assert again == tmp_path / "deep" / "folder" / "report.html"
        assert again.read_text(encoding="utf-8") == html
