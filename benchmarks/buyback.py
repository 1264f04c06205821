"""The tables of docs/buyback.md: one repurchase day by day, and policies on many of them.

    python benchmarks/buyback.py --data dow_daily.parquet

The first table has the purchases of the bundled model in one programme, told its size and not told it. The second has
the same programme from every fifth session of the validation period, 2017 and 2018.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.looks import open_file
from lem_models import Bars
from lem_models.baselines import load_policy
from lem_models.programmes import BuybackProgramme, ProgrammeBacktest
from lem_models.programmes.page import backtest_table
from lem_models.report.markdown import markdown_table
from lem_models.report.tables import Column, Table

MODEL = "lem-dow-daily"
POLICIES = (MODEL, "longstaff_schwartz_net", "longstaff_schwartz", "stopping_rule", "twap")
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "buyback.yaml"


def day_by_day(programme: BuybackProgramme, bars: Bars, start: str) -> str:
    """Purchases of one programme by session: told its size, not told it, and those of the TWAP."""
    told = programme.backtest(bars, {"told": MODEL, "twap": "twap"}, [start])
    untold = programme.backtest(bars, {"not told": MODEL}, [start], told_size=False)
    columns, facts = {}, {}
    for tested in (told, untold):
        for name, shares in tested.purchases.items():
            columns[name], facts[name] = shares[0], tested.programmes[name].iloc[0]
    longest = max(int(np.flatnonzero(shares)[-1]) + 1 for shares in columns.values())
    frame = pd.DataFrame({"session": [str(n + 1) for n in range(longest)]})
    for name, shares in columns.items():
        frame[name] = [f"{count:,}" for count in shares[:longest]]
    rows = {
        "largest day, of average volume": "{largest_participation:.1%}",
        "cost, bps": "{cost_bps:.1f}",
        "better than the mean, bps": "{gross:+.1f}",
        "net of costs, bps": "{net:+.1f}",
    }
    for label, form in rows.items():
        values = {
            name: form.format(**fact, gross=-fact["slippage_bps"], net=-fact["net_slippage_bps"])
            for name, fact in facts.items()
        }
        frame.loc[len(frame)] = {"session": label, **values}
    return markdown_table(Table(frame, [Column(name, name) for name in frame.columns]))


def many(programme: BuybackProgramme, bars: Bars, first: str, every: int) -> tuple[str, ProgrammeBacktest]:
    """Policies on the programme from many first days."""
    policies = {name: load_policy(name) for name in POLICIES}
    tested = programme.with_terms(first_day=first).backtest(bars, policies, every)
    return markdown_table(backtest_table(tested)), tested


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="daily bars")
    parser.add_argument("--programme", type=Path, default=EXAMPLE, help="terms of the programme")
    parser.add_argument("--calendar", default="XNYS", help="calendar of the bars")
    parser.add_argument("--first", default="2017-01-03", help="first of the many first days")
    parser.add_argument("--end", default="2019-01-01", help="the bars end here: the test period begins")
    parser.add_argument("--every", type=int, default=5, help="sessions between first days")
    arguments = parser.parse_args()
    programme = BuybackProgramme.read(arguments.programme)
    opened = open_file(
        arguments.data,
        arguments.first,
        arguments.end,
        models=[MODEL],
        command="python benchmarks/buyback.py --data FILE",
        calendar=arguments.calendar,
    )
    bars = opened.bars.select(programme.symbol).between(end=arguments.end)
    print(day_by_day(programme, bars, str(programme.first_day)))
    table, tested = many(programme, bars, arguments.first, arguments.every)
    print(f"\n{table}\n")
    for other in POLICIES[1:]:
        row = tested.difference(MODEL, other).iloc[0]
        print(f"{MODEL} minus {other}, net: {row['mean_bps']:+.1f} [{row['low_bps']:+.1f}, {row['high_bps']:+.1f}] bps")


if __name__ == "__main__":
    main()
