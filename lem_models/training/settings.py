"""Settings of a training run: devices, precision, progress, and those of fine-tuning.

The recipe has the model and the data. The description of each setting here is also the help of its option on the
command line.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator

from lem_models.guard.settings import Settings
from lem_models.guard.timestamps import Day

__all__ = ["FinetuneSettings", "Method", "Precision", "RunSettings", "TrainingSettings"]

Precision: TypeAlias = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Precision of a training run, by Lightning's names."""

Method: TypeAlias = Literal["full", "head", "lora"]
"""Weights that fine-tuning may change."""


class RunSettings(Settings):
    """Settings that training and fine-tuning share.

    Attributes:
        accelerator: Lightning accelerator.
        precision: Lightning precision; ``None`` for the recipe's.
        progress: Whether to show a progress bar on standard error, if that is a terminal.
    """

    accelerator: str = Field("auto", description="auto, cpu, gpu.")
    precision: Precision | None = Field(None, description="32-true, bf16-mixed or 16-mixed; default the recipe's.")
    progress: bool = Field(True, description="Progress bar, on a terminal.")


class TrainingSettings(RunSettings):
    """Settings of :func:`~lem_models.training.run.train`.

    Attributes:
        devices: Lightning devices, per node. ``"auto"``: one per process of ``torchrun``, otherwise every accelerator
            of the machine.
        num_nodes: Nodes; ``None`` for those of ``torchrun``, or 1.
        strategy: Lightning strategy: ``"auto"`` (``"ddp"`` on several devices), ``"ddp"``, ``"fsdp"``, ... FSDP needs
            GPUs and ``trainer.averaging: 0``. It is passed on to Lightning; no test of this package covers it.
    """

    refusal: ClassVar[str] = "the training is refused"

    devices: int | str = Field("auto", description="How many devices on each node, or auto.")
    num_nodes: int | None = Field(None, ge=1, description="How many nodes; default torchrun's, or 1.")
    strategy: str = Field("auto", description="auto, ddp, fsdp, or another of Lightning's names.")

    @field_validator("devices")
    @classmethod
    def _count(cls, devices: int | str) -> int | str:
        """Read a number of devices that is written as a text."""
        return int(devices) if isinstance(devices, str) and devices.isdigit() else devices

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are spread over devices."""
        return self.strategy.startswith("fsdp")


class FinetuneSettings(RunSettings):
    """Settings of :func:`~lem_models.training.finetune.run.finetune`; they take precedence over the recipe's.

    Attributes:
        method: Weights that may change: ``"full"``, ``"head"`` or ``"lora"``; ``None`` for the recipe's.
        horizon: Longest order in periods. Default: the start's, but at most a session, and at most 24 periods in a
            market without sessions.
        train_end: First day of the validation part; with ``validation_end``, or neither for 60, 20 and 20 % of the
            days.
        validation_end: First day of the test part.
        steps: Largest number of optimiser steps; ``None`` for the recipe's.
        orders: Largest number of test orders.
        name: Name of the new model; ``None`` for that of the folder, without the characters that a name must not have.
        seed: Seed of everything drawn; ``None`` for the recipe's.
    """

    refusal: ClassVar[str] = "the fine-tuning is refused"

    method: Method | None = Field(
        None, description="Weights that may change: full (every weight), head, or lora (adapters, needs peft)."
    )
    horizon: int | None = Field(
        None, ge=1, description="Longest order; default the start's, at most a session or 24 periods."
    )
    train_end: Day | None = Field(None, description="First day of validation; default after 60 % of the days.")
    validation_end: Day | None = Field(None, description="First day of the test; default after 80 % of the days.")
    steps: int | None = Field(None, ge=1, description="Largest number of optimiser steps.")
    orders: int = Field(20_000, ge=100, description="Largest number of test orders.")
    name: str | None = Field(None, description="Name of the new model; default the folder's.")
    seed: int | None = Field(None, description="Seed of everything drawn; default the recipe's.")
