"""``lem data convert``: check bars, and write them in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions, bars_facts, calendar_choice
from lem_models.cli.output import Output
from lem_models.cli.paths import check_readable
from lem_models.errors import BarsError

__all__ = ["ConvertOptions", "convert"]


class ConvertOptions(BarsOptions):
    """Options of ``lem data convert``."""

    source: Annotated[Path, typer.Argument()] = Field(description=BARS)
    target: Annotated[Path, typer.Argument()] = Field(description="File to write, in any of these formats.")


def convert(options: ConvertOptions, out: Output) -> None:
    """Check bars and write them in another format. An .arrow file opens at once and is never loaded whole.

    Example: lem data convert bars.parquet bars.arrow
    """
    from lem_models.guard.output import check_file
    from lem_models.markets.bars import Bars
    from lem_models.markets.storage.files import format_of
    from lem_models.markets.storage.writer import store_bars

    source, target = options.source, options.target
    check_readable(source)
    check_file(target)
    format_of(target)
    if target.suffix == ".arrow" and source.suffix == ".parquet" and not (options.fill_gaps or options.are_for_vendors):
        try:  # piece by piece
            bars = store_bars(source, target, calendar=calendar_choice(options.calendar), unit=options.unit)
        except BarsError as error:
            if error.rule not in ("symbol by symbol", "required columns"):
                raise
            # The rows of symbols are mixed, so they are sorted in memory; or the columns are those of a vendor.
            options.read(source).write(target)
            bars = Bars.read(target)
    else:
        bars = options.read(source)
        bars.write(target)
    out.say(f"{bars!r}\n{target.resolve()}", file=target.resolve(), **bars_facts(bars))
