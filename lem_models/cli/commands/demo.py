"""``lem demo``: execute a few thousand orders offline and write a report."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import Field

from lem_models.cli.bars import BarsOptions
from lem_models.cli.commands.benchmark import first_unseen, suitable_orders
from lem_models.cli.options import as_arguments
from lem_models.cli.policies import BASELINES, ModelOptions, fitting_model, named_policies
from lem_models.cli.terminal import make_console, spinner
from lem_models.errors import ConfigError

__all__ = ["DemoOptions", "demo"]


class DemoOptions(ModelOptions, BarsOptions):
    """Options of ``lem demo``."""

    data: Path | None = Field(None, description="Your bars in place of the embedded synthetic market.")
    out: Path = Field(Path("reports/demo"), description="Folder for the report.")
    orders: int = Field(6000, ge=100, description="Orders to execute.")
    seed: int = Field(0, description="Seed of the synthetic market and of the orders drawn.")


def demo(options: DemoOptions) -> None:
    """Execute a few thousand orders and write a report: offline, in about a minute."""
    from rich.markup import escape

    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.guard.output import check_folder
    from lem_models.markets.synthetic import synthetic_bars
    from lem_models.report.benchmark_console import print_benchmark, print_execution
    from lem_models.report.benchmark_report import write_benchmark
    from lem_models.report.benchmark_tables import BenchmarkTables
    from lem_models.report.samples import sample_order

    console = make_console()
    check_folder(options.out)
    if options.data is not None:
        bars = options.read(options.data)
        console.print(f"{options.data}: {bars!r}", markup=False, soft_wrap=True)
    else:
        reading = as_arguments(options, BarsOptions)
        if reading:
            raise ConfigError(f"{reading[0]} is for reading --data, which is not given")
        # Clustering, tails and volume spikes about as strong as in hourly crypto.
        bars = synthetic_bars(
            symbols=8,
            days=120,
            seed=options.seed,
            tail_degrees=3.5,
            volatility_clustering=0.5,
            volume_volatility_link=1.5,
        )
        console.print(f"Embedded synthetic market (seed {options.seed}): {bars!r}")
    model = options.model or fitting_model(bars, console)
    policies = named_policies((model, *BASELINES))
    settings = BenchmarkSettings(
        **suitable_orders(policies),
        every=1,
        start=None if options.data is None else first_unseen(policies, bars, console),
        limit=options.orders,
        null=2,
        information=2,
        placebos=("stopping_rule",),
        seed=options.seed,
        allow_frequency=options.any_frequency,
    )
    with console.status("executing", spinner=spinner(console)) as status:
        benchmark = run_benchmark(policies, bars, settings, progress=lambda text: status.update(text))
        if benchmark is None:
            return  # rank 0 has the results
        status.update("writing the report")
        command = ["lem", "demo", *as_arguments(options.model_copy(update={"model": model}))]
        tables = BenchmarkTables(benchmark)
        path = write_benchmark(tables, options.out, command=shlex.join(command), title=f"{benchmark.model} at work")
    print_benchmark(console, tables)
    print_execution(console, benchmark.results[benchmark.model], sample_order(benchmark))
    if options.data is None:
        console.print(
            "\n[dim]Prices of a synthetic market cannot be forecast: the improvement here is the value of the option "
            "to end. On real bars: lem demo --data bars.parquet[/dim]"
        )
    console.print(f"\nReport: [bold]{escape(str(path.resolve()))}[/bold]", soft_wrap=True)
