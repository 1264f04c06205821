"""``lem explain``: why a model decided as it did."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from lem_models.cli.bars import DataOptions
from lem_models.cli.costs import CostOptions
from lem_models.cli.output import Output
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import ModelOptions, fitting_model
from lem_models.cli.starts import ORDERS, StartOptions
from lem_models.errors import ConfigError, OrderError

__all__ = ["ExplainOptions", "explain"]


class ExplainOptions(CostOptions, ModelOptions, StartOptions, DataOptions):
    """Options of ``lem explain``."""

    orders: Path = Field(description=ORDERS)
    model: str | None = Field(
        None, description="Model: a bundled name, a folder or a Hub id; default the bundled model that fits the bars."
    )
    order_id: str | None = Field(None, description="The order to explain; default the first that ran.")
    period: int | None = Field(
        None,
        ge=0,
        description="Period to explain, from 0; default that of the finish, or the one furthest from an even pace.",
    )
    paths: int = Field(200, ge=0, description="Simulated paths of the forecast; 0 for none.")
    seed: int = Field(0, description="Seed of the paths.")
    theme: Literal["light", "dark"] = Field("light", description="Page that the picture is made for.")
    out: Path = Field(
        Path("reports/explanation.png"), description="File of the picture: .png, .svg, .pdf, or .html (extra plotly)."
    )


def explain(options: ExplainOptions, out: Output) -> None:
    """Explain a decision of a model: what moved it, what would change it, what it weighed, what may come of it.

    Example: lem explain --model lem-dow-daily --orders orders.csv --data bars.parquet
    """
    from lem_models.execution import execute
    from lem_models.modeling.model import LEMModel
    from lem_models.orders.files import read_orders
    from lem_models.report.explain.file import check_picture, write_picture

    check_picture(options.out)
    check_readable(options.data)
    check_readable(options.orders, OrderError)
    orders = read_orders(options.orders)
    bars = options.read(options.data)
    costs = options.costs(bars)
    model = LEMModel.from_pretrained(options.model or fitting_model(bars))
    result = execute.execute(
        model, bars, orders, costs=costs, allow_frequency=options.any_frequency, starts=options.starts
    )
    if not len(result):
        reasons = "; ".join(sorted(set(result.excluded["reason"])))
        raise OrderError(f"no order could run: {reasons}", rule="orders that can run")
    labels = {str(label): label for label in result.orders["order_id"].tolist()}
    chosen = next(iter(labels)) if options.order_id is None else options.order_id
    if chosen not in labels:
        known = ", ".join(list(labels)[:5]) + (", ..." if len(labels) > 5 else "")
        raise ConfigError(f"--order-id {chosen!r}: no order that ran has this order_id; there are {known}")
    explanation = model.explain(
        result, labels[chosen], period=options.period, paths=options.paths, seed=options.seed, costs=costs
    )
    path = write_picture(explanation, options.out, theme=options.theme)
    out.add(explanation.as_dict())
    out.say(f"{explanation}\n\n{path.resolve()}", picture=str(path))
