"""How commands read bars: the options that say it, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lem_models.cli.paths import check_readable
from lem_models.errors import ConfigError

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars
    from lem_models.markets.calendar.choice import CalendarChoice

__all__ = ["Calendar", "Data", "FillGaps", "Unit", "as_options", "calendar_choice", "read_bars"]

Data = Annotated[Path, typer.Option("--data", help="Bars: .arrow, .parquet, .csv or .csv.gz.")]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="Unit of timestamps that are numbers since 1970: s, ms, us, ns, or auto."),
]
Calendar = Annotated[
    str,
    typer.Option(
        "--calendar",
        help="Trading hours: auto, 24/7, sessions, an exchange code such as XNYS, or by symbol: SPY=XNYS,VOD=XLON.",
    ),
]
FillGaps = Annotated[
    int,
    typer.Option(
        "--fill-gaps", min=0, help="Fill gaps of at most so many missing bars with bars without volume; 0 for none."
    ),
]


def calendar_choice(text: str) -> CalendarChoice:
    """The calendars that an option names: one for all symbols, or ``SYMBOL=NAME`` for some, comma-separated.

    Raises:
        ConfigError: A part names no symbol or no calendar, or a symbol occurs twice.

    Example:
        >>> calendar_choice("XNYS"), calendar_choice("SPY=XNYS, VOD=XLON")
        ('XNYS', {'SPY': 'XNYS', 'VOD': 'XLON'})
    """
    if "=" not in text:
        return text
    calendars: dict[str, str] = {}
    for part in text.split(","):
        symbol, _, name = (piece.strip() for piece in part.rpartition("="))
        if not symbol or not name or symbol in calendars:
            raise ConfigError(f"--calendar takes one name, or SYMBOL=NAME once a symbol, comma-separated; got {text!r}")
        calendars[symbol] = name
    return calendars


def as_options(unit: str | None, calendar: str, fill_gaps: int) -> list[str]:
    """The options of a command line that say so, as far as they are not the defaults."""
    given = (("--unit", unit, None), ("--calendar", calendar, "auto"), ("--fill-gaps", fill_gaps, 0))
    return [text for option, value, default in given if value != default for text in (option, str(value))]


def read_bars(path: Path, unit: str | None = None, calendar: str = "auto", fill_gaps: int = 0) -> Bars:
    """The bars of a file as the options say.

    Raises:
        BarsError: The file cannot be read, or a bar breaks a rule.
        ConfigError: An option cannot be read.
        UnknownNameError: There is no calendar, or no unit, of this name.
    """
    from lem_models.markets.bars import Bars

    check_readable(path)
    return Bars.read(path, calendar=calendar_choice(calendar), unit=unit, fill_gaps=fill_gaps)
