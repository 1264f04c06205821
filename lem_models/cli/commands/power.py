"""``lem power``: how many orders until a difference shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.commands.benchmark import BenchmarkOptions, first_unseen, suitable_orders
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ModelOptions, fitting_model, named_policy
from lem_models.cli.terminal import make_console, spinner
from lem_models.errors import ConfigError, OrderError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from lem_models.statistics.power import Power

__all__ = ["PowerOptions", "power"]


def _help(name: str) -> str | None:
    """Help of the option of ``lem benchmark`` that means the same."""
    return BenchmarkOptions.model_fields[name].description


class PowerOptions(ModelOptions, BarsOptions):
    """Options of ``lem power``."""

    difference: str = Field(description="Size of the difference of the means, with its unit: 1bps, 0.02vol.")
    data: Path | None = Field(None, description=f"{BARS} A quick run on them measures the differences.")
    against: str = Field("twap", description="Policy that the model is compared with in the quick run.")
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


def power(options: PowerOptions) -> None:
    """Compute how many orders and days it takes until a difference between two policies shows.

    From the spread and the clustering of paired differences, in two results or in a quick run. The mean difference is
    not printed.
    """
    from lem_models.statistics.power import parse_difference
    from lem_models.statistics.power import power as power_of

    size, unit = parse_difference(options.difference)
    console = make_console()
    if options.data is not None and options.results is None:
        a, b = _quick_run(options, options.data, console)
    elif options.results is not None and options.data is None:
        a, b = _read(options.results)
    else:
        raise ConfigError("give either --data, for a quick run, or --results, two orders.csv of the same orders")
    found = power_of(a, b, size, unit, level=options.level, chance=options.chance, seed=options.seed)
    _print(console, found, options)


def _quick_run(options: PowerOptions, data: Path, console: Console) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Orders tables of the model and of the other policy on the same orders."""
    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark

    bars = options.read(data)
    name = options.model or fitting_model(bars, console)
    policies = {"model": named_policy(name), "against": named_policy(options.against)}
    longest = options.max_periods or suitable_orders(policies)["max_periods"]
    settings = BenchmarkSettings(
        every=int(options.every) if options.every.isdigit() else options.every,
        min_periods=(options.minimum,),
        max_periods=longest,
        start=first_unseen(policies, bars, console) if options.start is None else options.start,
        end=options.end,
        limit=options.limit or None,
        null=0,
        seed=options.seed,
        allow_frequency=options.any_frequency,
    )
    with console.status("executing", spinner=spinner(console)):
        benchmark = run_benchmark(policies, bars, settings)
    if benchmark is None:
        raise ConfigError("lem power runs in one process, not under torchrun")
    console.print(f"{name} and {options.against}, orders of {options.minimum} to {longest} periods", markup=False)
    return benchmark.orders["model"], benchmark.orders["against"]


def _read(paths: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two orders tables from files.

    Raises:
        ConfigError: There are not two files.
        OrderError: A file cannot be read.
    """
    import pandas as pd

    from lem_models.cli.policies import comma_separated

    names = comma_separated(paths)
    if len(names) != 2:
        raise ConfigError(f"--results takes two files, comma-separated; got {len(names)}")
    tables = []
    for name in names:
        check_readable(Path(name), OrderError)
        try:
            texts = {"symbol": str, "order_id": str}
            tables.append(pd.read_csv(name, dtype=texts, keep_default_na=False, na_values=[""]))
        except (OSError, ValueError) as error:
            raise OrderError(f"cannot read the orders of {name}: {error}") from None
    return tables[0], tables[1]


def _print(console: Console, found: Power, options: PowerOptions) -> None:
    """Print the estimate and the answer."""
    unit = "bps" if found.unit == "bps" else "bar volatilities"
    console.print(
        f"{found.orders:,} paired orders on {found.days:,} days: differences have a standard deviation of "
        f"{found.std:.4g} {unit}, their mean a standard error of {found.standard_error:.4g}. "
        f"Orders share the market: {found.design_effect:.1f} of them count as one.",
        soft_wrap=True,
    )
    console.print(
        f"These orders show a difference of {found.detectable:.4g} {unit} at {100 * options.level:g} % with "
        f"{100 * options.chance:g} % power.",
        soft_wrap=True,
    )
    console.print(
        f"[bold]A difference of {found.difference:g} {unit} shows after {found.days_needed:,} days, "
        f"{found.orders_needed:,} orders at as many a day.[/bold]",
        soft_wrap=True,
    )
