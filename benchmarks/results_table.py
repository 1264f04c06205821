"""The table of a benchmark run in Markdown, from its summary.json.

    python benchmarks/results_table.py benchmarks/results/lem-crypto-hourly.json

One row per minimum duration, first benchmark and target of the run, both sides together. Improvements are in bar
volatilities, order by order (mean and standard deviation), and in basis points; brackets are 95 % intervals over days.
"""

import argparse
import json
from pathlib import Path
from typing import Any

HEADER = (
    "| minimum | {model}, bar vol. | bps | null (option) | forecast | stopping rule | volume curve | TWAP | "
    "ahead of stopping rule | Longstaff-Schwartz | ahead of it |"
)


def markdown_table(summary: dict[str, Any]) -> str:
    """The table as Markdown and a sentence on tracking, from the content of a ``summary.json``."""
    model = summary["model"]
    benchmark, target = summary["settings"]["benchmark"][0], summary["settings"]["target"][0]

    def rows(section: str) -> list[dict[str, Any]]:
        return [r for r in summary[section] or [] if (r["benchmark"], r["target"]) == (benchmark, target)]

    by_policy = {(r["policy"], r["min_periods"]): r for r in rows("comparison")}
    ahead = {(r["policy"], r["min_periods"]): r for r in rows("differences")}
    split = {r["min_periods"]: r for r in rows("null")}
    lines = [HEADER.format(model=model), "|" + "---|" * 11]
    for minimum in sorted({minimum for _, minimum in by_policy}):
        ours = by_policy[model, minimum]
        cells = [
            str(minimum),
            f"**{ours['mean_vol']:.3f} ± {ours['std_vol']:.3f}** [{ours['low_vol']:.3f}, {ours['high_vol']:.3f}]",
            f"{ours['mean_bps']:.1f} ± {ours['std_bps']:.1f}",
            f"{split[minimum]['option_vol']:.3f}",
            _interval(split[minimum], "forecast", "forecast_low_vol", "forecast_high_vol"),
            *(_mean_std(by_policy[name, minimum]) for name in ("stopping_rule", "volume_curve", "twap")),
            _interval(ahead["stopping_rule", minimum], "mean", "low_vol", "high_vol"),
            _mean_std(by_policy["longstaff_schwartz", minimum]),
            _interval(ahead["longstaff_schwartz", minimum], "mean", "low_vol", "high_vol"),
        ]
        lines.append("| " + " | ".join(cells).replace("-", "−") + " |")
    longest = max(minimum for _, minimum in by_policy)
    ours, twap = by_policy[model, longest], by_policy["twap", longest]
    lines += [
        "",
        f"At minimum {longest} its standard deviation is {ours['std_vol'] / twap['std_vol']:.2f} times TWAP's in bar "
        f"volatilities, {ours['std_bps'] / twap['std_bps']:.2f} times in bps.",
    ]
    return "\n".join(lines)


def _mean_std(row: dict[str, Any]) -> str:
    return f"{row['mean_vol']:.3f} ± {row['std_vol']:.3f}"


def _interval(row: dict[str, Any], mean: str, low: str, high: str) -> str:
    return f"{row[f'{mean}_vol']:.3f} [{row[low]:.3f}, {row[high]:.3f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("summary", type=Path, help="summary.json of a benchmark run")
    print(markdown_table(json.loads(parser.parse_args().summary.read_text(encoding="utf-8"))))
