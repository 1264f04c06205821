r"""Optimal stopping on a market without forecasts: the optimum of theory, and how near each policy comes.

    python benchmarks/martingale_optimum.py [--orders 200000] [--train 3000] [--out optimum.json]

The bars' prices are a log-normal martingale with independent returns of 1 % a bar, log volumes are independent with
standard deviation 0.6, orders take at most 12 periods at a cap of 1 and are judged against the VWAP. To first order in
the volatility the expected executed price of every schedule is the arrival price, so the expected improvement is that
of the benchmark alone, ``sup E[B_tau]`` over the stopping times that reach the minimum. With ``D`` the benchmark so far
minus the last price, in bar volatilities, and ``V`` the volume so far, before period ``s``

    G_s(V, D) = max(D E[V / (V + v)],  E[G_{s+1}(V + v, V / (V + v) (D - e))]),    e normal, v log-normal,

the first term from the minimum on only, and alone in the last period. The script solves that on a grid and executes
each policy on the same simulated bars. "Improvement" is in units of the true bar volatility; the column beside it
divides by the volatility estimated at the start of each order, as reports do: that lifts every gain by 1 or 2 %.
Orders start every 12 bars: their errors are independent.

Policies run at risk aversion 0, models at the lowest that they were trained for. ``--train`` adds the flexible head,
trained from scratch for so many steps on another draw of that market, without a recurrent encoder: nothing is to be
forecast.

To second order there is more to gain: ``executed / benchmark`` is convex in the benchmark, so that a buy gains by
trading late and a sell by trading early, some 0.04 bar volatilities at 12 periods of 1 %. That vanishes with the
volatility, moves no money, and costs variance; no policy here goes after it.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import RegularGridInterpolator

from lem_models import Bars, LEMConfig, LEMModel, Order, execute, load_policy, synthetic_bars
from lem_models.baselines import list_policies
from lem_models.execution.policy import Policy
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import number_text
from lem_models.report.tables import pivot
from lem_models.training.recipe import DataConfig, Recipe, TrainerConfig
from lem_models.training.run import train
from lem_models.training.sampling import OrderSampling

VOLATILITY = 0.01
MINIMA = (1, 3, 6, 9, 11, 12)
LOWEST_RISK = 0.05  # that models are trained for


def market(days: float, seed: int) -> Bars:
    """Hourly bars of 50 symbols whose prices are an i.i.d. log-normal martingale."""
    return synthetic_bars(
        symbols=50,
        days=days,
        seed=seed,
        volatility=VOLATILITY,
        market_correlation=0.0,
        martingale=True,
        price_process="bar",
    )


def trained_head(steps: int, seed: int) -> LEMModel:
    """The flexible head, trained on a draw of the market."""
    bars = market(days=400, seed=seed + 1000)
    first = np.datetime64(int(bars.timestamp[0]), "ns").astype("datetime64[D]")
    recipe = Recipe(
        name="flexible-head",
        seed=seed,
        data=DataConfig(
            train_end=(first + 360).item(),
            validation_end=(first + 400).item(),
            stretches=64,
            stretch=80,
            orders_per_stretch=48,
        ),
        orders=OrderSampling(
            twap=0.1, notional=0.1, full_horizon=0.9, fixed_duration=0.1, capped=0, floored=0, risk_aversion=(0.05, 0.2)
        ),
        model=LEMConfig(
            horizon=12,
            warmup=8,
            block=80,
            hidden_size=8,
            attention_window=8,
            encoder="none",
            risk_aversion=LOWEST_RISK,
            fixed_risk_aversion=LOWEST_RISK,
            head_config={"hidden_size": 96, "layers": 3},
        ),
        trainer=TrainerConfig(steps=steps, steps_per_epoch=max(steps // 10, 1), patience=10),
    )
    with tempfile.TemporaryDirectory() as folder:
        bars.write(Path(folder) / "bars.arrow")
        return train(recipe, out=Path(folder) / "run", data=Path(folder) / "bars.arrow").model


def optimum(minimum: int, maximum: int = 12, volume_std: float = 0.6, nodes: int = 15) -> float:
    """Optimal expected improvement in bar volatilities, risk-neutral, by dynamic programming."""
    e, e_weight = np.polynomial.hermite_e.hermegauss(nodes)
    q, q_weight = np.polynomial.hermite_e.hermegauss(nodes)
    e_weight, q_weight = e_weight / e_weight.sum(), q_weight / q_weight.sum()
    v = np.exp(volume_std * q - volume_std**2 / 2)
    d, log_v = np.linspace(-12, 12, 321), np.linspace(np.log(0.05), np.log(8.0 * maximum), 80)
    volume = np.exp(log_v)[:, None]
    stop = d * ((volume / (volume + v)) @ q_weight)[:, None]
    value = stop
    for s in range(maximum - 2, 0, -1):
        later = RegularGridInterpolator((log_v, d), value, bounds_error=False, fill_value=None)
        going = np.zeros_like(stop)
        for v_k, weight in zip(v, q_weight, strict=True):
            after = np.broadcast_to(np.log(volume + v_k), stop.shape)
            for e_j, e_w in zip(e, e_weight, strict=True):
                going += weight * e_w * later(np.stack([after, volume / (volume + v_k) * (d - e_j)], -1))
        value = np.maximum(stop, going) if s + 1 >= minimum else going
    first = RegularGridInterpolator((log_v, d), value, bounds_error=False, fill_value=None)
    return float(q_weight @ first(np.stack([np.log(v), np.zeros(nodes)], -1)))


def measure(policies: dict[str, Policy], orders: int, seed: int) -> list[dict[str, float | str]]:
    """One row per policy and minimum."""
    days = max(orders * 12 / 24 / 50, 20)
    bars = market(days, seed)
    rows: list[dict[str, float | str]] = []
    table = Order.sample(bars, every=12, side="both", min_periods=MINIMA, max_periods=12, limit=len(MINIMA) * orders)
    best = {minimum: optimum(minimum) for minimum in MINIMA}
    for name, policy in policies.items():
        risk_aversion = LOWEST_RISK if isinstance(policy, LEMModel) else 0.0
        executed = execute(policy, bars, table.assign(risk_aversion=risk_aversion)).orders
        for minimum in MINIMA:
            some = executed[executed["min_periods"] == minimum]
            true = -some["slippage_bps"] / (1e4 * VOLATILITY)
            # Buy and sell from the same bar are one draw, and nearly each other's mirror image.
            pairs = true.groupby([some["symbol"], some["start"]]).mean()
            rows.append(
                {
                    "policy": name,
                    "minimum": minimum,
                    "optimum": best[minimum],
                    "improvement": float(true.mean()),
                    "standard_error": float(pairs.std() / np.sqrt(len(pairs))),
                    "estimated_volatility": float((-some["slippage_bps"] / some["volatility_bps"]).mean()),
                    "std": float(true.std()),
                    "orders": len(some),
                }
            )
    return rows


def table(rows: list[dict[str, float | str]]) -> str:
    """Markdown: the optimum and a row per policy, a column per minimum."""
    frame = pd.DataFrame(rows)
    best = frame.drop_duplicates("minimum").assign(policy="optimum")
    blocks = [
        pivot(best, "policy", "minimum", lambda row: number_text(f"**{row['optimum']:.3f}**"), label="minimum {}"),
        pivot(frame, "policy", "minimum", _improvement),
    ]
    return markdown_table(replace(blocks[0], frame=pd.concat([block.frame for block in blocks])))


def _improvement(row: Mapping[str, Any]) -> str:
    return number_text(f"{row['improvement']:.3f} ± {row['standard_error']:.3f}")


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", default=list_policies(), help="names of policies or models")
    parser.add_argument(
        "--train", type=int, default=0, metavar="STEPS", help="train the flexible head for so many steps"
    )
    parser.add_argument("--orders", type=int, default=100_000, help="orders per minimum")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    args = parser.parse_args()
    policies: dict[str, Policy] = {name: load_policy(name) for name in args.policies}
    if args.train:
        policies["flexible head"] = trained_head(args.train, args.seed)
    rows = measure(policies, args.orders, args.seed)
    print(table(rows))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
