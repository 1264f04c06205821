"""What a source of bars is: it says what it would fetch, and then fetches it, symbol by symbol.

A source gives tables in the columns of this package, symbol by symbol, in time order, with ``notional_exact``: whether
the notional of a bar is the vendor's own, or an estimate from its prices. Validation is not its task:
:func:`~lem_models.markets.download.fetch.fetch_bars` hands every table to :class:`~lem_models.markets.bars.Bars`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.guard.output import Json
from lem_models.markets.calendar.choice import CalendarChoice
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.periods import Period
from lem_models.markets.download.transfer import Manners, check_address

__all__ = [
    "Fetched",
    "Planned",
    "Report",
    "Request",
    "Source",
    "SourceFile",
    "closed_bars",
    "count_repair",
    "plain_table",
]

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being fetched, how much of it is here, and how much there is if that is known."""

_DAY = pd.Timedelta("1D")


@dataclass(frozen=True)
class Request:
    """What is to be fetched.

    Attributes:
        names: Symbols, in the vendor's spelling; for some sources the name of an exchange or data set before them.
        interval: Length of a bar; ``None`` where the source has only one.
        period: Which bars; ``None`` for all, where the source can give all.
        folder: Folder of files that an interrupted download finds again.
        now: The present, UTC.
        options: Options of the source, by name.
        addresses: Base addresses that replace the source's own, by name of the address.
        workers: Downloads at the same time, where the source allows several.
        manners: How hard the server is asked.
    """

    names: tuple[str, ...]
    interval: pd.Timedelta | None
    period: Period | None
    folder: Path
    now: pd.Timestamp
    options: Mapping[str, Json] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    workers: int = 4
    manners: Manners = field(default_factory=Manners)


@dataclass(frozen=True)
class Planned:
    """One line of a plan: what would be fetched of a symbol.

    Attributes:
        symbol: The symbol.
        what: In words: ``"24 months, 14 days"``.
        period: The period that this covers, in words.
        address: Where it is.
        bytes: How much that is, if the source says so.
    """

    symbol: str
    what: str
    period: str
    address: str
    bytes: int | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file that bars were made of."""

    url: str
    sha256: str
    bytes: int


@dataclass
class Fetched:
    """Bars of one symbol, or some of them: the next ones in time.

    Attributes:
        table: timestamp (UTC, bar start), symbol, open, high, low, close, volume, notional, notional_exact, in time
            order; other columns may follow, the same for every symbol.
        files: The files that they were made of.
        notes: What a reader of the bars must know, one sentence each.
        repairs: How many bars were changed or left out, by the reason.
    """

    table: pd.DataFrame
    files: list[SourceFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repairs: dict[str, int] = field(default_factory=dict)


class Source(ABC):
    """A source of bars. Its constructor checks the request, without any request to a server.

    Attributes:
        request: The request.
        chosen: Its options, with the defaults of the source.
        frequency: Length of a bar; ``None`` until it is known.
        name: What users call it.
        packages: Distributions that it needs and whose versions are recorded.
        terms: Where the vendor's terms of use are.
        notional: Where the notional comes from, in words.
        default_addresses: Its base addresses by name; ``LEM_FETCH_<SOURCE>_<NAME>`` replaces one of them.
        options: Options that it has, with their defaults.
        calendar: Calendar of its bars, if the user names none.
        needs_period: Whether a request names the length of a bar and a period.
        intervals: Lengths of its bars, and what it calls them; empty where that depends on more than the source.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    terms: ClassVar[str]
    notional: ClassVar[str]
    default_addresses: ClassVar[Mapping[str, str]] = {}
    options: ClassVar[Mapping[str, Json]] = {}
    intervals: ClassVar[Mapping[pd.Timedelta, str]] = {}
    needs_period: ClassVar[bool] = True
    calendar: CalendarChoice = "auto"

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            ConfigError: An option does not belong to this source, the interval is not one of its own, the period is
                missing, or a package is.
        """
        unknown = sorted(request.options.keys() - self.options.keys())
        if unknown:
            raise ConfigError(
                f"the source {self.name} has no option {unknown[0]!r}; it has: {', '.join(self.options) or 'none'}"
            )
        self.request = request
        self.frequency = request.interval
        self.chosen: dict[str, Json] = {**self.options, **request.options}
        for package in self.packages:
            _check_installed(package, self.name)
        if self.needs_period:
            self.period, self.interval = self._bounds()

    def _bounds(self) -> tuple[Period, pd.Timedelta]:
        period, interval = self.request.period, self.request.interval
        if interval is None:
            raise ConfigError("name the length of a bar with --interval, e.g. --interval 1h")
        if self.intervals and interval not in self.intervals:
            known = ", ".join(clock(each) for each in self.intervals)
            raise ConfigError(f"the source {self.name} has bars of {known}, not of {clock(interval)}")
        if period is None:
            raise ConfigError("name the first bars with --from, e.g. --from 2023-01")
        return period, interval

    def address(self, name: str = "url") -> str:
        """A base address: of the request, of the environment, or the source's own."""
        return check_address(self._given_address(name) or self.default_addresses[name])

    def has_address(self, name: str = "url") -> bool:
        """Whether the request or the environment replaces a base address."""
        return bool(self._given_address(name))

    def _given_address(self, name: str) -> str | None:
        variable = f"LEM_FETCH_{self.name}_{name}".upper()
        return self.request.addresses.get(name) or os.environ.get(variable)

    def versions(self) -> dict[str, str]:
        """Versions of this package and of those that the source needs."""
        return {package: metadata.version(package) for package in ("lem_models", *self.packages)}

    @abstractmethod
    def plan(self) -> list[Planned]:
        """What would be fetched. No bars are fetched; archives are asked which files they have.

        Raises:
            DownloadError: The source fails, or has nothing of a symbol.
        """

    def notes(self) -> list[str]:
        """What a plan must say besides its lines, one sentence each."""
        return []

    @abstractmethod
    def tables(self, report: Report) -> Iterator[Fetched]:
        """The bars, symbol by symbol, each symbol in one or several pieces in time order; a piece may be empty.

        Raises:
            DownloadError: The source fails, or sends what cannot be read.
        """

    def addresses(self) -> dict[str, str]:
        """The base addresses in use, by name."""
        return {name: self.address(name) for name in self.default_addresses}

    def facts(self) -> dict[str, Json]:
        """Facts for the record besides those of every source."""
        return {}


def _check_installed(package: str, source: str) -> None:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"the source {source} needs the package {package}: pip install 'lem-models[data]', or pip install {package}"
        ) from None


def plain_table(
    symbol: str,
    timestamp: pd.DatetimeIndex,
    values: Mapping[str, object],
    *,
    exact: bool | npt.NDArray[np.bool_],
) -> pd.DataFrame:
    """A table in the columns of this package.

    Args:
        symbol: Its symbol.
        timestamp: [bars], starts of the bars, with a zone.
        values: [bars] numbers for open, high, low, close, volume and notional.
        exact: Whether the notional is the vendor's own, for all bars or [bars].
    """
    columns = {name: np.asarray(values[name], dtype=np.float64) for name in ("open", "high", "low", "close")}
    columns |= {name: np.asarray(values[name], dtype=np.float64) for name in ("volume", "notional")}
    return pd.DataFrame(
        {
            "timestamp": timestamp.tz_convert("UTC").as_unit("ns"),
            "symbol": symbol,
            **columns,
            "notional_exact": np.broadcast_to(np.asarray(exact, dtype=bool), len(timestamp)),
        }
    )


def closed_bars(fetched: Fetched, request: Request, zone: str = "UTC") -> None:
    """Leave out bars outside the period, and bars that have not closed yet, which are counted.

    Args:
        fetched: The bars; changed in place.
        request: The period, the length of a bar and the present.
        zone: Clock of the exchange, whose days the period names for daily bars.
    """
    table, step = fetched.table, request.interval
    if step is None:
        return
    is_open = table["timestamp"] + step > request.now
    if is_open.any():
        count_repair(fetched, "bars left out because they had not closed", int(is_open.sum()))
    keep = ~is_open
    if request.period is not None:
        start, end = request.period.start, request.period.end
        if step >= _DAY:
            start, end = (edge.tz_localize(None).tz_localize(zone) for edge in (start, end))
        keep &= (table["timestamp"] >= start) & (table["timestamp"] < end)
    fetched.table = table[keep].reset_index(drop=True)


def count_repair(fetched: Fetched, reason: str, count: int) -> None:
    """Count bars that were changed or left out."""
    if count:
        fetched.repairs[reason] = fetched.repairs.get(reason, 0) + count
