"""``lem benchmark``: compare a model with baselines and the martingale null."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.costs import CostOptions, read_sizes
from lem_models.cli.output import Output, note
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import BASELINES, ModelOptions, PolicyNames, comma_separated, fitting_model, named_policies
from lem_models.cli.starts import ORDERS, StartOptions
from lem_models.errors import ConfigError, OrderError

if TYPE_CHECKING:
    from lem_models.execution.costs import CostModel
    from lem_models.execution.policy import Policy
    from lem_models.markets.bars import Bars

_NET_SIZE = 0.01  # size of the orders that net numbers are for

__all__ = ["BenchmarkOptions", "benchmark", "first_unseen", "suitable_orders"]


class BenchmarkOptions(CostOptions, ModelOptions, StartOptions, DataOptions):
    """Options of ``lem benchmark``."""

    baselines: PolicyNames = Field(",".join(BASELINES), description="Policies to compare with, comma-separated.")
    out: Path = Field(Path("reports/benchmark"), description="Folder for the report, tables and figures.")
    orders: Path | None = Field(None, description=f"{ORDERS} With their amounts; default: orders are sampled.")
    every: str = Field("6", description="Step between starts: '6h', or a number of bars.")
    min_periods: str | None = Field(None, description="Minimum durations, comma-separated.")
    max_periods: int | None = Field(None, description="Maximum duration; default the model's.")
    side: str = Field("both", description="both, buy or sell.")
    benchmark: str = Field(
        "vwap,twap", description="vwap, twap, full_vwap, arrival, comma-separated; both for the first two."
    )
    target: str = Field("quantity,notional", description="quantity, notional or both.")
    max_rate: float = Field(1.0, description="Cap per period, as a fraction of the order.")
    risk_aversion: float | None = Field(None, description="Default: the model's own.")
    start: str | None = Field(None, description="First day; default: the first not used in training or validation.")
    end: str | None = Field(None, description="Orders end before this day.")
    limit: int = Field(100_000, description="Largest number of orders, drawn at random; 0 for all.")
    by: str = Field(
        "symbol,hour,volatility",
        description="Keys of the breakdowns, comma-separated; also weekday, month and columns of the orders.",
    )
    sizes: str = Field(
        "0,1%",
        description="Sizes of the capacity curve, comma-separated: parts of the volume expected over an order's "
        "maximum duration, as 0.01 or 1%.",
    )
    null: int = Field(20, ge=0, description="Draws of the martingale null.")
    null_of: str = Field("all", description="Policies to run on the null: all, or model.")
    information: int = Field(
        5, ge=0, description="Draws of the null whose contexts the ablation gives to the model; 0 for none."
    )
    placebos: str = Field(
        "longstaff_schwartz,stopping_rule",
        description="Policies that forecast nothing, run at the model's risk, comma-separated; '' for none.",
    )
    seed: int = Field(0, description="Seed of the draws of orders, null and bootstrap.")


def benchmark(options: BenchmarkOptions, out: Output) -> None:
    """Compare a model with baselines and the martingale null: tables, JSON, CSV, PNG and one HTML file.

    With torchrun, the processes share the orders.

    Example: lem benchmark --data bars.parquet --out reports/benchmark

    Example: lem benchmark --data bars.parquet --model lem-crypto-hourly --baselines twap,volume_curve --null 5
    """
    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.guard.output import check_folder
    from lem_models.orders.files import read_orders
    from lem_models.report.benchmark_console import print_benchmark
    from lem_models.report.benchmark_report import benchmark_facts, write_benchmark
    from lem_models.report.benchmark_tables import BenchmarkTables

    sizes = read_sizes(options.sizes)
    check_folder(options.out)
    check_readable(options.data)
    if options.orders is not None:
        check_readable(options.orders, OrderError)
    orders = None if options.orders is None else read_orders(options.orders)
    rivals = named_policies(comma_separated(options.baselines))
    tested = {} if options.model is None else named_policies([options.model])
    bars = options.read(options.data)
    note(f"{options.data}: {bars!r}")
    policies = (tested or named_policies([fitting_model(bars)])) | rivals
    start = options.start
    if start is None and orders is None:
        start = first_unseen(policies, bars)
    settings = BenchmarkSettings(
        **_orders(options, policies),
        start=start,
        end=options.end,
        limit=options.limit or None,
        costs=_costs(options, bars, start),
        sizes=sizes,
        by=comma_separated(options.by),
        null=options.null,
        null_of=options.null_of,
        information=options.information,
        placebos=comma_separated(options.placebos),
        seed=options.seed,
        allow_frequency=options.any_frequency,
    )
    with out.progress() as progress:
        result = run_benchmark(policies, bars, settings, orders=orders, starts=options.starts, progress=progress)
        if result is None:
            return  # rank 0 has the results
        progress("writing the report", 0, 0)
        tables = BenchmarkTables(result)
        command = shlex.join(["lem", *sys.argv[1:]])
        path = write_benchmark(tables, options.out, command=command)
    print_benchmark(out.console, tables)
    if out.is_json:
        out.add(benchmark_facts(tables, command))
    out.say(f"\nReport: {path.resolve()} (with summary.csv, summary.json and PNG figures)", report=path.resolve())


def _costs(options: BenchmarkOptions, bars: Bars, start: str | None) -> CostModel | None:
    """The costs of the options; without a name those of the market. Orders without a size are 1 % where it counts."""
    from lem_models.execution.costs import cost_model_for

    name = options.cost_model or cost_model_for(bars)
    if options.cost_model is None:
        note(f"costs: {name}, for the market of the bars (--cost-model chooses another)")
    costs = options.costs(bars, default=name, before=start)
    return costs.at(_NET_SIZE) if costs is not None and costs.needs_size else costs


def suitable_orders(policies: dict[str, Policy]) -> dict[str, Any]:
    """Durations of orders for the policy under test: its horizon, and five minimum durations."""
    from lem_models.execution.policy import PolicySettings

    horizon = PolicySettings.of(next(iter(policies.values()))).horizon or 12
    minima = {1, max(1, horizon // 4), max(1, horizon // 2), max(1, 3 * horizon // 4), horizon}
    return {"max_periods": horizon, "min_periods": tuple(sorted(minima))}


def first_unseen(policies: dict[str, Policy], bars: Bars) -> str | None:
    """First day that the model under test used neither in training nor in validation, if the bars reach it.

    A note names it.
    """
    import pandas as pd

    from lem_models.markets.calendar.frequency import clock
    from lem_models.modeling.config import LEMConfig

    config = getattr(next(iter(policies.values())), "config", None)
    unseen = config.first_unseen(clock(bars.frequency)) if isinstance(config, LEMConfig) else None
    if unseen is None:
        return None
    day = pd.Timestamp(unseen, tz="UTC").value
    if day <= bars.timestamp.min():
        return None
    if day > bars.timestamp.max():
        note(f"all bars lie before {unseen}, in the period that the model was trained on")
        return None
    note(f"orders from {unseen}: earlier bars were used in training (--start changes this)")
    return str(unseen)


def _orders(options: BenchmarkOptions, policies: dict[str, Policy]) -> dict[str, Any]:
    """The orders of the options, as settings of a benchmark."""
    orders = suitable_orders(policies)
    if options.max_periods is not None:
        shorter = [minimum for minimum in orders["min_periods"] if minimum < options.max_periods]
        orders = {"max_periods": options.max_periods, "min_periods": (*shorter, options.max_periods)}
    if options.min_periods is not None:
        orders["min_periods"] = _whole_numbers(options.min_periods, "--min-periods")
    return orders | {
        "every": int(options.every) if options.every.isdigit() else options.every,
        "side": "both" if set(comma_separated(options.side)) == {"buy", "sell"} else options.side,
        "benchmark": _choices(options.benchmark, ("vwap", "twap")),
        "target": _choices(options.target, ("quantity", "notional")),
        "max_rate": options.max_rate,
        "risk_aversion": options.risk_aversion,
    }


def _choices(text: str, both: tuple[str, str]) -> tuple[str, ...]:
    """Comma-separated choices; the word ``both`` stands for the two."""
    choices = comma_separated(text)
    return both if "both" in choices else choices


def _whole_numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in comma_separated(text))
    except ValueError:
        raise ConfigError(f"{option} takes whole numbers, comma-separated; got {text!r}") from None
