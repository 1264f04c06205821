"""The ``lem`` command. Heavy imports happen inside its commands, so ``lem --help`` is instant."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from lem_models.cli.commands.app.publish_space import publish_space
from lem_models.cli.commands.app.start import start_app
from lem_models.cli.commands.benchmark import benchmark
from lem_models.cli.commands.buyback import buyback
from lem_models.cli.commands.check_leak import check_leak
from lem_models.cli.commands.compare import compare
from lem_models.cli.commands.data.check import check
from lem_models.cli.commands.data.convert import convert
from lem_models.cli.commands.data.fetch import fetch
from lem_models.cli.commands.demo import demo
from lem_models.cli.commands.desk.change import amend, cancel, pause, resume
from lem_models.cli.commands.desk.next_bar import next_command
from lem_models.cli.commands.desk.report import report
from lem_models.cli.commands.desk.run import run
from lem_models.cli.commands.desk.serve import serve
from lem_models.cli.commands.desk.status import status
from lem_models.cli.commands.execute import execute
from lem_models.cli.commands.finetune import finetune
from lem_models.cli.commands.fit_convex import fit_convex
from lem_models.cli.commands.models.explain import explain
from lem_models.cli.commands.models.export import export
from lem_models.cli.commands.models.info import info
from lem_models.cli.commands.models.list_models import list_models
from lem_models.cli.commands.models.publish_collection import publish_collection
from lem_models.cli.commands.models.publish_model import publish_model
from lem_models.cli.commands.power import power
from lem_models.cli.commands.publish_data import publish_data
from lem_models.cli.commands.tca import tca
from lem_models.cli.commands.train import train
from lem_models.cli.help import Group, RootGroup
from lem_models.cli.options import add_command
from lem_models.cli.process import collect_garbage_rarely, keep_freed_memory, print_warnings_on_a_line
from lem_models.cli.signals import stopping_on_signals
from lem_models.cli.terminal import CONTEXT, show_help, standard_streams
from lem_models.errors import LEMError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: errors of the package become one line and exit code 2."""
    keep_freed_memory()
    collect_garbage_rarely()
    print_warnings_on_a_line()
    with standard_streams(), stopping_on_signals():
        try:
            try:
                app(prog_name="lem")  # also as python -m lem_models.cli; completion needs it
            finally:
                sys.stdout.flush()
        except (LEMError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(2) from None


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lem {metadata.version('lem_models')}")
        raise typer.Exit


app = typer.Typer(
    cls=RootGroup,
    invoke_without_command=True,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(cls=Group, invoke_without_command=True, context_settings=CONTEXT, rich_markup_mode=None)
desk_app = typer.Typer(cls=Group, invoke_without_command=True, context_settings=CONTEXT, rich_markup_mode=None)
publish_app = typer.Typer(cls=Group, invoke_without_command=True, context_settings=CONTEXT, rich_markup_mode=None)


@app.callback()
def lem(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.", callback=_print_version)
    ] = False,
) -> None:
    """Large Execution Models: execute orders, benchmark slippage, train.

    Example: lem demo

    Example: lem benchmark --data bars.parquet --out reports/benchmark
    """
    del version
    show_help(context)


@data_app.callback()
def data(context: typer.Context) -> None:
    """Fetch, check and convert bars.

    Example: lem data check bars.csv
    """
    show_help(context)


@desk_app.callback()
def desk(context: typer.Context) -> None:
    """Run and change live orders.

    Example: lem desk status desk.db
    """
    show_help(context)


@publish_app.callback()
def publish(context: typer.Context) -> None:
    """Publish models, data and the app to the Hub.

    Example: lem publish model my-model --to org/name --dry-run
    """
    show_help(context)


add_command(app, list_models, name="list", summary="List the bundled models.")
add_command(app, info, name="info", summary="Everything about a model: what it is, what it was measured at.")
add_command(app, demo, name="demo", summary="Execute a few thousand orders and write a report.")
add_command(app, benchmark, name="benchmark", summary="Compare a model with baselines and the martingale null.")
add_command(app, compare, name="compare", summary="Two policies on the same orders: paired differences.")
add_command(app, power, name="power", summary="How many orders until a difference shows.")
add_command(app, execute, name="execute", summary="Execute a table of orders; write orders, schedule and exclusions.")
add_command(app, next_command, name="next", summary="What an order does in the coming bar, and a forecast of the rest.")
add_command(app, explain, name="explain", summary="Why a model decided as it did: a picture and a paragraph.")
add_command(app, tca, name="tca", summary="Measure real fills, beside what policies would have paid.")
add_command(app, buyback, name="buyback", summary="A share repurchase: its plan, today's decision, its report.")
add_command(app, serve, name="serve", summary="Serve a desk: REST, WebSocket, status page, metrics.")
add_command(app, start_app, name="app", summary="One order in a browser, beside baselines.")
add_command(app, check_leak, name="check-leak", summary="Check that no decision depends on later bars.")
app.add_typer(data_app, name="data")
add_command(data_app, check, name="check", summary="Gaps, halts, outliers, splits, estimates, doubtful times.")
add_command(data_app, convert, name="convert", summary="Check bars and write them in another format.")
add_command(data_app, fetch, name="fetch", summary="Download bars from an archive, an exchange or a vendor.")
add_command(app, train, name="train", summary="Train a model from a recipe.")
add_command(app, finetune, name="finetune", summary="Fine-tune a model on your own bars.")
add_command(app, fit_convex, name="fit-convex", summary="Fit a policy that tracks the VWAP of fixed durations.")
add_command(app, export, name="export", summary="Write the live step of a model as a graph, e.g. ONNX.")
app.add_typer(desk_app, name="desk")
add_command(desk_app, run, name="run", summary="Run a desk: watch bars, say what every order does.")
add_command(desk_app, status, name="status", summary="Orders, feeds and faults of a desk.")
add_command(desk_app, amend, name="amend", summary="Change an order under way.")
add_command(desk_app, cancel, name="cancel", summary="End an order.")
add_command(desk_app, pause, name="pause", summary="Send nothing for an order until it is resumed.")
add_command(desk_app, resume, name="resume", summary="Go on with a paused order.")
add_command(desk_app, report, name="report", summary="What an order cost, and why; HTML.")
app.add_typer(publish_app, name="publish")
add_command(publish_app, publish_model, name="model", summary="Publish a model with its card.")
add_command(publish_app, publish_data, name="data", summary="Publish bars as a data set with a card.")
add_command(publish_app, publish_collection, name="collection", summary="Gather the models on one page of the Hub.")
add_command(publish_app, publish_space, name="space", summary="Publish the app as a Space.")
