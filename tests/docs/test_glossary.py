"""The glossary has every public name, every field of an order and every column of a result."""

import re

import pytest

import lem_models
from lem_models import Order, execute
from lem_models.orders.fields import FIELDS
from tests.docs.pages import ROOT, Page
from tests.helpers import hourly

GLOSSARY = Page(ROOT / "docs" / "glossary.md")
RESULT = execute("twap", hourly(), Order.sample(hourly(), every=50, max_periods=3))


def names_under(heading):
    """Names in backticks under a heading, in order."""
    section = GLOSSARY.text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return re.findall(r"`([\w.]+)`", " ".join(cells) if cells else section)


def test_public_names():
    first = GLOSSARY.text.split("\n## Public names\n")[1].split("From the rooms:")[0]
    assert re.findall(r"^\| `(\w+)`", first, re.MULTILINE) == sorted(lem_models.__all__)


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("Columns of an order", FIELDS),
        ("Columns of `result.orders`", [c for c in RESULT.orders.columns if c not in FIELDS]),
        ("Columns of `result.schedule`", RESULT.schedule.columns),
    ],
)
def test_columns(heading, columns):
    assert [name for name in names_under(heading) if name != "orders.md"] == list(columns)


def test_names_from_the_rooms_exist():
    section = GLOSSARY.text.split("From the rooms:")[1].split("\n## ")[0]
    sources = [p for folder in ("lem_models", "benchmarks") for p in (ROOT / folder).rglob("*.py")]
    defined = set(re.findall(r"^class (\w+)", "\n".join(p.read_text(encoding="utf-8") for p in sources), re.MULTILINE))
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) <= defined


def test_a_term_stands_once_and_in_one_line():
    tables = GLOSSARY.text.split("\n## Public names\n")[0]
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", tables, re.MULTILINE)
    assert len(terms) == len(set(terms)) + sum(t == "term" for t in terms) - 1
    assert len(terms) > 60
