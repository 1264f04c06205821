"""Peers beside this package, in one run: TKAN of PyPI's `tkan`, and NautilusTrader's TWAP through its backtest engine.

A peer runs in an interpreter that has it, which need not be the one of this package. Each of its scripts is ours; no
code of a peer is in this repository. A peer that is not installed is named, with the command that installs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.tkan_speed import timed
from benchmarks.workloads import elapsed, fastest
from lem_models import Order, execute, load_policy, synthetic_bars
from lem_models.modeling.layers.tkan import TKAN

__all__ = ["PEERS", "peers_beside"]

_FOLDER = Path(__file__).resolve().parent
_PERIODS = 12


def peers_beside(
    python: str | None = None,
    *,
    turns: int = 3,
    sizes: tuple[int, ...] = (32, 64, 200),
    batch: int = 64,
    steps: int = 131,
    parents: tuple[int, ...] = (100, 400, 1000),
) -> dict[str, Any]:
    """Measure the peers that are installed, and the same work here.

    Args:
        python: Interpreter that has the peers; default this one.
        turns: Turns of each; at most 2 of the backtests.
        sizes: Hidden sizes of the layers.
        batch: Sequences.
        steps: Steps of a sequence.
        parents: Numbers of TWAP orders in a backtest.

    Returns:
        By peer its ``rows`` and ``versions``, or ``not_installed``: the command that installs it.

    Raises:
        RuntimeError: when an installed peer fails, or its layer is not of our size.
    """
    interpreter = python or sys.executable
    measured: dict[str, Any] = {}
    for name, (modules, command) in PEERS.items():
        if not _has(interpreter, modules):
            measured[name] = {"not_installed": command}
        elif name == "tkan":
            measured[name] = _tkan(interpreter, turns, sizes, batch, steps)
        else:
            measured[name] = _nautilus(interpreter, min(turns, 2), parents)
    return measured


PEERS = {
    "tkan": (("tkan", "keras", "torch"), "pip install tkan torch"),
    "nautilus_trader": (("nautilus_trader",), "pip install nautilus_trader"),
}
"""By peer the modules that it needs, and the command that installs them."""


def _has(interpreter: str, modules: tuple[str, ...]) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(name) is None for name in {modules!r}))"
    return subprocess.run([interpreter, "-c", code], capture_output=True, check=False).returncode == 0


def _run(interpreter: str, script: str, *settings: object) -> dict[str, Any]:
    """What a peer's script prints."""
    command = [interpreter, str(_FOLDER / script), *map(str, settings)]
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{script}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _tkan(interpreter: str, turns: int, sizes: tuple[int, ...], batch: int, steps: int) -> dict[str, Any]:
    threads = torch.get_num_threads()
    ours: dict[int, Callable[[], object]] = {}
    weights = {}
    for size in sizes:
        layer, x = TKAN(size, size), torch.randn(batch, steps, size, requires_grad=True)
        gradient = torch.randn(batch, steps, size)
        ours[size] = lambda layer=layer, x=x, gradient=gradient: layer(x)[0].backward(gradient)
        weights[size] = sum(weight.numel() for weight in layer.parameters())
        ours[size]()  # the first call is slow
    best = {size: {"ours_ms": float("inf"), "peer_ms": float("inf")} for size in sizes}
    shape = ("--hidden", *sizes, "--batch", batch, "--steps", steps, "--threads", threads, "--turns", 1)
    for _ in range(turns):
        for size, run in ours.items():
            took = min(timed(run, torch.device("cpu")) for _ in range(3))
            best[size]["ours_ms"] = min(best[size]["ours_ms"], took)
        result = _run(interpreter, "tkan_keras.py", *shape)
        for row in result["rows"]:
            if row["weights"] != weights[row["hidden"]]:
                raise RuntimeError(
                    f"tkan has {row['weights']} weights at {row['hidden']}, ours {weights[row['hidden']]}"
                )
            best[row["hidden"]]["peer_ms"] = min(best[row["hidden"]]["peer_ms"], row["both_ms"])
    rows = [
        {"hidden": size, **times, "times_slower": times["peer_ms"] / times["ours_ms"]} for size, times in best.items()
    ]
    return {"versions": result["versions"], "threads": threads, "batch": batch, "steps": steps, "rows": rows}


def _nautilus(interpreter: str, turns: int, numbers: tuple[int, ...]) -> dict[str, Any]:
    rows, versions = [], {}
    for parents in numbers:
        # One order a bar, as in the peer's script.
        bars = synthetic_bars(symbols=1, days=parents / 24 + 5, seed=0)
        orders = Order.sample(bars, side="buy", max_periods=_PERIODS, lookback=1, limit=parents)
        policy = load_policy("twap")

        def ours(policy: Any = policy, bars: Any = bars, orders: Any = orders) -> int:  # noqa: ANN401
            return len(execute(policy, bars, orders).schedule)

        ours()
        times, peer = [], float("inf")
        for _ in range(turns):
            times.append(elapsed(ours))
            result = _run(interpreter, "nautilus_twap.py", "--parents", parents, "--periods", _PERIODS)
            peer, versions = min(peer, result["cpu_seconds"]), result["versions"]
        took = fastest(times).cpu
        rates = {"ours_per_cpu_second": len(orders) / took, "peer_per_cpu_second": parents / peer}
        rows.append({"parents": parents, "periods": _PERIODS, **rates})
    return {"versions": versions, "rows": rows}
