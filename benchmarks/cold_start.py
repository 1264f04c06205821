"""The start: CPU seconds from a fresh process to the first decision, and the time of the first compilation.

    python benchmarks/cold_start.py [--repeats 5] [--out cold_start.json]

A fresh interpreter imports the package, loads lem-crypto-hourly, opens a live session on synthetic bars and decides
once, on one thread, with the kernels compiled before. Seconds are of the processor, user and system. The smallest of
several runs counts, for each step by itself: a busy machine only ever adds time. `import lightning`, which a decision
does without, is measured after it. The kernels are compiled once more in an empty cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
DAYS = 20

_START = """
import sys, time

steps = {}
def step(name):
    steps[name] = time.process_time() - sum(steps.values())

step("python")
import torch
step("torch")
import pandas, pyarrow
step("pandas, pyarrow")
"""

_DECISION = f"""
from lem_models import LEMModel, Order, synthetic_bars
step("lem_models")
bars = synthetic_bars(symbols=("BTCUSDT",), days={DAYS}, start="2023-01-01", seed=0)
step("synthetic bars")
model = LEMModel.from_pretrained("lem-crypto-hourly")
step("load the model")
order = Order(symbol="BTCUSDT", start="2023-01-{DAYS + 1:02d}T00:00Z", side="buy", min_periods=1, max_periods=12)
model.session(order, history=bars).decide()
step("decide")
"""

_LIGHTNING = """
import lightning
step("lightning")
"""

_REPORT = "import json\nprint(json.dumps(steps))\n"

_COMPILATION = """
import json, resource, time
from lem_models.modeling.kernels.library import kernels
start = time.perf_counter()
made = kernels() is not None
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"seconds": wall, "cpu_seconds": used.ru_utime + used.ru_stime} if made else None))
"""


def cold_start(repeats: int) -> dict[str, Any]:
    """CPU seconds from a fresh process to the first decision.

    Args:
        repeats: Fresh processes of each kind; the smallest number counts.

    Returns:
        ``cpu_seconds`` until the first decision; ``process_cpu_seconds``, of the whole process, its end too; ``steps``,
        the CPU seconds of each step in their order (``python`` is the start of the interpreter);
        ``lightning_cpu_seconds``, of its import after the decision (near 0 if the decision imported it already);
        ``compile_seconds`` and ``compile_cpu_seconds`` of the kernels of float32, ``None`` where nothing can be
        compiled.
    """
    _run(_START + _DECISION + _REPORT)  # compiles the kernels, and fills the caches of bytecode and files
    runs = [_run(_START + _DECISION + _REPORT) for _ in range(repeats)]
    later = [_run(_START + _DECISION + _LIGHTNING + _REPORT)[1]["lightning"] for _ in range(max(1, repeats // 2))]
    builds = [_build() for _ in range(max(1, repeats // 2))]
    made = [build for build in builds if build is not None]
    return {
        "cpu_seconds": min(sum(steps.values()) for _, steps in runs),
        "process_cpu_seconds": min(total for total, _ in runs),
        "steps": {name: min(steps[name] for _, steps in runs) for name in runs[0][1]},
        "lightning_cpu_seconds": min(later),
        "compile_seconds": min((build["seconds"] for build in made), default=None),
        "compile_cpu_seconds": min((build["cpu_seconds"] for build in made), default=None),
    }


def _run(code: str, **environment: str) -> tuple[float, Any]:
    """CPU seconds of a fresh interpreter, and what it printed as JSON."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, json.loads(done.stdout)


def _build() -> dict[str, float] | None:
    """Seconds of a compilation into an empty cache folder."""
    with tempfile.TemporaryDirectory() as folder:
        build: dict[str, float] | None = _run(_COMPILATION, LEM_CACHE=str(Path(folder, "cache")))[1]
    return build


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = cold_start(options.repeats)
    for name, seconds in result["steps"].items():
        print(f"{name:32}{seconds:6.2f} CPU s")
    print(f"{'until the first decision':32}{result['cpu_seconds']:6.2f} CPU s")
    print(f"{'whole process':32}{result['process_cpu_seconds']:6.2f} CPU s")
    print(f"{'import lightning after it':32}{result['lightning_cpu_seconds']:6.2f} CPU s")
    if result["compile_seconds"] is not None:
        wall, cpu = result["compile_seconds"], result["compile_cpu_seconds"]
        print(f"{'first compilation of the kernels':32}{wall:6.2f} s, {cpu:.2f} CPU s")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
