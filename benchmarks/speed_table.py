"""The tables of the speed and scaling benchmarks in Markdown, from their JSON.

    python benchmarks/speed_table.py benchmarks/results/speed.json benchmarks/results/scaling.json

With a third file, `cuda.json` of benchmarks/cuda.py, its table too.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from benchmarks.tkan_speed import FLOOR
from lem_models.report.markdown import markdown_table
from lem_models.report.tables import Column, Table


def tkan_table(speed: dict[str, Any]) -> str:
    """TKAN beside its competitors, one row per size."""
    times = pd.DataFrame(speed["tkan"]).pivot(index="hidden", columns="layer")
    ours = times.xs("TKAN", axis=1, level=1)
    ratios = {name: ours["both_ms"] / times["both_ms", name] for name in ("LSTM", "GRU", FLOOR)}
    frame = ours.assign(**ratios, plain_kept_mb=times["kept_mb", "plain loop"]).reset_index()
    columns = [
        Column("hidden", "hidden"),
        Column("both_ms", "TKAN, forward + backward", "{:.0f} ms"),
        Column("faster_than_plain", "plain loop", "**{:.1f} × faster**"),
        Column("LSTM", "`nn.LSTM`", "{:.2f} ×"),
        Column("GRU", "`nn.GRU`", "{:.2f} ×"),
        Column(FLOOR, "floor", "{:.2f} ×"),
        Column(("kept_mb", "plain_kept_mb"), "memory kept for backward", "{:.0f} MB, plain loop {:.0f} MB"),
    ]
    return markdown_table(Table(frame, columns))


def paths_table(speed: dict[str, Any]) -> str:
    """The other hot paths, one row each."""
    training, startup, cold = (speed[name] for name in ("training", "startup", "cold_start"))
    dense, sparse = speed["execution, dense"], speed["execution, sparse"]
    live, many = speed["live"], speed["many_orders"]
    facts = {
        f"training, crypto recipe, 4 orders per origin, {training['threads']} threads": (
            f"{training['origins_per_second']:,.0f} origins/s, {training['against_authors']:.0f} × the published code"
        ),
        f"`execute`, {dense['model']}, {dense['orders']:,} dense orders, {dense['periods']} periods, "
        "one thread": _rates(dense),
        f"`execute`, {sparse['orders']:,} sparse orders, {sparse['periods']} periods, one thread": _rates(sparse),
        f"live decision after a new bar, {live['model']}, one thread": (
            f"p50 {live['p50_ms']:.2f} ms, p99 {live['p99_ms']:.2f} ms"
        ),
        "a live session": f"{live['create_p50_ms']:.1f} ms to make, {live['session_mb']:.3f} MB",
        f"{many['orders']:,} live orders on {many['symbols']} symbols after a close, {many['threads']} threads": (
            f"{many['p50_ms']:.0f} ms; {many['add_ms']:.2f} ms to add an order"
        ),
        "cold start to the first decision": f"{cold['cpu_seconds']:.1f} CPU s",
        "`import lem_models` / `lem --help`": f"{startup['import lem_models']:.2f} s / {startup['lem --help']:.2f} s",
    }
    frame = pd.DataFrame(facts.items(), columns=["path", "speed"])
    return markdown_table(Table(frame, [Column("path", ""), Column("speed", "")]))


def _rates(facts: dict[str, Any]) -> str:
    return f"{facts['orders_per_second']:,.0f} orders/s; {facts['orders_per_cpu_second']:,.0f} per CPU second"


def against_table(speed: dict[str, Any]) -> str:
    """An older commit beside this one."""
    compared = speed["against"]
    columns = [
        Column("label", ""),
        Column(("old", "unit"), f"`{compared['old']}`", _figure),
        Column(("new", "unit"), f"`{compared['new']}`", _figure),
        Column("times_better", "times better", "**{:.2f} ×**"),
    ]
    return markdown_table(Table(pd.DataFrame(compared["rows"]), columns))


def _figure(value: float | None, unit: str) -> str:
    if value is None or pd.isna(value):
        return "cannot run it"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def roll_table(speed: dict[str, Any]) -> str:
    """The kernel of the roll-out against single periods."""
    columns = [
        Column(("work", "orders"), "", "{}, {:,} orders"),
        Column("period_by_period_ms", "single periods", "{:,.0f} ms"),
        Column("kernel_ms", "kernel", "{:,.0f} ms"),
        Column("times_faster", "", "**{:.2f} × faster**"),
    ]
    rows = [{"work": name, **facts} for name, facts in speed["roll"].items()]
    return markdown_table(Table(pd.DataFrame(rows), columns))


def symbols_table(speed: dict[str, Any]) -> str:
    """Markets of a growing number of symbols, one row each."""
    columns = [
        Column("symbols", "symbols", "{:,}"),
        Column("orders", "orders", "{:,}"),
        Column("us_per_order", "time per order", "{:.1f} µs"),
        Column("cpu_us_per_order", "CPU time per order", "{:.1f} µs"),
    ]
    return markdown_table(Table(pd.DataFrame(speed["symbols"]), columns))


def peers_table(speed: dict[str, Any]) -> str:
    """Peers and the same work here, one row each."""
    rows = []
    for name, facts in speed["peers"].items():
        if "not_installed" in facts:
            rows.append((name, "not installed", facts["not_installed"], ""))
            continue
        versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
        for row in facts["rows"]:
            rows.append((*_peer_row(name, row), versions))
    frame = pd.DataFrame(rows, columns=["work", "peer", "ours", "versions"])
    columns = [
        Column("work", ""),
        Column("peer", "peer"),
        Column("ours", "lem_models"),
        Column("versions", "of the peer"),
    ]
    return markdown_table(Table(frame, columns))


def _peer_row(name: str, row: dict[str, Any]) -> tuple[str, str, str]:
    if name == "tkan":
        label = f"TKAN of `tkan`, torch back end, hidden {row['hidden']}, forward + backward"
        return label, f"{row['peer_ms']:,.0f} ms, {row['times_slower']:.1f} × slower", f"{row['ours_ms']:.0f} ms"
    label = (
        f"NautilusTrader's TWAP example, {row['parents']:,} orders of {row['periods']} periods: an engine that does "
        "far more per order"
    )
    return (
        label,
        f"{row['peer_per_cpu_second']:,.0f} orders per CPU second",
        f"{row['ours_per_cpu_second']:,.0f} orders per CPU second",
    )


def cuda_table(cuda: dict[str, Any]) -> str:
    """What was measured on a CUDA device, one row for each part."""
    frame = pd.DataFrame(
        [(name, _cuda_result(facts)) for name, facts in cuda["parts"].items()], columns=["part", "result"]
    )
    return markdown_table(Table(frame, [Column("part", f"{cuda['device']}"), Column("result", "")]))


def _cuda_result(facts: dict[str, Any]) -> str:
    if facts["status"] != "done":
        return f"{facts['status']}: {facts['reason']}"
    if "summary" in facts:
        return str(facts["summary"])
    memory = f", {facts['peak_memory_mb']:,.0f} MB" if "peak_memory_mb" in facts else ""
    if "step_ms" in facts:
        return f"{facts['step_ms']:.1f} ms a step, {facts['orders_per_second']:,.0f} orders/s{memory}"
    return (
        f"{facts['orders']:,} orders of {facts['periods']} periods, {facts['orders_per_second']:,.0f} orders/s{memory}"
    )


def scaling_table(scaling: dict[str, Any]) -> str:
    """Bars of growing number, one row each."""
    columns = [
        Column("bars", "bars"),
        Column("open_ms", "open", "{:.1f} ms"),
        Column("open_peak_mib", "resident then", "{:.0f} MiB"),
        Column("index_ms", "training index", "{:.1f} ms"),
        Column("batch_ms", "training batch", "{:.0f} ms"),
        Column("memory_over_bars", "own memory / bars", "{:.4f} ×"),
        Column("orders_per_s", "TWAP orders/s", "{:,.0f}"),
    ]
    return markdown_table(Table(pd.DataFrame(scaling["summary"]), columns))


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "against": against_table,
    "paths": paths_table,
    "tkan": tkan_table,
    "symbols": symbols_table,
    "roll": roll_table,
    "peers": peers_table,
}
"""The tables of speed.json."""


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speed", type=Path, help="speed.json of benchmarks/speed.py")
    parser.add_argument("scaling", type=Path, help="scaling.json of benchmarks/scaling.py")
    parser.add_argument("cuda", type=Path, nargs="?", help="cuda.json of benchmarks/cuda.py")
    options = parser.parse_args()
    speed, scaling = (json.loads(path.read_text(encoding="utf-8")) for path in (options.speed, options.scaling))
    tables = [*(table(speed) for table in TABLES.values()), scaling_table(scaling)]
    if options.cuda:
        tables.append(cuda_table(json.loads(options.cuda.read_text(encoding="utf-8"))))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
