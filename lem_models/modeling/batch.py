"""The tensors of a training batch: stretches of bars and the orders drawn in them."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from lem_models.execution.records import MarketWindow, OrderBatch

__all__ = ["TrainingBatch"]


@dataclass(frozen=True)
class TrainingBatch:
    """Stretches of bars and the orders drawn in them.

    Attributes:
        features: [stretches, warm-up + stretch, features].
        side: Side of the orders of each stretch, [stretches].
        stretch: Stretch of each order, [orders].
        position: Position in the stretch of the last bar closed before each order, [orders].
        orders: The orders.
        window: Their market.
        auxiliary_share: Weight of this batch's auxiliary loss in the mean over the processes, 1 with a single process.
            That loss is a mean over pairs of periods, and orders of different lengths have different numbers of them;
            the utility is a mean over orders, of which every process has equally many.
        taught: Fractions that a teacher has traded up to and including each period, [orders, periods], NaN where it
            teaches nothing; ``None`` without a teacher.
    """

    features: Tensor
    side: Tensor
    stretch: Tensor
    position: Tensor
    orders: OrderBatch
    window: MarketWindow
    auxiliary_share: float = 1.0
    taught: Tensor | None = None

    def to(self, device: torch.device | str) -> TrainingBatch:
        """The batch on a device."""
        return _moved(self, device)


_Tensors = TypeVar("_Tensors", TrainingBatch, OrderBatch, MarketWindow)


def _moved(tensors: _Tensors, device: torch.device | str) -> _Tensors:
    """A dataclass of tensors, and of dataclasses of tensors, on a device."""
    values: dict[str, Any] = {f.name: getattr(tensors, f.name) for f in fields(tensors)}
    for name, value in values.items():
        if isinstance(value, Tensor):
            values[name] = value.to(device)
        elif is_dataclass(value):
            values[name] = _moved(value, device)  # type: ignore[type-var]
    return type(tensors)(**values)
