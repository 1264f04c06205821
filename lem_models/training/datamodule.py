"""The batches of one market, or of several in turn, as a Lightning data module.

A batch is a function of the seed and its number, so a resumed run continues with the batches that it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from lem_models.modeling.batch import TrainingBatch
from lem_models.training.batches import MarketBatches

__all__ = ["ExecutionDataModule"]


class _Stream(IterableDataset[TrainingBatch]):
    """The training batches of an epoch, or the validation batches."""

    def __init__(self, module: ExecutionDataModule, count: int, *, training: bool) -> None:
        self.module, self.count, self.training = module, count, training

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TrainingBatch]:
        if self.training:
            for _ in range(len(self)):
                # Counted before it is yielded: the loop may not ask for another batch after the last.
                number = self.module.batches_drawn
                self.module.batches_drawn += 1
                yield self.module.training_batch(number)
        else:
            for market in self.module.markets:
                for number in range(market.data.validation_batches):
                    yield market.batch(number, training=False)


class ExecutionDataModule(L.LightningDataModule):
    """Training and validation batches.

    A training batch comes from one market, drawn by weight; validation reads the fixed batches of every market.

    Args:
        markets: The markets.
        batches_per_epoch: Training batches between two validations.
        seed: Seed of the draw of the markets.
        batches: Training batches of the whole run: the last epoch may be shorter and is validated like the others.
            ``None`` for endless epochs of the same length.
    """

    def __init__(
        self, markets: Sequence[MarketBatches], *, batches_per_epoch: int, seed: int = 0, batches: int | None = None
    ) -> None:
        super().__init__()
        self.markets, self.batches = tuple(markets), batches
        self.batches_per_epoch, self.seed, self.batches_drawn = batches_per_epoch, seed, 0
        weights = np.array([market.data.weight for market in self.markets])
        self._shares = weights / weights.sum()

    def setup(self, stage: str) -> None:
        """Take the share of the trainer's process."""
        if self.trainer is not None:
            self.take_share(self.trainer.global_rank, self.trainer.world_size)

    def take_share(self, rank: int, world_size: int) -> None:
        """Gather only the share of each batch that belongs to process ``rank`` of ``world_size``.

        Raises:
            ConfigError: when the stretches of a batch cannot be shared equally.
        """
        for market in self.markets:
            market.take_share(rank, world_size)

    def training_batch(self, number: int) -> TrainingBatch:
        """This process's share of a training batch; the market is the same in every process."""
        chosen = 0
        if len(self.markets) > 1:
            chosen = int(np.random.default_rng((self.seed, 3, number)).choice(len(self.markets), p=self._shares))
        return self.markets[chosen].batch(number, training=True)

    # num_workers=0: on a CPU a batch takes 5 ms to make and its step 700 ms. Each worker would hold its own copy of the
    # market, and a resumed run needs batches_drawn to be counted in this process.

    def train_dataloader(self) -> DataLoader[TrainingBatch]:
        """One epoch of training batches."""
        count = self.batches_per_epoch
        if self.batches is not None:
            count = min(count, max(self.batches - self.batches_drawn, 1))
        return DataLoader(_Stream(self, count, training=True), batch_size=None)

    def val_dataloader(self) -> DataLoader[TrainingBatch]:
        """The fixed validation batches."""
        count = sum(market.data.validation_batches for market in self.markets)
        return DataLoader(_Stream(self, count, training=False), batch_size=None)

    def transfer_batch_to_device(
        self, batch: TrainingBatch, device: torch.device, dataloader_idx: int
    ) -> TrainingBatch:
        """Move a batch."""
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Number of training batches drawn so far."""
        return {"batches_drawn": self.batches_drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the batches drawn so far."""
        self.batches_drawn = int(state_dict["batches_drawn"])
