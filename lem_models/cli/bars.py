"""How commands read bars."""

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
"""Help of every option and argument that names a file of bars."""


class BarsOptions(Settings):
    """Options that say how a file of bars is read."""

    unit: str | None = Field(
        None, description="Unit of timestamps that are numbers since 1970: s, ms, us, ns, or auto."
    )
    calendar: str = Field(
        "auto",
        description="Trading hours: auto, 24/7, sessions, an exchange code such as XNYS, or by symbol: "
        "SPY=XNYS,VOD=XLON.",
    )
    fill_gaps: int = Field(
        0, ge=0, description="Fill gaps of at most so many missing bars with bars without volume; 0 for none."
    )

    def read(self, path: Path) -> Bars:
        """The bars of a file as the options say.

        Raises:
            BarsError: The file cannot be read, or a bar breaks a rule.
            ConfigError: An option cannot be read.
            UnknownNameError: There is no calendar, or no unit, of this name.
        """
        from lem_models.markets.bars import Bars

        check_readable(path)
        return Bars.read(path, calendar=calendar_choice(self.calendar), unit=self.unit, fill_gaps=self.fill_gaps)


class DataOptions(BarsOptions):
    """A file of bars, and how it is read."""

    data: Path = Field(description=BARS)


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
    for choice in text.split(","):
        symbol, _, name = (piece.strip() for piece in choice.rpartition("="))
        if not symbol or not name or symbol in calendars:
            raise ConfigError(f"--calendar takes one name, or SYMBOL=NAME once a symbol, comma-separated; got {text!r}")
        calendars[symbol] = name
    return calendars
