"""How time and memory grow with the number of bars: 1, 10 and 100 million minute bars, in a table, JSON and a figure.

    python benchmarks/scaling.py --bars 1e6 1e7 1e8 --out reports/scaling
    python benchmarks/scaling.py --symbols 1000 5000

Generates bars (symbols of 250,000 minutes round the clock, a few gaps and halts each) chunk by chunk into an Arrow
file, then measures in a fresh process per size: opening the file, building the training index, drawing training batches
(80 stretches of 128 bars with 40 orders each), and executing 20,000 orders with TWAP. Nothing is cached between steps,
as for a market of any size. Of several turns the fastest counts: a busy machine only ever adds time. Own memory is what
a process cannot give back; pages mapped from the file it can. 100 million bars are a file of 5.8 GB, for a moment twice
that.

With ``--symbols``, instead: markets of so many symbols with 72 hourly bars each, and the time per order to execute 8
orders of each symbol with TWAP and to list what they traded.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SYMBOL_BARS = 250_000
STRETCHES, STRETCH, ORDERS_PER_STRETCH, HORIZON = 80, 128, 40, 12
BARS_EACH, ORDERS_EACH = 72, 8  # of a symbol, with --symbols
BAR_BYTES = 56  # a timestamp, four prices, volume and notional
MIB = 1 << 20


def generate(path: Path, count: int, seed: int = 0) -> dict[str, float]:
    """Write bars to a file; seconds, and the most memory of its own that took (mapped pages of files come on top)."""
    from lem_models.markets.storage.writer import BarsWriter

    done, peak = threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.05):
            peak.append(memory().get("anonymous_mib", float("nan")))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    with BarsWriter(path, calendar="24/7", frequency="1min") as writer:
        for number, first in enumerate(range(0, count, SYMBOL_BARS)):
            writer.write(_symbol(f"S{number:04d}", min(SYMBOL_BARS, count - first), seed + number))
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return {"write_s": seconds, "write_peak_mib": max(peak)}


def _symbol(name: str, count: int, seed: int) -> pd.DataFrame:
    """Minute bars of one symbol: a random walk, a gap every 50,000 bars, a halt of 5 bars every 10,000."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(count, dtype=np.int64)
    for gap in range(50_000, count, 50_000):
        minutes[gap:] += int(rng.integers(1, 30))
    close = 100.0 * np.exp(np.cumsum(rng.standard_normal(count) * 5e-4))
    opening = np.append(100.0, close[:-1])
    high, low = np.maximum(opening, close) * 1.0002, np.minimum(opening, close) * 0.9998
    volume = rng.exponential(1000.0, count)
    for halt in range(5_000, count - 5, 10_000):
        volume[halt : halt + 5] = 0.0
    stamps = pd.Timestamp("2020-01-01", tz="UTC").value + minutes * 60_000_000_000
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(stamps, tz="UTC"),
            "symbol": pd.Categorical.from_codes(np.zeros(count, dtype=np.int8), [name]),
            "open": opening,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
            "notional": volume * (opening + close) / 2,
        }
    )


def memory() -> dict[str, float]:
    """Resident memory of this process: peak, and now, what belongs to it alone and what is mapped from files (MiB)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_mib": peak / (MIB if sys.platform == "darwin" else 1024)}
    fields = dict(line.split(":", 1) for line in lines)
    names = {"peak_mib": "VmHWM", "resident_mib": "VmRSS", "anonymous_mib": "RssAnon", "file_mib": "RssFile"}
    return {name: int(fields[key].split()[0]) / 1024 for name, key in names.items() if key in fields}


def measure(path: Path, orders: int, batches: int) -> dict[str, Any]:
    """Everything measured about one file, in a process that has done nothing else."""
    from lem_models.features.causal import SUPPORT
    from lem_models.features.market import Market
    from lem_models.markets.bars import Bars
    from lem_models.markets.origins import stretch_starts

    measured: dict[str, Any] = {"at_start": memory()}
    started = time.perf_counter()
    bars = Bars.read(path)
    measured["open_s"] = time.perf_counter() - started
    measured["after_open"] = memory()
    measured["bars"], measured["file_bytes"] = len(bars), path.stat().st_size

    started = time.perf_counter()
    starts = stretch_starts(bars, length=STRETCH, support=SUPPORT)
    measured["index_s"] = time.perf_counter() - started
    measured["stretches"] = len(starts)
    gc.collect()
    measured["after_index"] = memory()

    market = Market(bars, cache=False)
    rng = np.random.default_rng(0)
    times = []
    for _ in range(batches):
        first = starts.take(rng.integers(0, len(starts), STRETCHES))
        start = np.repeat(first, ORDERS_PER_STRETCH)
        start += rng.integers(1, STRETCH - HORIZON, len(start))
        began = time.perf_counter()
        market.feature_windows(first, STRETCH)
        market.over_orders(start, np.full(len(start), HORIZON), HORIZON)
        times.append(time.perf_counter() - began)
    measured["batch_s"] = float(np.median(times))
    measured["after_batches"] = memory()

    from lem_models.baselines.registry import load_policy
    from lem_models.execution.execute import execute
    from lem_models.orders import Order

    started = time.perf_counter()
    table = Order.sample(bars, side="both", max_periods=HORIZON, limit=orders)
    measured["sample_s"] = time.perf_counter() - started
    started = time.perf_counter()
    result = execute(load_policy("twap"), market, table)
    measured["execute_s"] = time.perf_counter() - started
    measured["orders"] = len(result.orders)
    measured["at_end"] = memory()
    return measured


def measure_sizes(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One measurement per size."""
    measurements = []
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="scaling-") as scratch:
        folder = Path(arguments.dir) if arguments.keep else Path(scratch)
        for count in arguments.bars:
            path = folder / f"minute_bars_{count}.arrow"
            measurement: dict[str, Any] = {}
            if not path.exists():
                measurement = _fresh_process("generate", path, count)
            turns = [
                _fresh_process("measure", path, arguments.orders, arguments.batches) for _ in range(arguments.turns)
            ]
            measurement |= turns[0]
            measurement |= {name: min(turn[name] for turn in turns) for name in turns[0] if name.endswith("_s")}
            measurements.append(measurement)
            print(f"{count:,} bars done", file=sys.stderr, flush=True)
            if not arguments.keep:
                path.unlink()
    return measurements


def measure_symbols(count: int, turns: int) -> dict[str, float]:
    """Time per order in a market of many symbols, in a process that has done nothing else; the fastest turn counts."""
    from lem_models import Bars, Order, execute, load_policy

    try:
        from lem_models.features.market import Market
    except ImportError:  # an older commit, see benchmarks/workloads.py
        from lem_models.markets.market import Market

    rng = np.random.default_rng(0)
    price = 100.0 * np.exp(np.cumsum(rng.standard_normal((count, BARS_EACH)) * 5e-3, axis=1)).ravel()
    stamps = pd.date_range("2024-01-01", periods=BARS_EACH, freq="h", tz="UTC")
    symbols = np.repeat([f"S{number:05d}" for number in range(count)], BARS_EACH)
    table = pd.DataFrame({"timestamp": stamps[np.tile(np.arange(BARS_EACH), count)], "symbol": symbols})
    table = table.assign(open=price, high=price, low=price, close=price, volume=100.0, notional=100.0 * price)
    market = Market(Bars.from_frame(table, calendar="24/7", frequency="1h"))
    every = (BARS_EACH - HORIZON) // (ORDERS_EACH // 2)
    orders = Order.sample(market.bars, every=every, side="both", max_periods=HORIZON, lookback=1)
    times, busy = [], []
    for _ in range(turns):
        began, at = time.perf_counter(), time.process_time()
        result = execute(load_policy("twap"), market, orders)
        traded = len(result.schedule)
        times.append(time.perf_counter() - began)
        busy.append(time.process_time() - at)
    return {
        "symbols": count,
        "orders": len(result.orders),
        "fills": traded,
        "us_per_order": min(times) / len(orders) * 1e6,
        "cpu_us_per_order": min(busy) / len(orders) * 1e6,
    }


def measure_numbers_of_symbols(counts: list[int], turns: int) -> list[dict[str, Any]]:
    """One measurement per number of symbols."""
    measurements = [_fresh_process("measure-symbols", count, turns) for count in counts]
    print(f"{'symbols':>10}{'orders':>12}{'µs per order':>16}{'ratio to the first':>22}")
    for measurement in measurements:
        ratio = measurement["us_per_order"] / measurements[0]["us_per_order"]
        print(
            f"{measurement['symbols']:>10,}{measurement['orders']:>12,}{measurement['us_per_order']:>16.2f}{ratio:>22.2f}"
        )
    return measurements


def _fresh_process(step: str, *settings: object) -> dict[str, Any]:
    command = [sys.executable, __file__, f"--{step}", *map(str, settings)]
    # The package that this script belongs to, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def summary(measurements: list[dict[str, Any]]) -> pd.DataFrame:
    """Figures per bar and per batch, one row per size."""
    rows = []
    for measurement in measurements:
        bars = measurement["bars"]
        opened, indexed = measurement["after_open"], measurement["after_index"]
        anonymous = indexed.get("anonymous_mib", np.nan) - measurement["at_start"].get("anonymous_mib", np.nan)
        rows.append(
            {
                "bars": bars,
                "write_us_per_bar": measurement.get("write_s", np.nan) / bars * 1e6,
                "write_peak_mib": measurement.get("write_peak_mib", np.nan),
                "file_bytes_per_bar": measurement["file_bytes"] / bars,
                "open_ms": measurement["open_s"] * 1e3,
                "open_peak_mib": opened["peak_mib"],
                "index_ms": measurement["index_s"] * 1e3,
                "index_ns_per_bar": measurement["index_s"] / bars * 1e9,
                "memory_bytes_per_bar": anonymous * MIB / bars,
                "memory_over_bars": anonymous * MIB / bars / BAR_BYTES,
                "batch_ms": measurement["batch_s"] * 1e3,
                "batch_us_per_bar": measurement["batch_s"] / (STRETCHES * STRETCH) * 1e6,
                "sample_ms": measurement["sample_s"] * 1e3,
                "orders_per_s": measurement["orders"] / measurement["execute_s"],
                "own_mib": measurement["at_end"].get("anonymous_mib", np.nan),
                "mapped_mib": measurement["at_end"].get("file_mib", np.nan),
            }
        )
    return pd.DataFrame(rows)


def printed(table: pd.DataFrame) -> str:
    """The table with a line per figure, a column per size, and each size's ratio to the first."""
    labels = {
        "write_us_per_bar": "writing, µs per bar",
        "write_peak_mib": "writing, peak own memory, MiB",
        "file_bytes_per_bar": "file, bytes per bar",
        "open_ms": "opening, ms",
        "open_peak_mib": "resident after opening, MiB",
        "index_ms": "training index, ms",
        "index_ns_per_bar": "training index, ns per bar",
        "memory_bytes_per_bar": "own memory after both, bytes per bar",
        "memory_over_bars": "the same over the bars' own bytes",
        "batch_ms": "training batch, ms",
        "batch_us_per_bar": "training batch, µs per bar drawn",
        "sample_ms": "sampling the orders, ms",
        "orders_per_s": "orders executed per second",
        "own_mib": "own memory at the end, MiB",
        "mapped_mib": "pages of files at the end, MiB",
    }
    sizes = [f"{bars:,}" for bars in table["bars"]]
    lines = [f"{'bars':<38}" + "".join(f"{size:>15}" for size in sizes) + "   ratios to the first"]
    for name, label in labels.items():
        values = table[name].to_numpy(dtype=float)
        shown = ["-" if np.isnan(v) else f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.3g}" for v in values]
        ratios = "  ".join(f"{v / values[0]:.3g}" if values[0] and np.isfinite(v) else "-" for v in values[1:])
        lines.append(f"{label:<38}" + "".join(f"{text:>15}" for text in shown) + f"   {ratios}")
    return "\n".join(lines)


def figure(table: pd.DataFrame) -> bytes:
    """Four small figures over the number of bars, as PNG."""
    from lem_models.report.figure_style import dress, empty_figure, figure_to_png_bytes, ink_of

    ink = ink_of("light")
    page = empty_figure(9.0, 6.0)
    panels = page.subplots(2, 2)
    bars = table["bars"].to_numpy(dtype=float)
    lines = (
        ("resident after opening (MiB)", table["open_peak_mib"], "bars in memory would be", bars * BAR_BYTES / MIB),
        (
            "opening and training index (s)",
            (table["open_ms"] + table["index_ms"]) / 1e3,
            "1 s per 100 million",
            bars / 1e8,
        ),
        ("training batch of 80 × 128 bars (ms)", table["batch_ms"], None, None),
        ("execution with TWAP (µs per order)", 1e6 / table["orders_per_s"], None, None),
    )
    for axes, (label, values, other, reference) in zip(panels.flat, lines, strict=True):
        dress(axes, ink)
        axes.plot(bars, values, color=ink.accents[0], marker="o", label="measured")
        axes.set_xscale("log")
        axes.set_xticks(bars, [f"{size / 1e6:g} M" for size in bars])
        axes.set_title(label, loc="left", fontsize=10, color=ink.text)
        if reference is not None:
            axes.plot(bars, reference, color=ink.muted, linestyle=(0, (4, 3)), linewidth=1.2, label=other)
            axes.set_yscale("log")
            axes.legend(frameon=False, fontsize=8.5, labelcolor=ink.text)
        else:
            axes.set_ylim(0.0, 1.25 * float(np.max(values)))
        axes.minorticks_off()
    for axes in panels[1]:
        axes.set_xlabel("bars")
    return figure_to_png_bytes(page)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", nargs="+", type=lambda text: int(float(text)), default=[10**6, 10**7, 10**8])
    parser.add_argument("--symbols", nargs="+", type=int, help="measure numbers of symbols, and no numbers of bars")
    parser.add_argument("--out", type=Path, default=Path("reports/scaling"), help="folder of scaling.json and .png")
    parser.add_argument("--dir", help="folder for the generated files (default: the temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the files in --dir, and use those that are there")
    parser.add_argument("--orders", type=int, default=20_000, help="orders to execute")
    parser.add_argument("--batches", type=int, default=30, help="training batches to draw; their median is shown")
    parser.add_argument("--turns", type=int, default=3, help="fresh processes per size; the fastest counts")
    parser.add_argument("--generate", nargs=2, metavar=("FILE", "BARS"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, metavar=("FILE", "ORDERS", "BATCHES"), help=argparse.SUPPRESS)
    parser.add_argument("--measure-symbols", nargs=2, type=int, metavar=("COUNT", "TURNS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.generate:
        print(json.dumps(generate(Path(arguments.generate[0]), int(arguments.generate[1]))))
        return
    if arguments.measure:
        path, orders, batches = arguments.measure
        print(json.dumps(measure(Path(path), int(orders), int(batches))))
        return
    if arguments.measure_symbols:
        print(json.dumps(measure_symbols(*arguments.measure_symbols)))
        return
    if min(arguments.turns, arguments.batches, arguments.orders) < 1:
        parser.error("--turns, --batches and --orders are at least 1")
    if arguments.symbols:
        if min(arguments.symbols) < 1:
            parser.error("--symbols: at least 1")
        measurements = measure_numbers_of_symbols(arguments.symbols, arguments.turns)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "symbols.json").write_text(json.dumps(measurements, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: {arguments.out / 'symbols.json'}")
        return
    if min(arguments.bars) < 2_000:
        parser.error("--bars: at least 2,000, so that there are stretches to draw")
    if arguments.keep and not arguments.dir:
        parser.error("--keep needs --dir, the folder to keep the files in")
    measurements = measure_sizes(arguments)
    table = summary(measurements)
    print(printed(table))
    arguments.out.mkdir(parents=True, exist_ok=True)
    content = {"summary": table.replace({np.nan: None}).to_dict("records"), "measured": measurements}
    (arguments.out / "scaling.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (arguments.out / "scaling.png").write_bytes(figure(table))
    print(f"\nwritten: {arguments.out / 'scaling.json'}, {arguments.out / 'scaling.png'}")


if __name__ == "__main__":
    main()
