"""The log of looks at test periods: who looked at a market's test period, when, with which weights, and what came out.

    python benchmarks/looks.py                      # the log as a table
    python benchmarks/looks.py --market dow-daily   # one market

Every look makes choices that follow it a little less honest, so looks are counted. The log is
``benchmarks/results/looks.jsonl``: one JSON object a line, only ever appended to, committed with the records.
:func:`open_bars` is the only function of the scripts that gives out the bars of a market. It appends a line *before* it
gives out a test period, so a run that is broken off is counted too. :meth:`MarketBars.report` appends a second line of
the same ``id`` with the number of orders and the headline figure.
"""

from __future__ import annotations

import argparse
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from lem_models import Bars
from lem_models.errors import ConfigError
from lem_models.features.market import MAX_LOOKBACK
from lem_models.hub.models.registry import registry, weights_hash
from lem_models.hub.models.resolve import resolve
from lem_models.markets.calendar.frequency import Moment
from lem_models.report.markdown import markdown_table
from lem_models.report.tables import Column, Table

LOG = Path(__file__).with_name("results") / "looks.jsonl"
UNDATED = "recorded before the log"
"""In place of the date of a look that an older record shows, but does not date."""
SHORT = 12
"""Hexadecimal digits of a hash in the log."""
FIELDS = ("date", "market", "weights", "command", "orders", "headline")


# --- the log ---------------------------------------------------------------------------------------------------------


def append(line: Mapping[str, Any]) -> None:
    """Append one line to the log, in one write.

    Raises:
        ConfigError: If the log cannot be written: then nobody may look.
    """
    data = (json.dumps(dict(line), ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        # O_APPEND: lines of several processes do not mix.
        file = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(file, data)
        finally:
            os.close(file)
    except OSError as error:
        text = f"the log of looks {LOG.name} cannot be written, so no test period is given out: {error}"
        raise ConfigError(text) from None
    if written != len(data):
        raise ConfigError(f"the log of looks {LOG.name} was written in part: is the disk full?")


def read_looks(path: Path | None = None) -> list[dict[str, Any]]:
    """The looks in the order of their first lines; lines of one ``id`` are one look.

    Raises:
        ConfigError: If a line is no JSON object with the fields of a look; names the line.
    """
    path = LOG if path is None else path
    looks: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            known = looks.setdefault(line["id"], {})
            known |= line
            missing = [name for name in FIELDS if name not in known]
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"{path.name}, line {number}: not a look") from None
        if missing:
            raise ConfigError(f"{path.name}, line {number}: a look without {', '.join(missing)}")
    return list(looks.values())


def count(market: str, path: Path | None = None) -> int:
    """Number of looks at the test period of a market."""
    return sum(look["market"] == market for look in read_looks(path))


def looks_table(looks: list[dict[str, Any]]) -> Table:
    """The log as a table, a row per look."""
    rows = [
        {
            **look,
            "weights": ", ".join(f"{name} {short}" for name, short in look["weights"].items()) or "no model",
            "headline": look["headline"] or "not finished",
        }
        for look in looks
    ]
    columns = [
        Column("date", "date (UTC)"),
        Column("market", "market"),
        Column("weights", "weights (SHA-256)"),
        Column("orders", "orders"),
        Column("headline", "headline"),
        Column("command", "command", "`{}`"),
    ]
    return Table(pd.DataFrame(rows, columns=list(FIELDS)), columns)


# --- bars ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MarketBars:
    """Bars of a market for one period.

    Attributes:
        bars: The bars of the period, and the history that its first orders ask for.
        whole: All bars of the file.
        start: First day, inclusive.
        split: ``"test"`` or ``"validation"``.
        look: ``id`` of the line in the log; ``None`` for validation.
    """

    bars: Bars
    whole: Bars
    start: Moment
    split: str
    look: str | None

    def report(self, orders: int, headline: str) -> None:
        """Complete the line of the log; nothing on validation.

        Args:
            orders: Number of orders.
            headline: The headline figure in words.
        """
        if self.look is not None:
            append({"id": self.look, "orders": orders, "headline": headline})


def open_bars(
    market: str,
    data: Path,
    test_start: Moment,
    start: Moment | None,
    end: Moment | None,
    *,
    weights: Mapping[str, str],
    command: str,
    calendar: str = "auto",
) -> MarketBars:
    """The bars of one period of a market. A test period is logged before it is given out.

    Args:
        market: Key of the market in the zoo.
        data: The file of its bars, or its folder.
        test_start: First day of the test period.
        start: First day, inclusive; ``None`` for the test period's.
        end: Day by which orders have ended, exclusive; ``None`` for the end of the bars.
        weights: SHA-256 of the weights of each model.
        command: The command, without paths of the machine.
        calendar: Calendar of the bars, as :meth:`Bars.read` takes it.

    Raises:
        ConfigError: If the period holds days of both splits, or the log cannot be written.
    """
    split = split_of(test_start, start, end)
    whole = Bars.read(data / registry().markets[market].file if data.is_dir() else data, calendar=calendar)
    start = start or str(test_start)
    look = None
    if split == "test":
        look = uuid.uuid4().hex[:SHORT]
        append(
            {
                "id": look,
                "date": datetime.now(timezone.utc).date().isoformat(),
                "market": market,
                "weights": {name: value[:SHORT] for name, value in weights.items()},
                "command": command,
                "bars": whole.content_hash[:SHORT],
                "orders": None,
                "headline": None,
            }
        )
    return MarketBars(needed_bars(whole, start, end), whole, start, split, look)


def open_file(
    data: Path,
    start: Moment | None,
    end: Moment | None,
    *,
    models: list[str],
    command: str,
    calendar: str = "auto",
) -> MarketBars:
    """The bars of a file. If it is the file of a market of the zoo, days of its test period are a look.

    Args:
        data: The file.
        start: First day, inclusive; ``None`` for the first of the file.
        end: Day by which orders have ended, exclusive; ``None`` for the end of the bars.
        models: Names or folders of the models.
        command: The command, without paths of the machine.
        calendar: Calendar of the bars, as :meth:`Bars.read` takes it.

    Raises:
        ConfigError: See :func:`open_bars`.
    """
    named = {row.file: (name, row.test_start) for name, row in registry().markets.items()}
    if data.name in named:
        market, test_start = named[data.name]
        weights = {Path(name).name: weights_hash(resolve(name)) for name in models}
        opened = open_bars(market, data, test_start, start, end, weights=weights, command=command, calendar=calendar)
        return MarketBars(opened.whole, opened.whole, opened.start, opened.split, opened.look)
    bars = Bars.read(data, calendar=calendar)
    return MarketBars(bars, bars, start or "", "validation", None)


def symbols_of(file: Path) -> tuple[str, ...]:
    """Symbols of a file of bars; its prices stay where they are, so it is no look."""
    return tuple(Bars.read(file).symbols)


def split_of(test_start: Moment, start: Moment | None, end: Moment | None) -> str:
    """``"test"`` or ``"validation"``.

    Raises:
        ConfigError: If the period holds days of both.
    """
    border = utc(test_start)
    if utc(start or test_start) >= border:
        return "test"
    if end is not None and utc(end) <= border:
        return "validation"
    raise ConfigError(f"the period from {start} to {end or 'the end'} holds days on both sides of {test_start}")


def needed_bars(bars: Bars, start: Moment, end: Moment | None) -> Bars:
    """The bars of a period and the history that its first orders ask for: the same numbers from fewer bars."""
    bars = bars.between(None, end)
    first = utc(start)
    times = pd.DatetimeIndex(pd.unique(bars.timestamp)).sort_values().tz_localize("UTC")
    at = max(int(times.searchsorted(first)) - 2 * MAX_LOOKBACK, 0)
    return bars.between(times[at], end)


def joined(bars: Bars, frequency: str) -> Bars:
    """Bars round the clock joined to longer ones on the UTC grid; a longer bar that lacks a part is left out."""
    if pd.Timedelta(frequency) == bars.frequency:
        return bars
    frame = bars.frame
    groups = frame.groupby([frame["symbol"].astype(str), frame["timestamp"].dt.floor(frequency)], sort=True)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "notional": "sum"}
    whole = groups.size() == pd.Timedelta(frequency) / bars.frequency
    return Bars.from_frame(groups.agg(how)[whole].reset_index(), calendar="24/7", frequency=frequency)


def utc(moment: Moment) -> pd.Timestamp:
    """A moment in UTC; one without a zone is in UTC."""
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def main() -> None:
    """Print the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", help="only the looks at this market")
    given = parser.parse_args()
    looks = [look for look in read_looks() if given.market in (None, look["market"])]
    print(markdown_table(looks_table(looks)))
    print(f"\n{len(looks)} looks")


if __name__ == "__main__":
    main()
