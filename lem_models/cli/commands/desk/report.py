"""``lem desk report``: what an order of a desk cost."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.commands.desk.place import DB, existing_store
from lem_models.cli.costs import CostOptions
from lem_models.cli.output import Output
from lem_models.cli.policies import PolicyNames, comma_separated, named_policies

__all__ = ["ReportOptions", "report"]


class ReportOptions(CostOptions, BarsOptions):
    """Options of ``lem desk report``."""

    flags: ClassVar[dict[str, str]] = {"symbol": "--bars-symbol"}

    db: Annotated[str, typer.Argument()] = Field(description=DB)
    order: Annotated[str, typer.Argument()] = Field(description="Label of the order.")
    data: Path | None = Field(None, description=f"Bars, where they reach further than the desk's own. {BARS}")
    against: list[PolicyNames] = Field(
        ["twap,volume_curve"],
        description="Policies to execute the same order with: names, several times or comma-separated; '' for none.",
    )
    any_frequency: bool = Field(False, description="Also run a model on bars of a length that it was not trained on.")
    out: Path = Field(Path("reports/desk"), description="Folder for the page and the JSON.")
    seed: int = Field(0, description="Seed of the intervals.")


def report(options: ReportOptions, out: Output) -> None:
    """Measure an order from the desk's log: slippage and its causes, beside policies on the same bars.

    Writes ORDER.html and ORDER.json. It only reads the desk: another process may run it.

    Example: lem desk report desk.db 1 --against twap,volume_curve
    """
    from lem_models.desk.ledger import Ledger
    from lem_models.desk.report import read_order
    from lem_models.guard.output import check_folder, to_json

    check_folder(options.out)
    store = existing_store(options.db, read_only=True)
    try:
        bars = None if options.data is None else options.read(options.data)
        measured = read_order(Ledger(store, time.time_ns), options.order, bars=bars).measured(
            against=named_policies(name for text in options.against for name in comma_separated(text)),
            costs=options.costs(),
            allow_frequency=options.any_frequency,
            seed=options.seed,
        )
    finally:
        store.close()
    name = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in options.order).lstrip(".") or "order"
    page = options.out / f"{name}.html"
    command = shlex.join(["lem", *sys.argv[1:]])
    written = measured.costs.to_html(page, title=f"Order {options.order}", command=command)
    to_json(measured.as_dict(), options.out / f"{name}.json")
    out.add(measured.as_dict())
    out.say(f"{measured}\n\n{written.resolve()}", page=written.resolve())
