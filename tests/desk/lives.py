"""Lives of a process that runs a desk at a venue, and is killed again and again."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lem_models.desk import Desk, DeskOrder
from tests.helpers.markets import hourly
from tests.helpers.venue import FakeVenue

SYMBOLS = 2
HISTORY_DAYS = 2
EVERY = 8
"""Bars from one order to the next of a symbol."""


def market(days: int) -> tuple[Any, pd.DataFrame]:
    """A history, and the bars that follow it."""
    bars = hourly(days=HISTORY_DAYS + days, symbols=SYMBOLS, seed=7)
    start = pd.Timestamp(int(bars.timestamp[0]), tz="UTC") + pd.Timedelta(days=HISTORY_DAYS)
    return bars.between(end=start), bars.between(start=start).frame


def orders_due(symbols: tuple[str, ...], bar: int) -> list[DeskOrder]:
    """Orders that are added once so many bars have closed."""
    if bar % EVERY:
        return []
    draw = random.Random(bar)
    return [
        DeskOrder(
            symbol=symbol,
            side=draw.choice(["buy", "sell"]),
            amount=str(draw.randint(3, 400)),
            lot_size="1",
            id=f"{symbol}-{bar}",
            max_duration=draw.randint(2, 12),
            hold_open=True,
        )
        for symbol in symbols
    ]


@dataclass
class Scene:
    """Where a desk and its venue are kept."""

    place: str
    venue: Path
    days: int

    def live(self) -> None:
        """Run the desk until the market ends; goes on where a life before ended."""
        history, bars = market(self.days)
        venue = FakeVenue(self.venue, bars, late=0.3, partial=0.3)
        first = int(pd.Timestamp(bars["timestamp"].min()).value)
        desk = Desk(self.place, policy="twap")
        desk.fills(venue.fills())
        self._add(desk, history, first)
        self._send(desk, venue)
        for closed in venue.bars():
            desk.observe(closed, fills=venue.fills())
            self._add(desk, history, first)
            self._send(desk, venue)
        venue.clock += 2  # what is still in flight arrives
        desk.fills(venue.fills())
        desk.close()

    def _add(self, desk: Desk, history: Any, first: int) -> None:
        known = [each.last for each in desk.state.market.values()]
        bar = (max(known) - first) // 3_600_000_000_000 + 1 if known else 0
        for order in orders_due(history.symbols, int(bar)):
            if order.id not in desk.state.orders:
                desk.add(order, history)

    @staticmethod
    def _send(desk: Desk, venue: FakeVenue) -> None:
        for decision in desk.decide():
            if decision.quantity:
                venue.send(decision)


def kill_lives(scene: Scene, kills: int, seed: int, size: int) -> int:
    """Run a scene in processes that are killed at random moments until one of them reaches the end.

    A process is killed some milliseconds after the venue's file has grown by a random number of bytes, so it is killed
    as often on a fast machine as on a slow one; every fourth while it opens the desk.

    Args:
        scene: The scene.
        kills: Processes to kill; the next one may finish.
        seed: Seed of the moments.
        size: Bytes of the venue's file at the end.

    Returns:
        Processes that were killed.
    """
    draw, killed = random.Random(seed), 0
    while True:
        process = os.fork()
        if process == 0:
            status = 1
            try:
                scene.live()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        status = _killed(process, scene.venue, draw, size / kills) if killed < kills else os.waitpid(process, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            continue
        assert os.WEXITSTATUS(status) == 0
        return killed


def _killed(process: int, file: Path, draw: random.Random, growth: float) -> int:
    """Kill a process at a random moment, unless it ends before; its status."""
    opens = draw.random() < 0.25
    size = _size(file) + (0.0 if opens else draw.uniform(0, 1.6 * growth))
    delay = draw.uniform(0, 0.15 if opens else 0.02)
    while _size(file) < size:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0005)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
