"""Options for reading bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from lem_models.cli.paths import check_readable
from lem_models.errors import ConfigError
from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars
    from lem_models.markets.calendar.choice import CalendarChoice

__all__ = ["BARS", "BarsOptions", "DataOptions", "calendar_choice"]

BARS = "Bars: .arrow, .parquet, .csv or .csv.gz."
"""Help of options and arguments that name a file of bars."""


class BarsOptions(Settings):
    """How a file of bars is read."""

    unit: str | None = Field(
        None, description="Unit of timestamps that are numbers since 1970: s, ms, us, ns, or auto."
    )
    calendar: str = Field(
        "auto",
        description="Trading hours: auto, 24/7, sessions, an exchange code such as XNYS, or by symbol: "
        "SPY=XNYS,VOD=XLON.",
    )
    fill_gaps: int = Field(
        0, ge=0, description="Fill gaps of at most this many bars with bars without volume; 0 for none."
    )

    def read(self, path: Path) -> Bars:
        """Read the bars of a file with these options.

        Raises:
            BarsError: The file cannot be read, or a bar breaks a rule.
            ConfigError: An option cannot be read.
            UnknownNameError: The calendar or the unit is unknown.
        """
        from lem_models.markets.bars import Bars

        check_readable(path)
        return Bars.read(path, calendar=calendar_choice(self.calendar), unit=self.unit, fill_gaps=self.fill_gaps)


class DataOptions(BarsOptions):
    """A file of bars, and how it is read."""

    data: Path = Field(description=BARS)


def calendar_choice(text: str) -> CalendarChoice:
    """Read the calendars of an option: one for all symbols, or ``SYMBOL=NAME`` for some, comma-separated.

    Raises:
        ConfigError: An entry has no symbol or no calendar, or a symbol occurs twice.

    Example:
        >>> calendar_choice("XNYS"), calendar_choice("SPY=XNYS, VOD=XLON")
        ('XNYS', {'SPY': 'XNYS', 'VOD': 'XLON'})
    """
    if "=" not in text:
        return text
    calendars: dict[str, str] = {}
    for choice in text.split(","):
        symbol, _, name = (piece.strip() for piece in choice.rpartition("="))
        if not symbol or not name or symbol in calendars:
            raise ConfigError(f"--calendar takes one name, or SYMBOL=NAME per symbol, comma-separated; got {text!r}")
        calendars[symbol] = name
    return calendars
