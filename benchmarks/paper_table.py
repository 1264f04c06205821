"""The tables of docs/paper.md in Markdown, from the record of ``benchmarks/paper.py``.

    python benchmarks/paper_table.py benchmarks/results/paper.json

For each market: ``gains``, every policy beside the published figures, mean ± standard deviation in bps by minimum;
``decomposition``, the parts of the published alignment's gain; ``prices``, every policy against the benchmark that ends
with the order and against the VWAP of the full horizon; ``kinds``, both alignments by benchmark, target and
side; ``metrics``, the ten metrics of the paper in its units. Brackets are 95 % intervals over days.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lem_models.modeling.paper.published_metrics import PAPER_METRICS
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import MISSING, interval, mean_std, number
from lem_models.report.tables import Column, Table

PUBLISHED_BPS: Mapping[str, Mapping[int, tuple[float, float]]] = {"dow-daily": {1: (32.9, 87.0), 6: (32.6, 88.0)}}
"""Figures of the paper that were available: improvement in bps, mean and standard deviation, by market and minimum."""
SHOWN = (1, 3, 6, 9, 11, 12)
"""Minima of the decomposition; the record has all."""
KINDS = (1, 6)
"""Minima of the table by kind of order."""
PARTS = {
    "published": "published alignment",
    "lookahead": "look-ahead",
    "causal": "causal",
    "option": "option",
    "above": "above the null",
    "information": "information",
    "beyond_control": "beyond its control",
    "published_null": "published alignment on the null",
}

Content = Mapping[str, Any]


def gains_table(content: Content, name: str) -> str:
    """Mean ± standard deviation of every policy by minimum, in bps, beside the published figures."""
    rows = pd.DataFrame(content["comparison"])
    policies = list(dict.fromkeys(rows["policy"]))
    published = PUBLISHED_BPS.get(name, {})
    table = []
    for minimum, group in rows.groupby("min_periods"):
        cells = {
            row.policy: f"{number(row.mean_bps, '+.1f')} ± {number(row.std_bps, '.1f')}" for row in group.itertuples()
        }
        mean, std = published.get(int(minimum), (None, None))
        paper = MISSING if mean is None else mean_std(mean, std, ".1f")
        table.append({"minimum": minimum, "as published": paper, **cells})
    columns = [Column("minimum", "minimum"), Column("as published", "the paper")]
    columns += [Column(policy, policy if policy.startswith("paper") else f"`{policy}`") for policy in policies]
    return markdown_table(Table(pd.DataFrame(table), columns))


def _gain(mean: float, std: float) -> str:
    return f"{number(mean, '+.1f')} ± {number(std, '.1f')}"


def decomposition_table(content: Content, name: str) -> str:
    """The parts of the published alignment's gain, in bps with intervals."""
    rows = [row for row in content["decomposition"] if row["min_periods"] in SHOWN]
    table = [
        {"minimum": row["min_periods"]}
        | {part: interval(*(row[f"{part}{end}_bps"] for end in ("", "_low", "_high")), "+.1f") for part in PARTS}
        for row in rows
    ]
    columns = [Column("minimum", "minimum"), *(Column(part, label) for part, label in PARTS.items())]
    return markdown_table(Table(pd.DataFrame(table), columns))


def kinds_table(content: Content, name: str) -> str:
    """Both alignments by benchmark, target and side, in bps."""
    keys = ["benchmark", "target", "side"]
    rows = pd.DataFrame(content["cells"])
    rows = rows[rows["min_periods"].isin(KINDS)]
    rows = rows.assign(
        text=[_gain(row.mean_bps, row.std_bps) for row in rows.itertuples()],
        column=[f"minimum {row.min_periods}: {row.policy.removeprefix('paper, ')}" for row in rows.itertuples()],
    )
    wide = rows.pivot(index=keys, columns="column", values="text").reset_index()
    names = list(dict.fromkeys(rows.sort_values(["min_periods", "policy"], ascending=[True, False])["column"]))
    return markdown_table(Table(wide, [*(Column(key, key) for key in keys), *(Column(each, each) for each in names)]))


def prices_table(content: Content, name: str) -> str:
    """Every policy against the benchmark that ends with the order and against the one that does not, in bps."""
    rows = pd.DataFrame(content["comparison"])
    rows = rows[rows["min_periods"].isin(KINDS)]
    table = pd.DataFrame({"policy": list(dict.fromkeys(rows["policy"]))})
    columns = [Column("policy", "policy")]
    for minimum, group in rows.groupby("min_periods"):
        at = group.set_index("policy").loc[table["policy"]]
        for source, label, form in (
            ("mean_bps", "own benchmark", "+.1f"),
            ("full_vwap_bps", "full-horizon VWAP", "+.1f"),
            ("periods_used", "bars used", ".1f"),
        ):
            key = f"{source} {minimum}"
            table[key] = [number(value, form) for value in at[source]]
            columns.append(Column(key, label, group=f"minimum {minimum}"))
    return markdown_table(Table(table, columns))


def metrics_table(content: Content, name: str) -> str:
    """The ten metrics of the paper, in its units."""
    found = {row["policy"]: row for row in content["metrics"]}
    table = [
        {"metric": f"`{metric}`", **{policy: number(row[metric], "+.3f") for policy, row in found.items()}}
        for metric in PAPER_METRICS
    ]
    return markdown_table(Table(pd.DataFrame(table), [Column("metric", "metric"), *(Column(p, p) for p in found)]))


def shares(content: Content, minimum: int) -> dict[str, float]:
    """Parts of the published alignment's mean gain at a minimum, in per cent of it."""
    row = next(row for row in content["decomposition"] if row["min_periods"] == minimum)
    return {part: 100 * row[f"{part}_bps"] / row["published_bps"] for part in ("lookahead", "option", "above")}


def shares_line(content: Content, name: str, minimum: int = 1) -> str:
    """What the published alignment's gain consists of, in a few words."""
    parts = {part: number(value, ".0f") for part, value in shares(content, minimum).items()}
    return (
        f"minimum {minimum}: {parts['lookahead']} % look-ahead, {parts['option']} % option value, "
        f"{parts['above']} % above the null"
    )


TABLES: Mapping[str, Callable[[Content, str], str]] = {
    "gains": gains_table,
    "decomposition": decomposition_table,
    "prices": prices_table,
    "kinds": kinds_table,
    "metrics": metrics_table,
    "shares": shares_line,
}


def printed(record: Content) -> str:
    """All tables of a record."""
    blocks = []
    for name, content in record["markets"].items():
        facts = f"{content['orders']:,} orders, {content['period']['start'][:10]} to {content['period']['end'][:10]}"
        blocks.append(f"## {content['market']}: {facts}")
        blocks += [table(content, name) for table in TABLES.values()]
    return "\n\n".join(blocks)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="JSON file of benchmarks/paper.py")
    given = parser.parse_args()
    print(printed(json.loads(given.record.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
