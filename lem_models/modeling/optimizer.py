"""The optimiser of a model: AdamW with linear warm-up and cosine decay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field

from lem_models.guard.settings import Settings

__all__ = ["OptimizerConfig"]

_LOWEST = 1e-2  # share of the peak learning rate, at the start and at the end


class OptimizerConfig(Settings):
    """AdamW with linear warm-up and cosine decay to a hundredth of the peak.

    Attributes:
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        warmup_steps: Steps of linear warm-up.
        auxiliary_weight: Weight of the head's auxiliary loss (forecasting volumes).
        teacher_weight: Weight of imitating the recipe's teacher, if it has one.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    refusal: ClassVar[str] = "optimizer refused"

    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warmup_steps: int = Field(100, ge=0, strict=True)
    auxiliary_weight: float = Field(0.1, ge=0)
    teacher_weight: float = Field(20.0, ge=0)

    def build(self, parameters: Iterable[Any], total_steps: int | None) -> dict[str, Any]:
        """Optimiser and schedule in Lightning's form.

        The rate is a function of the step alone, so that a resumed run may have another number of steps.

        Args:
            parameters: What to train.
            total_steps: Steps of the run, where the decay ends; ``None`` for a run without end, which has no decay.
        """
        optimizer = torch.optim.AdamW(
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay, betas=(0.9, 0.98)
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(self._share_of_peak, total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _share_of_peak(self, total_steps: int | None, step: int) -> float:
        """Learning rate of a step, as a share of the peak."""
        warmup = self.warmup_steps if total_steps is None else min(self.warmup_steps, max(total_steps // 5, 1))
        if step < warmup:
            return _LOWEST + (1 - _LOWEST) * step / warmup
        if total_steps is None:
            return 1.0
        done = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        return _LOWEST + (1 - _LOWEST) * (1 + math.cos(math.pi * done)) / 2
