"""``lem data fetch``: download bars from an archive, an exchange or a vendor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from pydantic import Field

from lem_models.cli.bars import BarsOptions, bars_facts, calendar_choice
from lem_models.cli.output import Output, note
from lem_models.cli.signals import Stopped
from lem_models.errors import ConfigError
from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars
    from lem_models.markets.download import Download
    from lem_models.markets.download.source import Planned

__all__ = ["FetchOptions", "fetch"]

_OPTIONS = ("market", "feed", "hours", "split", "revision")


class FetchOptions(Settings):
    """Options of ``lem data fetch``."""

    refusal: ClassVar[str] = "the download is refused"
    flags: ClassVar[dict[str, str]] = {"start": "--from", "end": "--to"}

    provider: Annotated[str, typer.Argument()] = Field(
        description="binance, yahoo, ccxt, alpaca, polygon or hub. Keys are read from the environment."
    )
    what: Annotated[str, typer.Argument()] = Field(
        description="Symbols, comma-separated; for ccxt the exchange, for hub the data set (org/data)."
    )
    symbols: Annotated[str | None, typer.Argument()] = Field(
        None, description="Symbols, comma-separated, after an exchange or a data set."
    )
    interval: str | None = Field(None, description="Length of a bar: 1m, 5m, 1h, 1d.")
    start: str | None = Field(None, description="First year, month, day or moment: 2023, 2023-01, 2023-01-31.")
    end: str | None = Field(None, description="Last one, included; default now.")
    out: Path | None = Field(None, description="File to write: .parquet or .arrow.")
    dry_run: bool = Field(False, description="Print what would be fetched; fetch no bars.")
    calendar: str | None = Field(None, description=BarsOptions.model_fields["calendar"].description)
    market: str | None = Field(None, description="binance: spot, usdm or coinm; default spot.")
    feed: str | None = Field(None, description="alpaca: iex or sip; default iex, one exchange only.")
    hours: str | None = Field(
        None, description="alpaca and polygon: exchange whose regular hours are kept, or all; default XNYS."
    )
    unadjusted: bool = Field(False, description="alpaca and polygon: prices not adjusted for splits.")
    split: str | None = Field(None, description="hub: split; default train.")
    revision: str | None = Field(None, description="hub: branch, tag or commit.")
    url: str | None = Field(None, description="Base address of the source, e.g. of a mirror.")
    files: Path | None = Field(
        None, description="Folder in which downloaded files stay; by default they are removed at the end."
    )
    workers: int = Field(4, ge=1, description="Downloads at the same time.")
    rate: float = Field(10.0, gt=0, description="Most requests in a second.")


def fetch(options: FetchOptions, out: Output) -> None:
    """Download bars, check them, and write them with a record of where they come from (FILE.source.json).

    An interrupted download goes on where it stopped: repeat the command.

    Example: lem data fetch binance BTCUSDT,ETHUSDT --interval 1h --from 2023-01 --out bars.parquet
    """
    from lem_models.markets.download import Download, record_of
    from lem_models.markets.download.transfer import Manners

    if options.out is None and not options.dry_run:
        raise ConfigError("name the file to write with --out, or ask for a --dry-run")
    chosen = {name: getattr(options, name) for name in _OPTIONS if getattr(options, name) is not None}
    download = Download.of(
        options.provider,
        [name.strip() for names in (options.what, options.symbols or "") for name in names.split(",") if name.strip()],
        options.out or Path("bars.parquet"),
        interval=options.interval,
        start=options.start,
        end=options.end,
        calendar=None if options.calendar is None else calendar_choice(options.calendar),
        options=chosen | ({"adjusted": False} if options.unadjusted else {}),
        addresses={} if options.url is None else {"url": options.url},
        files=options.files,
        workers=options.workers,
        manners=Manners(per_second=options.rate),
    )
    if options.dry_run:
        _print_plan(out, download.plan(), download.notes)
        return
    try:
        with out.progress_of_tasks() as report:
            bars = download.write(report)
    except Stopped as stop:
        stop.advice = "repeat the command to go on: what is here is not fetched again"
        raise
    _print_result(out, bars, download)
    file, record = download.path.resolve(), record_of(download.path).resolve()
    out.say(f"{file}\n{record}", file=file, record=record)


def _print_plan(out: Output, planned: list[Planned], notes: list[str]) -> None:
    out.add({"planned": [asdict(line) for line in planned], "notes": notes})
    for line in planned:
        size = "" if line.bytes is None else f", {_size(line.bytes)}"
        out.say(f"{line.symbol}: {line.what}{size}, {line.period}, from {line.address}")
    for text in notes:
        note(text)
    sizes = [line.bytes for line in planned]
    total = "" if None in sizes else f"; {_size(sum(filter(None, sizes)))} in all"
    out.say(f"dry run: no bars were fetched{total}")


def _print_result(out: Output, bars: Bars, download: Download) -> None:
    share = download.exact_share
    out.add(bars_facts(bars) | {"repairs": download.repairs, "notes": download.notes, "exact_share": share})
    out.say(repr(bars))
    for reason, count in download.repairs.items():
        out.say(f"{count:,} {reason}")
    for text in download.notes:
        note(text)
    if share is not None and share < 1.0:
        out.say(f"the notional is estimated in {1.0 - share:.1%} of the bars (notional_exact is false)")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"
