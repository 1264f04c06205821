"""The convex policy and the back-loaded curve on validation: how closely they track the VWAP over fixed durations.

    python benchmarks/convex.py --data FOLDER                           # all markets, 12 periods, three thresholds
    python benchmarks/convex.py --data FOLDER --policies lem-base       # and models beside them
    python benchmarks/convex.py --data FOLDER --ship                    # fit what the package ships

Markets, dates and held-out symbols are those of ``recipes/base.yaml``. Policies are fitted on orders that end before
the first day of validation; every figure is of orders of validation, and no later bar is read. Errors are ratios to
those of TWAP on the same orders, with intervals over blocks of days; the first row has TWAP's own, in bar volatilities.

``--ship`` writes the numbers of both policies into the package.
"""

import argparse
import time
from pathlib import Path

from benchmarks.looks import open_file
from lem_models import Bars, load_policy
from lem_models.baselines.tracking.backloaded_curve import BackloadedCurve
from lem_models.baselines.tracking.coefficients import SHIPPED
from lem_models.baselines.tracking.convex import ConvexPolicy
from lem_models.baselines.tracking.fit import HUBER, durations_up_to, fit_tracking, fixed_orders
from lem_models.baselines.tracking.kinds import KINDS
from lem_models.errors import LEMError
from lem_models.evaluation.tracking import tracking_ratios
from lem_models.features.market import Market
from lem_models.guard.output import to_csv
from lem_models.report.markdown import markdown_table
from lem_models.report.policy_tables import tracking_ratio_table
from lem_models.training.recipe import DataConfig, Recipe

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "base.yaml"
LONGEST = {"crypto-hourly": 48, "crypto-30min": 48, "dow-daily": 24, "equity-5min": 78}
"""Longest duration that is shipped, by kind of bars."""


def training_bars(config: DataConfig, folder: Path) -> Bars:
    """The bars of training and validation of a market, without the symbols held out."""
    name, end = Path(config.path).name, config.validation_end
    opened = open_file(folder / name, config.train_end, end, models=[], command="python benchmarks/convex.py")
    bars = opened.whole.between(end=end)
    return bars.select([symbol for symbol in bars.symbols if symbol not in config.held_out])


def measure(kind: str, bars: Bars, config: DataConfig, given: argparse.Namespace) -> None:
    """Fit on one market and print its table."""
    start, end, drawn = config.train_end, config.validation_end, {"limit": given.validation, "seed": given.seed}
    policies = {name: load_policy(name) for name in ("volume_curve", *given.policies)}
    for huber in given.huber:
        began = time.perf_counter()
        fitted = fit_tracking(
            bars,
            train_end=start,
            validation_end=end,
            durations=given.periods,
            huber=huber,
            orders=given.orders,
            seed=given.seed,
        )
        policies["backloaded_curve"] = BackloadedCurve(fitted)
        policies[f"convex, Huber {huber:g}"] = ConvexPolicy(fitted)
        ridges = ", ".join(f"{table.ridge:g}" for table in fitted.tables)
        print(f"{kind}, Huber {huber:g}: fitted in {time.perf_counter() - began:.0f} s, ridge {ridges}", flush=True)
    market = Market(bars)
    for periods in given.periods:
        # Not the orders that chose the ridge, though of the same months.
        orders = fixed_orders(bars, periods, start=start, end=end, limit=drawn["limit"], seed=drawn["seed"] + 1)
        ratios = tracking_ratios(policies, market, orders)
        print(f"\n{kind}, fixed {periods}\n\n{markdown_table(tracking_ratio_table(ratios))}\n", flush=True)
        if given.out is not None:
            to_csv(ratios, given.out / f"{kind}-{periods}.csv")


def ship(kind: str, bars: Bars, config: DataConfig, given: argparse.Namespace) -> None:
    """Fit every duration of one market into the package."""
    fitted = fit_tracking(
        bars,
        train_end=config.train_end,
        validation_end=config.validation_end,
        durations=durations_up_to(LONGEST[kind]),
        huber=HUBER,
        orders=given.orders,
        seed=given.seed,
        progress=lambda text, *_: print(f"{kind}: {text}", flush=True),
    )
    print(fitted.write(SHIPPED / kind), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the files of the markets")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="markets")
    parser.add_argument("--periods", type=int, nargs="+", default=[12], help="fixed durations")
    parser.add_argument("--huber", type=float, nargs="+", default=[0.7, 1.0, 2.0], help="thresholds of the loss")
    parser.add_argument("--policies", nargs="*", default=[], help="further policies, models or folders")
    parser.add_argument("--orders", type=int, default=70_000, help="most orders of a duration in the fit")
    parser.add_argument("--validation", type=int, default=20_000, help="most orders of a duration in the table")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of orders")
    parser.add_argument("--ship", action="store_true", help="fit the shipped coefficients")
    parser.add_argument("--out", type=Path, help="folder for the tables as CSV")
    given = parser.parse_args()
    try:
        configs = {config.path: config for config in reversed(Recipe.read(RECIPE).data)}  # the first of each file
        for kind, config in zip(KINDS, reversed(configs.values()), strict=True):
            if kind in given.kinds:
                (ship if given.ship else measure)(kind, training_bars(config, given.data), config, given)
    except LEMError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
