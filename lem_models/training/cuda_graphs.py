"""CUDA graphs for training: the kernels of the backbone are recorded once and replayed.

On a GPU the recurrence launches hundreds of small kernels, and a launch takes longer than the kernel. The shape of
training batches never changes, so forward and backward pass of the backbone are recorded before the first step and
replayed in every step. Validation runs the module's own code.
"""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lem_models.errors import ConfigError
from lem_models.modeling.model import LEMModel

__all__ = ["CudaGraphs"]


class CudaGraphs(Callback):
    """Records the backbone when training starts and removes the recording when it ends.

    Args:
        shape: Shape of the features of a training batch, [stretches, warm-up + stretch, features].
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse trainers whose steps cannot be recorded.

        Raises:
            ConfigError: unless the model trains on one CUDA device in single precision.
        """
        if trainer.strategy.root_device.type != "cuda" or trainer.world_size != 1 or trainer.precision != "32-true":
            raise ConfigError(
                f"trainer.cuda_graphs needs one CUDA device and precision 32-true; this run has {trainer.world_size} x "
                f"{trainer.strategy.root_device.type} and {trainer.precision}"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the backbone."""
        if isinstance(pl_module, LEMModel):
            sample = torch.zeros(self.shape, device=pl_module.device)
            # Replaces the module's forward, in training mode only.
            torch.cuda.make_graphed_callables(pl_module.backbone, (sample,), allow_unused_input=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the recording."""
        if isinstance(pl_module, LEMModel):
            pl_module.backbone.__dict__.pop("forward", None)
