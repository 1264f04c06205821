"""Pages have the tables of the records, and all other text stays."""

import pytest

from benchmarks.results_page import PAGES, ROOT, filled, tables
from lem_models.errors import ConfigError
from tests.benchmarks.script import run_script

PAGE = (
    "before\n<!-- table: one -->\nold\n<!-- end of table -->\nbetween\n"
    "<!-- table: two -->\n<!-- end of table -->\nafter\n"
)


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_what_the_records_say(page):
    text = (ROOT / page).read_text("utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end of table -->") >= 1
    assert filled(text, tables()) == text


def test_only_the_tables_change():
    made = filled(PAGE, {"one": lambda: "| a |", "two": lambda: "| b |"})
    assert made == (
        "before\n<!-- table: one -->\n\n| a |\n\n<!-- end of table -->\nbetween\n"
        "<!-- table: two -->\n\n| b |\n\n<!-- end of table -->\nafter\n"
    )
    assert filled(made, {"one": lambda: "| a |", "two": lambda: "| b |"}) == made


def test_an_unknown_table_is_named():
    with pytest.raises(ConfigError, match="there is no table 'two'; there are one"):
        filled(PAGE, {"one": lambda: ""})


def test_the_check_passes():
    done = run_script("results_page.py", "--check")
    assert (done.returncode, done.stdout) == (0, "")
