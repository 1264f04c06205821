"""``lem demo``: execute a few thousand orders offline, on real bars first, and write reports."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lem_models.cli.bars import BarsOptions
from lem_models.cli.commands.benchmark import first_unseen, suitable_orders
from lem_models.cli.options import as_arguments
from lem_models.cli.policies import BASELINES, ModelOptions, fitting_model, named_policies
from lem_models.cli.terminal import make_console, spinner
from lem_models.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from lem_models.markets.bars import Bars

__all__ = ["DemoOptions", "demo"]


class DemoOptions(ModelOptions, BarsOptions):
    """Options of ``lem demo``."""

    data: Path | None = Field(None, description="Your bars in place of the bars that come with the package.")
    out: Path = Field(Path("reports/demo"), description="Folder for the report.")
    orders: int = Field(6000, ge=100, description="Orders to execute.")
    seed: int = Field(0, description="Seed of the orders drawn and of the synthetic market.")


@dataclass(frozen=True)
class _Market:
    """A market of the demo and what its reader must know.

    Attributes:
        bars: The bars.
        model: The model; ``None`` for the bundled one that fits.
        title: Title of the report, after the name of the model.
        settings: Settings of the benchmark, such as the period of the orders.
        notes: Sentences for the report, without their full stops.
        is_shown_whole: Whether the terminal shows the tables, or only the headline.
        folder: Folder of the report inside that of the demo.
    """

    bars: Bars
    model: str | None
    title: str
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    is_shown_whole: bool = True
    folder: str = ""


def demo(options: DemoOptions) -> None:
    """Execute a few thousand orders and write a report: offline, in about half a minute.

    Without --data it runs twice: on real bars, the S&P 500 and the Nasdaq Composite in 2017 and 2018, with orders of 1
    to 20 days; and, shortly, on a synthetic crypto market.
    """
    from rich.markup import escape

    from lem_models.guard.output import check_folder

    console = make_console()
    check_folder(options.out)
    if options.data is not None:
        bars = options.read(options.data)
        console.print(f"{options.data}: {bars!r}", markup=False, soft_wrap=True)
        paths = [_run(options, _Market(bars, options.model, "at work", {}), console)]
    else:
        reading = as_arguments(options, BarsOptions)
        if reading:
            raise ConfigError(f"{reading[0]} is for reading --data, which is not given")
        console.print("[bold]1. Real bars: buyback-like orders of 1 to 20 days[/bold]")
        paths = [_run(options, _indices(options), console)]
        console.print("\n[bold]2. Synthetic bars: hourly crypto, simulated[/bold]")
        paths.append(_run(options, _synthetic(options), console))
    console.print()
    for path in filter(None, paths):
        console.print(f"Report: [bold]{escape(str(path.resolve()))}[/bold]", soft_wrap=True)
    if options.data is None:
        console.print("[dim]On your bars: lem demo --data bars.parquet[/dim]")


def _indices(options: DemoOptions) -> _Market:
    """Two years of real daily bars of two indices, with the years before as history."""
    from lem_models.markets.bars import Bars

    return _Market(
        Bars.sample("us-index-daily").between("2013-01-01"),
        options.model or "lem-dow-daily",
        "on the S&P 500 and the Nasdaq Composite, 2017 and 2018",
        {"start": "2017-01-01", "end": "2019-01-01", "limit": options.orders},
        (
            "Real daily bars of the S&P 500 (SPX) and the Nasdaq Composite (IXIC), which the dependency arch ships. "
            "The VWAP of a day is estimated by its typical price, (high + low + close) / 3",
            "2017 and 2018 are the validation split of lem-dow-daily: it was trained on stocks up to 2016, and these "
            "two years chose its checkpoint. It never saw these two indices, but they move with the stocks it knows",
        ),
    )


def _synthetic(options: DemoOptions) -> _Market:
    """A market with clustering, tails and volume spikes about as strong as in hourly crypto."""
    from lem_models.markets.synthetic import synthetic_bars

    bars = synthetic_bars(
        symbols=4,
        days=60,
        seed=options.seed,
        tail_degrees=3.5,
        volatility_clustering=0.5,
        volume_volatility_link=1.5,
    )
    return _Market(
        bars,
        options.model or "lem-crypto-hourly",
        "on a synthetic market",
        {"limit": max(options.orders // 3, 100)},
        (
            f"Synthetic bars, simulated with the seed {options.seed}: not a market. Their prices cannot be forecast, "
            "so the improvement here is the value of the option to end, and errors say nothing about real orders",
        ),
        is_shown_whole=False,
        folder="synthetic",
    )


def _run(options: DemoOptions, market: _Market, console: Console) -> Path | None:
    """Run the demo on a market, and give the path of the report; ``None`` on every rank but the first."""
    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.report.benchmark_console import print_benchmark, print_execution, print_headline
    from lem_models.report.benchmark_report import write_benchmark
    from lem_models.report.benchmark_tables import BenchmarkTables
    from lem_models.report.samples import sample_order

    model = market.model or fitting_model(market.bars, console)
    policies = named_policies((model, *BASELINES))
    orders: dict[str, Any] = {"limit": options.orders}
    if options.data is not None:
        orders["start"] = first_unseen(policies, market.bars, console)
    settings = BenchmarkSettings(
        **suitable_orders(policies),
        **(orders | market.settings),
        every=1,
        null=2,
        information=2,
        placebos=("stopping_rule",),
        seed=options.seed,
        allow_frequency=options.any_frequency,
    )
    with console.status("executing", spinner=spinner(console)) as status:
        benchmark = run_benchmark(policies, market.bars, settings, progress=lambda text: status.update(text))
        if benchmark is None:
            return None
        status.update("writing the report")
        command = ["lem", "demo", *as_arguments(options)]
        tables = BenchmarkTables(replace(benchmark, notes=(*market.notes, *benchmark.notes)))
        title = f"{benchmark.model} {market.title}"
        path = write_benchmark(tables, options.out / market.folder, command=shlex.join(command), title=title)
    if market.is_shown_whole:
        print_benchmark(console, tables)
        print_execution(console, benchmark.results[benchmark.model], sample_order(benchmark))
    else:
        print_headline(console, tables)
    return path
