"""How long live decisions take: new bars in, decisions out.

    python benchmarks/live.py [--model lem-crypto-hourly] [--orders 300] [--seed 0] [--json live.json]

Two measurements. **One session**, on one thread: a decision is ``session.observe(bar)`` and ``session.decide()``. The
bar is checked, the fill booked, the features and the backbone's context of the new bar are computed, and the head
decides. It is timed over every bar of many orders of all kinds, at any time of the day and the week, so the beginnings
of the backbone's blocks are among them. Each order is run several times. Percentiles over the decisions are taken of
the fastest run of each, which leaves out what other programs of the machine took and keeps what a decision takes every
time. Those of all runs stand beside them. Making a session, and the memory that an open one takes, are measured apart.

**Many orders**, on all threads of torch: 1,000 orders on 200 symbols that started one after the other, so that they are
in all their periods. After each close ``LiveOrders.observe(bars)`` and ``LiveOrders.decide()`` are timed.

The market is simulated, hourly and round the clock: numbers do not matter for the time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from lem_models import Bars, Order, load_policy, synthetic_bars
from lem_models.execution.policy import Policy

try:
    from lem_models.execution.live import LiveOrders
except ImportError:  # an older commit, see benchmarks/workloads.py
    LiveOrders = None

HISTORY = 400
PERCENTILES = (50, 90, 99)


def live_latency(
    model_name: str = "lem-crypto-hourly", *, orders: int = 200, seed: int = 0, repeats: int = 5
) -> dict[str, Any]:
    """Time the live decisions of a policy.

    Args:
        model_name: Name of a policy or a model, see ``load_policy``.
        orders: Orders to run, of up to 12 periods each.
        seed: Seed of the market and the orders.
        repeats: How often each order is run.

    Returns:
        ``p50_ms, p90_ms, p99_ms, max_ms``: percentiles over the decisions, of each the fastest of its repeats;
        ``all_p50_ms, ...``: over all runs of all decisions; ``create_p50_ms, create_p99_ms``: of making a session, in
        the same way as the first; ``session_mb``: memory that an open session takes; ``decisions``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy = load_policy(model_name)
        replays = list(_replays(orders, seed))
        for replay in replays[:3]:  # the first calls of anything are slow
            _time(policy, *replay)
        timed = [[_time(policy, *replay) for _ in range(repeats)] for replay in replays]
    finally:
        torch.set_num_threads(threads)
    every = np.concatenate([np.stack([one.decisions for one in same], 1) for same in timed])  # [decisions, repeats]
    create = np.array([min(one.create for one in same) for same in timed])
    fastest = every.min(1)
    return {
        "model": model_name,
        "decisions": len(every),
        "repeats": repeats,
        **{f"p{p}_ms": 1e3 * float(np.percentile(fastest, p)) for p in PERCENTILES},
        "max_ms": 1e3 * float(fastest.max()),
        **{f"all_p{p}_ms": 1e3 * float(np.percentile(every, p)) for p in PERCENTILES},
        "all_max_ms": 1e3 * float(every.max()),
        "create_p50_ms": 1e3 * float(np.percentile(create, 50)),
        "create_p99_ms": 1e3 * float(np.percentile(create, 99)),
        "session_mb": session_memory(model_name, seed=seed),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
    }


def _replays(count: int, seed: int) -> Iterator[tuple[Order, Bars, list[dict[Any, Any]]]]:
    """Orders of all kinds with their history and the bars that they will see."""
    rng = np.random.default_rng(seed)
    market = synthetic_bars(symbols=1, days=120, seed=seed)
    rows = market.frame.to_dict("records")
    for start in rng.integers(HISTORY, len(rows) - 12, count).tolist():
        at = rows[start]["timestamp"]
        order = Order(
            symbol="S000",
            start=at,
            side=rng.choice(["buy", "sell"]),
            benchmark=rng.choice(["vwap", "twap"]),
            target=rng.choice(["quantity", "notional"]),
            min_periods=int(rng.integers(1, 13)),
            max_periods=12,
            max_rate=float(rng.choice([0.15, 0.3, 1.0])),
        )
        history = market.between(rows[start - HISTORY]["timestamp"], at)
        yield order, history, rows[start : start + 12]


class _Times(NamedTuple):
    """Seconds of making a session, and of each of its decisions."""

    create: float
    decisions: np.ndarray


def _time(policy: Policy, order: Order, history: Bars, bars: list[dict[Any, Any]]) -> _Times:
    begin = time.perf_counter()
    session = policy.session(order, history)
    create = time.perf_counter() - begin
    session.decide()
    seconds = []
    for bar in bars:
        begin = time.perf_counter()
        session.observe(bar)
        if session.done:
            break
        session.decide()
        seconds.append(time.perf_counter() - begin)
    return _Times(create, np.array(seconds))


def session_memory(model_name: str, *, count: int = 1000, seed: int = 0) -> float:
    """Megabytes that an open session takes: growth over many of them of a process that has done nothing else.

    Args:
        model_name: Name of a policy or a model.
        count: Sessions.
        seed: Seed of the market and the orders.
    """
    root = str(Path(__file__).resolve().parents[1])
    code = f"from benchmarks.live import grown; print(grown({model_name!r}, {count}, {seed}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, *filter(None, sys.path))), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=root
    )
    return float(done.stdout.splitlines()[-1])


def grown(model_name: str, count: int, seed: int) -> float:
    """Megabytes that a session adds to this process."""
    policy, replays = load_policy(model_name), list(_replays(min(count, 200), seed))
    sessions = []

    def make(number: int) -> None:
        order, history, _ = replays[number % len(replays)]
        sessions.append(policy.session(order, history))

    for number in range(20):  # what the first ones make is shared
        make(number)
    before = _resident()
    for number in range(count):
        make(number)
    return (_resident() - before) / count / 1e6


def _resident() -> int:
    """Bytes of the process in memory; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0


class _Sessions:
    """What a desk did before there were ``LiveOrders``: a session for each order, one after the other."""

    def __init__(self, policy: Policy, table: pd.DataFrame, history: Bars) -> None:
        self.policy, self.sessions = policy, []
        self.add(table, history)

    def add(self, table: pd.DataFrame, history: Bars) -> None:
        by_symbol = {symbol: history.select([symbol]) for symbol in table["symbol"].unique()}
        for row in table.to_dict("records"):
            self.sessions.append((row["symbol"], self.policy.session(Order(**row), by_symbol[row["symbol"]])))

    def observe(self, bars: dict[str, dict[Any, Any]]) -> None:
        for symbol, session in self.sessions:
            if not session.done:
                session.observe(bars[symbol])

    def decide(self) -> None:
        for _, session in self.sessions:
            if not session.done:
                session.decide()

    @property
    def done(self) -> np.ndarray:
        return np.array([session.done for _, session in self.sessions])


def many_orders(
    model_name: str = "lem-crypto-hourly", *, symbols: int = 200, orders: int = 1000, closes: int = 20, seed: int = 0
) -> dict[str, Any]:
    """Time decisions of many orders after a close.

    Args:
        model_name: Name of a policy or a model.
        symbols: Symbols.
        orders: Orders under way; they started over the last 24 bars.
        closes: Closes that are timed.
        seed: Seed of the market and the orders.

    Returns:
        ``p50_ms``, ``p90_ms``, ``min_ms`` of one close: the bars read and every order decided; ``cpu_ms``: its median
        CPU time on all threads; ``add_ms``: of adding one order, in batches; ``orders``, ``symbols``, ``threads``.
    """
    policy, rng = load_policy(model_name), np.random.default_rng(seed)
    market = synthetic_bars(symbols=symbols, days=14, seed=seed)
    hour, begin = market.frequency, pd.Timestamp("2024-01-12", tz="UTC")
    horizon, each = 24, -(-orders // 24)
    coming = {
        start: {row["symbol"]: row for row in rows.to_dict("records")}
        for start, rows in market.between(start=begin).frame.groupby("timestamp")
    }
    desk = _Sessions if LiveOrders is None else LiveOrders
    live, add, close, cpu, under_way = None, [], [], [], []
    for number in range(horizon + closes):
        start = begin + number * hour
        table = pd.DataFrame(
            {
                "symbol": rng.choice(market.symbols, each),
                "start": start,
                "side": rng.choice(["buy", "sell"], each),
                "benchmark": rng.choice(["vwap", "twap"], each),
                "min_periods": horizon,
                "max_periods": horizon,
            }
        )
        history, clock = market.between(end=start), time.perf_counter()
        if live is None:
            live = desk(policy, table, history)
        else:
            live.add(table, history)
        add.append((time.perf_counter() - clock) / each)
        live.decide()
        under_way.append(int((~live.done).sum()))
        clock, busy = time.perf_counter(), time.process_time()
        live.observe(coming[start])
        live.decide()
        close.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - busy)
    milliseconds = 1e3 * np.array(close[horizon:])
    return {
        "model": model_name,
        "symbols": symbols,
        "orders": int(np.median(under_way[horizon:])),
        "threads": torch.get_num_threads(),
        "min_ms": float(milliseconds.min()),
        "p50_ms": float(np.median(milliseconds)),
        "p90_ms": float(np.percentile(milliseconds, 90)),
        "cpu_ms": 1e3 * float(np.median(cpu[horizon:])),
        "add_ms": 1e3 * float(np.median(add[1:])),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lem-crypto-hourly", help="name of a policy or a model")
    parser.add_argument("--orders", type=int, default=200, help="orders to run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the market and the orders")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each order")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    settings = parser.parse_args()
    result = live_latency(settings.model, orders=settings.orders, seed=settings.seed, repeats=settings.repeats)
    print(f"{result['model']}: {result['decisions']:,} live decisions on one thread, torch {result['torch']}")
    names = [*(f"p{p}" for p in PERCENTILES), "max"]
    columns = {"ms, fastest run of each": "", "ms, all runs": "all_"}
    table = pd.DataFrame({title: [result[f"{kind}{name}_ms"] for name in names] for title, kind in columns.items()})
    print(table.set_index(pd.Index(names)).round(3).to_string())
    print(f"making a session: p50 {result['create_p50_ms']:.1f} ms, p99 {result['create_p99_ms']:.1f} ms")
    print(f"memory of an open session: {result['session_mb']:.3f} MB")
    result["many"] = many = many_orders(settings.model, seed=settings.seed)
    print(f"{many['orders']:,} orders on {many['symbols']} symbols, {many['threads']} threads, ms after a close:")
    print(f"  p50 {many['p50_ms']:.0f}, p90 {many['p90_ms']:.0f}, fastest {many['min_ms']:.0f}")
    print(f"  to add an order {many['add_ms']:.2f}")
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
