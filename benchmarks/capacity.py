"""How large may an order be? The bundled models and their rivals on real markets, the same fills at every size.

    python benchmarks/capacity.py --data FOLDER --out benchmarks/results/capacity.json
    python benchmarks/capacity.py --table

VWAP orders for a quantity, free to end after the first of at most 12 bars, from the test period of each market of the
zoo; every start is bought and sold. The costs are the named cost model of the market. ``longstaff_schwartz_net`` has
the costs of orders of 1 % in its regressions. Numbers are net improvements in bps against the VWAP of the full horizon,
which does not end with the order; brackets are 95 % intervals over days.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.looks import open_bars
from benchmarks.records import write_record
from benchmarks.zoo import Plan
from lem_models import Bars, LEMModel, Order, load_policy
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.capacity import break_even_sizes
from lem_models.execution.costs import cost_model, cost_model_for
from lem_models.execution.policy import Policy
from lem_models.features.market import MAX_LOOKBACK
from lem_models.guard.text import read_json
from lem_models.hub.models.registry import bundled_folder, weights_hash
from lem_models.report.capacity import break_even_text, size_text
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval, number
from lem_models.report.tables import Column, Table

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "results" / "capacity.json"
SIZES = (0.0, 0.001, 0.01, 0.03, 0.1)
RIVALS = (
    "twap",
    "volume_curve",
    "pov",
    "almgren_chriss",
    "stopping_rule",
    "longstaff_schwartz",
    "longstaff_schwartz_net",
)
NET = 0.01
"""Size of the orders in the table, and in the regressions of ``longstaff_schwartz_net``."""
_KEPT = (
    *("policy", "size", "against", "gross_bps", "net_bps", "low_bps", "high_bps", "cost_bps"),
    *("difference_bps", "difference_low_bps", "difference_high_bps"),
    *("participation_percent", "largest_participation_percent", "over_volume_percent"),
)


def paired_orders(bars: Bars, start: str, starts: int, max_periods: int, seed: int = 0) -> pd.DataFrame:
    """So many starts at most, drawn at random, each bought and sold; the minimum is the first bar."""
    bought = Order.sample(
        bars,
        every=1,
        side="buy",
        min_periods=1,
        max_periods=max_periods,
        lookback=MAX_LOOKBACK,
        start=start,
        limit=starts,
        seed=seed,
    ).drop(columns="order_id", errors="ignore")
    return pd.concat([bought, bought.assign(side="sell")], ignore_index=True)


def measure(
    policies: Mapping[str, Policy], bars: Bars, orders: pd.DataFrame, costs: str, *, bootstrap: int = 1000
) -> dict[str, Any]:
    """The capacity curve of policies on the same orders, under a named cost model."""
    alone = {"null": 0, "information": 0, "placebos": (), "bootstrap": bootstrap}
    settings = BenchmarkSettings(costs=cost_model(costs).at(NET), sizes=SIZES, **alone)
    run = run_benchmark(policies, bars, settings, orders=orders, progress=lambda text: print(text, flush=True))
    assert run is not None
    curve = run.capacity([])
    assert curve is not None
    ran = run.results[run.model].orders
    return {
        "cost_model": {"name": costs, **cost_model(costs).model_dump(mode="json", exclude={"half_spreads_bps"})},
        "orders": len(ran),
        "period": {"start": str(ran["start"].min()), "end": str(ran["start"].max())},
        "curve": curve[list(_KEPT)],
    }


def capacity_record(folder: Path, markets: Sequence[str], starts: int, command: str) -> dict[str, Any]:
    """The record: a measurement per market."""
    plan, measured, weights = Plan.of(), {}, {}
    for name in markets:
        market = plan.market(name)
        models = plan.models(name)
        own = {model: weights_hash(bundled_folder(model)) for model in models}
        weights |= own
        opened = open_bars(name, folder, market.test_start, None, None, weights=own, command=command)
        bars = opened.bars
        costs = cost_model_for(bars)
        policies: dict[str, Policy] = {model: LEMModel.from_pretrained(model) for model in models}
        policies |= {rival: load_policy(rival) for rival in RIVALS}
        orders = paired_orders(bars, str(market.test_start), starts, market.runs[0].max_periods)
        measured[name] = measure(policies, bars, orders, costs)
        curve = pd.DataFrame(measured[name]["curve"])
        row = curve[(curve["policy"] == models[0]) & (curve["against"] == "full_vwap") & (curve["size"] == NET)].iloc[0]
        bps = interval(row["net_bps"], row["low_bps"], row["high_bps"], "+.1f")
        opened.report(measured[name]["orders"], f"{models[0]}, net at 1 % against the full-horizon VWAP: {bps} bps")
    head = {"command": command, "sign": SIGN_CONVENTION, "split": "test", "reduced": True, "starts": starts}
    return head | {"weights": weights, "markets": measured}


def table(record: Mapping[str, Any]) -> str:
    """Markdown: a row per market and policy, a column per size."""
    rows = []
    for name, market in record["markets"].items():
        curve = pd.DataFrame(market["curve"])
        curve = curve[curve["against"] == "full_vwap"]
        ends, leads = (break_even_sizes(curve, column) for column in ("net_bps", "difference_bps"))
        for policy, of in curve.groupby("policy", sort=False):
            at = of.set_index("size")
            row = {"market": name, "policy": policy, "gross": number(at.at[NET, "gross_bps"], "+.1f")}
            row |= {size_text(size): number(at.at[size, "net_bps"], "+.1f") for size in at.index}
            difference = at.loc[NET, ["difference_bps", "difference_low_bps", "difference_high_bps"]]
            row["difference"] = "" if policy == "twap" else interval(*difference.astype(float), "+.1f")
            mean, largest = (at.at[NET, f"{each}_percent"] for each in ("participation", "largest_participation"))
            row["participation"] = f"{mean:.1f} % ({largest:.0f} %)"
            for column, sizes in (("end", ends), ("lead", leads)):
                found = sizes[sizes["policy"] == policy].iloc[0]
                row[column] = break_even_text(found["break_even"], found["largest_size"], found["starts_positive"])
            rows.append(row)
    sizes = [Column(size_text(size), f"net at {size_text(size)}") for size in SIZES]
    columns = [
        *(Column("policy", "policy"), Column("gross", "gross"), *sizes),
        Column("difference", f"minus twap at {size_text(NET)}"),
        Column("end", "break-even"),
        Column("lead", "as good as twap"),
        Column("participation", f"participation at {size_text(NET)} (largest)"),
    ]
    return markdown_table(Table(pd.DataFrame(rows), columns, grouped=[Column("market", "market")]))


def main() -> None:
    """Measure and write the record, or print the table of the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the files of bars of the zoo")
    parser.add_argument("--market", nargs="+", default=list(Plan.of().markets), help="markets; default all")
    parser.add_argument("--starts", type=int, default=2000, help="starts in each market, each bought and sold")
    parser.add_argument("--out", type=Path, default=RECORD, help="the record")
    parser.add_argument("--table", action="store_true", help="print the table of the record --out")
    options = parser.parse_args()
    if not options.table:
        if options.data is None:
            parser.error("--data is needed, or --table")
        command = f"python benchmarks/capacity.py --starts {options.starts} --data FOLDER"
        write_record(capacity_record(options.data, options.market, options.starts, command), options.out)
    print(table(read_json(options.out)))


if __name__ == "__main__":
    main()
