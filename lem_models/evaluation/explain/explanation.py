"""Why a model decided as it did before one bar of an order: what it weighed, what moved it, what would change it.

Everything is a function of the closed bars and the fills before the decision; later bars are not read.

- *Selection weights*: how much each feature of a bar goes into the backbone, bar by bar (LEM paper, arXiv 2509.25211).
- *Attention*: how much the last closed bar looks at itself and at the bars before.
- *Attributions*: integrated gradients (:mod:`lem_models.evaluation.explain.gradients`).
- *Counterfactuals* (:mod:`lem_models.evaluation.explain.counterfactuals`).
- *Futures*: bands of the rest of the schedule and of the final slippage from simulated bars
  (:mod:`lem_models.evaluation.explain.futures`).

Selection weights and attention are no explanation. They say where the network looks, not what it does with what it sees
there: a weight on a feature says nothing of the sign or size of its effect, features also reach the head beside the
attention, and other weights may give the same decision (Jain and Wallace, "Attention is not explanation", NAACL 2019).
Attributions and counterfactuals are statements about the decision itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.errors import ConfigError
from lem_models.evaluation.explain.counterfactuals import (
    Counterfactual,
    compare_counterfactuals,
    usual_counterfactuals,
)
from lem_models.evaluation.explain.futures import Futures, simulate_futures
from lem_models.evaluation.explain.gradients import TARGETS, ModelInputs, attribute
from lem_models.evaluation.explain.situation import Answer, situation_of
from lem_models.evaluation.explain.words import explanation_text
from lem_models.execution.costs import CostModel
from lem_models.execution.result import ExecutionResult
from lem_models.modeling.model import LEMModel

if TYPE_CHECKING:
    from lem_models.report.charts.draw import Backend, Drawing
    from lem_models.report.figure_style import Theme

__all__ = ["SCHEMA", "Explanation", "explain"]

SCHEMA = 1
"""Version of :meth:`Explanation.as_dict`."""
_IN_QUESTION = 0.02  # probability of finishing from which that is what is explained


@dataclass(frozen=True, repr=False)
class Explanation:
    """An explained decision.

    Attributes:
        model: Name of the model.
        order: The order, its fields by name.
        period: Period that was decided, 0-based.
        bar: Start of its bar.
        filled: Fraction of the order filled before.
        answer: The decision.
        reference: Fraction and probability of finishing at the reference of the attributions.
        target: What picture and words attribute: ``"finish"`` where the model may finish and its probability, or that
            at the reference, is at least 2 %; else ``"fraction"``.
        attributions: What moves the decision: ``kind`` (``"feature"``, or ``"path"`` of the order), ``name``, and the
            contributions to ``fraction`` and ``finish``, in units of these; they sum to the decision minus the
            reference.
        by_bar: Contributions of the features to the target by bar: index ``timestamp``, a column per feature.
        residual: What the contributions to (fraction, finish) leave unexplained, by rounding and steps.
        selection: Selection weights: index ``timestamp``, a column per feature; rows sum to one.
        attention: Attention of the last closed bar: ``timestamp``, ``bars_ago``, a column per head; columns sum to one.
        counterfactuals: See :func:`~lem_models.evaluation.explain.counterfactuals.compare_counterfactuals`.
        futures: The order on simulated paths; ``None`` without.
        schedule: Fractions filled in the periods so far, [period].
        notes: What a reader must know, one sentence each.
    """

    model: str
    order: Mapping[str, Any]
    period: int
    bar: pd.Timestamp
    filled: float
    answer: Answer
    reference: tuple[float, float]
    target: str
    attributions: pd.DataFrame
    by_bar: pd.DataFrame
    residual: tuple[float, float]
    selection: pd.DataFrame
    attention: pd.DataFrame
    counterfactuals: pd.DataFrame
    futures: Futures | None
    schedule: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def plot(self, *, theme: Theme = "light", backend: Backend = "matplotlib") -> Drawing:
        """All of it in one picture.

        Args:
            theme: ``"light"`` or ``"dark"``.
            backend: ``"matplotlib"``, or ``"plotly"`` (extra ``plotly``).

        Raises:
            ConfigError: The theme or the backend is unknown, or plotly is not installed.
        """
        from lem_models.report.explain.picture import plot_explanation

        return plot_explanation(self, theme=theme, backend=backend)

    def __str__(self) -> str:
        """One paragraph of plain words."""
        return explanation_text(
            model=self.model,
            order=self.order,
            period=self.period,
            bar=self.bar,
            filled=self.filled,
            answer=self.answer,
            reference=self.reference,
            target=self.target,
            attributions=self.attributions,
            counterfactuals=self.counterfactuals,
            forecast=None if self.futures is None else self.futures.forecast,
            notes=self.notes,
        )

    def __repr__(self) -> str:
        """One line."""
        return (
            f"Explanation(order {self.order['order_id']!r}, period {self.period}: fraction {self.answer.fraction:.4f}, "
            f"probability of finishing {self.answer.finish:.3f})"
        )

    def _repr_html_(self) -> str:
        """The picture and the paragraph, for a notebook."""
        from lem_models.report.explain.picture import explanation_html

        return explanation_html(self)

    def as_dict(self) -> dict[str, Any]:
        """The explanation for JSON; the keys stay within a version of the schema."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "order": {name: _plain(value) for name, value in self.order.items()},
            "period": self.period,
            "bar": self.bar.isoformat(),
            "filled": self.filled,
            "decision": vars(self.answer) | {"traded": self.answer.traded, "finishes": self.answer.finishes},
            "reference": dict(zip(TARGETS, self.reference, strict=True)),
            "target": self.target,
            "attributions": self.attributions.to_dict("records"),
            "residual": dict(zip(TARGETS, self.residual, strict=True)),
            "selection": {str(name): float(value) for name, value in self.selection.iloc[-1].items()},
            "attention": [
                {"timestamp": row["timestamp"].isoformat(), "bars_ago": row["bars_ago"], "weights": _heads(row)}
                for row in self.attention.to_dict("records")
            ],
            "counterfactuals": self.counterfactuals.to_dict("records"),
            "forecast": None if self.futures is None else self.futures.forecast.as_dict(),
            "notes": list(self.notes),
            "text": str(self),
        }


def explain(
    model: LEMModel,
    result: ExecutionResult,
    order: int | str,
    *,
    period: int | None = None,
    counterfactuals: Sequence[Counterfactual] | None = None,
    paths: int = 200,
    seed: int = 0,
    costs: CostModel | None = None,
    cap_ahead: bool = False,
) -> Explanation:
    """Explain one decision; see :meth:`LEMModel.explain <lem_models.modeling.model.LEMModel.explain>`."""
    if isinstance(paths, bool) or paths < 0 or paths == 1:
        raise ConfigError(f"paths is 0 for none, or at least 2; got {paths!r}")
    model.require_trained()
    situation = situation_of(model, result, order, period, costs=costs, cap_ahead=cap_ahead)
    inputs, attributed = ModelInputs.of(situation), attribute(situation)
    answer = situation.answer()
    minimum = int(situation.table["min_periods"].iloc[0])
    in_question = max(answer.finish, float(attributed.reference[1])) >= _IN_QUESTION
    target = "finish" if situation.period + 1 >= minimum and answer.finish < 1.0 and in_question else "fraction"
    stamps = pd.to_datetime(situation.market.bars.timestamp[inputs.first : situation.last + 1], utc=True)
    names = list(model.config.features)
    like = model.backbone.attention.output.weight
    looks = model.backbone.looks(inputs.features[inputs.window][None].to(like))
    everything = model.backbone.looks(inputs.features[None].to(like)).selection[0]
    wanted = usual_counterfactuals(situation) if counterfactuals is None else list(counterfactuals)
    notes: list[str] = []
    futures = simulate_futures(situation, paths=paths, seed=seed) if paths else None
    rest = float(np.abs(attributed.residual).max())
    if rest > 1e-3:
        notes.append(
            f"the contributions leave {100 * rest:.2g} percentage points unexplained after {attributed.steps} steps"
        )
    return Explanation(
        model=model.name,
        order={str(name): value for name, value in situation.table.iloc[0].items()},
        period=situation.period,
        bar=pd.Timestamp(int(situation.coming[0]), tz="UTC"),
        filled=float(situation.fills.sum()),
        answer=answer,
        reference=(float(attributed.reference[0]), float(attributed.reference[1])),
        target=target,
        attributions=_table(attributed.features, attributed.by_group, names),
        by_bar=pd.DataFrame(attributed.features[TARGETS.index(target)], index=stamps, columns=names),
        residual=(float(attributed.residual[0]), float(attributed.residual[1])),
        selection=pd.DataFrame(everything.detach().double().numpy(), index=stamps, columns=names),
        attention=_attention(looks.attention[0], stamps),
        counterfactuals=compare_counterfactuals(situation, wanted),
        futures=futures,
        schedule=situation.fills,
        notes=tuple(notes),
    )


def _table(
    features: npt.NDArray[np.float64], groups: Mapping[str, npt.NDArray[np.float64]], names: list[str]
) -> pd.DataFrame:
    """Contributions of features, summed over bars, and of the path, the largest to either target first."""
    summed = features.sum(axis=1)
    rows = [("feature", name, *summed[:, place]) for place, name in enumerate(names)]
    rows += [("path", name, *values) for name, values in groups.items()]
    table = pd.DataFrame(rows, columns=["kind", "name", *TARGETS])
    largest = table[list(TARGETS)].abs().max(axis=1)
    return table.iloc[np.argsort(-largest.to_numpy(), kind="stable")].reset_index(drop=True)


def _attention(weights: torch.Tensor, stamps: pd.DatetimeIndex) -> pd.DataFrame:
    """Weights [window, heads] by distance, of the bars that there are; the oldest bar first."""
    values = weights.detach().double().numpy()[: len(stamps)][::-1]
    ago = np.arange(len(values))[::-1]
    table = pd.DataFrame({"timestamp": stamps[len(stamps) - len(values) :], "bars_ago": ago})
    return table.join(pd.DataFrame(values, columns=[f"head_{head}" for head in range(values.shape[1])]))


def _heads(row: Mapping[Any, Any]) -> list[float]:
    return [float(value) for name, value in row.items() if str(name).startswith("head_")]


def _plain(value: object) -> object:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return None if isinstance(value, float) and np.isnan(value) else value
