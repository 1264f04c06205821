"""Options for reading bars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lem_models.cli.output import note
from lem_models.cli.paths import check_readable
from lem_models.errors import BarsError, ConfigError
from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars
    from lem_models.markets.calendar.choice import CalendarChoice

__all__ = ["BARS", "BarsOptions", "DataOptions", "bars_facts", "calendar_choice", "read_pairs"]

BARS = "Bars: .arrow, .parquet, .csv, .csv.gz, .txt, .json, or a .zip of one; a pattern in quotes for several."
"""Help of options and arguments that name a file of bars."""


class BarsOptions(Settings):
    """How a file of bars is read."""

    flags: ClassVar[dict[str, str]] = {"vendor_format": "--format", "vendor_columns": "--columns"}

    vendor_format: str | None = Field(
        None, description="Format of a vendor, such as binance-spot; by default it is detected from the columns."
    )
    symbol: str | None = Field(
        None,
        description="Symbol of a table that does not name it; {file} for the name of the file; or new names: "
        "AAPL.US=AAPL,KO.US=KO.",
    )
    tz: str | None = Field(None, description="Zone of times without one, such as America/New_York.")
    vendor_columns: str | None = Field(None, description="Columns of the table by ours: timestamp=time,close=last.")
    notional: str | None = Field(
        None,
        description="Where notionals come from: exact, vwap, or an estimate, hlc3 or close; by default the first that "
        "there is.",
    )
    repair: str | None = Field(
        None,
        description="Repairs, comma-separated: drop_repeats, clip_vwap, round_prices, fill_idle, drop_open; or all. "
        "Each is counted.",
    )
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

    def read(self, path: Path, *, quiet: bool = False) -> Bars:
        """Read the bars of a file, or of several, with these options; a note says what was detected.

        Args:
            path: The file, or a pattern.
            quiet: Whether to say nothing.

        Raises:
            BarsError: The file cannot be read, or a bar breaks a rule.
            ConfigError: An option cannot be read.
            UnknownNameError: The calendar or the unit is unknown.
        """
        from lem_models.markets.bars import Bars

        check_readable(path)
        try:
            bars = Bars.read(
                path,
                self.vendor_format,
                symbol=_names(self.symbol),
                tz=self.tz,
                unit=self.unit,
                columns=_columns(self.vendor_columns),
                calendar=calendar_choice(self.calendar),
                notional=self.notional,
                repair=self.repair,
                fill_gaps=self.fill_gaps,
            )
        except BarsError as error:
            # A command whose orders have a --symbol calls this option otherwise, and so must the cure.
            flag = self.flags.get("symbol")
            if flag is None or error.rule != "named symbol":
                raise
            raise BarsError(
                error.message.replace("--symbol ", f"{flag} "), column=error.column, rule=error.rule
            ) from None
        if bars.reading is not None and not quiet:
            note(bars.reading.in_words())
        return bars

    @property
    def are_for_vendors(self) -> bool:
        """Whether an option is given that is for tables of vendors."""
        return any((self.vendor_format, self.symbol, self.tz, self.vendor_columns, self.notional, self.repair))


class DataOptions(BarsOptions):
    """A file of bars, and how it is read."""

    data: Path = Field(description=BARS)


def bars_facts(bars: Bars) -> dict[str, object]:
    """What the JSON of a command that writes bars says about them."""
    from lem_models.markets.calendar.frequency import clock

    return {
        "symbols": list(bars.symbols),
        "bars": len(bars),
        "frequency": clock(bars.frequency),
        "content_hash": bars.content_hash,
    }


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
    return read_pairs(text, "--calendar takes one name, or SYMBOL=NAME per symbol")


def _names(text: str | None) -> str | Mapping[str, str] | None:
    if text is None or "=" not in text:
        return text
    return read_pairs(text, "--symbol takes one name, or OLD=NEW per symbol")


def _columns(text: str | None) -> dict[str, str] | None:
    return None if text is None else read_pairs(text, "--columns takes OURS=THEIRS")


def read_pairs(text: str, rule: str) -> dict[str, str]:
    """Read ``KEY=NAME``, comma-separated.

    Raises:
        ConfigError: An entry has no key or no name, or a key occurs twice; the error begins with the rule.
    """
    pairs: dict[str, str] = {}
    for choice in text.split(","):
        key, _, name = (piece.strip() for piece in choice.rpartition("="))
        if not key or not name or key in pairs:
            raise ConfigError(f"{rule}, comma-separated; got {text!r}")
        pairs[key] = name
    return pairs
