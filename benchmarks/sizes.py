"""Orders with a size: net of costs, a model minus its rivals on the same orders, judged on the order's own benchmark.

    python benchmarks/sizes.py --market crypto-hourly --data FOLDER --out benchmarks/results/sizes-crypto-hourly.json
    python benchmarks/sizes.py --show benchmarks/results/sizes-*.json      # the tables of records again

Orders are for a quantity, of both sides, against each of ``vwap``, ``full_vwap`` and ``arrival``, with the shortest,
the middle and the longest minimum. Every policy that reads sizes decides for each size anew. An order of size 0.01 is
1 % of the volume expected over its maximum duration; what trading costs it is the market's cost model. Flexible orders
against a VWAP have each policy's own risk aversion. Fixed durations and orders against arrival have
``--risk-aversion``, at which costs count most: a policy that tracks closely, or trades early, pays for it.

Differences are of the net improvement in basis points, order by order, with intervals over days and Holm's correction
over all rows of one size. Market, file and test period are those of its row in ``lem_models/hub/models/zoo.yaml``;
``--start`` and ``--end`` name another period, one before it for validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.looks import open_bars
from benchmarks.records import write_record
from benchmarks.zoo import Plan, load_models, period_of, stamped, weights_of
from lem_models import Bars, Order, execute, load_policy
from lem_models.errors import ConfigError, LEMError
from lem_models.execution.costs import CostModel, cost_model, cost_model_for
from lem_models.execution.policy import Policy
from lem_models.execution.result import with_ends
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.guard.text import read_json
from lem_models.report.capacity import size_text
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval
from lem_models.report.tables import Column, Table
from lem_models.statistics.dominance import paired_comparison

RIVALS = ("twap", "pov", "almgren_chriss", "longstaff_schwartz", "longstaff_schwartz_net")
SIZES = (0.0001, 0.001, 0.01, 0.03, 0.1)
"""Sizes of the orders, parts of the volume expected over the maximum duration."""
BENCHMARKS = ("vwap", "full_vwap", "arrival")
BY = ["benchmark", "min_periods"]
_MOST_BYTES = 1 << 24
_MARKS = {"ahead": " ▲", "behind": " ▼", "level": ""}
MEANING = "▲ ahead and ▼ behind after the correction"
KEPT = (
    *("model", "policy", "size", *BY, "orders", "mean_bps", "low_bps", "high_bps", "p_holm_bps", "std_ratio_bps"),
    "mean_verdict",
)
"""Columns of the differences."""


def drawn_orders(bars: Bars, every: int, max_periods: int, risk_aversion: float, **period: Any) -> pd.DataFrame:
    """The orders, without a size."""
    orders = Order.sample(
        bars,
        every=every,
        side="both",
        benchmark=list(BENCHMARKS),
        min_periods=sorted({1, max(max_periods // 2, 1), max_periods}),
        max_periods=max_periods,
        lookback=MAX_LOOKBACK,
        **period,
    )
    has_own = (orders["min_periods"] < orders["max_periods"]) & (orders["benchmark"] != "arrival")
    return orders.assign(risk_aversion=np.where(has_own, np.nan, risk_aversion))


def compared(
    models: Mapping[str, Policy],
    rivals: Mapping[str, Policy],
    bars: Bars,
    orders: pd.DataFrame,
    costs: CostModel,
    *,
    sizes: tuple[float, ...] = SIZES,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, pd.DataFrame]:
    """Net improvements and differences.

    Args:
        models: The models by name.
        rivals: The policies that they are compared with.
        bars: The market.
        orders: The orders.
        costs: What trading costs, at any size.
        sizes: Sizes of the orders.
        bootstrap: Draws of the bootstrap.
        seed: Its seed.
        progress: Called with a line of text before each size.

    Returns:
        ``net``: mean net improvement of every policy, ``policy, size, benchmark, min_periods, net_bps``.
        ``differences``: columns :data:`KEPT`.
    """
    market, means, differences = Market(bars), [], []
    for size in sizes:
        progress(f"size {size:.2%}: {len(orders):,} orders")
        tables = {}
        for name, policy in {**models, **rivals}.items():
            table = with_ends(execute(policy, market, orders, costs=costs.at(size)).orders, bars)
            tables[name] = table.assign(slippage_bps=table["net_slippage_bps"])
            net = -tables[name].groupby(BY, sort=True)["slippage_bps"].mean().rename("net_bps")
            means.append(net.reset_index().assign(policy=name, size=size))
        for name in models:
            others = {rival: tables[rival] for rival in rivals}
            table = paired_comparison(tables[name], others, BY, unit="bps", draws=bootstrap, seed=seed)
            differences.append(table.assign(model=name, size=size)[list(KEPT)])
    return {
        "net": pd.concat(means, ignore_index=True)[["policy", "size", *BY, "net_bps"]],
        "differences": pd.concat(differences, ignore_index=True),
    }


def sizes_table(differences: pd.DataFrame) -> Table:
    """The differences of one model: a row for a benchmark, minimum and rival, a column for a size."""
    text = [
        interval(mean, low, high, ".1f") + _MARKS[verdict]
        for mean, low, high, verdict in differences[["mean_bps", "low_bps", "high_bps", "mean_verdict"]].to_numpy()
    ]
    rows = differences.assign(text=text, size=[size_text(size) for size in differences["size"]])
    wide = rows.pivot_table(index=[*BY, "policy"], columns="size", values="text", aggfunc="first", sort=False)
    columns = [Column("policy", "minus"), *(Column(name, name) for name in wide.columns)]
    labels = [Column("benchmark", "benchmark"), Column("min_periods", "minimum")]
    return Table(wide.reset_index(), columns, grouped=labels)


def shown(path: Path) -> str:
    """The table of a record, for the model under test.

    Raises:
        ConfigError: If it is not a record of this script.
    """
    try:
        record = read_json(path, _MOST_BYTES)
        differences = pd.DataFrame(record["differences"])
        own = differences[differences["model"] == record["model"]]
        title = f"{record['market']}, orders of up to {record['max_periods']} bars, `{record['model']}`:"
        return f"{title}\n\n{markdown_table(sizes_table(own))}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no record of benchmarks/sizes.py: {error}") from None


def measure(given: argparse.Namespace, progress: Callable[[str], None]) -> dict[str, Any]:
    """The record."""
    plan = Plan.of()
    market = plan.market(given.market)
    names = given.models or plan.models(given.market)
    models, weights = load_models(names), weights_of(names)
    opened = open_bars(
        given.market, given.data, market.test_start, given.start, given.end, weights=weights, command=command(given)
    )
    bars = opened.bars
    orders = drawn_orders(
        bars,
        given.every or market.runs[0].every,
        given.max_periods,
        given.risk_aversion,
        start=opened.start,
        end=given.end,
        limit=given.limit or None,
        seed=given.seed,
    )
    costs = cost_model_for(bars)
    rivals = {name: load_policy(name) for name in given.rivals}
    tables = compared(
        models, rivals, bars, orders, cost_model(costs), sizes=tuple(given.sizes), seed=given.seed, progress=progress
    )
    for name in models:
        own = tables["differences"].query("model == @name")
        progress(f"{name}: net bps more than each rival, {MEANING}\n{markdown_table(sizes_table(own))}\n")
    first = next(iter(models))
    verdicts = tables["differences"].query("model == @first")["mean_verdict"].value_counts()
    opened.report(len(orders), ", ".join(f"{verdicts.get(word, 0)} {word}" for word in ("ahead", "level", "behind")))
    return {
        "command": command(given),
        "sign": SIGN_CONVENTION,
        "market": given.market,
        "model": first,
        "models": list(models),
        "weights": weights,
        "max_periods": given.max_periods,
        "risk_aversion": given.risk_aversion,
        "data": {"file": market.file, "content_hash": opened.whole.content_hash},
        "period": period_of(bars, opened.start, given.end),
        "split": opened.split,
        "orders": len(orders),
        "cost_model": {"name": costs, **cost_model(costs).model_dump(mode="json", exclude={"half_spreads_bps"})},
        **tables,
    }


def command(given: argparse.Namespace) -> str:
    """The command as anybody can run it: folders of this machine left out."""
    words = ["python benchmarks/sizes.py", f"--market {given.market}", "--data FOLDER"]
    if given.models:
        words.append("--models " + " ".join(Path(item.partition("=")[0]).name for item in given.models))
    for name, default in DEFAULTS.items():
        value = getattr(given, name)
        if value != default:
            many = isinstance(value, list | tuple)
            words.append(f"--{name.replace('_', '-')} {' '.join(map(str, value)) if many else value}")
    return " ".join(words)


DEFAULTS: dict[str, Any] = {
    "rivals": list(RIVALS),
    "sizes": list(SIZES),
    "max_periods": 12,
    "every": None,
    "risk_aversion": 0.05,
    "start": None,
    "end": None,
    "limit": 36_000,
    "seed": 0,
}


def main() -> None:
    """Measure, print the tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, nargs="+", help="records: print their tables and measure nothing")
    parser.add_argument("--market", help="a market of the zoo")
    parser.add_argument("--data", type=Path, help="folder of the bars, or the file itself")
    parser.add_argument("--models", nargs="+", help="NAME, FOLDER or NAME=FOLDER; default the specialist and the base")
    parser.add_argument("--rivals", nargs="+", help="policies that the models are compared with")
    parser.add_argument("--sizes", type=float, nargs="+", help="parts of the volume expected over the maximum duration")
    parser.add_argument("--max-periods", type=int, help="maximum duration of all orders")
    parser.add_argument("--every", type=int, help="bars between starts; default the market's")
    parser.add_argument("--risk-aversion", type=float, help="of fixed durations and orders against arrival")
    parser.add_argument("--start", help="first day, inclusive; default the test period's")
    parser.add_argument("--end", help="day by which orders have ended, exclusive")
    parser.add_argument("--limit", type=int, help="orders at most; 0 for all")
    parser.add_argument("--seed", type=int, help="of the draw of orders and of the bootstrap")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.set_defaults(**DEFAULTS)
    given = parser.parse_args()
    if not given.show and not (given.market and given.data):
        parser.error("name a --market and the --data, or records to --show")
    try:
        if given.show:
            print("\n\n".join(map(shown, given.show)))
            return
        record = measure(given, stamped)
    except LEMError as error:
        parser.error(str(error))
    if given.out:
        print(write_record(record, given.out))


if __name__ == "__main__":
    main()
