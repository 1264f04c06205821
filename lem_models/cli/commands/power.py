"""``lem power``: how many orders until a difference shows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.commands.benchmark import BenchmarkOptions, first_unseen, suitable_orders
from lem_models.cli.output import Output, note
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ModelOptions, PolicyName, fitting_model, named_policy
from lem_models.errors import ConfigError, OrderError

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.statistics.power import Power

__all__ = ["PowerOptions", "power"]


def _help(name: str) -> str | None:
    """Help of the option of ``lem benchmark`` that means the same."""
    return BenchmarkOptions.model_fields[name].description


class PowerOptions(ModelOptions, BarsOptions):
    """Options of ``lem power``."""

    difference: str = Field(description="Size of the difference of the means, with its unit: 1bps, 0.02vol.")
    data: Path | None = Field(None, description=f"{BARS} A quick run on them measures the differences.")
    against: PolicyName = Field("twap", description="Policy that the model is compared with in the quick run.")
    results: str | None = Field(
        None, description="Instead of bars: two orders.csv of `lem execute` on the same orders, comma-separated."
    )
    minimum: int = Field(1, ge=1, description="Minimum duration in the quick run.")
    max_periods: int | None = Field(None, description=_help("max_periods"))
    every: str = Field("6", description=_help("every"))
    start: str | None = Field(None, description=_help("start"))
    end: str | None = Field(None, description=_help("end"))
    limit: int = Field(5_000, description=_help("limit"))
    level: float = Field(0.05, description="Level of the two-sided test.")
    chance: float = Field(0.8, description="Power: probability of finding the difference.")
    seed: int = Field(0, description="Seed of the draws of orders and of the bootstrap.")


def power(options: PowerOptions, out: Output) -> None:
    """Compute how many orders and days it takes until a difference between two policies shows.

    From the spread and the clustering of paired differences, in two results or in a quick run. The mean difference is
    not printed.

    Example: lem power --difference 1bps --data bars.parquet --against twap
    """
    from lem_models.statistics.power import parse_difference
    from lem_models.statistics.power import power as power_of

    size, unit = parse_difference(options.difference)
    if options.data is not None and options.results is None:
        a, b = _quick_run(options, options.data, out)
    elif options.results is not None and options.data is None:
        a, b = _read(options.results)
    else:
        raise ConfigError("give either --data, for a quick run, or --results, two orders.csv of the same orders")
    found = power_of(a, b, size, unit, level=options.level, chance=options.chance, seed=options.seed)
    out.add(asdict(found) | {"level": options.level, "chance": options.chance})
    _print(out, found, options)


def _quick_run(options: PowerOptions, data: Path, out: Output) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Orders tables of the model and of the other policy on the same orders."""
    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark

    bars = options.read(data)
    name = options.model or fitting_model(bars)
    policies = {"model": named_policy(name), "against": named_policy(options.against)}
    longest = options.max_periods or suitable_orders(policies)["max_periods"]
    settings = BenchmarkSettings(
        every=int(options.every) if options.every.isdigit() else options.every,
        min_periods=(options.minimum,),
        max_periods=longest,
        start=first_unseen(policies, bars) if options.start is None else options.start,
        end=options.end,
        limit=options.limit or None,
        null=0,
        seed=options.seed,
        allow_frequency=options.any_frequency,
    )
    with out.progress() as progress:
        benchmark = run_benchmark(policies, bars, settings, progress=progress)
    if benchmark is None:
        raise ConfigError("lem power runs in one process, not under torchrun")
    note(f"{name} and {options.against}, orders of {options.minimum} to {longest} periods")
    return benchmark.orders["model"], benchmark.orders["against"]


def _read(paths: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two orders tables from files.

    Raises:
        ConfigError: There are not two files.
        OrderError: A file cannot be read, or holds no result.
    """
    from lem_models.cli.policies import comma_separated
    from lem_models.execution.result import read_result

    names = comma_separated(paths)
    if len(names) != 2:
        raise ConfigError(f"--results takes two files, comma-separated; got {len(names)}")
    tables = []
    for name in names:
        check_readable(Path(name), OrderError)
        tables.append(read_result(Path(name)))
    return tables[0], tables[1]


def _print(out: Output, found: Power, options: PowerOptions) -> None:
    """Print the estimate and the answer."""
    unit = "bps" if found.unit == "bps" else "bar volatilities"
    out.say(
        f"{found.orders:,} paired orders on {found.days:,} days: differences have a standard deviation of "
        f"{found.std:.4g} {unit}, their mean a standard error of {found.standard_error:.4g}. "
        f"Orders share the market: {found.design_effect:.1f} of them count as one."
    )
    out.say(
        f"These orders show a difference of {found.detectable:.4g} {unit} at {100 * options.level:g} % with "
        f"{100 * options.chance:g} % power."
    )
    out.say(
        f"A difference of {found.difference:g} {unit} shows after {found.days_needed:,} days, "
        f"{found.orders_needed:,} orders at as many a day."
    )
