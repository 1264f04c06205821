"""The card of a bundled model and its metrics: made from recorded results, recipe and configuration, never typed.

:func:`metrics_of` condenses the market records of a model (``metrics.json``, which ``list_models()`` shows),
:func:`render_card` writes the card as it is published, with the Hub's metadata and ``model-index``. Every sentence that
depends on a number is derived from it (:mod:`benchmarks.cards.findings`). What is not recorded is named as missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.cards.findings import ALPHA, dominance, findings, models_of
from benchmarks.cards.tables import (
    dial_table,
    differences_table,
    improvement_table,
    placebos_table,
    policies_table,
    seeds_table,
    tracking_errors_table,
    tracking_table,
    unseen_table,
)
from benchmarks.looks import UNDATED, read_looks
from benchmarks.records import MarketRecord, RecordedRun
from benchmarks.zoo_table import headline_table, prices_table
from lem_models import LEMModel
from lem_models.hub.models.card_names import PIPELINE_TAG
from lem_models.hub.models.registry import ZooMarket, ZooSource, registry, weights_hash, zoo_market, zoo_source
from lem_models.hub.models.zoo import ZooModel, list_models
from lem_models.report.capacity import AGAINST_LABELS, size_text
from lem_models.report.markdown import markdown_table
from lem_models.report.tables import Column, Table
from lem_models.training.recipe import Recipe

_COMPARED = ("orders", "mean_vol", "low_vol", "high_vol", "std_vol", "mean_bps", "low_bps", "high_bps", "std_bps")
_PRICED = (
    *("against", "size", "gross_bps", "gross_low_bps", "gross_high_bps", "net_bps", "low_bps", "high_bps"),
    *("difference_bps", "difference_low_bps", "difference_high_bps"),
)
_SPLIT = ("option_vol", "above_vol", "above_low_vol", "above_high_vol")
_EXAMPLE_PERIODS = 12
_RATIOS = ("std", "clipped_std", "mean_abs", "median_abs", "q95_abs", "q99_abs")


@dataclass(frozen=True)
class CardSources:
    """What a card is made from.

    Attributes:
        name: The model.
        records: Its market records, in the order of its entry in the zoo; some may be missing.
        recipe: The recipe that it was trained by.
        start: Name and recipe of the model that training started from, if there was one.
        seeds: Record of ``benchmarks/seeds.py`` for this recipe, if there is one.
        dials: Records of ``benchmarks/frontier.py`` with this model, each with its picture as a path relative to the
            card (``None`` without one).
        others: Names of all models of the zoo: the other policies of a record are baselines.
    """

    name: ZooModel
    records: Sequence[MarketRecord]
    recipe: Recipe
    start: tuple[str, Recipe] | None = None
    seeds: Mapping[str, Any] | None = None
    dials: Sequence[tuple[Mapping[str, Any], str | None]] = ()
    others: Sequence[str] = field(default_factory=list_models)

    def models(self, record: MarketRecord) -> list[str]:
        """Every model of a record: this one, the specialist and the base of the record, and what else the zoo has."""
        named = [record.content.get("model"), record.content.get("base"), *record.content.get("models", ())]
        return list(dict.fromkeys(str(name) for name in (self.name, *named, *self.others) if name))


# --- metrics ---------------------------------------------------------------------------------------------------------


def metrics_of(name: ZooModel, records: Sequence[MarketRecord]) -> dict[str, Any]:
    """Measured results of a model in few numbers: all assets, by market, run and minimum duration.

    Raises:
        ConfigError: When a record was measured with other weights than those bundled.
    """
    weights = weights_hash(name.folder)
    evaluations = []
    for record in records:
        record.check_weights(name, weights)
        runs = [_run_metrics(run, name) for run in record.runs if run.row(name, run.minima[0]) is not None]
        if runs:
            period = record.content["period"]
            evaluations.append(
                {
                    "market": record.market,
                    "split": record.content["split"],
                    "reduced": record.is_reduced,
                    "cost_model": record.content["cost_model"]["name"],
                    "start": period["start"],
                    "end": period["end"],
                    "runs": runs,
                }
            )
    return {"model": str(name), "weights_sha256": weights, "evaluations": evaluations}


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """The text of ``metrics.json``."""
    return json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _run_metrics(run: RecordedRun, model: str) -> dict[str, Any]:
    rows = []
    for minimum in run.minima:
        row, null = run.row(model, minimum), run.null(model, minimum)
        if row is not None:
            split = {name: null[name] for name in _SPLIT} if null is not None else {}
            rows.append({"min_periods": minimum, **{name: row[name] for name in _COMPARED}, **split})
            if prices := run.capacity_rows(model, minimum):
                rows[-1]["prices"] = [{name: each[name] for name in _PRICED} for each in prices]
    errors = {policy: run.tracking_errors(model, policy) for policy in ("twap", "volume_curve")}
    tracking = [(policy, run.tracking(model, policy)) for policy in run.policies]
    return {
        "max_periods": run.max_periods,
        "volatility_bps": run.content["volatility_bps"],
        "rows": rows,
        "tracking": [
            {"policy": policy, **{name: row[name] for name in ("std_ratio_vol", "low", "high")}}
            for policy, row in tracking
            if row is not None
        ],
        "tracking_errors": [
            {"policy": policy, "measure": row["measure"]}
            | {name: row[name] for name in ("ratio", "ratio_low", "ratio_high")}
            for policy, measures in errors.items()
            for row in measures
            if row["measure"] in _RATIOS
        ],
    }


# --- metadata --------------------------------------------------------------------------------------------------------


def card_metadata(name: ZooModel, metrics: Mapping[str, Any], recipe: Recipe) -> str:
    """The YAML head of the card: what the Hub reads, with the results as ``model-index``.

    Names without an organisation in ``base_model`` and ``datasets`` are those of the zoo. They become ids of the
    Hub when a model is published (:mod:`lem_models.hub.models.card_names`).
    """
    results = []
    for evaluation in metrics["evaluations"]:
        market = zoo_market(evaluation["market"])
        shared = {
            "task_type": "order-execution",
            "task_name": "Order execution",
            "dataset_type": evaluation["market"],
            "dataset_name": f"{market.title}, {_days(evaluation)}",
            "dataset_split": evaluation["split"],
        }
        for run in evaluation["runs"]:
            for row in run["rows"]:
                of = f"minimum {row['min_periods']} of {run['max_periods']} periods"
                args = {key: row[key] for key in ("low_vol", "high_vol", "std_vol", "mean_bps", "std_bps", "orders")}
                results.append(
                    EvalResult(
                        **shared,
                        metric_type="improvement_bar_volatilities",
                        metric_name=f"Mean improvement over the VWAP, bar volatilities, {of}",
                        metric_value=row["mean_vol"],
                        metric_args=args,
                    )
                )
                for each in row.get("prices", ()):
                    price = AGAINST_LABELS[each["against"]]
                    results += [
                        EvalResult(
                            **shared,
                            metric_type=f"{kind}_improvement_bps",
                            metric_name=f"Mean {kind} improvement over the {price}, bps, {of}" + size,
                            metric_value=each[f"{kind}_bps"],
                            metric_args={"low": each[low], "high": each[high]},
                        )
                        for kind, low, high, size in (
                            ("gross", "gross_low_bps", "gross_high_bps", ""),
                            ("net", "low_bps", "high_bps", f", orders of {size_text(each['size'])} of the volume"),
                        )
                    ]
            for row in run["tracking"]:
                if row["policy"] == "twap":
                    results.append(
                        EvalResult(
                            **shared,
                            metric_type="tracking_error_ratio",
                            metric_name=f"Standard deviation over TWAP's, fixed {run['max_periods']} periods",
                            metric_value=row["std_ratio_vol"],
                            metric_args={key: row[key] for key in ("low", "high")},
                        )
                    )
    start = None if recipe.finetune is None else recipe.finetune.start
    data = ModelCardData(
        license="apache-2.0",
        library_name="lem_models",
        pipeline_tag=PIPELINE_TAG,
        model_name=str(name),
        base_model=start,
        base_model_relation=None if start is None else "finetune",
        datasets=_markets_of(recipe) or None,
        tags=["finance", "order-execution", "vwap", "twap", "time-series", "tkan", *name.entry.tags],
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()


def _markets_of(recipe: Recipe) -> list[str]:
    """Markets of the zoo whose bars a recipe trains on; further sources have no name on the Hub."""
    files = {market.path.name for market in recipe.data if market.path is not None}
    return [key for key, market in registry().markets.items() if market.file in files]


# --- the card --------------------------------------------------------------------------------------------------------


def render_card(sources: CardSources, model: LEMModel) -> str:
    """The card as Markdown, metadata included.

    Args:
        sources: What it is made from.
        model: The loaded model.

    Raises:
        ConfigError: When a record was measured with other weights than those bundled.
        UnknownNameError: When the zoo does not say where a file that the model was trained on comes from.
    """
    name, config = sources.name, model.config
    metrics = metrics_of(name, sources.records)
    measured = [record.market for record in sources.records]
    markets = {key: zoo_market(key) for key in name.entry.evaluations}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("model_card.md.j2").render(
        metadata=card_metadata(name, metrics, sources.recipe),
        name=str(name),
        entry=name.entry,
        config=config,
        headlines=_headlines(sources),
        facts=_facts(name, model),
        step=6,
        periods=min(_EXAMPLE_PERIODS, config.horizon),
        training=_training(sources, config.horizon),
        unseen_from=config.unseen_from,
        markets=list(markets.items()),
        other_sources=_other_sources(sources, list(markets.values())),
        results=[_results(record, sources) for record in sources.records],
        unmeasured=[market.title for key, market in markets.items() if key not in measured],
        alpha=ALPHA,
        dials=[_dial(record, picture, name) for record, picture in sources.dials],
        seeds=_seeds(sources),
        looks=_looks(markets),
        later_elsewhere=_later_elsewhere(sources),
        lookback=config.lookback,
        reproduce=_reproduce(sources),
    )


def _headlines(sources: CardSources) -> str | None:
    """The model against three prices in each market, gross and net of costs at 1 %; ``None`` where that is missing."""
    measured = [record for record in sources.records if record.runs[0].prices(sources.name, record.runs[0].minima[0])]
    if not measured:
        return None
    lines = [headline_table(measured, [str(sources.name)], ends=True)]
    lines += [
        f"**{zoo_market(record.market).title}: not the test period.**" for record in measured if not record.is_test
    ]
    lines += [f"{zoo_market(record.market).title}: {_costs(record)}." for record in measured]
    return "\n\n".join(lines)


def _costs(record: MarketRecord) -> str:
    """The costs of net numbers in words."""
    costs = record.content["cost_model"]
    return (
        f"net of the costs `{costs['name']}` (half-spread {costs['half_spread_bps']:g} bps, fees {costs['fee_bps']:g} "
        f"bps, impact {costs['impact']:g} × bar volatility × √participation) for orders of 1 % of the volume expected "
        "over the maximum duration"
    )


def _facts(name: ZooModel, model: LEMModel) -> list[tuple[str, str]]:
    config = model.config
    weights = sum(parameter.numel() for parameter in model.parameters())
    layers = f"{config.tkan_layers} {config.encoder.upper()} layer{'s' if config.tkan_layers > 1 else ''}"
    size = (name.folder / "model.safetensors").stat().st_size / 1e6
    return [
        ("Market", name.market),
        ("Bars", name.frequency),
        ("Longest order", f"{config.horizon} periods"),
        ("Benchmarks and targets", "VWAP or TWAP; a quantity or a notional; buy or sell; any minimum, maximum and cap"),
        ("Features", f"{len(config.features)} per bar, the same for every asset (returns, volumes, ranges, time)"),
        ("Backbone", f"{'no encoder' if config.encoder == 'none' else layers}, width {config.hidden_size}"),
        ("Head", f"`{config.head}`"),
        ("Weights", f"{weights:,}, {size:.1f} MB, safetensors"),
        ("Licence", "Apache-2.0"),
    ]


def _training(sources: CardSources, horizon: int) -> str:
    """Tables of the markets of the recipe, and of the recipe that it started from."""
    recipe = sources.recipe
    text = f"Recipe `recipes/{sources.name.entry.recipe}`, seed {recipe.seed}.\n\n{_markets_table(recipe, horizon)}"
    if sources.start is not None:
        start, before = sources.start
        text += (
            f"\n\nTraining started from `{start}`, which had been trained on:\n\n"
            f"{_markets_table(before, before.model.horizon)}"
        )
    return text


def _other_sources(sources: CardSources, markets: Sequence[ZooMarket]) -> list[tuple[str, ZooSource]]:
    """Files of the recipe, and of the one that it started from, that none of the markets describes."""
    recipes = [sources.recipe] if sources.start is None else [sources.recipe, sources.start[1]]
    files = [market.path.name for recipe in recipes for market in recipe.data if market.path is not None]
    described = {market.file for market in markets}
    return [(file, zoo_source(file)) for file in dict.fromkeys(files) if file not in described]


def _markets_table(recipe: Recipe, horizon: int) -> str:
    total = sum(market.weight for market in recipe.data)
    rows = [
        {
            "bars": f"`{market.path.name}`" if market.path else "given on the command line",
            "share of batches": f"{market.weight / total:.0%}",
            "training before": f"{market.train_end}",
            "validation before": f"{market.validation_end}",
            "longest order": f"{market.horizon or horizon}",
            "held out": ", ".join(market.held_out) or "none",
            "assets": ", ".join(market.symbols) or "all others",
        }
        for market in recipe.data
    ]
    return markdown_table(Table(pd.DataFrame(rows), [Column(name, name) for name in rows[0]]))


def _results(record: MarketRecord, sources: CardSources) -> dict[str, Any]:
    content, market, name = record.content, zoo_market(record.market), sources.name
    models = sources.models(record)
    runs = [run for run in record.runs if run.row(name, run.minima[0]) is not None]
    unseen = content["unseen_assets"]
    settings = runs[0].content["settings"] if runs else {}
    orders = [f"{int(run.content['orders']):,}" for run in runs]
    facts = (
        f"{_days(content['period'])}, {len(content['data']['symbols'])} assets"
        + (f", {len(unseen)} of them withheld from training ({', '.join(unseen)})" if unseen else "")
        + f". {' and '.join(orders)} orders"
        + (f", null of {settings['null']} draw{'s' if settings['null'] > 1 else ''}" if settings.get("null") else "")
        + (" (a **reduced** run, until the models are trained again)" if record.is_reduced else "")
        + f". Record: `benchmarks/results/{record.file}`; hash of the bars: "
        + f"`{content['data']['content_hash'][:16]}`."
    )
    estimated = content["data"].get("estimated_share", 0.0)  # older records do not say
    if estimated:
        facts += f" Judged against an **estimated** VWAP: {estimated:.1%} of the bars have no measured notional."
    warning = None
    if not record.is_test:
        warning = (
            "This is not the test period: these days were used to choose the weights, so the numbers are too good."
        )
    return {
        "title": market.title,
        "period": market.period,
        "facts": facts,
        "warning": warning,
        "runs": [
            {
                "max_periods": run.max_periods,
                "findings": findings(run, name, models_of(run, models), market.period),
                "prices": _optional(prices_table(run, [name, "twap"])),
                "improvement": markdown_table(improvement_table(run, name)),
                "policies": markdown_table(policies_table(run, name, models)),
                "differences": markdown_table(differences_table(run, name, ALPHA)),
                "tracking": _optional(tracking_table(run, name)),
                "errors": _optional(tracking_errors_table(run, name)),
                "unseen": _optional(unseen_table(run, name)),
                "placebos": _optional(placebos_table(run, name)),
            }
            for run in runs
        ],
    }


def _optional(table: Table | None) -> str | None:
    return None if table is None else markdown_table(table)


def _seeds(sources: CardSources) -> str:
    """Spread between training seeds, if it was measured."""
    if sources.seeds is None:
        return (
            f"The weights are of one training run (seed {sources.recipe.seed}). How much results differ between "
            "training seeds is not recorded for this model."
        )
    (table,) = [table for table in sources.seeds["tables"] if table["against"] is None]
    return (
        f"{len(sources.seeds['models'])} models of the same recipe with different seeds, on the same orders; bar "
        f"volatilities:\n\n{markdown_table(seeds_table(table['rows']))}"
    )


def _looks(markets: Mapping[str, ZooMarket]) -> str:
    """How often the test period of each market was looked at, by the log."""
    logged = read_looks()
    lines = []
    for key, market in markets.items():
        own = [look for look in logged if look["market"] == key]
        before = sum(look["date"] == UNDATED for look in own)
        text = f"- {market.title}: {len(own)} look{'s'[: len(own) != 1]} in the log"
        lines.append(f"{text}, {before} of them recorded before it began." if before else f"{text}.")
    return (
        "Each evaluation on a test period, of this model or another one, makes the next choice a little less honest. "
        "The scripts log each before they read the bars (`python benchmarks/looks.py`):\n\n"
        + "\n".join(lines)
        + "\n\nLooks that left no record before the log began are not counted, so these are the fewest."
    )


def _later_elsewhere(sources: CardSources) -> str:
    """That the model, or the one that it started from, has seen later bars of other markets; else empty."""
    recipes = {str(sources.name): sources.recipe}
    if sources.start is not None:
        recipes[sources.start[0]] = sources.start[1]
    name, last = max(
        ((name, section.validation_end) for name, recipe in recipes.items() for section in recipe.data),
        key=lambda item: item[1],
    )
    first = min(section.validation_end for section in sources.recipe.data)
    if last <= first:
        return ""
    of = "it" if name == str(sources.name) else f"`{name}`, from which training started,"
    return f"{of} has seen bars of other markets up to {last}, later than the first days of some of the test periods"


def _dial(record: Mapping[str, Any], picture: str | None, model: str) -> str:
    """One measured frontier of mean and standard deviation: picture, points, and where it dominates its rivals."""
    blocks = [
        f"{zoo_market(record['market']).title}, {_days(record['period'])}"
        + ("" if record["split"] == "test" else " (**not the test period**)")
        + f", {int(record['orders']):,} orders of up to {record['max_periods']} periods; bar volatilities:"
    ]
    if picture:
        blocks.append(f"![Mean against standard deviation at several risk aversions]({picture})")
    points = [row for row in record["points"] if row["policy"] == model]
    blocks += [markdown_table(dial_table(points)), "\n".join(f"- {line}" for line in dominance(record, model))]
    return "\n\n".join(blocks)


def _reproduce(sources: CardSources) -> str:
    commands = [f"lem train --config recipes/{sources.name.entry.recipe} --data FOLDER --out my-model"]
    commands += [str(record.content["command"]) for record in sources.records]
    commands += [str(record["command"]) for record, _ in sources.dials]
    return "```\n" + "\n".join(commands) + "\n```"


def _days(period: Mapping[str, Any]) -> str:
    """``2024-01-01 to 2024-12-31`` (the end is exclusive in a record and inclusive in a sentence)."""
    start, end = (datetime.fromisoformat(str(period[key])) for key in ("start", "end"))
    return f"{start:%Y-%m-%d} to {end - timedelta(microseconds=1):%Y-%m-%d}"
