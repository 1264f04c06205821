"""Progress of a training: one bar over all its steps with the time left, on standard error, none without a terminal."""

from __future__ import annotations

import math
from contextlib import ExitStack

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lem_models.report.terminal.progress import Steps, progress_steps

__all__ = ["TrainingProgress"]


class TrainingProgress(Callback):
    """Shows the steps done, and the objective and the validation utility so far."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._report: Steps | None = None
        self._utility = math.nan

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin, after the steps of the checkpoint that is resumed."""
        self._show(trainer, "training")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Count a step."""
        objective = trainer.callback_metrics.get("train_objective")
        shown = "" if objective is None else f", objective {_number(objective):.3f}"
        best = "" if math.isnan(self._utility) else f", validation {self._utility:.4f}"
        self._show(trainer, f"training{shown}{best}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say that steps wait for a validation."""
        self._show(trainer, "validating")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the utility; the validation of a start is all that its trainer is asked for."""
        self._utility = _number(trainer.callback_metrics.get("val_utility", math.nan))
        if not trainer.training:
            self._close()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the bar, before the error is printed."""
        self._close()

    def _show(self, trainer: L.Trainer, text: str) -> None:
        if self._report is None:
            self._report = self._open.enter_context(progress_steps(shown=trainer.is_global_zero))
        self._report(text, trainer.global_step, trainer.max_steps)

    def _close(self) -> None:
        self._open.close()
        self._report = None


def _number(value: torch.Tensor | float) -> float:
    return float(value)
