"""``lem next``: what an order does in the coming bar."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import ClassVar

import typer
from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.commands.desk.order_options import OrderOptions
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ModelOptions, fitting_model, named_policy
from lem_models.cli.terminal import make_console
from lem_models.errors import ConfigError

__all__ = ["NextOptions", "next_command"]


class NextOptions(OrderOptions, ModelOptions, DataOptions):
    """Options of ``lem next``."""

    flags: ClassVar[dict[str, str]] = {
        "symbol": "--bars-symbol",
        "model": "--model --policy",
        "json_output": "--json",
    }

    fills: Path | None = Field(
        None,
        description="What really filled: .csv or .jsonl with time, quantity, price and id; default what was decided, "
        "at each bar's VWAP.",
    )
    paths: int = Field(200, ge=0, description="Simulated paths of the forecast; 0 for none.")
    seed: int = Field(0, description="Seed of the paths.")
    json_output: bool = Field(False, description="Print all properties as JSON.")


def next_command(options: NextOptions) -> None:
    """Print what an order did so far, what to do in the coming bar, and a forecast of the rest.

    Example: lem next --symbol BTCUSDT --side buy --amount "40 BTC" --min 1h --max 12h --data bars.parquet
    """
    from lem_models.desk.outlook.next_bar import next_bar
    from lem_models.desk.running.fill_files import FillFile
    from lem_models.guard.output import json_text

    order = options.order()
    check_readable(options.data)
    fills = None
    if options.fills is not None:
        if not options.fills.is_file():
            raise ConfigError(f"there is no file {options.fills}")
        fills, faults = FillFile(options.fills).poll(to_end=True)
        if faults:
            raise ConfigError(faults[0].removesuffix("; the line is passed over"))
    bars = options.read(options.data)
    if options.model is None:
        from rich.console import Console

        model = fitting_model(bars, Console(stderr=True) if options.json_output else make_console())
    else:
        model = options.model
    policy = named_policy(model)
    coming = next_bar(
        order,
        bars,
        policy,
        fills=fills,
        paths=options.paths,
        seed=options.seed,
        now=time.time_ns(),
        allow_frequency=options.any_frequency,
    )
    if coming.stale:
        sys.stderr.write(f"warning: {coming.stale}\n")
    content = coming.as_dict() | {"policy": model}
    typer.echo(json_text(content) if options.json_output else str(coming))
