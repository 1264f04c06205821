"""The tables of the market records in Markdown, as in the documentation.

    python benchmarks/zoo_table.py benchmarks/results/dow-daily.json benchmarks/results/equity-5min.json

One table per record: improvement in bar volatilities, mean ± standard deviation, of the first run over all assets.
"Above the null" is the improvement minus that on the null, not skill by itself; "unseen assets" are those that no model
was trained on. Brackets are 95 % intervals over days.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records import RecordedRun, Row, read_market_record
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval, mean_std
from lem_models.report.policy_tables import above_null_by_minimum, means_by_minimum
from lem_models.report.tables import Table, pivot

SHOWN = ("stopping_rule", "longstaff_schwartz", "twap", "volume_curve", "dynamic_volume_curve", "kalman_volume")


def zoo_table(record: Mapping[str, Any]) -> str:
    """The table of one record: each model, its unseen assets and what it earns above the null; then the policies."""
    blocks = list(_blocks(record))
    return markdown_table(replace(blocks[0], frame=pd.concat([table.frame for table in blocks])))


def _blocks(record: Mapping[str, Any]) -> Iterator[Table]:
    """Rows of the table, as tables of one or several rows."""
    run = RecordedRun(record["runs"][0])
    corner, label = f"{record['market']}, from {record['period']['start'][:10]}", "minimum {}"
    for model in (record["model"], record["base"]):
        all_assets = run.rows("comparison", policy=model, assets="all")
        unseen = run.rows("comparison", policy=model, assets="unseen")
        above = run.rows("null", policy=model, assets="all")
        if all_assets:
            yield pivot(
                _named(all_assets, f"**{model}**"), "policy", "min_periods", _strong, corner=corner, label=label
            )
        if unseen:
            yield means_by_minimum(_named(unseen, "– unseen assets"))
        if above:
            yield above_null_by_minimum(_named(above, "– above the null"))
    for policy in SHOWN:
        if rows := run.rows("comparison", policy=policy, assets="all"):
            yield means_by_minimum(pd.DataFrame(rows))


def _named(rows: list[Row], name: str) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(policy=name)


def _strong(row: Row) -> str:
    ends = interval(row["mean_vol"], row["low_vol"], row["high_vol"]).split(" ", 1)[1]
    return f"**{mean_std(row['mean_vol'], row['std_vol'])}** {ends}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="JSON files of benchmarks/zoo.py")
    print("\n\n".join(zoo_table(read_market_record(path).content) for path in parser.parse_args().records))
