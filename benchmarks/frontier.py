"""The risk dial: one model at many risk aversions, beside Longstaff-Schwartz at its own and the classical schedules.

    python benchmarks/frontier.py --model lem-crypto-hourly --market crypto-hourly --data FOLDER --out frontier.json

``risk_aversion`` of an order is a number that the model reads: nothing is trained again. Every point of the frontier is
the mean and the standard deviation of the improvement over the same orders (VWAP, quantity, both sides), in bar
volatilities, with intervals over days. ``dominance`` asks at each point of a rival: is the model better at equal or
lower risk? The model's point is chosen by its standard deviation alone, the largest that does not exceed the rival's,
so that no luck in the means is picked. The answer is that of :mod:`lem_models.statistics.dominance`, in bar
volatilities: the interval of the mean difference above 0, its p-value below 5 % after Holm's correction for every row
of the table, and the upper end of the interval of the ratio of the standard deviations at or below 1.

Beside the JSON a picture is written, of the same name with ``.png``. Market, file and test period are those of
its row in ``lem_models/hub/models/zoo.yaml``; ``--start`` and ``--end`` name another period.

With ``--benchmark arrival`` the rival with a dial is Almgren-Chriss, which then trades sooner the more risk costs. With
``--size`` orders have a size and everything is net of the market's costs. Almgren-Chriss does not read sizes, but what
decides its schedule is one number, risk aversion over impact, and its dial runs over all of it.

    python benchmarks/frontier.py --model lem-base --market crypto-hourly --data FOLDER --benchmark arrival --size 0.01
    python benchmarks/frontier.py --show benchmarks/results/arrival-*.json      # the tables of records again
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.looks import open_bars
from benchmarks.records import write_record
from benchmarks.zoo import Plan, load_models, period_of, weights_of
from lem_models import Bars, Order, execute, load_policy
from lem_models.errors import ConfigError, LEMError
from lem_models.evaluation.risk_dial import DIAL, dial_orders, dial_point
from lem_models.execution.costs import CostModel, cost_model, cost_model_for
from lem_models.execution.policy import Policy
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.guard.text import read_json
from lem_models.orders.rules import Benchmark
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.dial.figure import risk_dial
from lem_models.report.figure_style import figure_to_png_bytes
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import interval, number
from lem_models.report.tables import Column, Table
from lem_models.statistics.dominance import judged, paired_comparison
from lem_models.statistics.summary import adjusted

REGRESSIONS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Risk aversions that Longstaff-Schwartz has regressions for (a grid of its own); beyond them it trades all at once."""
SCHEDULES = tuple(float(value) for value in np.geomspace(0.01, 100.0, 9).round(3))
"""Risk aversions of Almgren-Chriss against arrival, from the volume curve to nearly everything at once."""
RIVAL, ARRIVAL_RIVAL = "longstaff_schwartz", "almgren_chriss"
COMPARED = (
    *("model", "min_periods", "risk_aversion", "policy", "policy_risk_aversion", "mean_vol", "low_vol", "high_vol"),
    *("p_value_vol", "p_holm_vol", "std_ratio_vol", "std_ratio_low_vol", "std_ratio_high_vol"),
    *("mean_verdict", "risk_verdict", "dominates", "verdict"),
)
"""Columns of the table of dominance."""
POINT = (
    *("policy", "risk_aversion", "min_periods", "orders", "mean_vol", "low_vol", "high_vol", "std_vol"),
    *("std_low_vol", "std_high_vol"),
)
"""Columns of a point in a record."""
_MOST_BYTES = 1 << 24
WITHOUT_DIAL = ("stopping_rule", "twap", "volume_curve")


def frontier(
    models: Mapping[str, Policy],
    bars: Bars,
    orders: pd.DataFrame,
    *,
    rival: str = RIVAL,
    dial: tuple[float, ...] = DIAL,
    rival_dial: tuple[float, ...] = REGRESSIONS,
    costs: CostModel | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, pd.DataFrame]:
    """Points of every policy, and where a model dominates a rival.

    Args:
        models: The models by name.
        bars: The market.
        orders: The orders, without risk aversion.
        dial: Risk aversions of the models.
        rival: Policy that has a dial too.
        rival_dial: Risk aversions of it.
        costs: What trading the orders costs: everything is net of it. Default: nothing.
        bootstrap: Draws of the bootstrap.
        seed: Seed of the bootstrap.
        progress: Called with a line of text before each policy.

    Returns:
        ``points``: ``policy, risk_aversion`` (missing where a policy has none), ``min_periods, orders``, mean with
        ``low_vol, high_vol``, ``std_vol`` with ``std_low_vol, std_high_vol``. ``dominance``: a row per model, minimum
        and point of a rival that the model has a point at or below the standard deviation of, with columns of
        :func:`~lem_models.statistics.dominance.judged`.
    """
    shared: dict[str, Any] = {"draws": bootstrap, "seed": seed}
    market, rivals = Market(bars), {name: load_policy(name) for name in (rival, *WITHOUT_DIAL)}
    results: dict[tuple[str, float | None], pd.DataFrame] = {}
    points = []
    for name, policy in {**models, **rivals}.items():
        progress(f"{name}: {len(orders):,} orders")
        risks = dial if name in models else rival_dial if name == rival else (None,)
        for risk in risks:
            table = orders if risk is None else orders.assign(risk_aversion=risk)
            results[name, risk] = dial_orders(execute(policy, market, table, costs=costs), net=costs is not None)
            points.append(dial_point(results[name, risk], name, risk, **shared)[list(POINT)])
    table = pd.concat(points, ignore_index=True).astype({"risk_aversion": float})
    rows = [
        _dominance(name, point, minimum, table, results, shared)
        for name in models
        for minimum in sorted(table["min_periods"].unique())
        for point in table[(table["min_periods"] == minimum) & ~table["policy"].isin(models)].itertuples()
    ]
    compared = [row for row in rows if row is not None]
    dominance = judged(adjusted(pd.concat(compared, ignore_index=True))) if compared else pd.DataFrame()
    return {"points": table, "dominance": dominance[list(COMPARED)] if compared else dominance}


def _dominance(
    model: str,
    rival: Any,  # noqa: ANN401 - a row of the table of points
    minimum: int,
    points: pd.DataFrame,
    results: Mapping[tuple[str, float | None], pd.DataFrame],
    shared: Mapping[str, Any],
) -> pd.DataFrame | None:
    """The model's point at or just below the rival's standard deviation, against the rival; ``None`` without one."""
    own = points[(points["policy"] == model) & (points["min_periods"] == minimum)]
    own = own[own["std_vol"] <= rival.std_vol]
    if own.empty:
        return None
    risk = float(own.loc[own["std_vol"].idxmax(), "risk_aversion"])
    rival_risk = None if np.isnan(rival.risk_aversion) else float(rival.risk_aversion)
    a, b = (
        table[table["min_periods"] == minimum] for table in (results[model, risk], results[rival.policy, rival_risk])
    )
    table = paired_comparison(a, {rival.policy: b}, **shared)
    return table.assign(model=model, min_periods=minimum, risk_aversion=risk, policy_risk_aversion=rival.risk_aversion)


def shown(path: Path) -> str:
    """A table of a record: the model's points beside the rival's curve at their standard deviations.

    Raises:
        ConfigError: If it is not a record of this script.
    """
    try:
        record = read_json(path, _MOST_BYTES)
        table = beside_curve(pd.DataFrame(record["points"]), record["model"])
        size = "" if record.get("size") is None else f", net at {record['size']:.0%} of the expected volume"
        title = f"{record['market']}, `{record['model']}`, orders of up to {record['max_periods']} bars{size}:"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no record of benchmarks/frontier.py: {error}") from None
    return f"{title}\n\n{markdown_table(table)}"


def beside_curve(points: pd.DataFrame, model: str) -> Table:
    """The model's points and the mean of the rival with a dial, interpolated at the same standard deviation.

    Args:
        points: As :func:`frontier` gives them.
        model: Name of the model.
    """
    dials = points.groupby("policy")["risk_aversion"].nunique()
    (rival,) = dials[(dials > 1) & dials.index.isin((RIVAL, ARRIVAL_RIVAL))].index
    rows = []
    for minimum, own in points.groupby("min_periods", sort=True):
        curve = own[own["policy"] == rival].sort_values("std_vol")
        for row in own[own["policy"] == model].itertuples():
            at = np.interp(row.std_vol, curve["std_vol"], curve["mean_vol"], left=np.nan, right=np.nan)
            rows.append(
                {
                    "min_periods": minimum,
                    "risk": f"{row.risk_aversion:g}",
                    "std": number(row.std_vol, ".2f"),
                    "mean": interval(row.mean_vol, row.low_vol, row.high_vol, ".3f"),
                    "rival": "–" if np.isnan(at) else number(at, ".3f"),
                    "difference": "–" if np.isnan(at) else number(row.mean_vol - at, "+.3f"),
                }
            )
    columns = [
        Column("risk", "risk aversion"),
        Column("std", "std"),
        Column("mean", "mean [95 %]"),
        Column("rival", f"{rival} at this std"),
        Column("difference", "difference"),
    ]
    return Table(pd.DataFrame(rows), columns, grouped=[Column("min_periods", "minimum")])


def main() -> None:
    """Measure, print the points, write JSON and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, nargs="+", help="records: print their tables and measure nothing")
    parser.add_argument("--model", nargs="+", help="NAME, FOLDER or NAME=FOLDER; one or several")
    parser.add_argument("--market", help="a market of the zoo")
    parser.add_argument("--data", type=Path, help="folder of the bars, or the file itself")
    parser.add_argument("--min-periods", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--max-periods", type=int, default=12)
    parser.add_argument("--benchmark", choices=[each.value for each in Benchmark], default="vwap")
    parser.add_argument("--size", type=float, help="part of the expected volume, net of costs")
    parser.add_argument("--start", help="first day, inclusive; default the test period's")
    parser.add_argument("--end", help="day by which orders have ended, exclusive")
    parser.add_argument("--limit", type=int, default=20_000, help="orders at most; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of orders and of the bootstrap")
    parser.add_argument("--out", type=Path, help="JSON file; the picture is put beside it")
    given = parser.parse_args()
    if not given.show and not (given.model and given.market and given.data):
        parser.error("name a --model, a --market and the --data, or records to --show")
    try:
        if given.show:
            print("\n\n".join(map(shown, given.show)))
            return
        record, figure = measure(given, Plan.of(), partial(print, flush=True))
    except LEMError as error:
        parser.error(str(error))
    if given.out:
        print(write_record(record, given.out))
        picture = given.out.with_suffix(".png")
        picture.write_bytes(figure_to_png_bytes(figure))
        print(picture)


def measure(given: argparse.Namespace, plan: Plan, progress: Callable[[str], None]) -> tuple[dict[str, Any], Figure]:
    """The record and the picture."""
    market = plan.market(given.market)
    models, weights = load_models(given.model), weights_of(given.model)
    for name, model in models.items():
        if model.horizon < given.max_periods:
            raise ConfigError(f"the horizon of {name} is {model.horizon} periods, not {given.max_periods}")
    flags = {"start": given.start, "end": given.end, "size": given.size}
    if given.benchmark != "vwap":
        flags["benchmark"] = given.benchmark
    command = " ".join(
        [
            f"python benchmarks/frontier.py --model {' '.join(models)} --market {given.market} --data FOLDER",
            f"--min-periods {' '.join(map(str, given.min_periods))} --max-periods {given.max_periods}",
            f"--limit {given.limit} --seed {given.seed}",
            *(f"--{name} {value}" for name, value in flags.items() if value),
        ]
    )
    opened = open_bars(
        given.market, given.data, market.test_start, given.start, given.end, weights=weights, command=command
    )
    bars, start = opened.bars, opened.start
    orders = Order.sample(
        bars,
        every=market.runs[0].every,
        side="both",
        benchmark=given.benchmark,
        min_periods=given.min_periods,
        max_periods=given.max_periods,
        lookback=MAX_LOOKBACK,
        start=start,
        end=given.end,
        limit=given.limit or None,
        seed=given.seed,
    )
    dials: dict[str, Any] = {"rival": ARRIVAL_RIVAL, "rival_dial": SCHEDULES} if given.benchmark == "arrival" else {}
    costs = None if given.size is None else cost_model(cost_model_for(bars)).at(given.size)
    tables = frontier(models, bars, orders, **dials, costs=costs, seed=given.seed, progress=progress)
    shown = tables["points"].drop(columns=["orders"]).round(3)
    progress(f"{shown.to_string(index=False)}\n\n{tables['dominance'].round(3).to_string(index=False)}")
    compared = tables["dominance"]
    better = int(compared["dominates"].sum()) if len(compared) else 0
    opened.report(len(orders), f"better at equal or lower risk at {better} of {len(compared)} points")
    record = {
        "command": command,
        "sign": SIGN_CONVENTION,
        "market": given.market,
        "model": next(iter(models)),
        "models": list(models),
        "weights": weights,
        "max_periods": given.max_periods,
        "benchmark": given.benchmark,
        "size": given.size,
        "data": {"file": market.file, "content_hash": opened.whole.content_hash},
        "period": period_of(bars, start, given.end),
        "split": opened.split,
        "orders": len(orders),
        **tables,
    }
    return record, risk_dial(tables["points"], list(models))


if __name__ == "__main__":
    main()
