"""Every recorded result in one table, ready for a leaderboard: models and baselines of every market, all orders.

    python benchmarks/leaderboard.py           # writes benchmarks/results/leaderboard.csv
    python benchmarks/leaderboard.py --check   # exit code 1 if the file is not what the records say

A row is one policy on one task. Tasks are named as in ``eval.yaml`` of a benchmark data set and in ``.eval_results/``
of the models (:mod:`lem_models.hub.models.benchmark_tasks`). Improvements are in bar volatilities, positive is better,
against the order's own benchmark, gross; ``*_bps`` are in basis points, gross, and net of the market's named costs for
orders of 1 % of the volume, against three prices. Ends of intervals are at 95 %.
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records import MarketRecord, RecordedRun, read_market_record
from lem_models.guard.output import write_text
from lem_models.hub.models.benchmark_tasks import improvement_task, tracking_task
from lem_models.hub.models.registry import registry
from lem_models.hub.models.zoo import list_models

RESULTS = Path(__file__).resolve().parent / "results"
FILE = RESULTS / "leaderboard.csv"


def leaderboard(records: Sequence[MarketRecord]) -> pd.DataFrame:
    """The table, sorted by market and task, the best first."""
    rows = [row for record in records for row in _rows(record)]
    table = pd.DataFrame(rows)
    order = table["value"].where(~table["higher_is_better"], -table["value"])
    markets = pd.Categorical(table["market"], [record.market for record in records])
    keys = pd.DataFrame({"market": markets, "n": table["max_periods"], "m": table["min_periods"], "order": order})
    keys["task"] = table["task"]
    return table.loc[keys.sort_values(["market", "n", "m", "task", "order"], kind="stable").index].reset_index(
        drop=True
    )


def _rows(record: MarketRecord) -> Iterator[dict[str, Any]]:
    weights, period = record.content.get("weights", {}), record.content["period"]
    for run in record.runs:
        for policy in run.policies:
            about = {
                "market": record.market,
                "split": record.content["split"],
                "start": period["start"][:10],
                "end": period["end"][:10],
                "policy": policy,
                "kind": "model" if policy in list_models() else "baseline",
                "weights_sha256": weights.get(policy),
                "max_periods": run.max_periods,
            }
            yield from (about | row for row in _of_policy(run, policy))


def _of_policy(run: RecordedRun, policy: str) -> Iterator[dict[str, Any]]:
    for minimum in run.minima:
        row = run.row(policy, minimum)
        if row is None:
            continue
        prices = {
            f"{kind}_{price['against']}_bps": price[f"{kind}_bps"]
            for price in run.capacity_rows(policy, minimum)
            for kind in ("gross", "net")
        }
        yield {
            **{"task": improvement_task(minimum, run.max_periods), "higher_is_better": True, "min_periods": minimum},
            **{"orders": row["orders"], "value": row["mean_vol"], "low": row["low_vol"], "high": row["high_vol"]},
            **{"std_vol": row["std_vol"], **prices},
        }
    ratio = run.tracking(policy, "twap")
    if ratio is not None:
        yield {
            **{"task": tracking_task(run.max_periods), "higher_is_better": False, "min_periods": run.max_periods},
            **{"value": ratio["std_ratio_vol"], "low": ratio["low"], "high": ratio["high"]},
        }


def text_of(table: pd.DataFrame) -> str:
    """The table as CSV."""
    out = io.StringIO()
    table.astype({"orders": "Int64"}).to_csv(out, index=False, lineterminator="\n")
    return out.getvalue()


def recorded() -> list[MarketRecord]:
    """The records of the zoo's markets."""
    return [read_market_record(RESULTS / f"{market}.json") for market in registry().markets]


def main() -> None:
    """Write the file, or compare it with the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is out of step")
    given = parser.parse_args()
    text = text_of(leaderboard(recorded()))
    if not given.check:
        write_text(FILE, text)
        print(f"{FILE.name}: {text.count(chr(10)) - 1} rows")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text:
        sys.exit(f"{FILE.name} is not what the records say; run python benchmarks/leaderboard.py")


if __name__ == "__main__":
    main()
