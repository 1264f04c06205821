"""``lem info``: everything about a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from lem_models.cli.output import Output, note
from lem_models.cli.policies import BundledName
from lem_models.errors import one_line
from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.hub.models.description import ModelDescription
    from lem_models.report.tables import Table

__all__ = ["InfoOptions", "info"]


class InfoOptions(Settings):
    """Options of ``lem info``."""

    name: Annotated[BundledName, typer.Argument()] = Field(
        description="Bundled name, folder, or Hub id (org/name) of a model."
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub id.")


def info(options: InfoOptions, out: Output) -> None:
    """Print what a model is: the orders that it takes, its training, its figures, licence and weights.

    The weights are loaded and checked. The figures are those of its card.

    Example: lem info lem-crypto-hourly

    Example: lem info my-model --json
    """
    from rich.markup import escape

    from lem_models.cli.commands.models.training_days import training_data
    from lem_models.hub.models.description import describe_model
    from lem_models.hub.models.plain_card import FINETUNE_NAME
    from lem_models.hub.names import CARD_NAME
    from lem_models.report.console import fitting_table
    from lem_models.report.numbers import fact_text

    model = describe_model(options.name, revision=options.revision)
    data = training_data(model.folder)
    out.add(model.as_dict() | {"training": dict(model.training) | {"data": data}})
    for text in model.notes:
        note(text)
    out.say(f"{model.name}{'' if model.title is None else f': {model.title}'}")
    if model.description is not None:
        out.say(model.description)
    for heading, facts in _sections(model).items():
        out.console.print(f"\n[bold]{heading}[/bold]")
        for name, value in facts.items():
            out.say(f"{name:<26}{fact_text(value)}")
    if data:
        out.console.print()
        out.console.print(fitting_table(out.console, _data_table(data)))
    for dataset, lines in _figures(model).items():
        source = "the card" if (model.folder / CARD_NAME).is_file() or model.kind == "hub" else FINETUNE_NAME
        out.console.print(f"\n[bold]Figures of {source}:[/bold] {escape(dataset)}", highlight=False, soft_wrap=True)
        for line in lines:
            out.say(line)


def _sections(model: ModelDescription) -> dict[str, dict[str, Any]]:
    """Facts by heading, as they are printed."""
    orders, training, parameters = model.orders, model.training, model.parameters
    fixed = {name: value for name, value in model.config.items() if name not in (*orders, *training, "horizon")}
    tuned = {
        "fine-tuned from": training.get("start"),
        "weights that changed": training.get("method"),
        "verdict of its test": training.get("verdict"),
    }
    return {
        "Model": {
            "where": f"{model.kind}, {model.folder}",
            "licence": model.licence or "not stated",
            "weights": f"{parameters['total']:,} (backbone {parameters['backbone']:,}, head {parameters['head']:,})",
            "size of the weights": f"{model.weights_bytes / 1e6:.2f} MB",
            "SHA-256 of the weights": model.weights_sha256,
        },
        "Orders that it takes": {
            "periods": f"1 to {orders['max_periods']}",
            "benchmarks": ", ".join(orders["benchmarks"]),
            "sides, targets": f"{', '.join(orders['sides'])}; {', '.join(orders['targets'])}",
            "bars before an order": orders["lookback"],
            "reads the size": orders["reads_size"],
            "risk aversion": f"{orders['risk_aversion']:g}; of a fixed duration {orders['fixed_risk_aversion']:g}",
        },
        "Training": {
            "bars of": ", ".join(training["frequencies"]) or "not recorded",
            "days not seen": ", ".join(f"from {day} ({bars})" for bars, day in training["unseen_from"].items())
            or "not recorded",
            **{name: value for name, value in tuned.items() if value is not None},
        },
        "Architecture": {
            name: ", ".join(map(str, value)) if isinstance(value, list) else value
            for name, value in fixed.items()
            if name != "head_config" and value not in (None, [], {})
        }
        | {f"head: {name}": value for name, value in model.config["head_config"].items()},
    }


def _data_table(data: list[dict[str, Any]]) -> Table:
    import pandas as pd

    from lem_models.report.tables import Column, Table

    columns = [
        *([Column("file", "bars")] if any(each["file"] for each in data) else []),
        Column("train_end", "training before"),
        Column("validation_end", "validation before"),
        Column("held_out", "symbols left out", dropped=1),
    ]
    rows = pd.DataFrame(data).assign(held_out=[", ".join(each["held_out"]) for each in data])
    return Table(rows, columns, title="Data of the training")


_KINDS = ("own benchmark", "over the VWAP", "full-horizon VWAP", "arrival")
"""Prices in the names of figures, in the order of print; other figures follow."""


def _figures(model: ModelDescription) -> dict[str, list[str]]:
    """Lines for the figures of the card, by what they were measured on: by price, then as in the card.

    A line may be long, and is never cut. A blank one stands between the prices.
    """
    groups: dict[str, dict[int, list[str]]] = {}
    for row in model.results:
        ends = (row["low"], row["high"])
        bracket = "" if None in ends else f"[{', '.join(_shown(end) for end in ends)}]"
        split = "" if row["split"] is None else f" ({row['split']})"
        name = one_line(str(row["name"] or row["metric"]))
        kind = next((place for place, price in enumerate(_KINDS) if price in name), len(_KINDS))
        lines = groups.setdefault(f"{row['dataset']}{split}", {}).setdefault(kind, [])
        lines.append(f"{_shown(row['value']):>9}  {bracket:<22}  {name}")
    texts = {}
    for dataset, kinds in groups.items():
        ordered = [sorted(kinds[kind], key=_gross_or_net) for kind in sorted(kinds)]
        texts[dataset] = [line for at, lines in enumerate(ordered) for line in (["", *lines] if at else lines)]
    return texts


def _gross_or_net(line: str) -> bool:
    return " net " in line


def _shown(value: object) -> str:
    """A figure; the card of a stranger may have a text in its place."""
    from lem_models.report.numbers import number

    return number(float(value), ".4g") if isinstance(value, int | float) else one_line(str(value))
