"""``lem demo``: execute a few thousand orders offline, on real bars first, and write reports."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lem_models.cli.bars import BarsOptions
from lem_models.cli.commands.benchmark import first_unseen, suitable_orders
from lem_models.cli.options import as_arguments
from lem_models.cli.output import Output, note
from lem_models.cli.policies import BASELINES, ModelOptions, fitting_model, named_policies, named_policy
from lem_models.errors import BarsError, ConfigError

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["INDEX_DAYS", "DemoOptions", "demo", "index_bars", "simulated_bars"]


class DemoOptions(ModelOptions, BarsOptions):
    """Options of ``lem demo``."""

    data: Path | None = Field(None, description="Your bars in place of the bars that come with the package.")
    out: Path = Field(Path("reports/demo"), description="Folder for the report.")
    orders: int = Field(6000, ge=100, description="Orders to execute.")
    seed: int = Field(0, description="Seed of the orders drawn and of the synthetic market.")


INDEX_DAYS = ("2017-01-01", "2019-01-01")
"""First day of the orders on the real bars, and the day before which they end: validation days of lem-dow-daily."""


def index_bars() -> Bars:
    """Real daily bars of two indices, with the years before :data:`INDEX_DAYS` as history."""
    from lem_models.markets.bars import Bars

    return Bars.sample("us-index-daily").between("2013-01-01")


def simulated_bars(seed: int) -> Bars:
    """A market with clustering, tails and volume spikes about as strong as in hourly crypto."""
    from lem_models.markets.synthetic import synthetic_bars

    return synthetic_bars(
        symbols=4,
        days=60,
        seed=seed,
        tail_degrees=3.5,
        volatility_clustering=0.5,
        volume_volatility_link=1.5,
    )


@dataclass(frozen=True)
class _Market:
    """A market of the demo and what its reader must know.

    Attributes:
        bars: The bars.
        model: The model; ``None`` for the bundled one that fits.
        heading: Line above the run in the terminal.
        rivals: Policies to compare it with.
        settings: Settings of the benchmark, such as the period of the orders.
        title: Title of the report, after the name of the model; without one there is no report.
        notes: What a reader must know, one sentence each, without full stops.
    """

    bars: Bars
    model: str | None
    heading: str = ""
    rivals: tuple[str, ...] = BASELINES
    settings: dict[str, Any] = field(default_factory=dict)
    title: str | None = None
    notes: tuple[str, ...] = ()


def demo(options: DemoOptions, out: Output) -> None:
    """Execute a few thousand orders and write a report: offline, in a quarter of a minute.

    Without --data the bars are real: the S&P 500 and the Nasdaq Composite in 2017 and 2018, with orders of 1 to 20
    days. A short run on a synthetic crypto market follows.

    Example: lem demo

    Example: lem demo --data bars.parquet --orders 1000
    """
    from lem_models.guard.output import check_folder

    check_folder(options.out)
    if options.data is not None:
        bars = options.read(options.data)
        note(f"{options.data}: {bars!r}")
        path, facts = _run(options, _Market(bars, options.model, title="at work"), out)
        runs = [facts]
    else:
        reading = as_arguments(options, BarsOptions)
        if reading:
            raise ConfigError(f"{reading[0]} is for reading --data, which is not given")
        path, runs = None, []
        for market in _fitting(options, [_indices(options), _synthetic(options)]):
            out.console.print(f"\n[bold]{market.heading}[/bold]")
            written, facts = _run(options, market, out)
            path, runs = written or path, [*runs, facts]
        note("on your bars: lem demo --data bars.parquet")
    out.add({"runs": runs})
    if path is not None:
        out.say(f"\nReport: {path.resolve()}", report=path.resolve())


def _fitting(options: DemoOptions, markets: list[_Market]) -> list[_Market]:
    """The markets with bars of the length that the user's model was trained on.

    Raises:
        BarsError: There is none.
    """
    from lem_models.execution.frequency_check import check_frequency

    if options.model is None or options.any_frequency:
        return markets
    policy = named_policy(options.model)
    fitting, refusal = [], None
    for market in markets:
        try:
            check_frequency(policy, market.bars)
            fitting.append(market)
        except BarsError as error:
            refusal = error
    if refusal is not None and not fitting:
        raise refusal
    # The only market has the report.
    return [replace(fitting[0], title=fitting[0].title or "on a synthetic market"), *fitting[1:]]


def _indices(options: DemoOptions) -> _Market:
    """Two years of real daily bars of two indices, with the years before as history."""
    model = options.model or "lem-dow-daily"
    notes = [
        "Real daily bars of the S&P 500 (SPX) and the Nasdaq Composite (IXIC), which the dependency arch ships. "
        "The VWAP of a day is estimated by its typical price, (high + low + close) / 3"
    ]
    if model == "lem-dow-daily":
        notes.append(
            "2017 and 2018 are the validation split of lem-dow-daily: it was trained on stocks up to 2016, and these "
            "two years chose its checkpoint. It never saw these two indices, but they move with the stocks it knows"
        )
    return _Market(
        index_bars(),
        model,
        "Real bars: buyback-like orders of 1 to 20 days",
        tuple(name for name in BASELINES if name != "volume_curve"),  # of daily bars it is the even pace
        {"start": INDEX_DAYS[0], "end": INDEX_DAYS[1], "by": ("symbol", "weekday", "volatility")},
        "on the S&P 500 and the Nasdaq Composite, 2017 and 2018",
        tuple(notes),
    )


def _synthetic(options: DemoOptions) -> _Market:
    """A simulated market about like hourly crypto."""
    return _Market(
        simulated_bars(options.seed),
        options.model or "lem-crypto-hourly",
        "Synthetic bars: orders of 1 to 24 hours on a simulated crypto market",
        settings={"limit": max(options.orders // 6, 100), "min_periods": (1, 12), "information": 0, "placebos": ()},
        notes=(
            f"Synthetic bars, simulated with the seed {options.seed}: not a market. Their prices cannot be forecast, "
            "so the improvement here is the value of the option to end, and errors say nothing about real orders",
        ),
    )


def _run(options: DemoOptions, market: _Market, out: Output) -> tuple[Path | None, dict[str, Any]]:
    """Run the demo on a market: the path of its report, if it has one, and the facts for JSON.

    Only the first rank prints and writes.
    """
    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.report.benchmark_console import print_benchmark, print_execution, print_overview
    from lem_models.report.benchmark_report import benchmark_facts, write_benchmark
    from lem_models.report.benchmark_tables import BenchmarkTables
    from lem_models.report.samples import sample_order

    model = market.model or fitting_model(market.bars)
    policies = named_policies((model, *market.rivals))
    settings = {
        **suitable_orders(policies),
        "every": 1,
        "start": None if options.data is None else first_unseen(policies, market.bars),
        "limit": options.orders,
        "null": 2,
        "information": 2,
        "placebos": ("stopping_rule",),
        "seed": options.seed,
        "allow_frequency": options.any_frequency,
    }
    path = None
    command = shlex.join(["lem", "demo", *as_arguments(options)])
    with out.progress() as progress:
        benchmark = run_benchmark(
            policies, market.bars, BenchmarkSettings(**(settings | market.settings)), progress=progress
        )
        if benchmark is None:
            return None, {}
        tables = BenchmarkTables(replace(benchmark, notes=(*market.notes, *benchmark.notes)))
        if market.title is not None:
            progress("writing the report", 0, 0)
            title = f"{benchmark.model} {market.title}"
            path = write_benchmark(tables, options.out, command=command, title=title)
    if path is None:
        print_overview(out.console, tables)
    else:
        print_benchmark(out.console, tables)
        print_execution(out.console, benchmark.results[benchmark.model], sample_order(benchmark))
    return path, benchmark_facts(tables, command) if out.is_json else {}
