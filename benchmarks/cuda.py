"""One script for a CUDA device: the tests that need one, the crypto recipe in four ways, and `execute`.

    python benchmarks/cuda.py [--limit 480] [--data FOLDER] [--out reports/cuda]
    python benchmarks/cuda.py --device cpu --steps 2 --orders 200      # the same parts, tiny and without a device

- The tests that need a CUDA device.
- The crypto recipe for 200 steps in float32 and in bfloat16 mixed precision, each with and without CUDA graphs: steps a
  second (batches included, the first tenth left out), peak memory and validation utility. A combination that the
  trainer refuses is recorded with its refusal.
- `execute` of 100,000 orders with the model on the device, and whether decisions are those of the CPU.

Every part runs in a process of its own, so that one that fails or hangs loses no other. `cuda.json` is written after
each part. The script ends within `--limit` seconds; parts that did not start by then are listed as such. On bars of
--data (the files of the recipe) it reads the training and validation periods only; without, bars are simulated.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lem_models.errors import ConfigError, LEMError
from lem_models.guard.output import to_json

ROOT = Path(__file__).resolve().parents[1]
MODEL = "lem-crypto-hourly"
RECIPE = ROOT / "recipes" / "crypto_hourly.yaml"
COMPARED = 2_000  # orders whose decisions are compared with the CPU's
VALIDATION_BATCHES = 2  # validation is not what is timed
_LONGEST_REASON = 400  # characters


# --- parts -----------------------------------------------------------------------------------------------------------


def cuda_tests(options: argparse.Namespace) -> dict[str, Any]:
    """The tests that ask whether there is a CUDA device."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "cuda.is_available()" in path.read_text()]
    names = [path.relative_to(ROOT).as_posix() for path in files]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""]
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {lines[-1]}")
    return {"files": names, "summary": lines[-1]}


def training(precision: str, *, graphs: bool) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Training by the crypto recipe."""

    def part(options: argparse.Namespace) -> dict[str, Any]:
        from lem_models.modeling.model import LEMModel
        from lem_models.training.run import train
        from lem_models.training.settings import TrainingSettings

        first, stamps = max(1, options.steps // 10), {}

        def on_train_batch_end(module: LEMModel, *_: object) -> None:
            step = module.trainer.global_step
            if step in (first, options.steps):
                _wait(options.device)
                stamps[step] = time.perf_counter()

        with tempfile.TemporaryDirectory(prefix="cuda-") as scratch:
            recipe, data = _recipe(options, Path(scratch), precision, graphs=graphs)
            settings = TrainingSettings(
                accelerator="gpu" if options.device == "cuda" else "cpu", devices=1, progress=False
            )
            with patch.object(LEMModel, "on_train_batch_end", on_train_batch_end):
                run = train(recipe, out=Path(scratch) / "run", data=data, settings=settings)
        steps, market = options.steps - first, recipe.data[0]
        took = stamps[options.steps] - stamps[first]
        return {
            "steps": steps,
            "orders_per_step": market.stretches * market.orders_per_stretch,
            "step_ms": 1e3 * took / steps,
            "steps_per_second": steps / took,
            "orders_per_second": steps * market.stretches * market.orders_per_stretch / took,
            "whole_run_s": run.seconds,
            "validation_utility": run.best_utility,
            **_peak_memory(options.device),
        }

    return part


def _recipe(options: argparse.Namespace, scratch: Path, precision: str, *, graphs: bool) -> tuple[Any, Path]:
    """The recipe, and the folder of its bars."""
    from lem_models.markets.synthetic import synthetic_bars
    from lem_models.training.recipe import Recipe

    recipe, changes = Recipe.read(RECIPE), {"validation_batches": VALIDATION_BATCHES}
    if options.data is None:
        changes["held_out"] = ()  # names that the simulated markets lack
        for market, frequency in zip(recipe.data, ("1h", "30min"), strict=True):
            bars = synthetic_bars(symbols=8, days=365, start="2023-01-01", frequency=frequency, seed=0)
            bars.write(scratch / market.path.name)
    trainer = recipe.trainer.model_copy(
        update={
            "steps": options.steps,
            "steps_per_epoch": options.steps,
            "precision": precision,
            "cuda_graphs": graphs,
        }
    )
    data = tuple(market.model_copy(update=changes) for market in recipe.data)
    return recipe.model_copy(update={"data": data, "trainer": trainer}), options.data or scratch


def execution(options: argparse.Namespace) -> dict[str, Any]:
    """Execution with the model on the device."""
    from lem_models import LEMModel, Order, execute, synthetic_bars

    bars = synthetic_bars(symbols=8, days=120, seed=0)
    there, here = LEMModel.from_pretrained(MODEL).to(options.device), LEMModel.from_pretrained(MODEL)
    minima = [1, 6, 12, 18, there.horizon]
    orders = Order.sample(bars, min_periods=minima, max_periods=there.horizon, limit=options.orders)
    few = orders.iloc[:COMPARED]
    found, known = (execute(model, bars, few).orders for model in (there, here))  # and warms up
    began = time.perf_counter()
    executed = len(execute(there, bars, orders).orders)
    _wait(options.device)
    took = time.perf_counter() - began
    same = (found["periods_used"] == known["periods_used"]).to_numpy()
    difference = (found["slippage_bps"] - known["slippage_bps"])[same].abs()
    return {
        "model": MODEL,
        "orders": executed,
        "periods": there.horizon,
        "seconds": took,
        "orders_per_second": executed / took,
        "compared_with_cpu": len(few),
        "same_periods_as_cpu": float(same.mean()),
        "largest_difference_bps": float(difference.max()),
        **_peak_memory(options.device),
    }


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak_memory(device: str) -> dict[str, float]:
    return {"peak_memory_mb": torch.cuda.max_memory_allocated() / 1e6} if device == "cuda" else {}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "tests": cuda_tests,
    "training, float32": training("32-true", graphs=False),
    "training, float32, CUDA graphs": training("32-true", graphs=True),
    "training, bf16": training("bf16-mixed", graphs=False),
    "training, bf16, CUDA graphs": training("bf16-mixed", graphs=True),
    "execute": execution,
}


# --- the run ---------------------------------------------------------------------------------------------------------


def measured_parts(options: argparse.Namespace, arguments: list[str], keep: Callable[[dict[str, Any]], object]) -> None:
    """Run every part in a process of its own.

    Args:
        options: The options of the command.
        arguments: They as text, for the processes.
        keep: Takes all results so far after each part.
    """
    began, parts = time.monotonic(), {}
    for name in options.only:
        left = options.limit - (time.monotonic() - began)
        if left < 1:
            parts[name] = {"status": "not started", "reason": f"the limit of {options.limit:g} s was reached"}
        else:
            # At most half of the limit: a part that hangs leaves time for others.
            parts[name] = _one([*arguments, "--part", name], min(left, options.limit / 2))
        print(f"{name}: {parts[name]['status']}", parts[name].get("reason", ""), flush=True)
        keep(parts)


def _one(arguments: list[str], limit: float) -> dict[str, Any]:
    """Status and result of one part."""
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=Path.cwd()
    )
    try:
        out, err = started.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)  # with the processes that the part started
        started.communicate()
        return {"status": "timed out", "reason": f"stopped after {limit:.0f} s", "took_s": time.monotonic() - began}
    took = {"took_s": time.monotonic() - began}
    lines = out.strip().splitlines()
    if started.returncode or not lines:
        reason = (err.strip().splitlines() or [f"exit status {started.returncode}"])[-1][:_LONGEST_REASON]
        return {"status": "failed", "reason": reason, **took}
    result: dict[str, Any] = json.loads(lines[-1])
    return {**result, **took}


def _part(options: argparse.Namespace) -> dict[str, Any]:
    """One part, in its own process."""
    try:
        return {"status": "done", **PARTS[options.part](options)}
    except ConfigError as error:
        return {"status": "refused", "reason": str(error)[:_LONGEST_REASON]}
    except Exception as error:  # whatever went wrong on the device is a result
        reason = f"{type(error).__name__}: {str(error).strip()}"
        return {"status": "failed", "reason": reason[:_LONGEST_REASON]}


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on.

    Raises:
        ConfigError: when there is no CUDA device.
    """
    if options.device == "cpu":
        return {"device": "cpu", "torch": torch.__version__}
    if not torch.cuda.is_available():
        raise ConfigError(
            f"this script needs a CUDA device, and torch {torch.__version__} sees none: run it on a machine with one, "
            "or try its parts with --device cpu --steps 2 --orders 200"
        )
    return {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}


def main() -> int:
    """Run, write, and print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=200, help="steps of each training")
    parser.add_argument("--orders", type=int, default=100_000, help="orders to execute")
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for everything")
    parser.add_argument("--data", type=Path, help="folder of the recipe's files; default: simulated bars")
    parser.add_argument("--out", type=Path, default=Path("reports/cuda"), help="folder of cuda.json")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run; default all")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps < 2:
        parser.error("--steps: at least 2, because the first ones are not timed")
    if options.part:
        print(json.dumps(_part(options)))
        return 0
    try:
        facts = _facts(options)
    except LEMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    arguments = ["--device", options.device, "--steps", str(options.steps), "--orders", str(options.orders)]
    if options.data is not None:
        arguments += ["--data", str(options.data)]
    settings = {"steps": options.steps, "bars": "simulated" if options.data is None else "of the recipe"}
    path = options.out / "cuda.json"
    measured_parts(options, arguments, lambda parts: to_json(facts | settings | {"parts": parts}, path))
    print(path.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
