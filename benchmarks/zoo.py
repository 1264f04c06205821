"""The zoo on real markets: every bundled model of a market beside every rival, on assets seen and unseen.

    python benchmarks/zoo.py --market crypto-hourly --data FOLDER --out benchmarks/results/crypto-hourly.json

A row of ``lem_models/hub/models/zoo.yaml`` says what a market is: its file, the first day of its test period, its
specialist and the orders.
VWAP orders for a quantity, both sides, at the policies' own risk aversion; the specialist, the base model and all
executable policies of the package execute the same orders, also on draws of the martingale null.
By minimum duration there are tables for all assets, for those that no model of the run was trained on, in this market
or in another one (``unseen``), and for the others (``seen``):

- ``comparison``: mean, spread and interval of every policy;
- ``differences``: each model minus every other policy, order by order, Holm's correction over the rows of one model and
  one set of assets (not for the seen ones alone);
- ``tracking``: the ratio of the standard deviations of each model and every other policy at a fixed duration;

and for all assets:

- ``null``: what each policy gains, split into the option value and what is above the null;
- ``information``: what each model gains from the contexts of real bars over those of null bars;
- ``placebos``: in the first run, the first model minus policies that forecast nothing, at its risk;
- ``tracking_errors``: at the fixed duration, every measure of the errors of all policies beside those of TWAP and the
  volume curve;
- ``capacity``: what is left against the own benchmark, the full-horizon VWAP and arrival when the same
  fills have a size (``SIZES``) and pay the named costs of the market; at the shortest, the middle and the longest
  minimum.

With fewer orders or draws than by default a record is marked as reduced.

Other models: ``--models NAME=FOLDER ...``; the first is the one under test. Without ``--start`` and ``--end`` it is the
test period. A period before that is one for validation; one that holds days of both is refused.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from benchmarks.looks import open_bars, symbols_of, utc
from benchmarks.records import write_record
from lem_models import Bars, LEMModel, load_policy
from lem_models.baselines import list_policies
from lem_models.errors import ConfigError, LEMError
from lem_models.evaluation.attribution import PLACEBOS
from lem_models.evaluation.benchmark import Benchmark, BenchmarkSettings, run_benchmark
from lem_models.execution.costs import cost_model, cost_model_for
from lem_models.execution.policy import Policy
from lem_models.guard.settings import Settings
from lem_models.hub.models.registry import Registry, registry, weights_hash
from lem_models.hub.models.resolve import resolve
from lem_models.markets.calendar.frequency import Moment, clock
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval
from lem_models.report.policy_tables import above_null_by_minimum, means_by_minimum
from lem_models.statistics.dominance import paired_comparison
from lem_models.statistics.summary import compare
from lem_models.statistics.tracking import std_ratio, tracking_errors
from lem_models.training.recipe import Recipe

_BEGAN = time.perf_counter()
ROOT = Path(__file__).resolve().parents[1]
TRACKED_AGAINST = ("twap", "volume_curve")
"""Policies that the errors of all others are compared with at a fixed duration."""
NOT_KEPT = ("std_bps", "better_percent", "dm_bps", "dm_vol", "mean_verdict", "risk_verdict", "dominates", "verdict")
"""Columns of the differences that are not kept."""
SIZES = (0.0, 0.001, 0.01, 0.03, 0.1)
"""Sizes of the orders, parts of the volume expected over the maximum duration."""
INFINITESIMAL = 1e-9
"""Size by which policies that read sizes decide, but for the capacity curve."""
NET = 0.01
"""Size of net headlines."""
COMPARED = (
    *("orders", "mean_bps", "low_bps", "high_bps", "std_bps", "median_bps", "q05_bps", "q95_bps", "better_percent"),
    *("mean_vol", "low_vol", "high_vol", "std_vol", "volatility_bps", "periods_used", "completed_percent"),
)
"""Columns of the comparison that are kept: the others repeat these, or are of sizes and costs (``capacity``)."""


class RunPlan(Settings):
    """Orders of one maximum duration.

    Attributes:
        max_periods: Maximum duration.
        every: Bars between starts.
        null_draws: Draws of the martingale null; ``--null`` overrides it.
    """

    max_periods: int = Field(ge=1)
    every: int = Field(5, ge=1)
    null_draws: int = Field(20, ge=0)

    @property
    def min_periods(self) -> tuple[int, ...]:
        """1 and the quarters of the maximum."""
        return tuple(sorted({1, *(max(1, round(self.max_periods * quarter / 4)) for quarter in (1, 2, 3, 4))}))


class MarketPlan(Settings):
    """A market.

    Attributes:
        file: File of bars.
        model: Its specialist, if it has one.
        test_start: First day that no recipe has read.
        runs: What is run.
    """

    file: str
    model: str | None
    test_start: date
    runs: tuple[RunPlan, ...] = Field(min_length=1)


class Plan(Settings):
    """The markets of the zoo.

    Attributes:
        base: The model for all markets.
        recipes: File in ``recipes/`` of each model.
        markets: The markets by name.
    """

    base: str
    recipes: dict[str, str]
    markets: dict[str, MarketPlan]

    @classmethod
    def of(cls, zoo: Registry | None = None) -> Plan:
        """The plan of a registry; by default that of the package.

        Raises:
            ConfigError: naming the row and what is wrong in it.
        """
        zoo = registry() if zoo is None else zoo
        markets = {
            name: {
                "file": market.file,
                "model": zoo.specialists.get(name),
                "test_start": market.test_start,
                "runs": market.test_orders,
            }
            for name, market in zoo.markets.items()
        }
        recipes = {name: entry.recipe for name, entry in zoo.models.items()}
        return cls.parse({"base": zoo.base, "recipes": recipes, "markets": markets}, "zoo.yaml is refused")

    def models(self, market: str) -> list[str]:
        """The models that are tested on a market: its specialist and the base."""
        specialist = self.market(market).model
        return list(dict.fromkeys([*([specialist] if specialist else []), self.base]))

    def market(self, name: str) -> MarketPlan:
        """A market by its name.

        Raises:
            ConfigError: If there is none.
        """
        if name not in self.markets:
            raise ConfigError(f"there is no market {name!r}; there are {', '.join(self.markets)}")
        return self.markets[name]

    def unseen(self, models: list[str], symbols: list[str], folder: Path) -> list[str]:
        """Symbols that none of these models was trained on: held out by each recipe, and used in none of its markets.

        A stock that a recipe holds out of its daily bars but reads in its five-minute bars was seen. The recipe of a
        model that another one starts from counts too; models without a recipe here say nothing.

        Args:
            models: Names of the models.
            symbols: The symbols in question.
            folder: Where the files of the recipes are; of those that are not there the held-out symbols alone count.

        Raises:
            ConfigError: If a recipe cannot be read.
        """
        recipes: dict[str, Recipe] = {}
        waiting = [name for name in models if name in self.recipes]
        while waiting:
            name = waiting.pop()
            recipes[name] = Recipe.read(ROOT / "recipes" / self.recipes[name])
            start = recipes[name].finetune.start if recipes[name].finetune else None
            waiting += [start] if start in self.recipes and start not in recipes else []
        unseen = set(symbols) if recipes else set()
        for recipe in recipes.values():
            unseen &= {symbol for section in recipe.data for symbol in section.held_out}
            for section in recipe.data:
                file = folder / section.path.name if section.path is not None else None
                if file is not None and file.is_file():
                    used = section.symbols or symbols_of(file)
                    unseen -= set(used) - set(section.held_out)
        return sorted(unseen)


def load_models(given: list[str]) -> dict[str, LEMModel]:
    """Models by name, from ``NAME``, ``NAME=FOLDER`` or ``FOLDER``."""
    models: dict[str, LEMModel] = {}
    for item in given:
        name, _, folder = item.partition("=")
        name = name if folder else Path(item).name
        if name in models:
            raise ConfigError(f"the model {name} was given twice")
        models[name] = LEMModel.from_pretrained(folder or item)
    return models


def weights_of(given: list[str]) -> dict[str, str]:
    """SHA-256 of the weights of each model, so that the record is quoted for no others."""
    pairs = [item.partition("=") for item in given]
    return {name if of else Path(name).name: weights_hash(resolve(folder or name)) for name, of, folder in pairs}


def period_of(bars: Bars, start: Moment, end: Moment | None) -> dict[str, str]:
    """Start and end (exclusive) of a period in ISO form; without an end it is that of the bars."""
    last = pd.Timestamp(int(bars.timestamp.max()), tz="UTC") + bars.frequency
    return {"start": utc(start).isoformat(), "end": (utc(end) if end else last).isoformat()}


def evaluate(
    policies: Mapping[str, Policy],
    models: list[str],
    bars: Bars,
    settings: BenchmarkSettings,
    unseen: list[str],
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """One run: its tables, as the record holds them.

    Args:
        policies: All policies; those whose horizon is too short are left out and named.
        models: Which of them are the models.
        bars: The market.
        settings: The orders.
        unseen: Symbols that the models never saw.
        progress: Called with a line of text before each step.
    """
    able = {name: policy for name, policy in policies.items() if (policy.horizon or 10**9) >= settings.max_periods}
    left_out = [name for name in policies if name not in able]
    models = [name for name in models if name in able]
    if not models:
        raise ConfigError(f"no model has a horizon of {settings.max_periods} periods: {', '.join(left_out)}")
    for name in left_out:
        progress(f"{name} is left out: its horizon is {policies[name].horizon} periods, not {settings.max_periods}")
    benchmark = run_benchmark(able, bars, settings, progress=lambda text, *_: progress(text))
    if benchmark is None:
        raise ConfigError("this benchmark runs in one process")
    progress("tables")
    model = benchmark.orders[models[0]]
    subsets = {
        "all": model["symbol"].notna(),
        "seen": ~model["symbol"].isin(unseen),
        "unseen": model["symbol"].isin(unseen),
    }
    chosen = {name: model.loc[rows, "order_id"] for name, rows in subsets.items() if rows.any()}
    tables = [
        _tables(benchmark, models, name, order_id) for name, order_id in chosen.items() if name == "all" or unseen
    ]
    return {
        "max_periods": settings.max_periods,
        "settings": settings.model_dump(
            mode="json", include={"every", "min_periods", "limit", "null", "information", "seed", "bootstrap", "sizes"}
        ),
        "orders": len(model),
        "left_out": left_out,
        "excluded": dict(benchmark.excluded),
        "volatility_bps": model["volatility_bps"].mean(),
        **{name: pd.concat([each[name] for each in tables if name in each], ignore_index=True) for name in tables[0]},
        **_whole(benchmark),
    }


def _tables(benchmark: Benchmark, models: list[str], assets: str, order_id: pd.Series) -> dict[str, pd.DataFrame]:
    """Tables of one set of assets."""
    orders = {name: table[table["order_id"].isin(order_id)] for name, table in benchmark.orders.items()}
    by, bootstrap = ["min_periods"], {"draws": benchmark.settings.bootstrap, "seed": benchmark.settings.seed}
    comparison = compare(orders, by, **bootstrap)[["policy", *by, *COMPARED]]
    differences, tracking = [], []
    fixed = {name: orders[name][lambda o: o["min_periods"] == o["max_periods"]] for name in orders}
    for model in models:
        others = [name for name in orders if name != model]
        if assets != "seen":  # nothing is said about these alone
            table = paired_comparison(orders[model], {name: orders[name] for name in others}, by, **bootstrap)
            differences.append(table.assign(model=model).drop(columns=list(NOT_KEPT)))
        for name in others:
            ratio = std_ratio(fixed[model], fixed[name], by, **bootstrap).rename(columns={"ratio": "std_ratio_vol"})
            tracking.append(ratio.assign(model=model, policy=name))
    tables = {
        "comparison": comparison,
        "differences": _stacked(differences),
        "tracking": _stacked(tracking),
    }
    return {name: _first(table.assign(assets=assets)) for name, table in tables.items() if len(table)}


def _whole(benchmark: Benchmark) -> dict[str, pd.DataFrame]:
    """Tables of all assets together."""
    by = ["min_periods"]
    fixed = {name: orders[orders["min_periods"] == orders["max_periods"]] for name, orders in benchmark.orders.items()}
    bootstrap = {"draws": benchmark.settings.bootstrap, "seed": benchmark.settings.seed}
    against = [name for name in TRACKED_AGAINST if name in fixed]
    placebos = benchmark.placebo_differences(by)
    tables = {
        "null": benchmark.splits(by),
        "information": benchmark.information(by),
        "placebos": None if placebos is None else placebos.assign(model=benchmark.model),
        "tracking_errors": tracking_errors(fixed, against, by, **bootstrap),
        "capacity": _capacity(benchmark),
    }
    return {
        name: pd.DataFrame() if table is None else _first(table.assign(assets="all")) for name, table in tables.items()
    }


def _capacity(benchmark: Benchmark) -> pd.DataFrame | None:
    """The capacity curve at the shortest, the middle and the longest minimum."""
    curve = benchmark.capacity(["min_periods"])
    minima = sorted(benchmark.settings.min_periods)
    kept = {minima[0], minima[len(minima) // 2], minima[-1]}
    return None if curve is None else curve[curve["min_periods"].isin(kept)].drop(columns="over_volume_percent")


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its keys in the first columns."""
    keys = [key for key in ("assets", "model", "policy", "placebo", "min_periods", "size", "against") if key in table]
    return table[[*keys, *(name for name in table if name not in keys)]]


def _stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def printed(run: Mapping[str, Any]) -> str:
    """Mean ± standard deviation, and what is above the null, of every policy by minimum, in bar volatilities."""
    tables = []
    for assets, rows in run["comparison"].groupby("assets", sort=False):
        tables.append(means_by_minimum(rows, corner=str(assets)))
        null = run["null"][run["null"]["assets"] == assets] if len(run["null"]) else run["null"]
        if len(null):
            tables.append(above_null_by_minimum(null, corner=f"{assets}, above the null"))
    return "\n\n".join(map(markdown_table, tables))


def measure(given: argparse.Namespace, plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """Everything that the command measures."""
    market = plan.market(given.market)
    models = load_models(given.models or plan.models(given.market))
    weights = weights_of(given.models or list(models))
    opened = open_bars(
        given.market, given.data, market.test_start, given.start, given.end, weights=weights, command=command(given)
    )
    bars, start = opened.bars, opened.start
    costs = cost_model_for(bars)
    policies: dict[str, Policy] = {**models, **{name: load_policy(name) for name in given.rivals}}
    folder = given.data if given.data.is_dir() else given.data.parent
    unseen = plan.unseen(list(models), list(bars.symbols), folder)
    runs = []
    for run in market.runs:
        if given.max_periods and run.max_periods not in given.max_periods:
            continue
        began = time.perf_counter()
        settings = BenchmarkSettings(
            every=run.every,
            min_periods=run.min_periods,
            max_periods=run.max_periods,
            start=start,
            end=given.end,
            limit=given.limit or None,
            null=run.null_draws if given.null is None else given.null,
            information=given.information,
            seed=given.seed,
            costs=cost_model(costs).at(INFINITESIMAL),
            sizes=(NET,) if runs else SIZES,
            placebos=() if runs else tuple(PLACEBOS),  # matching a risk takes many regressions
        )
        runs.append(evaluate(policies, list(models), bars, settings, unseen, progress))
        progress(f"{run.max_periods} periods: {time.perf_counter() - began:.0f} s\n{printed(runs[-1])}\n")
    if not runs:
        raise ConfigError(f"{given.market} has no run of {given.max_periods} periods")
    opened.report(sum(run["orders"] for run in runs), headline(runs[0], next(iter(models))))
    return {
        "command": command(given),
        "sign": SIGN_CONVENTION,
        "market": given.market,
        "model": next(iter(models)),
        "base": plan.base if plan.base in models else None,
        "models": list(models),
        "weights": weights,
        "data": {
            "file": market.file,
            "content_hash": opened.whole.content_hash,
            "symbols": list(bars.symbols),
            "bars": len(opened.whole),
            "frequency": clock(bars.frequency),
            "estimated_share": round(bars.between(start, given.end).estimated_share, 4),
        },
        "period": period_of(bars, start, given.end),
        "unseen_assets": unseen,
        "split": opened.split,
        "reduced": is_reduced(given, market),
        "cost_model": {"name": costs, **cost_model(costs).model_dump(mode="json", exclude={"half_spreads_bps"})},
        "runs": runs,
    }


def is_reduced(given: argparse.Namespace, market: MarketPlan) -> bool:
    """Whether a run has fewer orders or draws than by default."""
    fewest = {"limit": given.limit or DEFAULTS["limit"], "information": given.information}
    return any(value < DEFAULTS[name] for name, value in fewest.items()) or (
        given.null is not None and given.null < max(run.null_draws for run in market.runs)
    )


def headline(run: Mapping[str, Any], model: str) -> str:
    """The number of a run that its log line quotes: the improvement at the shortest minimum."""
    table = run["comparison"]
    row = table[(table["policy"] == model) & (table["assets"] == "all")].sort_values("min_periods").iloc[0]
    mean = interval(row["mean_vol"], row["low_vol"], row["high_vol"])
    return f"{model}, minimum {row['min_periods']} of {run['max_periods']}: {mean} bar volatilities"


def command(given: argparse.Namespace) -> str:
    """The command as anybody can run it: folders of this machine left out."""
    words = ["python benchmarks/zoo.py", f"--market {given.market}", "--data FOLDER"]
    if given.models:
        words.append("--models " + " ".join(Path(item.partition("=")[0]).name for item in given.models))
    if given.rivals != list_policies():
        words.append(" ".join(["--rivals", *given.rivals]))
    if given.max_periods:
        words.append(" ".join(["--max-periods", *map(str, given.max_periods)]))
    for name in ("start", "end", "limit", "null", "information", "seed"):
        value = getattr(given, name)
        if value != DEFAULTS.get(name):
            words.append(f"--{name} {value}")
    return " ".join(words)


DEFAULTS = {"limit": 40_000, "information": 5, "seed": 0}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--market", required=True, help="a market of the zoo")
    made.add_argument("--data", type=Path, required=True, help="folder of the bars, or the file itself")
    made.add_argument("--models", nargs="+", help="NAME, FOLDER or NAME=FOLDER; default the specialist and the base")
    made.add_argument("--rivals", nargs="*", default=list_policies(), help="policies to run beside them; default all")
    made.add_argument("--max-periods", type=int, nargs="+", help="only the runs of these maximum durations")
    made.add_argument("--start", help="first day, inclusive; default the test period's")
    made.add_argument("--end", help="day by which orders have ended, exclusive")
    made.add_argument("--limit", type=int, default=DEFAULTS["limit"], help="orders of a run at most; 0 for all")
    made.add_argument("--null", type=int, help="draws of the martingale null; default the plan's")
    made.add_argument("--information", type=int, default=DEFAULTS["information"], help="draws of the ablation")
    made.add_argument("--seed", type=int, default=DEFAULTS["seed"], help="of the draws of orders, null and bootstrap")
    made.add_argument("--out", type=Path, help="JSON file")
    return made


def stamped(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.perf_counter() - _BEGAN:6.0f} s  {text}", flush=True)


def main() -> None:
    """Measure, print the tables, write the record."""
    arguments = parser()
    given = arguments.parse_args()
    try:
        record = measure(given, Plan.of(), stamped)
    except LEMError as error:
        arguments.error(str(error))
    if given.out:
        print(f"{write_record(record, given.out)}: {given.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
