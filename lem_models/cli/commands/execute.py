"""``lem execute``: execute a table of orders over bars with a policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import typer
from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.costs import CostOptions
from lem_models.cli.output import Output
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ModelOptions, PolicyName, fitting_model, named_policy
from lem_models.cli.starts import ORDERS, StartOptions
from lem_models.errors import OrderError

if TYPE_CHECKING:
    from lem_models.execution.result import ExecutionResult

__all__ = ["ExecuteOptions", "execute"]


class ExecuteOptions(CostOptions, ModelOptions, StartOptions, DataOptions):
    """Options of ``lem execute``."""

    flags: ClassVar[dict[str, str]] = {"model": "--policy --model"}

    orders: Path = Field(description=ORDERS)
    model: PolicyName | None = Field(
        None,
        description="Model or baseline by name, or your own policy as file.py:Name; default the bundled model that "
        "fits the bars.",
    )
    out: Path = Field(Path("reports/execution"), description="Folder for the result tables.")


def execute(options: ExecuteOptions, out: Output) -> None:
    """Execute a table of orders; write orders.csv, schedule.csv and excluded.csv.

    Orders that cannot run are counted by reason. The exit code is 1 if no order could run.

    Example: lem execute --data bars.parquet --orders orders.csv --policy lem-crypto-hourly --out reports/execution
    """
    from lem_models.execution import execute as execution
    from lem_models.guard.output import check_folder, to_csv
    from lem_models.orders.files import read_orders

    check_folder(options.out)
    check_readable(options.data)
    check_readable(options.orders, OrderError)
    orders = read_orders(options.orders)
    bars = options.read(options.data)
    costs = options.costs(bars)
    policy = named_policy(options.model or fitting_model(bars))
    result = execution.execute(
        policy, bars, orders, costs=costs, allow_frequency=options.any_frequency, starts=options.starts
    )
    for name in ("orders", "schedule", "excluded"):
        to_csv(getattr(result, name), options.out / f"{name}.csv")
    out.say(
        f"{_in_words(result)}\norders.csv, schedule.csv and excluded.csv are in {options.out.resolve()}",
        folder=options.out.resolve(),
        orders=len(result.orders),
        excluded=result.excluded["reason"].value_counts().to_dict(),
    )
    if out.is_json:
        out.add({"summary": result.summary(by=None) if len(result.orders) else []})
    if not len(result.orders):
        sys.stderr.write(f"error: no order could run; the reason of each is in {options.out / 'excluded.csv'}\n")
        raise typer.Exit(1)


def _in_words(result: ExecutionResult) -> str:
    """How many orders ran, and what they cost on average."""
    orders = result.orders
    counts = f"{len(orders):,} orders executed, {len(result.excluded):,} left out"
    left = int((~orders["completed"].astype(bool)).sum()) if len(orders) else 0
    if left:
        counts += f"; {left:,} incomplete"
    measured = orders["slippage_bps"].notna()
    if not measured.any():
        return counts
    gross, net = (orders.loc[measured, name].mean() for name in ("slippage_bps", "net_slippage_bps"))
    costs = "" if gross == net else f", {net:+.2f} bps net of costs"
    return f"{counts}\nmean slippage against the own benchmark {gross:+.2f} bps{costs} (positive = cost)"
