"""``lem desk run``: run a desk on bars that come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.commands.desk.place import DB, TERM
from lem_models.cli.output import Output, note
from lem_models.cli.policies import ModelOptions, named_policy
from lem_models.cli.signals import Stopped
from lem_models.errors import ConfigError, DeskError

if TYPE_CHECKING:
    from lem_models.desk.desk import Desk
    from lem_models.desk.orders.order import DeskOrder
    from lem_models.desk.running.bar_sources import BarSource
    from lem_models.desk.running.runner import Line, Runner
    from lem_models.markets.bars import Bars

__all__ = ["RunOptions", "run"]

TOKEN = "LEM_TOKEN"
"""Environment variable with the token of a websocket."""


class RunOptions(ModelOptions, BarsOptions):
    """Options of ``lem desk run``."""

    flags: ClassVar[dict[str, str]] = {
        "symbol": "--bars-symbol",
        "model": "--model --policy",
    }

    db: Annotated[str, typer.Argument()] = Field(description=DB)
    watch: str = Field(
        description="Where bars come from: a file that grows or is replaced, a folder of files, or ws://host/path."
    )
    orders: Path | None = Field(
        None, description="Orders to take: .toml or .csv. Those that the desk has already, by id, are passed over."
    )
    history: Path | None = Field(
        None, description=f"Bars from before, for a websocket; default those of --watch. {BARS}"
    )
    fills: Path | None = Field(
        None,
        description="File of fills that grows: .csv or .jsonl with order, quantity, price, id, maybe child and time.",
    )
    assume_fills: bool = Field(
        False, description="Paper trading: what was decided fills at its bar's VWAP. Every line says so."
    )
    until: str | None = Field(None, description="Stop at this time of the market, or after this duration: 2h.")
    once: bool = Field(False, description="Take in what is there, say what to do, and stop: for a timer.")
    poll: float = Field(1.0, gt=0, description="Seconds between looks.")
    patience: float = Field(60.0, gt=0, description="Seconds after its end before a bar without volume stands for it.")
    takeover: bool = Field(False, description="Take the desk from a process that still runs it.")


def run(options: RunOptions, out: Output) -> None:
    """Run a desk: watch bars, print what every order does in the coming bar, keep everything in the desk's log.

    Killed at any time, the same command goes on where it was. It ends when all orders are over. The exit code is 1 if
    an order ended with something left.

    Example: lem desk run desk.db --orders orders.toml --watch bars.parquet --model lem-crypto-hourly --assume-fills
    """
    from lem_models.desk.desk import Desk
    from lem_models.desk.market_data.feed import FeedRules
    from lem_models.desk.running.fill_files import FillFile
    from lem_models.desk.running.orders_file import read_desk_orders
    from lem_models.desk.running.runner import Runner
    from lem_models.desk.store.database import DatabaseStore

    if (options.fills is None) == (not options.assume_fills):
        raise ConfigError("say where fills come from: --fills FILE, or --assume-fills for paper trading, one of them")
    orders = [] if options.orders is None else read_desk_orders(options.orders)
    until = None if options.until is None else _until(options.until)
    fills = None if options.fills is None else FillFile(options.fills)
    source = _source(options)
    try:
        bars = options.read(options.history, quiet=True) if options.history is not None else source.history()
        store = DatabaseStore(options.db, term=TERM)
        with Desk(
            store,
            _model(options.model, store, bars),
            rules=FeedRules(patience=options.patience),
            takeover=options.takeover,
            term=TERM,
            allow_frequency=options.any_frequency,
        ) as desk:
            runner = Runner(desk, source, fills, until=until, once=options.once, poll=options.poll)
            try:
                _run(options, desk, source, runner, orders, bars, out)
            except Stopped as stop:
                stop.advice = "the desk is kept: repeat the command to go on"
                raise
            left = [each for each in desk.state.orders.values() if each.status in ("expired", "ended")]
    finally:
        source.close()
    if left:
        raise typer.Exit(1)


def _run(
    options: RunOptions,
    desk: Desk,
    source: BarSource,
    runner: Runner,
    orders: list[DeskOrder],
    bars: Bars | None,
    out: Output,
) -> None:
    from lem_models.execution.frequency_check import check_frequency

    source.follow(_followed(desk))
    known = [order for order in orders if order.label in desk.state.orders]
    new = [order for order in orders if order.label not in desk.state.orders]
    for order in known:
        if desk.order(order.label).order != order:
            note(
                f"the desk has order {order.label!r} as it was, or was amended; the file changes nothing: use "
                "lem desk amend"
            )
    if new and desk.is_active:
        _print(runner.catch_up(), out)
    if new:
        if bars is None:
            raise ConfigError("a websocket has no past: name a file of bars from before with --history")
        # The fallback is for a desk under way. A new order with the wrong model is a slip, and refused.
        check_frequency(desk.policy, bars, allow=options.any_frequency)
        desk.add(new, history=bars)
        source.follow(_followed(desk))
    if not desk.state.orders:
        raise DeskError(f"the desk {options.db} has no orders: name a file of them with --orders", rule="orders")
    _say_if_old(desk)
    _print(runner.lines(), out)
    if desk.is_active:
        note(runner.left_in_words())


def _print(lines: Iterator[Line], out: Output) -> None:
    """Print lines as they come. Messages go to standard error, unless everything is JSON."""
    for line in lines:
        out.event(line.kind, line.values, line.text, is_note=line.kind == "message")


def _followed(desk: Desk) -> dict[str, int]:
    """Start of the last bar of each symbol with active orders."""
    return {name: desk.state.market[name].last for name, labels in desk.state.active.items() if labels}


def _say_if_old(desk: Desk) -> None:
    from lem_models.markets.calendar.frequency import moment

    now = time.time_ns()
    for name, labels in desk.state.active.items():
        market = desk.state.market[name]
        if labels and now > market.last + 2 * market.frequency:
            ended = moment(market.last + market.frequency)
            note(f"the desk's last bar of {name} ended at {ended:%Y-%m-%d %H:%M} UTC")


def _source(options: RunOptions) -> BarSource:
    if options.watch.startswith(("ws://", "wss://")):
        from lem_models.desk.running.socket_bars import BarSocket

        return BarSocket(options.watch, os.environ.get(TOKEN))
    from lem_models.desk.running.bar_sources import BarFiles

    return BarFiles(Path(options.watch), lambda path: options.read(path, quiet=True))


def _model(name: str | None, store: Any, bars: Bars | None) -> Any:  # noqa: ANN401
    """The policy: by its name where the desk can find it again by it."""
    if name is not None:
        return named_policy(name) if ".py:" in name else name
    if next(iter(store.read()), None) is not None or bars is None:
        return None  # the one that decided last
    from lem_models.cli.policies import fitting_model

    return fitting_model(bars)


def _until(text: str) -> int:
    from lem_models.guard.text import shown
    from lem_models.guard.timestamps import MomentError, read_moment
    from lem_models.orders.durations import read_duration

    duration = read_duration(text)
    if duration is not None and duration.nanoseconds is not None:
        return time.time_ns() + int(duration.nanoseconds)
    try:
        return read_moment(text, needs_zone=True)
    except MomentError:
        raise ConfigError(
            f"--until takes a time such as 2024-01-31T09:30:00Z, or a duration such as 2h; got {shown(text)}"
        ) from None
