"""The tables of the speed and scaling benchmarks in Markdown, from their JSON.

python benchmarks/speed_table.py benchmarks/results/speed.json benchmarks/results/scaling.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

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
    training, execution, startup = (speed[name] for name in ("training", "execution", "startup"))
    live, many = speed["live"], speed["many_orders"]
    facts = {
        "training, crypto recipe, 4 orders per origin": (
            f"{training['origins_per_second']:,.0f} origins/s, {training['against_authors']:.0f} × the published code"
        ),
        f"execution, {execution['model']}, 12 periods": f"{execution['orders_per_second']:,.0f} orders/s",
        f"live decision after a new bar, {live['model']}, one thread": (
            f"p50 {live['p50_ms']:.2f} ms, p99 {live['p99_ms']:.2f} ms"
        ),
        "a live session": f"{live['create_p50_ms']:.1f} ms to make, {live['session_mb']:.3f} MB",
        f"{many['orders']:,} live orders on {many['symbols']} symbols after a close, {many['threads']} threads": (
            f"{many['p50_ms']:.0f} ms; {many['add_ms']:.2f} ms to add an order"
        ),
        "`import lem_models` / `lem --help`": f"{startup['import lem_models']:.2f} s / {startup['lem --help']:.2f} s",
    }
    frame = pd.DataFrame(facts.items(), columns=["path", "speed"])
    return markdown_table(Table(frame, [Column("path", ""), Column("speed", "")]))


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speed", type=Path, help="speed.json of benchmarks/speed.py")
    parser.add_argument("scaling", type=Path, help="scaling.json of benchmarks/scaling.py")
    options = parser.parse_args()
    speed, scaling = (json.loads(path.read_text(encoding="utf-8")) for path in (options.speed, options.scaling))
    print("\n\n".join((tkan_table(speed), paths_table(speed), scaling_table(scaling))))
