"""``lem data check``: what to know about bars before trusting them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.options import as_arguments
from lem_models.cli.output import Output

__all__ = ["CheckOptions", "check"]


class CheckOptions(BarsOptions):
    """Options of ``lem data check``."""

    data: Annotated[Path, typer.Argument()] = Field(description=BARS)
    html: Path | None = Field(None, description="Also write a page with a picture of the coverage.")
    licence: str = Field(
        "", description="Terms of use of the data, for the page; by default those in the record of lem data fetch."
    )


def check(options: CheckOptions, out: Output) -> None:
    """Check bars: gaps, halts, outliers, splits, estimated notionals, calendar, doubtful times.

    Example: lem data check bars.csv --html check.html
    """
    from lem_models.guard.output import check_file
    from lem_models.markets.download.record import terms_of
    from lem_models.markets.quality.report import check_bars
    from lem_models.report.console import fitting_table
    from lem_models.report.data.page import write_data_page
    from lem_models.report.data.tables import finding_tables, symbols_table
    from lem_models.report.numbers import fact_text

    if options.html is not None:
        check_file(options.html)
    bars = options.read(options.data, quiet=True)  # the facts have how it was read
    written = options.data.stat().st_mtime_ns if options.data.is_file() else None
    checked = check_bars(bars, as_of=written, licence=options.licence or terms_of(options.data))
    if options.html is not None:
        command = shlex.join(["lem", "data", "check", str(options.data), *as_arguments(options, BarsOptions)])
        write_data_page(checked, options.html, title=f"Check of {options.data.name}", command=command)
    out.add(checked.as_dict())
    for name, value in checked.facts().items():
        out.say(f"{name:<32}{fact_text(value)}")
    for table in (symbols_table(checked), *finding_tables(checked)):
        out.console.print(fitting_table(out.console, table))
    for text in checked.warnings():
        out.say(f"! {text}")
    if options.html is not None:
        out.say(f"\n{options.html.resolve()}", html=options.html.resolve())
