"""Which recurrent encoder? The recipe trained with each of them from several seeds, compared on the validation period.

    python benchmarks/encoders.py --config recipes/scratch.yaml --data crypto_hourly.parquet --out encoders.json

Everything but ``model.encoder`` and the seed is the recipe's, as are the orders of the validation period: VWAP orders
for a quantity at the full horizon, started every 6 bars, both sides. "Utility" is the mean-variance utility that
training maximises, in bar volatilities; "±" is the standard deviation between seeds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.looks import open_file
from lem_models import LEMModel, Order, execute
from lem_models.execution.objective import utility
from lem_models.features.market import Market
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import mean_std, number
from lem_models.report.tables import Column, Table, pivot
from lem_models.statistics.summary import improvement
from lem_models.training.recipe import Recipe
from lem_models.training.run import train
from lem_models.training.settings import TrainingSettings

ENCODERS = ("tkan", "gru", "lstm", "none")


def evaluate(model: LEMModel, market: Market, orders: pd.DataFrame) -> list[dict[str, float]]:
    """Utility, mean and standard deviation of the improvement by minimum duration."""
    executed = execute(model, market, orders).orders
    rows = []
    for minimum, group in executed.groupby("min_periods"):
        x = improvement(group, "vol").dropna()
        risk = torch.from_numpy(group.loc[x.index, "risk_aversion"].to_numpy(np.float64, copy=True))
        maximum = torch.from_numpy(group.loc[x.index, "max_periods"].to_numpy(copy=True))
        value = utility(torch.from_numpy(x.to_numpy(copy=True)), risk, maximum).mean().item()
        rows.append(
            {
                "minimum": int(minimum),
                "utility": value,
                "mean": x.mean(),
                "std": x.clip(-10, 10).std(),
                "orders": len(x),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a row per encoder, a column per minimum duration; mean and deviation are averages over the seeds."""
    frame = pd.DataFrame(rows)
    by_minimum = frame.groupby(["encoder", "minimum"], sort=False)[["mean", "std"]].mean().reset_index()
    means = pivot(
        by_minimum,
        "encoder",
        "minimum",
        lambda row: mean_std(row["mean"], row["std"]),
        corner="encoder",
        label="min {}: mean ± std",
    )
    overall = frame.groupby(["encoder", "seed"], sort=False)["utility"].mean().groupby("encoder")
    spread = overall.agg(["mean", "std"]).loc[means.frame["encoder"]]
    utilities = [
        number(mean, ".4f") if np.isnan(std) else mean_std(mean, std, ".4f")
        for mean, std in spread.itertuples(index=False)
    ]
    encoder, *minima = means.columns
    columns = [encoder, Column("utility", "utility, all"), *minima]
    return markdown_table(Table(means.frame.assign(utility=utilities), columns))


def main() -> None:
    """Train, evaluate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="recipe")
    parser.add_argument("--data", type=Path, required=True, help="bars")
    parser.add_argument("--encoders", nargs="+", default=ENCODERS, choices=ENCODERS)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each encoder")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--stretches", type=int, help="stretches of a batch; default the recipe's")
    parser.add_argument("--orders-per-stretch", type=int, help="default the recipe's")
    parser.add_argument("--work", type=Path, default=Path("runs/encoders"), help="folder of the runs")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    args = parser.parse_args()
    recipe = Recipe.read(args.config)
    batch = {"stretches": args.stretches, "orders_per_stretch": args.orders_per_stretch}
    data = recipe.data[0].model_copy(update={name: value for name, value in batch.items() if value is not None})
    every = max(args.steps // 2, 1)
    trainer = recipe.trainer.model_copy(update={"steps": args.steps, "steps_per_epoch": every})
    end = str(data.validation_end)
    opened = open_file(args.data, str(data.train_end), end, models=[], command="python benchmarks/encoders.py")
    bars = opened.bars
    horizon = recipe.model.horizon
    orders = Order.sample(
        bars,
        every=6,
        side="both",
        min_periods=sorted({max(1, round(horizon * share)) for share in (0, 0.25, 0.5, 0.75, 1)}),
        max_periods=horizon,
        lookback=recipe.model.lookback,
        start=str(data.train_end),
        end=str(data.validation_end),
        limit=100_000,
    )
    market = Market(bars)
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        for encoder in args.encoders:
            own = recipe.model_copy(
                update={
                    "seed": seed,
                    "data": (data,),
                    "trainer": trainer,
                    "model": recipe.model.model_copy(update={"encoder": encoder}),
                }
            )
            folder = args.work / f"{encoder}-{seed}"
            quiet = TrainingSettings(progress=False)
            model = train(own, out=folder, data=args.data, overwrite=True, settings=quiet).model
            rows += [{"encoder": encoder, "seed": seed, **row} for row in evaluate(model, market, orders)]
            print(table([row for row in rows if row["seed"] == seed]), flush=True)
            if args.out:
                record = {
                    "recipe": recipe.name,
                    "steps": args.steps,
                    "stretches": data.stretches,
                    "orders_per_stretch": data.orders_per_stretch,
                    "data_hash": bars.content_hash,
                    "rows": rows,
                }
                args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
