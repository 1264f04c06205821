"""How long a live decision takes: one new bar in, one decision out, on one thread.

    python benchmarks/live.py [--model lem-crypto-hourly] [--orders 300] [--seed 0] [--json live.json]

A decision is ``session.observe(bar)`` and ``session.decide()``: the bar is checked, the fill booked, the features and
the backbone's context of the new bar are computed, and the head decides. Timed over every bar of many orders of all
kinds, at any time of the day and the week, so the beginnings of the backbone's blocks are among them; making a session
is timed apart. The market is simulated, hourly and round the clock: numbers do not matter for the time.

Each order is run several times. Percentiles over the decisions are taken of the fastest run of each, which leaves out
what other programs of the machine took and keeps what a decision takes every time; those of all runs stand beside them.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from lem_models import Bars, Decision, Order, load_policy, synthetic_bars
from lem_models.execution.policy import Policy
from lem_models.execution.records import ExecutionState, OrderBatch

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
        the same way as the first; ``decisions``; ``breakdown_us``: the median time of each step of a decision.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy = load_policy(model_name)
        replays = list(_replays(orders, seed))
        for replay in replays[:3]:  # the first calls of anything are slow
            _time(policy, *replay)
        timed = [[_time(policy, *replay) for _ in range(repeats)] for replay in replays]
        steps = [_time_steps(policy, *replay) for replay in replays]
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
        "breakdown_us": {
            name: 1e6 * float(np.median(np.concatenate([times[name] for times in steps]))) for name in steps[0]
        },
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


def _time_steps(policy: Policy, order: Order, history: Bars, bars: list[dict[Any, Any]]) -> dict[str, np.ndarray]:
    """Seconds of each step of the decisions of one order; the calls are those of the session, in its order."""
    session = policy.session(order, history)
    session._decider = timed = _Timed(session._decider)
    names = ("check the bar", "features and context", "book the fill", "decide, the policy", "decide, the rest")
    times: dict[str, list[float]] = {name: [] for name in names}
    session.decide()
    for bar in bars:
        stamps = [time.perf_counter()]
        closed = session._reader.read(bar)
        stamps.append(time.perf_counter())
        if session._stream is not None:
            session._stream.push(closed)
        stamps.append(time.perf_counter())
        session._reader.accept(closed)
        session._book(closed)
        session._decided = None
        stamps.append(time.perf_counter())
        if session.done:
            break
        timed.seconds = 0.0
        begin = time.perf_counter()
        session.decide()
        whole = time.perf_counter() - begin
        if not timed.seconds:  # finishing: the policy is not asked
            continue
        for name, seconds in zip(names, [*np.diff(stamps), timed.seconds, whole - timed.seconds], strict=True):
            times[name].append(float(seconds))
    return {name: np.array(values) for name, values in times.items()}


class _Timed:
    """A policy that adds up the time that it takes to decide."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.seconds = policy, 0.0

    def decide(self, context: torch.Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        begin = time.perf_counter()
        decision = self.policy.decide(context, orders, state)
        self.seconds = time.perf_counter() - begin
        return decision


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
    print("median time of the steps, us:")
    for name, value in result["breakdown_us"].items():
        print(f"  {name:24s}{value:8.0f}")
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
