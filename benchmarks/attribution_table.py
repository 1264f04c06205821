"""Where the gain of each model comes from, in Markdown: the null, the ablation, and placebos at matched risk.

    python benchmarks/attribution_table.py benchmarks/results/attribution-crypto-hourly.json

Records are those of `benchmarks/zoo.py`. Two tables per record, of the first run over all assets, in bar volatilities,
with 95 % intervals over days: option value, above the null and information of every policy; the model minus placebos.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.cards.tables import placebos_table
from benchmarks.records import RecordedRun, read_market_record
from lem_models.errors import ConfigError
from lem_models.guard.output import is_missing
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import MISSING, interval
from lem_models.report.tables import Column, Table


def attribution_table(record: Mapping[str, Any]) -> str:
    """Both tables of one record.

    Raises:
        ConfigError: If the record has no ablation or no placebos.
    """
    run = RecordedRun(record["runs"][0])
    placebos = placebos_table(run, record["model"])
    if not run.content.get("information") or placebos is None:
        raise ConfigError(f"the record of {record['market']} has no attribution; run it again: {record['command']}")
    keys = ["policy", "min_periods"]
    frame = pd.DataFrame([row for row in run.content["null"] if row["assets"] == "all"])
    read = pd.DataFrame([row for row in run.content["information"] if row["assets"] == "all"])
    names = [f"{value}{end}_vol" for value in ("information", "control") for end in ("", "_low", "_high")]
    frame = frame.merge(read[[*keys, *names]], on=keys, how="left").sort_values("min_periods", kind="stable")
    columns = [
        Column("min_periods", f"{record['market']}, minimum"),
        Column("policy", "policy"),
        Column("real_vol", "improvement", "{:.3f}"),
        Column("option_vol", "option value", "{:.3f}"),
        *(_interval(value, label) for value, label in (("above", "above the null"), ("information", "information"))),
        _interval("control", "its control"),
    ]
    table = Table(frame.reset_index(drop=True), columns, emphasis={record["model"]: "strong"})
    return f"{markdown_table(table)}\n\n{markdown_table(placebos)}"


def _interval(value: str, label: str) -> Column:
    sources = tuple(f"{value}{end}_vol" for end in ("", "_low", "_high"))
    return Column(sources, f"{label} [95 %]", lambda *ends: MISSING if is_missing(ends[0]) else interval(*ends))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="JSON files of benchmarks/zoo.py")
    print("\n\n".join(attribution_table(read_market_record(path).content) for path in parser.parse_args().records))
