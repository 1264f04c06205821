"""The tables of recorded zoo evaluations in Markdown, as in the README.

    python benchmarks/zoo_table.py benchmarks/results/dow-daily.json benchmarks/results/equity-5min.json

One table per record: improvement in bar volatilities, mean ± standard deviation, of the shortest run over all assets;
"forecast" is real bars minus martingale null, "unseen assets" those that no model was trained on. Brackets are 95 %
intervals over days.
"""

import argparse
import json
from pathlib import Path
from typing import Any

SHOWN = ("stopping_rule", "longstaff_schwartz", "twap", "volume_curve", "dynamic_volume_curve", "kalman_volume")


def zoo_table(record: dict[str, Any]) -> str:
    """The table of one record."""
    run = record["runs"][0]
    rows = {(r["assets"], r["policy"], r["min_periods"]): r for r in run["comparison"]}
    forecasts = {(r["model"], r["min_periods"]): r for r in run["null"] if r["assets"] == "all"}
    minima = sorted({minimum for _, _, minimum in rows})
    lines = [
        f"| {record['market']}, from {record['period']['start'][:10]} | "
        + " | ".join(f"minimum {minimum}" for minimum in minima)
        + " |",
        "|" + "---|" * (len(minima) + 1),
    ]

    def line(name: str, cells: list[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(cells).replace("-", "−") + " |")

    for model in (record["model"], record["base"]):
        if ("all", model, minima[0]) not in rows:
            continue
        line(
            f"**{model}**",
            [f"**{_mean_std(rows['all', model, m])}** {_interval(rows['all', model, m])}" for m in minima],
        )
        if ("unseen", model, minima[0]) in rows:
            line("– unseen assets", [_mean_std(rows["unseen", model, m]) for m in minima])
        if (model, minima[0]) in forecasts:
            cells = [forecasts[model, m] for m in minima]
            line(
                "– forecast",
                [f"{r['forecast_vol']:.3f} [{r['forecast_low_vol']:.3f}, {r['forecast_high_vol']:.3f}]" for r in cells],
            )
    for policy in SHOWN:
        if ("all", policy, minima[0]) in rows:
            line(policy, [_mean_std(rows["all", policy, m]) for m in minima])
    return "\n".join(lines)


def _mean_std(row: dict[str, Any]) -> str:
    return f"{row['mean_vol']:.3f} ± {row['std_vol']:.3f}"


def _interval(row: dict[str, Any]) -> str:
    return f"[{row['low_vol']:.3f}, {row['high_vol']:.3f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="JSON files of benchmarks/zoo.py")
    print("\n\n".join(zoo_table(json.loads(path.read_text(encoding="utf-8"))) for path in parser.parse_args().records))
