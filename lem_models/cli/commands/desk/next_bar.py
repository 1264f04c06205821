"""``lem next``: what an order does in the coming bar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.commands.desk.order_options import OrderOptions
from lem_models.cli.output import Output, warn
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ModelOptions, fitting_model, named_policy
from lem_models.errors import ConfigError

__all__ = ["NextOptions", "next_command"]


class NextOptions(OrderOptions, ModelOptions, DataOptions):
    """Options of ``lem next``."""

    flags: ClassVar[dict[str, str]] = {
        "symbol": "--bars-symbol",
        "model": "--model --policy",
    }

    fills: Path | None = Field(
        None,
        description="What really filled: .csv or .jsonl with time, quantity, price and id; default what was decided, "
        "at each bar's VWAP.",
    )
    paths: int = Field(200, ge=0, description="Simulated paths of the forecast; 0 for none.")
    seed: int = Field(0, description="Seed of the paths.")


def next_command(options: NextOptions, out: Output) -> None:
    """Print what an order did so far, what to do in the coming bar, and a forecast of the rest.

    Example: lem next --symbol BTCUSDT --side buy --amount "40 BTC" --min 1h --max 12h --data bars.parquet
    """
    from lem_models.desk.outlook.next_bar import next_bar
    from lem_models.desk.running.fill_files import FillFile

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
    model = options.model or fitting_model(bars)
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
        warn(coming.stale)
    out.say(str(coming), **coming.as_dict() | {"policy": model})
