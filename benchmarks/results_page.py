"""Write the tables of the records into the README and the pages of docs/.

    python benchmarks/results_page.py            # write
    python benchmarks/results_page.py --check    # exit with 1 where a page is not what the records say

A page has a place for a table between two comments, ``<!-- table: headline -->`` and ``<!-- end of table -->``. The
names are those of ``benchmarks/zoo_table.py --table``, and ``sizes``, ``seeds``, ``arrival`` and ``service``, which are
what ``benchmarks/sizes.py``, ``seeds.py``, ``frontier.py`` and ``serve.py`` print with ``--show``. All other text is
written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.frontier import shown as frontier_shown
from benchmarks.records import read_market_record
from benchmarks.seeds import shown as seeds_shown
from benchmarks.sizes import shown as sizes_shown
from benchmarks.zoo_table import PER_RECORD, capacity_table, headline_table, zoo_models
from lem_models.errors import ConfigError
from lem_models.guard.output import write_text
from lem_models.hub.models.registry import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/results.md", "docs/sizes.md", "docs/service.md")
RESULTS = Path(__file__).with_name("results")
WHOLE_SESSIONS = ("equity-5min-78",)
"""Records of sizes of orders over whole sessions, shown after those of 12 bars."""
_PLACE = re.compile(r"(<!-- table: ([a-z]+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)


def tables(folder: Path = RESULTS) -> Mapping[str, Callable[[], str]]:
    """What makes each table, by its name, from the records in a folder."""
    markets = list(registry().markets)

    def records() -> list:
        return [read_market_record(folder / f"{market}.json") for market in markets]

    made: dict[str, Callable[[], str]] = {
        "headline": lambda: headline_table(records(), zoo_models(records())),
        "capacity": lambda: capacity_table([record.content for record in records()]),
        "sizes": lambda: "\n\n".join(
            sizes_shown(folder / f"sizes-{name}.json") for name in [*markets, *WHOLE_SESSIONS]
        ),
        "seeds": lambda: "\n\n".join(seeds_shown(folder / f"seeds-{market}.json") for market in markets),
        "arrival": lambda: "\n\n".join(frontier_shown(folder / f"arrival-{market}.json") for market in markets),
    }
    made["service"] = lambda: _service(folder)
    for name, table in PER_RECORD.items():
        made[name] = lambda table=table: "\n\n".join(table(record.content) for record in records())
    return made


def _service(folder: Path) -> str:
    from benchmarks.serve import shown  # it needs the extra `serve`

    return shown(folder / "service.json")


def filled(page: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """A page with its tables.

    Args:
        page: The text of the page.
        makers: What makes each table.

    Raises:
        ConfigError: If the page names a table that there is not.
    """

    def fill(place: re.Match[str]) -> str:
        begin, name, _, end = place.groups()
        if name not in makers:
            raise ConfigError(f"there is no table {name!r}; there are {', '.join(makers)}")
        return f"{begin}\n{makers[name]()}\n\n{end}"

    return _PLACE.sub(fill, page)


def main() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    wrong = []
    for name in PAGES:
        text = (ROOT / name).read_text("utf-8")
        made = filled(text, tables())
        if made != text:
            wrong.append(name)
            if not given.check:
                print(write_text(ROOT / name, made))
    if given.check and wrong:
        parser.exit(1, f"{', '.join(wrong)}: run python benchmarks/results_page.py\n")


if __name__ == "__main__":
    main()
