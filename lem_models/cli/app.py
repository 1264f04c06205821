"""The ``lem`` command. Heavy imports happen inside the commands, so ``lem --help`` is instant."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lem_models.cli.bars import Calendar, Data, FillGaps, Unit, as_options, calendar_choice, read_bars
from lem_models.cli.paths import check_readable
from lem_models.cli.publish import publish_app
from lem_models.cli.publish_data import publish_data  # noqa: F401 (registers itself)
from lem_models.cli.signals import stopping_on_signals, telling_how_to_go_on
from lem_models.cli.terminal import CONTEXT, make_console, show_help, spinner, standard_streams
from lem_models.errors import BarsError, BarsWarning, ConfigError, LEMError, OrderError

if TYPE_CHECKING:
    from rich.console import Console

    from lem_models.execution.policy import Policy
    from lem_models.markets.bars import Bars

__all__ = ["app", "main"]

BASELINES = ("twap", "volume_curve", "stopping_rule")

app = typer.Typer(
    invoke_without_command=True,
    context_settings=CONTEXT,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(publish_app, name="publish")

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Bundled name, folder or Hub id; default the bundled model that fits the bars (see `lem list`)."
    ),
]
AnyFrequency = Annotated[
    bool, typer.Option("--any-frequency", help="Run models on bars of another length than they were trained on too.")
]
HalfSpread = Annotated[float, typer.Option("--half-spread", help="Cost: half of the spread, in bps.")]
Fee = Annotated[float, typer.Option("--fee", help="Cost: fees, in bps.")]
Impact = Annotated[
    float, typer.Option("--impact", help="Cost: Y of the impact Y * bar volatility * sqrt(participation).")
]
OrderSize = Annotated[
    float | None,
    typer.Option("--order-size", help="Size of orders without an amount: a fraction of the expected volume."),
]
Resume = Annotated[
    str | None,
    typer.Option("--resume", help="Go on with a run: auto (the last checkpoint of --out), its folder or a checkpoint."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run or model that --out holds.")]


def main() -> None:
    """Entry point: errors of the package become one line and exit code 2."""
    _keep_freed_memory()
    _print_warnings_on_a_line()
    with standard_streams(), stopping_on_signals():
        try:
            try:
                app()
            finally:
                sys.stdout.flush()
        except (LEMError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(2) from None


@app.callback()
def lem(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.", callback=lambda on: _version(on))
    ] = False,
) -> None:
    """Large Execution Models: execute orders, benchmark slippage, train."""
    del version
    show_help(context)


def _version(asked: bool) -> None:
    if asked:
        from lem_models import __version__

        typer.echo(f"lem {__version__}")
        raise typer.Exit


def _print_warnings_on_a_line() -> None:
    """Print what was changed in the bars like an error: one line, without the place in the code."""
    import warnings

    def show(message: Warning | str, category: type[Warning], *place: Any, **file: Any) -> None:
        if issubclass(category, BarsWarning):
            sys.stderr.write(f"warning: {message}\n")
        else:
            usual(message, category, *place, **file)

    usual, warnings.showwarning = warnings.showwarning, show
    warnings.simplefilter("always", BarsWarning)


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed: arrays of megabytes come and go, and each would be taken anew page by page."""
    if sys.platform == "linux":
        import ctypes

        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):  # another C library
            return
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: nothing is mapped apart
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: nothing goes back


def _split(values: str, both: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Parts of a comma-separated text; ``both`` stands for every choice."""
    parts = tuple(part.strip() for part in values.split(",") if part.strip())
    return both if both and "both" in parts else parts


def _whole_numbers(values: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _split(values))
    except ValueError:
        raise ConfigError(f"{option} takes whole numbers, comma-separated; got {values!r}") from None


def _named_policy(name: str) -> Policy:
    """A policy by name, or a user's own from a Python file, ``file.py:Name``, which is run."""
    from lem_models.baselines import load_policy

    file, _, attribute = name.rpartition(":")
    if not file.endswith(".py"):
        return load_policy(name)
    import importlib.util

    spec = importlib.util.spec_from_file_location("users_policy", file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ConfigError(f"there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Any = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"{file} defines no {attribute!r}")
    return found() if isinstance(found, type) else found  # type: ignore[no-any-return]


def _policies(model: str, baselines: str) -> dict[str, Policy]:
    """Policies by name, the one under test first."""
    from lem_models.baselines import load_policy

    return {Path(name).name: load_policy(name) for name in (model, *_split(baselines)) if name}


@app.command(name="list", short_help="List the bundled models.")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is known, as JSON.")] = False,
) -> None:
    """List the bundled models: market, frequency, horizon, size, and what they earned in tests."""
    from lem_models.hub.models.zoo import list_models

    models = list_models()
    if as_json:
        typer.echo(models.to_json())
        return
    from lem_models.cli.listing import print_models

    print_models(make_console(), models)


@app.command(short_help="Execute some thousand orders and write a report.")
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Your bars instead of the embedded synthetic market.")
    ] = None,
    model: Model = None,
    any_frequency: AnyFrequency = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the report.")] = Path("reports/demo"),
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
    orders: Annotated[int, typer.Option("--orders", min=100, help="Orders to execute.")] = 6000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the synthetic market and of the draw of orders.")] = 0,
) -> None:
    """Execute some thousand orders and write a report: the whole job in a minute, offline."""
    from rich.markup import escape

    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.guard.output import check_folder
    from lem_models.markets.synthetic import synthetic_bars
    from lem_models.report.benchmark_console import print_benchmark, print_execution
    from lem_models.report.benchmark_report import write_benchmark
    from lem_models.report.samples import sample_order

    console = make_console()
    check_folder(out)
    ignored = as_options(unit, calendar, fill_gaps)
    if data is None and ignored:
        raise ConfigError(f"{ignored[0]} says how --data is read, which is not given")
    if data is None:
        # Clustering, tails and volume spikes about as strong as in hourly crypto.
        bars = synthetic_bars(
            symbols=8, days=120, seed=seed, tail_degrees=3.5, volatility_clustering=0.5, volume_volatility_link=1.5
        )
        console.print(f"Embedded synthetic market (seed {seed}): {bars!r}")
    else:
        bars = read_bars(data, unit, calendar, fill_gaps)
        console.print(f"{data}: {bars!r}", markup=False, soft_wrap=True)
    chosen = model or _fitting_model(bars, console)
    policies = _policies(chosen, ",".join(BASELINES))
    first = None if data is None else _first_unseen(policies, bars, console)
    settings = BenchmarkSettings(
        **_defaults(policies, every="1", start=first),
        limit=orders,
        null=2,
        seed=seed,
        allow_frequency=any_frequency,
    )
    with console.status("executing", spinner=spinner(console)) as status:
        run = run_benchmark(policies, bars, settings, progress=lambda text: status.update(text))
        if run is None:
            return  # rank 0 has the results
        status.update("writing the report")
        parts = ["lem", "demo", "--model", chosen, "--orders", str(orders), "--seed", str(seed)]
        if data is not None:
            parts += ["--data", str(data), *as_options(unit, calendar, fill_gaps)]
        command = shlex.join([*parts, *(["--any-frequency"] if any_frequency else [])])
        path = write_benchmark(run, out, command=command, title=f"{run.model} at work")
    print_benchmark(console, run)
    print_execution(console, run.results[run.model], sample_order(run))
    if data is None:
        console.print(
            "\n[dim]A synthetic market has no price forecast in it: what is gained here is the value of the option to "
            "end. On real bars: lem demo --data bars.parquet[/dim]"
        )
    console.print(f"\nReport: [bold]{escape(str(path.resolve()))}[/bold]", soft_wrap=True)


@app.command(short_help="Slippage beside the baselines and the martingale null.")
def benchmark(
    data: Data,
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
    model: Model = None,
    any_frequency: AnyFrequency = False,
    baselines: Annotated[
        str, typer.Option("--baselines", help="Policies to compare with, comma-separated.")
    ] = ",".join(BASELINES),
    out: Annotated[Path, typer.Option("--out", help="Folder of report, tables and figures.")] = Path(
        "reports/benchmark"
    ),
    every: Annotated[str, typer.Option("--every", help="Step between starts: '6h', or a number of bars.")] = "6",
    min_periods: Annotated[
        str | None, typer.Option("--min-periods", help="Minimum durations, comma-separated.")
    ] = None,
    max_periods: Annotated[
        int | None, typer.Option("--max-periods", help="Maximum duration; default the model's.")
    ] = None,
    side: Annotated[str, typer.Option("--side", help="both, buy or sell.")] = "both",
    against: Annotated[str, typer.Option("--benchmark", help="vwap, twap or both, comma-separated.")] = "vwap,twap",
    target: Annotated[str, typer.Option("--target", help="quantity, notional or both.")] = "quantity,notional",
    max_rate: Annotated[float, typer.Option("--max-rate", help="Cap per period, as a fraction of the order.")] = 1.0,
    risk_aversion: Annotated[float | None, typer.Option("--risk-aversion", help="Default: the model's own.")] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="First day; default: the first the model never saw.")
    ] = None,
    end: Annotated[str | None, typer.Option("--end", help="Day by which orders have ended.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="Orders at most, drawn at random; 0 for all.")] = 100_000,
    half_spread: HalfSpread = 0.0,
    fee: Fee = 0.0,
    impact: Impact = 0.0,
    order_size: OrderSize = None,
    by: Annotated[
        str,
        typer.Option(
            "--by", help="Keys of the breakdowns, comma-separated; also weekday, month and columns of the orders."
        ),
    ] = "symbol,hour,volatility",
    null: Annotated[int, typer.Option("--null", min=0, help="Draws of the martingale null.")] = 20,
    null_of: Annotated[str, typer.Option("--null-of", help="Policies to run on the null: model, or all.")] = "model",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws of orders, null and bootstrap.")] = 0,
) -> None:
    """Slippage of a model beside the baselines and the martingale null: tables, JSON, CSV, PNG and one HTML file.

    Started with torchrun, the processes share the orders.
    """
    from rich.markup import escape

    from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
    from lem_models.execution.costs import CostModel
    from lem_models.guard.output import check_folder
    from lem_models.report.benchmark_console import print_benchmark
    from lem_models.report.benchmark_report import write_benchmark

    costs = CostModel(half_spread_bps=half_spread, fee_bps=fee, impact=impact, order_size=order_size)
    console = make_console()
    check_folder(out)
    check_readable(data)
    rivals = _policies("", baselines)
    tested = {} if model is None else _policies(model, "")
    bars = read_bars(data, unit, calendar, fill_gaps)
    console.print(f"{data}: {bars!r}", markup=False, soft_wrap=True)
    policies = (tested or _policies(_fitting_model(bars, console), "")) | rivals
    if start is None:
        start = _first_unseen(policies, bars, console)
    defaults = _defaults(policies, every=every, start=start)
    given: dict[str, Any] = {
        "side": "both" if set(_split(side)) == {"buy", "sell"} else side,
        "benchmark": _split(against, ("vwap", "twap")),
        "target": _split(target, ("quantity", "notional")),
        "max_rate": max_rate,
        "risk_aversion": risk_aversion,
        "end": end,
        "limit": None if limit == 0 else limit,
        "costs": None if costs == CostModel() else costs,
        "by": _split(by),
        "null": null,
        "null_of": null_of,
        "seed": seed,
        "allow_frequency": any_frequency,
    }
    if max_periods is not None:
        given["max_periods"] = max_periods
        given["min_periods"] = tuple(sorted({*(m for m in defaults["min_periods"] if m < max_periods), max_periods}))
    if min_periods is not None:
        given["min_periods"] = _whole_numbers(min_periods, "--min-periods")
    with console.status("executing", spinner=spinner(console)) as status:
        run = run_benchmark(
            policies, bars, BenchmarkSettings(**(defaults | given)), progress=lambda text: status.update(text)
        )
        if run is None:
            return  # rank 0 has the results
        status.update("writing the report")
        path = write_benchmark(run, out, command=_command_line())
    print_benchmark(console, run)
    console.print(
        f"\nReport: [bold]{escape(str(path.resolve()))}[/bold] (with summary.csv, summary.json and PNG figures)",
        soft_wrap=True,
    )


@app.command(short_help="Execute a table of orders; write orders, schedule and exclusions.")
def execute(
    data: Data,
    orders: Annotated[Path, typer.Option("--orders", help="Table of orders: .csv or .parquet.")],
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
    model: Annotated[
        str | None,
        typer.Option("--policy", "--model", help="Model or baseline; default the bundled model that fits the bars."),
    ] = None,
    any_frequency: AnyFrequency = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the result tables.")] = Path("reports/execution"),
    half_spread: HalfSpread = 0.0,
    fee: Fee = 0.0,
    impact: Impact = 0.0,
    order_size: OrderSize = None,
) -> None:
    """Execute a table of orders; writes orders.csv, schedule.csv and excluded.csv.

    Orders that cannot run are counted by reason; exit code 1 when none of them could.
    """
    import pandas as pd

    from lem_models.baselines import load_policy
    from lem_models.execution.costs import CostModel
    from lem_models.execution.execute import execute as run
    from lem_models.guard.output import check_folder, to_csv
    from lem_models.markets.storage.files import read_table
    from lem_models.orders.rules import NUMERIC as NUMERIC_COLUMNS

    costs = CostModel(half_spread_bps=half_spread, fee_bps=fee, impact=impact, order_size=order_size)
    console = make_console()
    check_folder(out)
    check_readable(data)
    check_readable(orders, OrderError)
    try:
        # Names are texts: a ticker "NA" is no missing value, an identifier "007" no number.
        names = {"symbol": str, "order_id": str}
        table = (
            read_table(orders)
            if orders.suffix == ".parquet"
            else pd.read_csv(orders, dtype=names, keep_default_na=False, na_values={c: [""] for c in NUMERIC_COLUMNS})
        )
    except (LEMError, OSError, ValueError) as error:
        raise OrderError(f"cannot read the table of orders {orders}: {error}") from None
    bars = read_bars(data, unit, calendar, fill_gaps)
    policy = load_policy(model or _fitting_model(bars, console))
    result = run(policy, bars, table, costs=costs, allow_frequency=any_frequency)
    for name in ("orders", "schedule", "excluded"):
        to_csv(getattr(result, name), out / f"{name}.csv")
    console.print(f"{result!r}\n{out.resolve()}", soft_wrap=True, markup=False)
    if not len(result.orders):
        sys.stderr.write(f"error: no order could run; the reason of each is in {out / 'excluded.csv'}\n")
        raise typer.Exit(1)


@app.command(name="check-leak", short_help="Change the future; see whether a decision moves.")
def check_leak(
    policy: Annotated[str, typer.Argument(help="Model or baseline by name, or your own policy as file.py:Name.")],
    data: Annotated[Path, typer.Argument(help="Bars: .arrow, .parquet, .csv or .csv.gz.")],
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
    checks: Annotated[int, typer.Option("--checks", min=1, help="Random times from which on bars are changed.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the times and of the changes.")] = 0,
) -> None:
    """Change the future and see whether a decision about the past moves; exit code 1 if one does."""
    from lem_models.evaluation.leak import check_leak as check

    bars = read_bars(data, unit, calendar, fill_gaps)
    leak = check(_named_policy(policy), bars, checks=checks, seed=seed)
    if leak is not None:
        typer.echo(f"LEAK: {leak}")
        raise typer.Exit(1)
    typer.echo(f"no decision of {policy} moved in {checks} checks")


@app.command(short_help="Check bars and write them in another format.")
def convert(
    source: Annotated[Path, typer.Argument(help="Bars: .arrow, .parquet, .csv or .csv.gz.")],
    target: Annotated[Path, typer.Argument(help="File to write, of any of these kinds.")],
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
) -> None:
    """Check bars and write them in another format; an .arrow file opens at once and is never loaded whole."""
    from lem_models.guard.output import check_file
    from lem_models.markets.bars import Bars
    from lem_models.markets.storage.files import format_of
    from lem_models.markets.storage.writer import store_bars

    check_readable(source)
    check_file(target)
    format_of(target)
    if target.suffix == ".arrow" and not fill_gaps:
        try:  # piece by piece
            bars = store_bars(source, target, calendar=calendar_choice(calendar), unit=unit)
        except BarsError as error:
            if error.rule != "symbol by symbol":
                raise
            # Rows of several symbols are mixed: sorted in memory.
            read_bars(source, unit, calendar).write(target)
            bars = Bars.read(target)
    else:
        bars = read_bars(source, unit, calendar, fill_gaps)
        bars.write(target)
    make_console().print(f"{bars!r}\n{target.resolve()}", soft_wrap=True, markup=False)


@app.command(short_help="Train a model by a recipe.")
def train(
    config: Annotated[Path, typer.Option("--config", help="Recipe (YAML), see recipes/.")],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Bars, instead of the recipe's; once for each of its markets, or their folder."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; default runs/<name>.")] = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, gpu.")] = "auto",
    devices: Annotated[str, typer.Option("--devices", help="How many devices on each node, or auto.")] = "auto",
    num_nodes: Annotated[
        int | None, typer.Option("--num-nodes", min=1, help="How many nodes; default torchrun's, or 1.")
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="auto, ddp, fsdp, or another of Lightning's names.")
    ] = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", help="32-true, bf16-mixed or 16-mixed; default the recipe's.")
    ] = None,
    push_to: Annotated[
        str | None,
        typer.Option(
            "--push-to", help="Push the best checkpoint to this repository on the Hub, org/name, as it trains."
        ),
    ] = None,
    push_branch: Annotated[
        str | None, typer.Option("--push-branch", help="Branch to push to; default the recipe's, or training.")
    ] = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Progress bar.")] = True,
) -> None:
    """Train a model by a recipe: progress bar, TensorBoard and CSV logs, checkpoints, early stopping.

    On several devices: --devices N, or start it with torchrun.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from lem_models.training.folder import RunFolder
    from lem_models.training.recipe import Recipe
    from lem_models.training.run import train as fit
    from lem_models.training.settings import TrainingSettings

    settings = TrainingSettings(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
        progress=progress,
    )
    recipe = Recipe.read(config).pushed_to(push_to, push_branch)
    resumed = None if resume is None else RunFolder.of(resume)
    folder = out or (Path("runs") / recipe.name if resumed is None else resumed.path)
    with telling_how_to_go_on(folder):
        fit(
            recipe,
            out=folder,
            data=data,
            resume=resume,
            overwrite=overwrite,
            settings=settings,
        )
    rank_zero_only(typer.echo)(f"model: {folder.resolve()}")


@app.command(short_help="Adapt a model to bars of your own.")
def finetune(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
    start: Annotated[
        str | None, typer.Option("--from", help="Model to start from; default the recipe's finetune.start.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Recipe (YAML); default recipes/finetune.yaml.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="What may change: full (every weight), head, or lora (adapters, needs peft)."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option("--horizon", min=1, help="Longest order; default the start's, at most a session or 24 periods."),
    ] = None,
    train_end: Annotated[
        str | None, typer.Option("--train-end", help="First day of validation; default after 60 % of the days.")
    ] = None,
    validation_end: Annotated[
        str | None, typer.Option("--validation-end", help="First day of the test; default after 80 % of the days.")
    ] = None,
    half_spread: HalfSpread = 0.0,
    fee: Fee = 0.0,
    impact: Impact = 0.0,
    order_size: OrderSize = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps at most.")] = None,
    orders: Annotated[int, typer.Option("--orders", min=100, help="Orders of the test at most.")] = 20_000,
    name: Annotated[str | None, typer.Option("--name", help="Name of the new model; default the folder's.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything drawn; default the recipe's.")] = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, gpu.")] = "auto",
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Progress bar.")] = True,
) -> None:
    """Adapt a model to bars of your own: trains, saves, and says on bars that nothing has read whether it helped."""
    from rich.markup import escape

    from lem_models.execution.costs import CostModel
    from lem_models.training.finetune.run import finetune as adapt
    from lem_models.training.finetune.text import print_finetune
    from lem_models.training.settings import FinetuneSettings

    costs = CostModel(half_spread_bps=half_spread, fee_bps=fee, impact=impact, order_size=order_size)
    settings = FinetuneSettings(
        method=method,
        horizon=horizon,
        train_end=train_end,
        validation_end=validation_end,
        steps=steps,
        orders=orders,
        name=name,
        seed=seed,
        accelerator=accelerator,
        progress=progress,
    )
    console = make_console()

    def report(line: str) -> None:
        console.print(line, soft_wrap=True, style="yellow" if line.startswith("warning") else "")

    with telling_how_to_go_on(out):
        result = adapt(
            start,
            data if (unit, calendar, fill_gaps) == (None, "auto", 0) else read_bars(data, unit, calendar, fill_gaps),
            out=out,
            config=config,
            costs=None if costs == CostModel() else costs,
            resume=resume,
            overwrite=overwrite,
            settings=settings,
            report=report,
        )
    print_finetune(console, result)
    console.print(f"\nModel: [bold]{escape(str(out.resolve()))}[/bold] (with finetune.json)", soft_wrap=True)


def _fitting_model(bars: Bars, console: Console) -> str:
    """The bundled model that fits the bars, said out loud."""
    from lem_models.hub.models.zoo import model_for
    from lem_models.markets.calendar.frequency import clock

    model = model_for(bars)
    console.print(
        f"Model: {model}, the bundled one for bars of {clock(bars.frequency)} (--model takes another).", soft_wrap=True
    )
    return model


def _command_line() -> str:
    return shlex.join(["lem", *sys.argv[1:]])


def _defaults(policies: dict[str, Policy], *, every: str, start: str | None) -> dict[str, Any]:
    """Orders that suit the policy under test: its horizon, five minimum durations."""
    horizon = next(iter(policies.values())).horizon or 12
    minima = sorted({1, max(1, horizon // 4), max(1, horizon // 2), max(1, 3 * horizon // 4), horizon})
    return {
        "every": int(every) if every.isdigit() else every,
        "max_periods": horizon,
        "min_periods": tuple(minima),
        "start": start,
    }


def _first_unseen(policies: dict[str, Policy], bars: Bars, console: Console) -> str | None:
    """First day that the model under test saw neither in training nor in validation, if the bars go that far."""
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
        console.print(f"[yellow]All bars lie before {unseen}, in the period that the model was trained on.[/yellow]")
        return None
    console.print(f"Orders from {unseen}: earlier bars were used in training (--start says otherwise).")
    return str(unseen)
