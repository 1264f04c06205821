"""What a model is, on half a page: what it serves, what it reads, and its parts with their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from lem_models.notebook import cells_html, facts_html

if TYPE_CHECKING:
    from torch import nn

    from lem_models.modeling.module import LEMModule

__all__ = ["ModelSummary", "model_facts", "summarise_model"]

_READS = {
    "embedding": "each feature as a vector",
    "selection": "weights of the features, bar by bar",
    "tkan": "recurrent, Temporal Kolmogorov-Arnold Network",
    "gru": "recurrent",
    "lstm": "recurrent",
    "recurrent_gate": "gate, add and norm",
    "enrichment": "gated residual network",
    "attention": "causal, over past bars",
    "attention_gate": "gate, add and norm",
    "head": "fraction and finish of each period, from context, order and path",
}


@dataclass(frozen=True)
class ModelSummary:
    """A model in facts and parts; prints as text, and shows itself as a card in a notebook.

    Attributes:
        title: Name of the model.
        facts: Facts by name, units included.
        parts: A row per part: ``part``, ``kind`` (class), ``role``, ``weights`` (number), ``share`` (fraction).
    """

    title: str
    facts: dict[str, str]
    parts: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """A copy of :attr:`parts`."""
        return self.parts.copy()

    def __str__(self) -> str:
        """Facts, then parts."""
        width = max(map(len, self.facts))
        lines = [self.title, *(f"  {name.ljust(width)}  {value}" for name, value in self.facts.items()), ""]
        width, kinds = self.parts["part"].str.len().max(), self.parts["kind"].str.len().max()
        for row in self.parts.itertuples(index=False):
            name, kind = str(row.part).ljust(width), str(row.kind).ljust(kinds)
            lines.append(f"  {name}  {kind}  {row.weights:>9,} weights  {row.share:>4.0%}  {row.role}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """The text."""
        return str(self)

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        rows = [
            (row.part, row.kind, row.role, f"{row.weights:,}", f"{row.share:.0%}")
            for row in self.parts.itertuples(index=False)
        ]
        table = cells_html(("part", "kind", "role", "weights", "share"), rows, left=3)
        return facts_html(self.title, self.facts, table)


def summarise_model(model: LEMModule, name: str) -> ModelSummary:
    """The summary of a model of this name."""
    total = max(_weights(model), 1)
    parts = [(f"backbone.{name}", part) for name, part in model.backbone.named_children()] + [("head", model.head)]
    rows = [
        {
            "part": name,
            "kind": type(part).__name__,
            "role": _READS.get(name.rpartition(".")[2], ""),
            "weights": _weights(part),
            "share": _weights(part) / total,
        }
        for name, part in parts
    ]
    return ModelSummary(f"LEMModel {name}", model_facts(model), pd.DataFrame(rows))


def model_facts(model: LEMModule) -> dict[str, str]:
    """What a model serves and reads."""
    config = model.config
    size = "yes" if model.reads_size else "no"
    fixed = f"{config.fixed_risk_aversion:g} for orders of a fixed duration"
    layers = "1 layer" if config.tkan_layers == 1 else f"{config.tkan_layers} layers"
    return {
        "bars": ", ".join(config.frequencies) or "length not recorded",
        "orders": f"up to {config.horizon} bars, against {', '.join(model.benchmarks or ())}",
        "reads the size of orders": size,
        "default risk aversion": f"{config.risk_aversion:g}; {fixed}",
        "history": f"{config.lookback} gapless bars; volumes of {config.sessions or 'the last'} sessions",
        "features": f"{len(config.features)} of a bar, causal",
        "encoder": f"{config.encoder}, {layers} of {config.hidden_size}; attention over "
        f"{config.attention_window} bars, {config.attention_heads} heads",
        "head": config.head,
        "weights": f"{_weights(model):,}" + ("" if model.is_trained else "; the head is untrained"),
    }


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
