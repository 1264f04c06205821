"""The work that the speed benchmark times and compares with an older commit: training, execution, a desk, symbols.

    python -m benchmarks.workloads NAME --inputs FOLDER [--turns 3] [--threads 1]

One workload in this process, for whichever ``lem_models`` comes first in the module path; prints one line of JSON.
:func:`prepare` writes the bars and orders before, once: two versions of the package then do the same work. Only names
of the package that older versions have too are used here, or are replaced where they lack one.

A figure "per CPU second" counts the CPU time of all threads, so other programs of the machine hardly change it. Of
several turns the fastest counts.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[1]
MODEL = "lem-crypto-hourly"
RECIPE = ROOT / "recipes" / "scratch.yaml"
ORDERS_PER_ORIGIN = 4
AUTHORS_ORIGINS_PER_SECOND = 20.0  # of the published code, whole model, measured on two loaded cores
UNTIL = "2023-01-01"  # end of the real bars: they are of the training period of the zoo's models
SPARSE_STEP, SPARSE_SYMBOLS = "200h", 8


class Elapsed(NamedTuple):
    """Seconds by the clock, and CPU seconds of all threads."""

    wall: float
    cpu: float


def elapsed(run: Callable[[], object]) -> Elapsed:
    """Time one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Elapsed(time.perf_counter() - wall, time.process_time() - cpu)


def fastest(times: list[Elapsed]) -> Elapsed:
    """The least of each."""
    return Elapsed(*(min(column) for column in zip(*times, strict=True)))


# --- inputs ----------------------------------------------------------------------------------------------------------


def prepare(folder: Path, data: Path | None = None, *, limit: int = 40_000) -> None:
    """Write the bars and orders of the workloads.

    Args:
        folder: Where they go.
        data: Real hourly bars for the sparse orders; bars from :data:`UNTIL` on are left out. Default: simulated ones.
        limit: Most dense orders.
    """
    from lem_models import Bars, Order, synthetic_bars

    year = synthetic_bars(symbols=8, days=365, start="2023-01-01", seed=0)
    year.write(folder / "training.parquet")
    dense = synthetic_bars(symbols=8, days=120, seed=0)
    dense.write(folder / "dense.parquet")
    minima = [1, 3, 6, 9, 12]
    orders = Order.sample(dense, min_periods=minima, max_periods=12, limit=limit)
    orders.to_parquet(folder / "dense.orders.parquet")
    sparse = year
    if data is not None:
        sparse = Bars.read(data).between(end=UNTIL)
        longest = sparse.frame["symbol"].value_counts().index[:SPARSE_SYMBOLS]
        sparse = sparse.select(sorted(map(str, longest)))
    sparse.write(folder / "sparse.parquet")
    # One order a start: each has contexts of its own.
    orders = Order.sample(sparse, every=SPARSE_STEP, side="buy", min_periods=1, max_periods=24)
    orders.to_parquet(folder / "sparse.orders.parquet")
    about = {
        "bars": "simulated" if data is None else f"{data.name}, before {UNTIL}",
        "symbols": len(sparse.symbols),
        "every": SPARSE_STEP,
    }
    (folder / "sparse.json").write_text(json.dumps(about), encoding="utf-8")


# --- workloads -------------------------------------------------------------------------------------------------------


def training(
    folder: Path, turns: int, *, precision: str = "32-true", orders_per_stretch: int | None = None
) -> dict[str, Any]:
    """Orders and origins per second of training steps of the crypto recipe, batches included.

    With ``orders_per_stretch``, a step has as many orders as the recipe's, in fewer stretches.
    """
    from lem_models import Bars, LEMModel
    from lem_models.training.batches import MarketBatches
    from lem_models.training.recipe import Recipe

    recipe, bars = Recipe.read(RECIPE), Bars.read(folder / "training.parquet")
    settings = recipe.data[0]
    if orders_per_stretch:
        stretches = settings.stretches * settings.orders_per_stretch // orders_per_stretch
        settings = settings.model_copy(update={"orders_per_stretch": orders_per_stretch, "stretches": stretches})
    module = MarketBatches(bars, settings, recipe.model, recipe.orders)
    model = LEMModel(recipe.model, optimizer=recipe.optimizer).train()
    optimizer = recipe.optimizer.build(model.parameters(), 1000)["optimizer"]
    dtype = torch.bfloat16 if precision == "bf16-mixed" else None
    warnings.filterwarnings("ignore", message="You are trying to `self.log")  # there is no trainer here
    making, steps, orders = [], [], 0
    for number in range(turns + 2):
        drawn: list[Any] = []

        def draw(number: int = number, drawn: list[Any] = drawn) -> None:
            drawn.append(module.batch(number, training=True))

        def step(number: int = number, drawn: list[Any] = drawn) -> None:
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                loss = model.training_step(drawn[0], number)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        made, stepped = elapsed(draw), elapsed(step)
        orders = len(drawn[0].orders)
        if number >= 2:  # the first calls of anything are slow
            making.append(made)
            steps.append(Elapsed(made.wall + stepped.wall, made.cpu + stepped.cpu))
    whole = fastest(steps)
    origins = orders / ORDERS_PER_ORIGIN
    return {
        "precision": precision,
        "threads": torch.get_num_threads(),
        "orders_per_step": orders,
        "step_ms": 1e3 * whole.wall,
        "step_cpu_ms": 1e3 * whole.cpu,
        "batch_ms": 1e3 * fastest(making).wall,
        "orders_per_second": orders / whole.wall,
        "origins_per_second": origins / whole.wall,
        "origins_per_cpu_second": origins / whole.cpu,
        "against_authors": origins / whole.wall / AUTHORS_ORIGINS_PER_SECOND,
    }


def execution(folder: Path, turns: int, kind: str, *, policy: str = MODEL) -> dict[str, Any]:
    """Orders per second of ``execute``, features of the market included.

    Args:
        folder: Of :func:`prepare`.
        turns: Calls that are timed, after one that warms up.
        kind: ``"dense"``, orders from every bar, of up to 12 periods; ``"sparse"``, one every 200 bars of a symbol, of
            up to 24 periods.
        policy: Name of the policy.
    """
    from lem_models import Bars, execute, load_policy

    loaded, bars = load_policy(policy), Bars.read(folder / f"{kind}.parquet")
    orders = pd.read_parquet(folder / f"{kind}.orders.parquet")
    executed: list[int] = []

    def run() -> None:
        executed.append(len(execute(loaded, bars, orders).orders))

    times = [elapsed(run) for _ in range(turns + 1)]
    took, count = fastest(times[1:]), executed[0]
    return {
        "model": policy,
        "threads": torch.get_num_threads(),
        "orders": count,
        "periods": int(orders["max_periods"].max()),
        "seconds": took.wall,
        "cpu_seconds": took.cpu,
        "orders_per_second": count / took.wall,
        "orders_per_cpu_second": count / took.cpu,
        **(json.loads((folder / "sparse.json").read_text(encoding="utf-8")) if kind == "sparse" else {}),
    }


def _desk(folder: Path, turns: int) -> dict[str, Any]:
    from benchmarks.live import many_orders

    return many_orders(MODEL, closes=2 + turns)


def _cold_start(folder: Path, turns: int) -> dict[str, Any]:
    from benchmarks import cold_start as module

    # Its processes take the package from their working folder, which must be that of the package measured here.
    with patch.object(module, "REPOSITORY", package_root()):
        return module.cold_start(max(1, turns // 2))  # each repeat is several processes and a compilation


def _symbols(count: int) -> Callable[[Path, int], dict[str, Any]]:
    def measure(folder: Path, turns: int) -> dict[str, Any]:
        from benchmarks.scaling import measure_symbols

        return measure_symbols(count, turns)

    return measure


def package_root() -> Path:
    """Folder that holds the package that is measured."""
    import lem_models

    return Path(lem_models.__file__).resolve().parents[1]


WORKLOADS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "training": training,
    "fewer stretches": lambda folder, turns: training(folder, turns, orders_per_stretch=160),
    "dense": lambda folder, turns: execution(folder, turns, "dense"),
    "sparse": lambda folder, turns: execution(folder, turns, "sparse"),
    "desk": _desk,
    "cold start": _cold_start,
    "1000 symbols": _symbols(1000),
    "5000 symbols": _symbols(5000),
}


def main() -> None:
    """Run one workload and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=WORKLOADS)
    parser.add_argument("--inputs", type=Path, required=True, help="folder of prepare()")
    parser.add_argument("--turns", type=int, default=3, help="turns of which the fastest counts")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measured = WORKLOADS[options.name](options.inputs, options.turns)
    print(json.dumps({"package": str(package_root() / "lem_models"), "measured": measured}))


if __name__ == "__main__":
    main()
