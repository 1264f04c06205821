"""The tables of the market records in Markdown, as in the README, the documentation and the model cards.

    python benchmarks/zoo_table.py benchmarks/results/dow-daily.json benchmarks/results/equity-5min.json
    python benchmarks/zoo_table.py --table capacity benchmarks/results/*-*.json

Records are those of ``benchmarks/zoo.py``; tables are of the first run over all assets, brackets are 95 % intervals
over days:

- ``headline``: a row per model and market: bps against the own benchmark, the full-horizon VWAP and arrival at the
  shortest minimum, gross and net at 1 % of the volume; the errors at the fixed duration over TWAP's;
- ``capacity``: net improvement in bps against the full-horizon VWAP by the size of the orders, every policy;
- ``improvement``: against the own benchmark in bar volatilities, mean ± standard deviation, every policy;
- ``attribution``: option value, what is above the null (no skill by itself) and information of models and placebos;
  the model minus placebos at its risk;
- ``tracking``: every measure of the errors at the fixed duration over those of TWAP and the volume curve.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.cards.tables import attribution_table as attribution_columns
from benchmarks.cards.tables import placebos_table
from benchmarks.records import MarketRecord, RecordedRun, Row, read_market_record
from lem_models.evaluation.capacity import break_even_sizes
from lem_models.evaluation.prices import AGAINST, PriceImprovement
from lem_models.hub.models.registry import zoo_market
from lem_models.report.capacity import (
    AGAINST_LABELS,
    HEADLINE_SIZE,
    break_even_text,
    difference_text,
    gross_text,
    net_text,
    size_text,
)
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval, mean_std, number
from lem_models.report.policy_tables import above_null_by_minimum, means_by_minimum
from lem_models.report.quality.tables import tracking_ratio_table
from lem_models.report.tables import Column, Table, pivot

ATTRIBUTED = ("stopping_rule", "longstaff_schwartz", "longstaff_schwartz, matched")
TRACKED = ("volume_curve", "dynamic_volume_curve", "kalman_volume", "pov")
SHOWN = ("stopping_rule", "longstaff_schwartz", "twap", "volume_curve", "dynamic_volume_curve", "kalman_volume")

Record = Mapping[str, Any]


# --- headlines -------------------------------------------------------------------------------------------------------


def headline_table(records: Sequence[MarketRecord], models: Sequence[str], *, ends: bool = False) -> str:
    """A row per model and market that it was measured on, at the shortest minimum of the first run.

    Args:
        records: The markets.
        models: The models, in the order of the rows.
        ends: Whether every number has its interval; otherwise those against the full-horizon VWAP have.
    """
    rows = [
        _headline(record, model, run.minima[0], ends)
        for model in models
        for record in records
        if (run := record.runs[0]).prices(model, run.minima[0])
    ]
    prices = [Column(price, f"{AGAINST_LABELS[price]}: gross → net") for price in AGAINST]
    columns = [
        *(Column("model", "model"), Column("bars", "bars"), *prices),
        Column("difference", "net minus TWAP, full-horizon VWAP"),
        Column("errors", "errors: std, median × TWAP's"),
    ]
    return markdown_table(Table(pd.DataFrame(rows), columns))


def prices_table(run: RecordedRun, policies: Sequence[str]) -> Table | None:
    """Policies by minimum against the three prices, gross and net, with every interval; ``None`` without a curve."""
    rows = [
        {"minimum": minimum, "policy": policy} | _cells(prices, ends=True)
        for minimum in run.minima
        for policy in policies
        if (prices := run.prices(policy, minimum))
    ]
    if not rows:
        return None
    columns = [Column("minimum", "minimum"), Column("policy", "policy")]
    columns += [Column(price, f"{AGAINST_LABELS[price]}, bps: gross → net") for price in AGAINST]
    columns.append(Column("difference", "net minus TWAP, full-horizon VWAP"))
    return Table(pd.DataFrame(rows), columns, emphasis={policies[0]: "strong"})


def _headline(record: MarketRecord, model: str, minimum: int, ends: bool) -> dict[str, str]:
    run = record.runs[0]
    market = zoo_market(record.market)
    row = {"model": f"`{model}`", "bars": f"{market.title}, {minimum} to {run.max_periods}"}
    errors = {str(each["measure"]): each["ratio"] for each in run.tracking_errors(model, "twap")}
    tracked = ", ".join(number(errors.get(measure), ".2f") for measure in ("std", "median_abs"))
    return row | _cells(run.prices(model, minimum), ends=ends) | {"errors": tracked}


def _cells(prices: Sequence[PriceImprovement], *, ends: bool) -> dict[str, str]:
    """Gross and net against each price, and the net difference to TWAP against the full-horizon VWAP."""
    cells = {}
    for each in prices:
        with_ends = ends or each.against == "full_vwap"
        cells[each.against] = f"{gross_text(each, ends=with_ends)} → {net_text(each, ends=with_ends)}"
        if each.against == "full_vwap":
            cells["difference"] = "" if pd.isna(each.difference) else difference_text(each)
    return cells


# --- capacity --------------------------------------------------------------------------------------------------------


def capacity_table(records: Sequence[Record]) -> str:
    """A row per market and policy, a column per size: net improvement against the full-horizon VWAP, bps."""
    rows: list[dict[str, str]] = []
    sizes: list[float] = []
    for record in records:
        run = RecordedRun(record["runs"][0])
        curve = pd.DataFrame(run.rows("capacity", min_periods=run.minima[0], against="full_vwap"))
        ends = ["difference_bps", "difference_low_bps", "difference_high_bps"]
        leads = break_even_sizes(curve.astype(dict.fromkeys(ends, float)), "difference_bps")
        sizes = sorted(curve["size"].unique())
        for policy, of in curve.groupby("policy", sort=False):
            at = of.set_index("size")
            row = {"market": record["market"], "policy": str(policy)}
            row["gross"] = number(at.at[HEADLINE_SIZE, "gross_bps"], "+.1f")
            row |= {size_text(size): number(at.at[size, "net_bps"], "+.1f") for size in sizes}
            difference = at.loc[HEADLINE_SIZE, ends]
            row["difference"] = "" if policy == "twap" else interval(*difference.astype(float), "+.1f")
            mean, largest = (
                at.at[HEADLINE_SIZE, f"{each}_percent"] for each in ("participation", "largest_participation")
            )
            row["participation"] = f"{mean:.1f} % ({largest:.0f} %)"
            found = leads[leads["policy"] == policy].iloc[0]
            row["lead"] = break_even_text(found["break_even"], found["largest_size"], found["starts_positive"])
            rows.append(row)
    columns = [
        *(Column("policy", "policy"), Column("gross", "gross")),
        *(Column(size_text(size), f"net at {size_text(size)}") for size in sizes),
        Column("difference", f"minus twap at {size_text(HEADLINE_SIZE)}"),
        Column("lead", "as good as twap"),
        Column("participation", f"participation at {size_text(HEADLINE_SIZE)} (largest)"),
    ]
    return markdown_table(Table(pd.DataFrame(rows), columns, grouped=[Column("market", "market")]))


# --- improvement -----------------------------------------------------------------------------------------------------


def improvement_table(record: Record) -> str:
    """The table of one record: each model, its unseen assets and what it earns above the null; then the policies."""
    blocks = list(_blocks(record))
    return markdown_table(replace(blocks[0], frame=pd.concat([table.frame for table in blocks])))


def _blocks(record: Record) -> Iterator[Table]:
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


# --- attribution and tracking ----------------------------------------------------------------------------------------


def attribution_table(record: Record) -> str:
    """Option value, above the null and information of models and placebos; the first model minus placebos."""
    run = RecordedRun(record["runs"][0])
    policies = (*_models(record), *ATTRIBUTED)
    tables = (
        attribution_columns(run, record["model"], record["market"], policies),
        placebos_table(run, record["model"]),
    )
    return "\n\n".join(markdown_table(table) for table in tables if table is not None)


def tracking_table(record: Record) -> str:
    """Measures of the errors of every policy over those of TWAP and of the volume curve."""
    run, model = RecordedRun(record["runs"][0]), record["model"]
    policies = (*_models(record), *TRACKED)
    rows = [row for row in run.rows("tracking_errors") if row["policy"] in policies and row["policy"] != row["against"]]
    frame = pd.DataFrame(rows).assign(market=f"{record['market']}, fixed {run.max_periods}")
    return markdown_table(tracking_ratio_table(frame, ["market"], model=model))


def _models(record: Record) -> list[str]:
    return [str(record[key]) for key in ("model", "base") if record[key]]


PER_RECORD: Mapping[str, Callable[[Record], str]] = {
    "improvement": improvement_table,
    "attribution": attribution_table,
    "tracking": tracking_table,
}
"""Tables of one record, by name."""


def main() -> None:
    """Print a table of some records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="JSON files of benchmarks/zoo.py")
    parser.add_argument(
        "--table", choices=["headline", "capacity", *PER_RECORD], default="improvement", help="which one"
    )
    given = parser.parse_args()
    records = [read_market_record(path) for path in given.records]
    if given.table == "headline":
        print(headline_table(records, zoo_models(records)))
    elif given.table == "capacity":
        print(capacity_table([record.content for record in records]))
    else:
        print("\n\n".join(PER_RECORD[given.table](record.content) for record in records))


def zoo_models(records: Sequence[MarketRecord]) -> list[str]:
    """The specialist of each record, and then the models for several markets."""
    named = [str(record.content[key]) for key in ("model", "base") for record in records if record.content[key]]
    return list(dict.fromkeys(named))


if __name__ == "__main__":
    main()
