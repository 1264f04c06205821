"""``lem tca``: measure real fills."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from lem_models.cli.bars import DataOptions, read_pairs
from lem_models.cli.costs import CostOptions
from lem_models.cli.output import Output
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import PolicyNames, comma_separated, named_policies
from lem_models.errors import OrderError

__all__ = ["TcaOptions", "tca"]


class TcaOptions(CostOptions, DataOptions):
    """Options of ``lem tca``."""

    fills: Annotated[Path, typer.Argument()] = Field(
        description="Fills: .csv, .parquet or .json, with time, quantity and price."
    )
    orders: Path | None = Field(
        None,
        description="Parent orders: .csv, .parquet or .json; by default one per order id of the fills, or per "
        "symbol, side and day.",
    )
    decisions: Path | None = Field(
        None, description="What was wanted: start, quantity, and order_id and end if there are any."
    )
    against: list[PolicyNames] | None = Field(
        None, description="Policies to execute the same orders with: names, several times or comma-separated."
    )
    benchmark: str = Field("vwap", description="Benchmark of orders without a table: vwap, twap, full_vwap or arrival.")
    fills_columns: str | None = Field(None, description="Columns of the fills by ours: time=Date/Time,price=T. Price.")
    fills_tz: str | None = Field(None, description="Zone of the times of the fills, if they have none.")
    fills_unit: str | None = Field(None, description="Unit of times that are numbers since 1970: s, ms, us, ns, auto.")
    tolerance: float = Field(
        1.0, ge=0, description="How far outside the range of its bar a price may lie before it is counted, in bps."
    )
    any_frequency: bool = Field(False, description="Also run a model on bars of a length that it was not trained on.")
    out: Path = Field(Path("reports/tca"), description="Folder for the page and the tables.")
    seed: int = Field(0, description="Seed of the bootstrap.")


def tca(options: TcaOptions, out: Output) -> None:
    """Measure real fills: slippage, its causes, and what policies would have paid; one HTML file.

    Writes tca.html, tca.json, orders.csv and fills.csv. The exit code is 1 if no order could be measured.

    Example: lem tca fills.csv --data bars.parquet --against twap,volume_curve
    """
    from lem_models.evaluation.tca import analyse_fills
    from lem_models.guard.output import check_folder, to_csv, to_json
    from lem_models.report.tca.text import print_analysis

    check_folder(options.out)
    check_readable(options.data)
    for path in (options.fills, options.orders, options.decisions):
        if path is not None:
            check_readable(path, OrderError)
    names = [name for text in options.against or () for name in comma_separated(text)]
    policies = named_policies(names)
    columns = None
    if options.fills_columns is not None:
        columns = read_pairs(options.fills_columns, "--fills-columns takes OURS=THEIRS")
    bars = options.read(options.data)
    costs = options.costs(bars)
    with out.progress() as progress:
        progress("measuring", 0, 0)
        analysis = analyse_fills(
            options.fills,
            bars,
            options.orders,
            decisions=options.decisions,
            against=policies,
            costs=costs,
            benchmark=options.benchmark,
            columns=columns,
            tz=options.fills_tz,
            unit=options.fills_unit,
            tolerance_bps=options.tolerance,
            allow_frequency=options.any_frequency,
            seed=options.seed,
        )
        title, command = f"Execution of {options.fills.name}", shlex.join(["lem", *sys.argv[1:]])
        page = analysis.to_html(options.out / "tca.html", title=title, command=command)
    to_json(analysis.as_dict(), options.out / "tca.json")
    to_csv(analysis.orders, options.out / "orders.csv")
    to_csv(analysis.fills, options.out / "fills.csv")
    out.add(analysis.as_dict())
    print_analysis(out.console, analysis)
    out.say(f"\n{page.resolve()}", page=page.resolve())
    if not len(analysis.orders):
        reasons = ", ".join(dict.fromkeys(analysis.excluded["reason"]))
        sys.stderr.write(f"error: no order could be measured: {reasons}\n")
        raise typer.Exit(1)
