"""An older commit against this one: the same workloads, in turns, in fresh processes of one run.

The workloads are those of :mod:`benchmarks.workloads` at this commit. Only the package is the old one's: its
``lem_models/`` and ``recipes/`` are taken out of git into a temporary folder. Each turn runs the old package, then the
new one; the best of all turns counts on both sides. What the old package cannot run has a reason instead of a number.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.workloads import ROOT, WORKLOADS, prepare

__all__ = ["COMPARISONS", "Comparison", "against", "compared"]

_LONGEST_REASON = 300  # characters


class Comparison(NamedTuple):
    """A figure to compare.

    Attributes:
        workload: Name of the workload.
        label: What is measured.
        figure: Its key in the workload's result.
        unit: Its unit.
        threads: Threads of the process.
        more_is_better: Whether it is a rate; otherwise it is a time.
        over: Workload whose figure it is divided by, for growth with size.
    """

    workload: str
    label: str
    figure: str
    unit: str
    threads: int = 1
    more_is_better: bool = False
    over: str | None = None


COMPARISONS = (
    Comparison(
        *(
            "training",
            "training, crypto recipe of each, 4 orders an origin, 2 cores",
            "origins_per_second",
            "origins/s",
        ),
        threads=2,
        more_is_better=True,
    ),
    Comparison(
        *(
            "fewer stretches",
            "the same, its 3,200 orders a step in 20 stretches of 160",
            "origins_per_second",
            "origins/s",
        ),
        threads=2,
        more_is_better=True,
    ),
    Comparison(
        *("dense", "`execute`, dense orders, 12 periods", "orders_per_cpu_second", "orders per CPU second"),
        more_is_better=True,
    ),
    Comparison(
        *("sparse", "`execute`, sparse orders, 24 periods", "orders_per_cpu_second", "orders per CPU second"),
        more_is_better=True,
    ),
    Comparison("desk", "1,000 live orders on 200 symbols after a close, 2 cores", "p50_ms", "ms", threads=2),
    Comparison("cold start", "cold start to the first decision", "cpu_seconds", "CPU s"),
    Comparison("5000 symbols", "TWAP order, 5,000 symbols", "cpu_us_per_order", "µs of CPU"),
    Comparison(
        *("5000 symbols", "cost of an order, 5,000 symbols over 1,000", "cpu_us_per_order", "×"), over="1000 symbols"
    ),
)


def against(
    revision: str,
    *,
    turns: int = 3,
    repeats: int = 3,
    data: Path | None = None,
    limit: int = 40_000,
    only: Sequence[str] = (),
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Measure an old revision and the working tree.

    Args:
        revision: Commit, branch or tag of this repository.
        turns: Turns of both.
        repeats: Repeats inside a process.
        data: Real hourly bars, see :func:`benchmarks.workloads.prepare`.
        limit: Most dense orders.
        only: Workloads to run; all if empty.
        tell: Takes a line on each process that ended.

    Returns:
        ``old`` and ``new``, the commits; ``turns``; ``rows``, see :func:`compared`; ``reasons``, by workload, why the
        old package cannot run it; ``measured``, all figures of all turns.

    Raises:
        SystemExit: when the repository has no such revision, or the new package cannot run a workload.
    """
    threads = {comparison.workload: comparison.threads for comparison in COMPARISONS}
    wanted = [name for name in WORKLOADS if not only or name in only]
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"old": [], "new": []} for name in wanted}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="speed-") as scratch:
        old, inputs = Path(scratch) / "old", Path(scratch) / "inputs"
        extract(revision, old)
        inputs.mkdir()
        prepare(inputs, data, limit=limit)
        for turn in range(turns):
            for name in wanted:
                for side, root in (("old", old), ("new", ROOT)):
                    if side == "old" and name in reasons:
                        continue
                    settings = ("--inputs", inputs, "--turns", repeats, "--threads", threads.get(name, 1))
                    try:
                        measured[name][side].append(_measured(root, name, *settings))
                    except RuntimeError as error:
                        if side == "new":
                            raise SystemExit(f"{name}: {error}") from None
                        reasons[name] = str(error)
                    tell(
                        f"turn {turn + 1} of {turns}: {name}, {side}"
                        + (": " + reasons[name] if side == "old" and name in reasons else "")
                    )
    return {
        "old": _git("rev-parse", "--short", f"{revision}^{{commit}}").strip(),
        "new": _git("describe", "--always", "--dirty", "--exclude=*").strip(),
        "turns": turns,
        "repeats": repeats,
        "rows": compared(measured),
        "reasons": reasons,
        "measured": measured,
    }


def compared(measured: dict[str, dict[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """The best turn of both sides, and their ratio.

    Args:
        measured: Results of the workloads by name and side, turn after turn.

    Returns:
        A row for each figure that was measured: ``label``, ``unit``, ``old`` (``None`` where the old package cannot
        run it), ``new``, and ``times_better``: above 1 the new package is faster, or its cost grows less.
    """
    rows = []
    for each in COMPARISONS:
        if not measured.get(each.workload, {}).get("new") or (each.over and not measured.get(each.over, {}).get("new")):
            continue
        old, new = (_best(each, measured, side) for side in ("old", "new"))
        better = None if old is None or new is None else new / old if each.more_is_better else old / new
        row = {"label": each.label, "unit": each.unit, "threads": each.threads, "old": old, "new": new}
        rows.append(row | {"times_better": better})
    return rows


def _best(each: Comparison, measured: dict[str, dict[str, list[dict[str, Any]]]], side: str) -> float | None:
    def best(workload: str) -> float | None:
        values = [result[each.figure] for result in measured[workload][side]]
        return (max if each.more_is_better else min)(values, default=None)

    value = best(each.workload)
    if each.over is None or value is None:
        return value
    base = best(each.over)
    return None if base is None else value / base


def extract(revision: str, folder: Path) -> None:
    """Write the package and the recipes of a revision into a folder.

    Raises:
        SystemExit: when the repository has no such revision.
    """
    done = subprocess.run(
        ["git", "archive", "--format=tar", f"{revision}^{{commit}}", "lem_models", "recipes"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"--against {revision}: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _measured(root: Path, name: str, *settings: object) -> dict[str, Any]:
    """Result of a workload with the package in ``root``; a RuntimeError with the last line of what it printed."""
    threads = str(settings[-1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(root), str(ROOT))),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    command = [sys.executable, "-m", "benchmarks.workloads", name, *map(str, settings)]
    # With -m the working folder comes first in the module path.
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(lines[-1][:_LONGEST_REASON])
    result = json.loads(done.stdout.splitlines()[-1])
    if Path(result["package"]) != root.resolve() / "lem_models":
        raise RuntimeError(f"the package of {result['package']} was measured instead of that of {root}")
    measured: dict[str, Any] = result["measured"]
    return measured


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
