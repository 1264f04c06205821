"""What each choice of a recipe is worth: models on a validation period, a row per choice.

    python benchmarks/ablation.py --train --data FOLDER
    python benchmarks/ablation.py --models gru0 gru1 --labels "GRU" "GRU" --market crypto-hourly --data FOLDER \
        --start 2023-07-01 --end 2024-01-01
    python benchmarks/ablation.py --table

``--train`` trains what ``benchmarks/ablation.yaml`` lists: a recipe with one choice changed at a time, from several
seeds (a model that is complete in ``--work`` is not trained again). Models with one label are training seeds of one
choice, and their numbers are averaged. All execute the same VWAP orders for a quantity, both sides, up to 12 periods,
minimum 1, 6 and 12, at risk aversion 0.45, and 2 at the fixed duration. "Utility" is the mean-variance utility that
training maximises, over all orders; means and standard deviations (of improvements within 10 either way) are in bar
volatilities. Rows are kept in ``benchmarks/results/ablation.json``; one with the same label and market is replaced. A
test period is refused: choices are made on validation.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.encoders import evaluate
from benchmarks.looks import open_bars, split_of
from benchmarks.records import plain, write_record
from benchmarks.zoo import ROOT, MarketPlan, Plan
from lem_models import Bars, LEMModel, Order
from lem_models.errors import ConfigError, LEMError
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.report.markdown import markdown_table
from lem_models.report.numbers import mean_std, number
from lem_models.report.tables import Column, Table
from lem_models.training.recipe import Recipe, read_sections
from lem_models.training.run import train
from lem_models.training.settings import TrainingSettings

MINIMA, LONGEST = (1, 6, 12), 12
FLEXIBLE_RISK, FIXED_RISK = 0.45, 2.0
STUDY = Path(__file__).with_name("ablation.yaml")
RESULTS = Path(__file__).with_name("results") / "ablation.json"


def ablation_rows(models: list[tuple[str, LEMModel]], bars: Bars, orders: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per label: ``what, utility, seeds``, the spread of the utility between seeds, mean and std by minimum.

    Args:
        models: Label and model; models of one label are seeds.
        bars: The market.
        orders: The orders, with their risk aversion.
    """
    market = Market(bars)
    by_label: dict[str, list[dict[str, float]]] = {}
    for label, model in models:
        table = pd.DataFrame(evaluate(model, market, orders))
        values = {"utility": np.average(table["utility"], weights=table["orders"])}
        for row in table.itertuples():
            values |= {f"mean_{row.minimum}": row.mean, f"std_{row.minimum}": row.std}
        by_label.setdefault(label, []).append(values)
    rows = []
    for label, seeds in by_label.items():
        table = pd.DataFrame(seeds)
        spread = table["utility"].std() if len(seeds) > 1 else None
        rows.append({"what": label, **table.mean().to_dict(), "seeds": len(seeds), "utility_between_seeds": spread})
    return rows


def sampled(bars: Bars, plan: MarketPlan, start: str, end: str, limit: int | None, seed: int) -> pd.DataFrame:
    """The orders of every row of a market."""
    orders = Order.sample(
        bars,
        every=plan.runs[0].every,
        side="both",
        min_periods=MINIMA,
        max_periods=LONGEST,
        lookback=MAX_LOOKBACK,
        start=start,
        end=end,
        limit=limit,
        seed=seed,
    )
    fixed = orders["min_periods"] == orders["max_periods"]
    return orders.assign(risk_aversion=np.where(fixed, FIXED_RISK, FLEXIBLE_RISK))


class Study(BaseModel):
    """A file of choices, ``benchmarks/ablation.yaml``.

    Attributes:
        recipe: File in ``recipes/``.
        market: Market to measure on.
        start: First day of validation.
        end: Day by which orders have ended, exclusive.
        seeds: Training seeds of every choice.
        shared: What every training changes in the sections of the recipe.
        choices: What else a choice changes, by label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    market: str
    start: date
    end: date
    seeds: list[int]
    shared: dict[str, Any] = {}
    choices: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Study:
        """Read a file.

        Raises:
            ConfigError: naming the file and what is wrong.
        """
        try:
            return cls(**read_sections(path))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise ConfigError(f"{path.name} is refused: {problems}") from None

    def trainings(self) -> Iterator[tuple[str, Recipe]]:
        """Label and recipe of every training, seed by seed.

        Raises:
            ConfigError: when a choice makes no recipe.
        """
        sections = read_sections(ROOT / "recipes" / self.recipe)
        for seed in self.seeds:
            for label, choice in self.choices.items():
                content = changed(changed(sections, self.shared), choice) | {"seed": seed}
                yield label, Recipe.of(content, name=f"{self.recipe} ({label})", folder=ROOT / "recipes")


def changed(sections: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sections with changes: settings of a section one by one, everything else as a whole."""
    result = dict(sections)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = changed(result[key], value) if both else value
    return result


def trained(study: Study, data: Path, work: Path, progress: Callable[[str], None]) -> list[tuple[str, LEMModel]]:
    """The model of every training; it is trained if its folder in ``work`` does not hold it yet."""
    models = []
    for label, recipe in study.trainings():
        folder = work / f"{re.sub('[^a-z0-9]+', '-', label.lower()).strip('-')}-{recipe.seed}"
        if not (folder / "model.safetensors").is_file():
            progress(f"{label}, seed {recipe.seed}: {recipe.trainer.steps} steps")
            # An interrupted run is replaced.
            train(recipe, out=folder, data=data, overwrite=True, settings=TrainingSettings(progress=False))
        models.append((label, LEMModel.from_pretrained(folder)))
    return models


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of both; a new one takes the place of the old one with its label and market."""
    rows = {(row["what"], row["market"]): row for row in old}
    return list((rows | {(row["what"], row["market"]): row for row in new}).values())


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, market by market; a dash where a row has no number."""
    frame = pd.DataFrame(sorted(rows, key=lambda row: row["market"]))
    columns = [
        Column("market", "market"),
        Column("what", "what"),
        Column(("utility", "utility_between_seeds"), "utility", _utility),
        *(
            Column(
                (f"mean_{minimum}", f"std_{minimum}"), "fixed 12" if minimum == LONGEST else f"min {minimum}", mean_std
            )
            for minimum in MINIMA
        ),
        Column("seeds", "seeds"),
        Column("note", "note"),
    ]
    known = frame.reindex(columns=[name for column in columns for name in column.sources])
    return markdown_table(Table(known.fillna({"seeds": 1, "note": ""}), columns))


def _utility(utility: float, between_seeds: float | None) -> str:
    return number(utility, ".4f") if pd.isna(between_seeds) else mean_std(utility, between_seeds, ".4f")


def measure(given: argparse.Namespace, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """The rows that a command asks for."""
    if given.train:
        if given.data is None:
            raise ConfigError("to train, name --data")
        study = Study.read(given.study)
        plan, start, end = Plan.of().market(study.market), str(study.start), str(study.end)
        market, models = study.market, trained(study, given.data, given.work, progress)
        note = given.note or f"{study.recipe}, shortened"
    else:
        if not given.models or given.data is None or not (given.market and given.start and given.end):
            raise ConfigError("to measure, name --models, --market, --data, --start and --end; or ask for the --table")
        labels = given.labels or [Path(name).name for name in given.models]
        if len(labels) != len(given.models):
            raise ConfigError(f"there are {len(given.models)} models and {len(labels)} labels; every model needs one")
        plan, start, end = Plan.of().market(given.market), given.start, given.end
        market, note = given.market, given.note
        models = [(label, LEMModel.from_pretrained(name)) for label, name in zip(labels, given.models, strict=True)]
    if split_of(plan.test_start, start, end) != "validation":
        raise ConfigError(f"{start} to {end} is in the test period; choices are made on validation")
    bars = open_bars(market, given.data, plan.test_start, start, end, weights={}, command="benchmarks/ablation.py").bars
    orders = sampled(bars, plan, start, end, given.limit or None, given.seed)
    progress(f"{len(orders):,} orders")
    facts = {"market": market, "period": f"{start} to {end}", "orders": len(orders), "note": note}
    return [{**row, **facts} for row in ablation_rows(models, bars, orders)]


def main() -> None:
    """Measure and keep the rows, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the rows that were kept, measure nothing")
    parser.add_argument("--train", action="store_true", help="train and measure the choices of --study")
    parser.add_argument("--study", type=Path, default=STUDY, help="file of choices; default benchmarks/ablation.yaml")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="folder of the trainings")
    parser.add_argument("--models", nargs="+", help="folders or names")
    parser.add_argument("--labels", nargs="+", help="what each model is; the same for seeds of one choice")
    parser.add_argument("--market", help="a market of the zoo")
    parser.add_argument("--data", type=Path, help="folder of the bars, or the file itself")
    parser.add_argument("--start", help="first day of validation, inclusive")
    parser.add_argument("--end", help="day by which orders have ended, exclusive")
    parser.add_argument("--limit", type=int, default=30_000, help="orders at most; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of orders")
    parser.add_argument("--note", default="", help="a remark, kept with the rows")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file of the rows")
    given = parser.parse_args()
    kept = json.loads(given.results.read_text(encoding="utf-8"))["rows"] if given.results.is_file() else []
    if not given.table:
        try:
            kept = merged(kept, measure(given, partial(print, flush=True)))
        except LEMError as error:
            parser.error(str(error))
        write_record({"rows": kept}, given.results)
    print(markdown([plain(row) for row in kept]))


if __name__ == "__main__":
    main()
