"""Speed of the hot paths, as ratios inside one run: TKAN, training, execution, live decisions, start-up.

    python benchmarks/speed.py [--only tkan training execution roll live startup] [--out reports/speed]

- TKAN, forward and forward + backward, against the plain loop of its formulas, the eager loops that run without a
  compiler, `torch.nn.LSTM` and `torch.nn.GRU` of the same size, and the floor of the matrix products.
- Training: orders and origins per second of the recipe (an origin is a bar with 4 orders).
- Execution: orders per second of a bundled model.
- Roll: a training step and execution with the kernel for all periods at once, against period by period.
- Live: milliseconds from a closed bar to the decision, on one thread.
- Start-up: `import lem_models` and `lem --help` in fresh processes.

Prints tables, writes `speed.json` and `speed.png`. Competitors take turns, and the fastest of several turns counts: a
busy machine only ever adds time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import torch
from rich.console import Console

from benchmarks.live import live_latency, many_orders
from benchmarks.pictures import speed_figure
from benchmarks.roll_out_speed import roll_out_race
from benchmarks.tkan_speed import race, timed
from lem_models.guard.output import to_json
from lem_models.modeling.kernels.library import kernels
from lem_models.report.console import rich_table
from lem_models.report.figure_style import figure_to_png_bytes
from lem_models.report.tables import Column, Table

SECTIONS = ("tkan", "training", "execution", "roll", "live", "startup")
SIZES = (32, 64, 200)
BATCH, TIME = 64, 131
ORDERS_PER_ORIGIN = 4
AUTHORS_ORIGINS_PER_SECOND = 20.0  # of the published code, whole model, measured on two loaded cores


# --- training and execution ------------------------------------------------------------------------------------------


def training(repeats: int, data: Path | None, precision: str, orders_per_stretch: int | None) -> dict[str, Any]:
    """Orders and origins per second of training steps of the crypto recipe, batches included."""
    from lem_models.markets.bars import Bars
    from lem_models.markets.synthetic import synthetic_bars
    from lem_models.modeling.model import LEMModel
    from lem_models.training.batches import MarketBatches
    from lem_models.training.recipe import Recipe

    recipe = Recipe.read(Path(__file__).parents[1] / "recipes" / "scratch.yaml")
    bars = synthetic_bars(symbols=8, days=365, start="2023-01-01", seed=0) if data is None else Bars.read(data)
    settings = recipe.data[0]
    if orders_per_stretch:
        settings = settings.model_copy(update={"orders_per_stretch": orders_per_stretch})
    module = MarketBatches(bars, settings, recipe.model, recipe.orders)
    model = LEMModel(recipe.model, optimizer=recipe.optimizer).train()
    optimizer = recipe.optimizer.build(model.parameters(), 1000)["optimizer"]
    dtype = torch.bfloat16 if precision == "bf16-mixed" else None
    warnings.filterwarnings("ignore", message="You are trying to `self.log")  # there is no trainer here
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        batch = module.batch(number, training=True)
        made = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            loss = model.training_step(batch, number)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append((made - start, time.perf_counter() - start))
    making, whole = (min(column) for column in zip(*times[2:], strict=True))
    orders = len(batch.orders)
    origins = orders / ORDERS_PER_ORIGIN / whole
    return {
        "precision": precision,
        "orders_per_step": orders,
        "step_ms": 1e3 * whole,
        "batch_ms": 1e3 * making,
        "orders_per_second": orders / whole,
        "origins_per_second": origins,
        "against_authors": origins / AUTHORS_ORIGINS_PER_SECOND,
    }


def execution(repeats: int, data: Path | None, model_name: str) -> dict[str, Any]:
    """Orders per second of ``execute``, features of the market included."""
    from lem_models import Bars, LEMModel, Order, execute, synthetic_bars

    model = LEMModel.from_pretrained(model_name)
    bars = synthetic_bars(symbols=8, days=120, seed=0) if data is None else Bars.read(data)
    minima = sorted({1, *(max(1, model.horizon * quarter // 4) for quarter in (1, 2, 3)), model.horizon})
    orders = Order.sample(bars, every=1, side="both", min_periods=minima, max_periods=model.horizon, limit=100_000)
    best = min(timed(lambda: execute(model, bars, orders), torch.device("cpu")) for _ in range(max(2, repeats // 3)))
    return {
        "model": model_name,
        "orders": len(orders),
        "seconds": best / 1e3,
        "orders_per_second": 1e3 * len(orders) / best,
    }


def startup(repeats: int) -> dict[str, float]:
    """Seconds of fresh processes, the bare interpreter's own among them."""
    commands = {
        "python": ["-c", "pass"],
        "import lem_models": ["-c", "import lem_models"],
        "lem --help": ["-m", "lem_models.cli", "--help"],
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(max(3, repeats)):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            best[name] = min(best[name], time.perf_counter() - start)
    best["import lem_models"] -= best["python"]
    return best


# --- report ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--out", type=Path, default=Path("reports/speed"), help="folder of speed.json and speed.png")
    parser.add_argument("--data", type=Path, help="bars for training and execution; default: a synthetic market")
    parser.add_argument("--model", default="lem-crypto-hourly", help="model to execute and to decide live")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; default: torch's own choice")
    parser.add_argument("--device", default="cpu", help="device of the TKAN section: cpu or cuda")
    parser.add_argument(
        "--precision", default="32-true", choices=("32-true", "bf16-mixed"), help="of the training steps"
    )
    parser.add_argument("--repeats", type=int, default=7, help="turns of which the fastest counts")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 120)
    measured: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "compiled_kernels": kernels() is not None,
        "batch": BATCH,
        "time": TIME,
    }
    if "tkan" in options.only:
        measured["tkan"] = race(SIZES, batch=BATCH, steps=TIME, turns=options.repeats, device=options.device)
        _print_tkan(console, measured["tkan"])
    if "training" in options.only:
        for name, orders in (("training", None), ("training, 160 orders a stretch", 160)):
            measured[name] = training(options.repeats, options.data, options.precision, orders)
            _print_facts(console, f"Crypto recipe: {name}", measured[name])
    if "execution" in options.only:
        measured["execution"] = execution(options.repeats, options.data, options.model)
        _print_facts(console, "Execution", measured["execution"])
    if "roll" in options.only:
        measured["roll"] = roll_out_race(options.repeats)
        for name, facts in measured["roll"].items():
            _print_facts(console, f"Kernel for all periods: {name}", facts)
    if "live" in options.only:
        measured["live"], measured["many_orders"] = live_latency(options.model), many_orders(options.model)
        _print_facts(console, "Live decision, one thread", measured["live"])
        _print_facts(console, "Many live orders", measured["many_orders"])
    if "startup" in options.only:
        measured["startup"] = startup(options.repeats)
        _print_facts(console, "Start-up, seconds", measured["startup"])
    path = to_json(measured, options.out / "speed.json")
    if "tkan" in measured:
        picture = options.out / "speed.png"
        picture.write_bytes(figure_to_png_bytes(speed_figure(measured["tkan"])))
    console.print(f"{path.resolve()}", soft_wrap=True)


def _print_tkan(console: Console, rows: list[dict[str, Any]]) -> None:
    columns = [
        Column("layer", "layer"),
        Column("forward_ms", "forward", "{:.1f}"),
        Column("both_ms", "+ backward", "{:.1f}"),
        Column("faster_than_plain", "faster than plain", "{:.2f} x"),
        Column("times_lstm", "times LSTM", "{:.2f} x"),
        Column("kept_mb", "kept, MB", "{:.0f}"),
    ]
    title = f"TKAN, {BATCH} sequences of {TIME} steps, milliseconds"
    console.print(rich_table(Table(pd.DataFrame(rows), columns, title=title, grouped=[Column("hidden", "hidden")])))


def _print_facts(console: Console, title: str, facts: Mapping[str, Any]) -> None:
    shown = {name: f"{value:,.3f}" if isinstance(value, float) else str(value) for name, value in facts.items()}
    frame = pd.DataFrame(shown.items(), columns=["fact", "value"])
    console.print(rich_table(Table(frame, [Column("fact", ""), Column("value", "")], title=title)))


if __name__ == "__main__":
    main()
