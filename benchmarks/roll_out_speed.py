"""All periods of orders in one kernel against period by period: a training step, its roll-out alone, `execute`.

Both do the same work with the same weights and take turns; the fastest of several turns counts. Everything else of a
training step (backbone, auxiliary loss, objective) is the same code on both sides. "Dense" orders start on every bar,
so that many of them read the same contexts; "sparse" ones start every four days, and each has contexts of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.tkan_speed import timed
from lem_models import LEMModel, Order, execute, synthetic_bars
from lem_models.execution.records import OrderContexts, Paths
from lem_models.execution.simulator import simulate
from lem_models.modeling.heads import AllocationHead, FlexibleHead
from lem_models.training.batches import MarketBatches
from lem_models.training.recipe import Recipe

__all__ = ["roll_out_race"]

_RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "crypto_hourly.yaml"
_MODEL = "lem-crypto-hourly"


@contextmanager
def period_by_period() -> Iterator[None]:
    """Without the kernel of the roll-out; the other kernels stay."""
    with patch.object(FlexibleHead, "roll_out", AllocationHead.roll_out):
        yield


def roll_out_race(turns: int, *, days: int = 365, limit: int = 40_000) -> dict[str, dict[str, Any]]:
    """Milliseconds of both and their ratio, by the work that is done.

    Args:
        turns: Turns of each.
        days: Length of the synthetic markets; a sixth of it for dense orders.
        limit: Most dense orders.
    """
    warnings.filterwarnings("ignore", message="You are trying to `self.log")  # there is no trainer here
    work = training_work(days) | execution_work(days, limit)
    return {name: _race(run, count, turns) for name, (run, count) in work.items()}


def training_work(days: int) -> dict[str, tuple[Callable[[], object], int]]:
    """A step of the crypto recipe and its roll-out alone, forward and backward: each with its number of orders."""
    recipe, model = Recipe.read(_RECIPE), LEMModel.from_pretrained(_MODEL).train()
    bars = synthetic_bars(symbols=8, days=days, start="2023-01-01", seed=0)
    settings = recipe.data[0].model_copy(update={"held_out": ()})  # its symbols are not those of the synthetic market
    batch = MarketBatches(bars, settings, model.config, recipe.orders).batch(0, training=True)
    optimizer = recipe.optimizer.build(model.parameters(), 1000)["optimizer"]
    optimizer.param_groups[0]["lr"] = 0.0  # every step has the same work
    contexts = model.order_contexts(batch)
    contexts = OrderContexts(contexts.values.detach().requires_grad_(), contexts.rows)

    def step() -> None:
        model.training_step(batch, 0).backward()
        optimizer.step()
        optimizer.zero_grad()

    def rolled() -> None:
        paths: Paths = simulate(model, batch.orders, batch.window, contexts)
        (paths.fills.sum() + paths.finish.sum()).backward()
        model.zero_grad()

    count = len(batch.orders)
    return {"training step": (step, count), "roll-out, forward and backward": (rolled, count)}


def execution_work(days: int, limit: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Execution of dense and of sparse orders, each with its number."""
    model = LEMModel.from_pretrained(_MODEL)
    long, short = (synthetic_bars(symbols=8, days=length, seed=0) for length in (days, days // 6))
    dense = Order.sample(short, min_periods=[1, 6, 12, 24], max_periods=model.horizon, limit=limit)
    sparse = Order.sample(long, every="96h", min_periods=1, max_periods=model.horizon, side="buy")
    return {
        "execute, dense orders": (lambda: execute(model, short, dense), len(dense)),
        "execute, sparse orders": (lambda: execute(model, long, sparse), len(sparse)),
    }


def _race(run: Callable[[], object], orders: int, turns: int) -> dict[str, Any]:
    best = {"kernel": float("inf"), "periods": float("inf")}
    for turn in range(turns + 1):  # the first warms up
        for name in best:
            if name == "kernel":
                took = timed(run, torch.device("cpu"))
            else:
                with period_by_period():
                    took = timed(run, torch.device("cpu"))
            if turn:
                best[name] = min(best[name], took)
    return {
        "orders": orders,
        "kernel_ms": best["kernel"],
        "period_by_period_ms": best["periods"],
        "orders_per_second": 1e3 * orders / best["kernel"],
        "times_faster": best["periods"] / best["kernel"],
    }
