"""The tables of the speed and scaling benchmarks in Markdown, from their JSON.

python benchmarks/speed_table.py benchmarks/results/speed.json benchmarks/results/scaling.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

FLOOR = "floor of the products"


def tkan_table(speed: dict[str, Any]) -> str:
    """TKAN beside its competitors, one row per size."""
    lines = [
        "| hidden | TKAN, forward + backward | plain loop | `nn.LSTM` | `nn.GRU` | floor of the products | kept memory |",
        "|" + "---|" * 7,
    ]
    for size in sorted({row["hidden"] for row in speed["tkan"]}):
        by_layer = {row["layer"]: row for row in speed["tkan"] if row["hidden"] == size}
        ours, plain = by_layer["TKAN"], by_layer["plain loop"]
        times = (f"{ours['both_ms'] / by_layer[name]['both_ms']:.2f} ×" for name in ("LSTM", "GRU", FLOOR))
        lines.append(
            f"| {size} | {ours['both_ms']:.0f} ms | **{ours['faster_than_plain']:.1f} × faster** | "
            f"{' | '.join(times)} | {ours['kept_mb']:.0f} MB, plain loop {plain['kept_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def paths_table(speed: dict[str, Any]) -> str:
    """The other hot paths, one row each."""
    training, execution, live, startup = (speed[name] for name in ("training", "execution", "live", "startup"))
    rows = (
        (
            "training, crypto recipe, 4 orders per origin",
            f"{training['origins_per_second']:,.0f} origins/s, {training['against_authors']:.0f} × the published code",
        ),
        (
            f"execution, {execution['model']}, 12 periods",
            f"{execution['orders_per_second']:,.0f} orders/s",
        ),
        (
            f"live decision after a new bar, {live['model']}, one thread",
            f"p50 {live['p50_ms']:.2f} ms, p99 {live['p99_ms']:.2f} ms",
        ),
        ("`import lem_models` / `lem --help`", f"{startup['import lem_models']:.2f} s / {startup['lem --help']:.2f} s"),
    )
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def scaling_table(scaling: dict[str, Any]) -> str:
    """Bars of growing number, one row each."""
    lines = [
        "| bars | open | resident then | training index | training batch | own memory in training / bars | TWAP orders/s |",
        "|" + "---|" * 7,
    ]
    for row in scaling["summary"]:
        lines.append(
            f"| {row['bars']:,} | {row['open_ms']:.1f} ms | {row['open_peak_mib']:.0f} MiB | {row['index_ms']:.1f} ms | "
            f"{row['batch_ms']:.0f} ms | {row['memory_over_bars']:.4f} × | {row['orders_per_s']:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speed", type=Path, help="speed.json of benchmarks/speed.py")
    parser.add_argument("scaling", type=Path, help="scaling.json of benchmarks/scaling.py")
    options = parser.parse_args()
    speed, scaling = (json.loads(path.read_text(encoding="utf-8")) for path in (options.speed, options.scaling))
    print("\n\n".join((tkan_table(speed), paths_table(speed), scaling_table(scaling))))
