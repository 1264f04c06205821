"""Speed of the hot paths, as ratios inside one run, beside peers, and against an older commit.

    python benchmarks/speed.py [--only tkan training execution roll live startup cold symbols peers]
    python benchmarks/speed.py --against REVISION --data crypto_hourly.parquet

- TKAN, forward and forward + backward, against the plain loop of its formulas, the eager loops that run without a
  compiler, `torch.nn.LSTM` and `torch.nn.GRU` of the same size, and the floor of the matrix products.
- Training: orders and origins per second of the recipe (an origin is a bar with 4 orders).
- Execution: orders per second of a bundled model, on one thread; dense orders start on every bar, sparse ones every 200
  bars, and each of them reads contexts of its own. With --data sparse ones are on real hourly bars.
- Roll: a training step and execution with the kernel for all periods at once, against period by period, on one thread.
- Live: milliseconds from a closed bar to the decision, on one thread; making a session and its memory; 1,000 orders on
  200 symbols after a close.
- Start-up: `import lem_models` and `lem --help` in fresh processes; cold: a cold start to the first decision.
- Symbols: time per order in markets of 10 to 5,000 symbols.
- Peers, on one thread, where they are installed (--peer-python names an interpreter that has them): TKAN of PyPI's
  `tkan` on its torch back end, and NautilusTrader's TWAP example through its backtest engine, which does far more per
  order.
- With --against, the main figures of an older commit and of this one: the same work, in turns.

Prints tables, writes `speed.json`, anew after each section, and `speed.png`. Competitors take turns, and the fastest of
several turns counts: a busy machine only ever adds time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import torch
from rich.console import Console

from benchmarks.against import against
from benchmarks.live import live_latency, many_orders
from benchmarks.peers.beside import peers_beside
from benchmarks.pictures import speed_figure
from benchmarks.roll_out_speed import roll_out_race
from benchmarks.scaling import measure_numbers_of_symbols
from benchmarks.tkan_speed import race
from benchmarks.workloads import MODEL, UNTIL, execution, prepare, training
from lem_models.guard.output import to_json
from lem_models.modeling.kernels.library import kernels
from lem_models.report.console import rich_table
from lem_models.report.figure_style import figure_to_png_bytes
from lem_models.report.tables import Column, Table

SECTIONS = ("tkan", "training", "execution", "roll", "live", "startup", "cold", "symbols", "peers")
SIZES = (32, 64, 200)
SYMBOLS = (10, 100, 1000, 5000)
BATCH, TIME = 64, 131


# --- sections --------------------------------------------------------------------------------------------------------


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


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch: for what is compared per core, and hardly disturbed by other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Sections:
    """The sections of one run; each returns its part of the record."""

    def __init__(self, options: argparse.Namespace, inputs: Path, console: Console) -> None:
        self.options, self.inputs, self.console = options, inputs, console

    def tkan(self) -> dict[str, Any]:
        options = self.options
        return {"tkan": race(SIZES, batch=BATCH, steps=TIME, turns=options.repeats, device=options.device)}

    def training(self) -> dict[str, Any]:
        return {"training": training(self.inputs, self.options.repeats, precision=self.options.precision)}

    def execution(self) -> dict[str, Any]:
        repeats = max(2, self.options.repeats // 3)
        with one_thread():
            return {
                f"execution, {kind}": execution(self.inputs, repeats, kind, policy=self.options.model)
                for kind in ("dense", "sparse")
            }

    def roll(self) -> dict[str, Any]:
        with one_thread():
            return {"roll": roll_out_race(self.options.repeats)}

    def live(self) -> dict[str, Any]:
        return {"live": live_latency(self.options.model), "many_orders": many_orders(self.options.model)}

    def startup(self) -> dict[str, Any]:
        return {"startup": startup(self.options.repeats)}

    def cold(self) -> dict[str, Any]:
        from benchmarks.cold_start import cold_start

        return {"cold_start": cold_start(self.options.repeats)}

    def symbols(self) -> dict[str, Any]:
        return {"symbols": measure_numbers_of_symbols(self.options.symbols, self.options.repeats)}

    def peers(self) -> dict[str, Any]:
        with one_thread():
            measured = peers_beside(self.options.peer_python, turns=self.options.repeats, batch=BATCH, steps=TIME)
        missing = {name: facts["not_installed"] for name, facts in measured.items() if "not_installed" in facts}
        for name, command in missing.items():
            self.console.print(f"peer {name}: not installed: {command}")
        if missing:
            self.console.print(f"{len(missing)} of {len(measured)} peers left out (--peer-python: where they are)")
        return {"peers": measured}

    def against(self) -> dict[str, Any]:
        options = self.options
        turns, repeats = max(2, options.repeats // 2), max(2, options.repeats // 3)
        return {
            "against": against(
                options.against,
                turns=turns,
                repeats=repeats,
                data=options.data,
                limit=options.limit,
                tell=self.console.print,
            )
        }


# --- report ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=(*SECTIONS, "against"), help="sections to run; default all, against if asked for"
    )
    parser.add_argument("--out", type=Path, default=Path("reports/speed"), help="folder of speed.json and speed.png")
    parser.add_argument("--against", metavar="REVISION", help="older commit to compare with, in turns")
    parser.add_argument(
        "--data",
        type=Path,
        help=f"real hourly bars for sparse orders, of which those before {UNTIL} are read; default: simulated ones",
    )
    parser.add_argument("--model", default=MODEL, help="model to execute and to decide live")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; default: torch's own choice")
    parser.add_argument("--device", default="cpu", help="device of the TKAN section: cpu or cuda")
    parser.add_argument(
        "--precision", default="32-true", choices=("32-true", "bf16-mixed"), help="of the training steps"
    )
    parser.add_argument("--repeats", type=int, default=7, help="turns of which the fastest counts")
    parser.add_argument("--limit", type=int, default=40_000, help="most dense orders")
    parser.add_argument("--symbols", type=int, nargs="+", default=list(SYMBOLS), help="numbers of symbols")
    parser.add_argument("--peer-python", help="interpreter that has the peers; default: this one")
    options = parser.parse_args()
    if options.only and ("against" in options.only) != (options.against is not None):
        parser.error("--only against goes with --against REVISION")
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
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    wanted = options.only or (*SECTIONS, *(("against",) if options.against else ()))
    path = options.out / "speed.json"
    with tempfile.TemporaryDirectory(prefix="speed-") as inputs:
        if {"training", "execution"} & set(wanted):
            prepare(Path(inputs), options.data, limit=options.limit)
        sections = _Sections(options, Path(inputs), console)
        for name in wanted:
            section = getattr(sections, name)()
            measured |= section
            to_json(measured, path)
            for key, facts in section.items():
                _print_section(console, key, facts)
    if "tkan" in measured:
        picture = options.out / "speed.png"
        picture.write_bytes(figure_to_png_bytes(speed_figure(measured["tkan"])))
    console.print(f"{path.resolve()}", soft_wrap=True)


def _print_section(console: Console, name: str, facts: Any) -> None:  # noqa: ANN401
    """A section as a table of facts, a table for each of its own sections, or its rows."""
    if name == "tkan":
        _print_tkan(console, facts)
    elif name == "against":
        _print_rows(console, f"{facts['old']} against {facts['new']}", facts["rows"])
        for workload, reason in facts["reasons"].items():
            console.print(f"{facts['old']} cannot run {workload}: {reason}")
    elif name == "peers":
        for peer, own in facts.items():
            if "rows" in own:
                _print_rows(console, f"Peer {peer}", own["rows"])
    elif name == "roll":
        _print_rows(console, "Kernel for all periods", [{"work": work, **own} for work, own in facts.items()])
    elif isinstance(facts, Mapping):
        _print_facts(console, name.replace("_", " ").capitalize(), facts)


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
    shown = {name: _shown(value) for name, value in facts.items()}
    frame = pd.DataFrame(shown.items(), columns=["fact", "value"])
    console.print(rich_table(Table(frame, [Column("fact", ""), Column("value", "")], title=title)))


def _print_rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame([{name: _shown(value) for name, value in row.items()} for row in rows])
    console.print(rich_table(Table(frame, [Column(name, name) for name in frame], title=title)))


def _shown(value: object) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
