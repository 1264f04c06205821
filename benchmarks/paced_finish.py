"""Would a slower finish be better? A model that finishes trades the rest in one bar; here it is spread over more.

    python benchmarks/paced_finish.py --model lem-base --market dow-daily --data FOLDER \\
        --start 2017-01-01 --end 2019-01-01

For orders of each size that finish early, the rest of the order is traded in ``k`` equal parts over the bar of the
finish and the next ones instead, everything else as decided; the benchmark then ends later too. The table has the
share of the order that is left for the last bar, and the change of the net improvement (bar volatilities) and of the
utility (its own unit) with standard errors over orders, as a first look; days are not resampled.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks.looks import open_bars
from benchmarks.zoo import Plan, load_models, weights_of
from lem_models import Bars, Order
from lem_models.errors import LEMError
from lem_models.execution.context_table import OrderBars
from lem_models.execution.costs import CostModel, cost_model, cost_model_for
from lem_models.execution.execute import complete_for, traded_market
from lem_models.execution.objective import utility
from lem_models.execution.result import first_bars
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.modeling.model import LEMModel
from lem_models.report.markdown import markdown_table
from lem_models.report.tables import Column, Table

SIZES = (0.01, 0.03, 0.1)
PARTS = (2, 3)


def spread_finish(fills: torch.Tensor, finish: torch.Tensor, parts: int) -> torch.Tensor:
    """Fills with what is traded in the period of the finish in equal parts from then on, [orders, periods].

    Example:
        >>> spread_finish(torch.tensor([[0.4, 0.6, 0.0]]), torch.tensor([1]), 2)
        tensor([[0.4000, 0.3000, 0.3000]])
    """
    rest = fills.gather(1, finish[:, None]) / parts
    ahead = torch.arange(fills.shape[1]) - finish[:, None]
    return torch.where((ahead >= 0) & (ahead < parts), rest, fills)


@torch.no_grad()
def spread_changes(model: LEMModel, bars: Bars, orders: pd.DataFrame, costs: CostModel, parts: int) -> dict[str, float]:
    """What spreading the finish changes.

    Args:
        model: The model.
        bars: The market, of one calendar.
        orders: The orders, without caps.
        costs: Costs, with the size of the orders.
        parts: Bars that the rest is spread over.
    """
    market = Market(bars)
    table = complete_for(model, orders).sort_values(["symbol", "start"], kind="stable", ignore_index=True)
    start = first_bars(bars, table)
    batch, window, _ = traded_market(market, table, start, costs, model)
    is_buy = (table["side"] == "buy").to_numpy()
    read = OrderBars(model, market, start, table["max_periods"].to_numpy(), is_buy, table)
    contexts = read.of(start, is_buy, window.price.shape[1])
    paths = simulate(model, batch, window, contexts, to_finish=True)
    finish = chosen_period(paths)
    fills = finishing_fills(paths, finish[:, None])[:, 0]
    rest = fills.gather(1, finish[:, None])[:, 0]
    is_early = (finish + parts <= batch.max_periods) & (finish + 1 < batch.max_periods) & (rest > 0)

    def values(fills: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = settle(fills[:, None], batch, window).improvement[:, 0] / window.volatility
        return x[is_early], utility(x, batch.risk_aversion, batch.max_periods)[is_early]

    (x, gained), (slower, slower_gained) = values(fills), values(spread_finish(fills, finish, parts))
    changes = {"net": slower - x, "utility": slower_gained - gained}
    found = {"orders": float(is_early.sum()), "rest": float(rest[is_early].mean())}
    for name, change in changes.items():
        found[name], found[f"{name}_error"] = float(change.mean()), float(change.std() / len(change) ** 0.5)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="NAME, FOLDER or NAME=FOLDER")
    parser.add_argument("--market", required=True, help="a market of the zoo")
    parser.add_argument("--data", type=Path, required=True, help="folder of the bars, or the file itself")
    parser.add_argument("--min-periods", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--max-periods", type=int, default=12)
    parser.add_argument("--sizes", type=float, nargs="+", default=list(SIZES))
    parser.add_argument("--start", help="first day, inclusive; default the test period's")
    parser.add_argument("--end", help="day by which orders have ended, exclusive")
    parser.add_argument("--limit", type=int, default=8000, help="orders at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of orders")
    given = parser.parse_args()
    command = f"python benchmarks/paced_finish.py --model {given.model.partition('=')[0]} --market {given.market}"
    try:
        market = Plan.of().market(given.market)
        (model,) = load_models([given.model]).values()
        opened = open_bars(
            *(given.market, given.data, market.test_start, given.start, given.end),
            weights=weights_of([given.model]),
            command=command,
        )
        bars = opened.bars
        orders = Order.sample(
            bars,
            every=3,
            side="both",
            min_periods=given.min_periods,
            max_periods=given.max_periods,
            lookback=MAX_LOOKBACK,
            start=opened.start,
            end=given.end,
            limit=given.limit,
            seed=given.seed,
        )
        costs = cost_model(cost_model_for(bars))
        rows = [
            {"size": size, "parts": parts} | spread_changes(model, bars, orders, costs.at(size), parts)
            for size in given.sizes
            for parts in PARTS
        ]
        opened.report(len(orders), f"spread over {PARTS[0]} bars: net {rows[0]['net']:+.3f} at {rows[0]['size']:g}")
    except LEMError as error:
        parser.error(str(error))
    columns = [
        *(
            Column("size", "size", "{:.0%}"),
            Column("parts", "bars of the finish"),
            Column("orders", "orders", "{:,.0f}"),
        ),
        Column("rest", "left for the last bar", "{:.0%}"),
        Column(("net", "net_error"), "change of the net improvement", "{:+.3f} ± {:.3f}"),
        Column(("utility", "utility_error"), "change of the utility", "{:+.3f} ± {:.3f}"),
    ]
    print(markdown_table(Table(pd.DataFrame(rows), columns)))


if __name__ == "__main__":
    main()
