"""Batches of stretches: one pass of the backbone over a stretch of bars serves every order drawn in it.

Nothing is windowed ahead of time: a data set is the bars, their features, and an index of valid stretch starts. Each
batch is a function of the seed and its number, so a resumed run goes on with the batches that it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, TypeVar

import lightning as L
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lem_models.errors import BarsError, ConfigError
from lem_models.execution.policy import OrderBatch
from lem_models.execution.simulator import MarketWindow
from lem_models.markets.bars import Bars
from lem_models.markets.features import FEATURES, SUPPORT
from lem_models.markets.market import Market
from lem_models.markets.windows import origins
from lem_models.modeling.config import LEMConfig
from lem_models.training.recipe import DataConfig
from lem_models.training.sampling import OrderSampling, draw_orders, validation_orders

__all__ = ["ExecutionDataModule", "TrainingBatch"]


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
    """

    features: Tensor
    side: Tensor
    stretch: Tensor
    position: Tensor
    orders: OrderBatch
    window: MarketWindow

    def to(self, device: torch.device | str) -> TrainingBatch:
        """The batch on a device."""
        return _moved(self, device)


_Record = TypeVar("_Record", TrainingBatch, OrderBatch, MarketWindow)


def _moved(record: _Record, device: torch.device | str) -> _Record:
    """A record of tensors, and of records of tensors, on a device."""
    values: dict[str, Any] = {f.name: getattr(record, f.name) for f in fields(record)}
    moved: dict[str, Any] = {k: v.to(device) if isinstance(v, Tensor) else _moved(v, device) for k, v in values.items()}
    return type(record)(**moved)


class _Stretches(IterableDataset[TrainingBatch]):
    """Endless, seeded stream of batches, cut to ``length``."""

    def __init__(
        self, module: ExecutionDataModule, starts: npt.NDArray[np.int64], length: int, *, training: bool
    ) -> None:
        self.module, self.starts, self.length, self.training = module, starts, length, training

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[TrainingBatch]:
        for number in range(self.length):
            if self.training:
                # Counted before it is handed over: the loop may never come back for the one after the last.
                drawn = self.module.batches_drawn
                self.module.batches_drawn += 1
                yield self.module.batch(self.starts, seed=(self.module.seed, 1, drawn), training=True)
            else:
                yield self.module.batch(self.starts, seed=(self.module.seed, 2, number), training=False)


class ExecutionDataModule(L.LightningDataModule):
    """Training and validation batches from one table of bars.

    Args:
        bars: The bars.
        config: Splits and batch sizes.
        model: Architecture of the model to train (warm-up, horizon, features).
        sampling: How training orders are drawn.
        steps_per_epoch: Training batches between two validations.
        seed: Seed of everything drawn.

    Raises:
        BarsError: when a split holds no valid stretch.
        ConfigError: when a stretch is too short for the model's horizon.
    """

    def __init__(
        self,
        bars: Bars,
        config: DataConfig,
        model: LEMConfig,
        sampling: OrderSampling,
        *,
        steps_per_epoch: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if config.stretch <= model.horizon:
            raise ConfigError(f"data.stretch ({config.stretch}) must exceed the model's horizon ({model.horizon})")
        if bars.is_session_bound and not (
            config.stretch > 2 * model.horizon and model.horizon <= bars.slots_per_session
        ):
            raise ConfigError(
                f"in a market with sessions data.stretch ({config.stretch}) must exceed twice the model's horizon "
                f"({model.horizon}), and the horizon fit into a session of {bars.slots_per_session} bars"
            )
        self.data, self.model_config, self.sampling = config, model, sampling
        self.steps_per_epoch, self.seed, self.batches_drawn = steps_per_epoch, seed, 0
        self.market = Market(bars.select(list(config.symbols)) if config.symbols else bars)
        self._columns = [FEATURES.index(name) for name in model.features]
        self._length = model.warmup + config.stretch
        self.train_starts = self._stretch_starts(None, config.train_end)
        self.validation_starts = self._stretch_starts(config.train_end, config.validation_end)

    def _stretch_starts(self, start: date | None, end: date) -> npt.NDArray[np.int64]:
        """First bar of each valid stretch that lies, its lookback included, in ``[start, end)``."""
        bars = self.market.bars
        candidates = np.arange(len(bars))
        candidates = candidates[candidates - self.data.skip_bars >= bars.offsets[bars.symbol_index]]
        # The features of the first bar reach SUPPORT - 1 bars back: purged from the neighbouring split.
        first, last = candidates - SUPPORT + 1, np.minimum(candidates + self._length - 1, len(bars) - 1)
        inside = (first >= 0) & (bars.timestamp[last] < pd.Timestamp(end, tz="UTC").value)
        if start is not None:
            inside &= bars.timestamp[np.maximum(first, 0)] >= pd.Timestamp(start, tz="UTC").value
        found = origins(
            bars, lookback=SUPPORT - 1, horizon=self._length, within_session=False, candidates=candidates[inside]
        ).index
        if not len(found):
            raise BarsError(f"no stretch of {self._length} bars without gap or halt lies between {start} and {end}")
        return found

    def batch(self, starts: npt.NDArray[np.int64], *, seed: tuple[int, ...], training: bool) -> TrainingBatch:
        """The batch of a seed: stretches of either orientation with orders at random places."""
        rng = np.random.default_rng(seed)
        bars, config, model = self.market.bars, self.data, self.model_config
        first = rng.choice(starts, config.stretches)
        side = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), config.stretches)
        per_stretch = config.orders_per_stretch if training else config.validation_orders_per_stretch
        count = config.stretches * per_stretch
        stretch = np.repeat(np.arange(config.stretches), per_stretch)
        if training:
            orders = draw_orders(rng, side[stretch], model.horizon, self.sampling)
        else:
            orders = validation_orders(side[stretch], model)
        maximum = orders.max_periods.numpy()
        # The last context is needed before the last period: at position + maximum - 1 < length.
        latest = np.maximum(self._length - maximum, model.warmup + 1)
        position = rng.integers(model.warmup, latest, count)
        start = first[stretch] + position + 1
        if bars.is_session_bound:
            # Orders stay inside their session: one that would cross its end is moved back to end with it, or, where
            # that is before the first context, on to the next session.
            back, floor = bars.session_end[start] - maximum, first[stretch] + model.warmup + 1
            start = np.where(start <= back, start, np.where(back >= floor, back, bars.session_end[start]))
            position = start - first[stretch] - 1
        arrays = self.market.window_arrays(start, maximum, model.horizon)
        values = self.market.features.values[first[:, None] + np.arange(self._length)]
        return TrainingBatch(
            features=torch.from_numpy(values[:, :, self._columns]),
            side=torch.from_numpy(side),
            stretch=torch.from_numpy(stretch),
            position=torch.from_numpy(position),
            orders=orders,
            window=MarketWindow(**{k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()}),
        )

    def train_dataloader(self) -> DataLoader[TrainingBatch]:
        """One epoch of training batches."""
        return DataLoader(_Stretches(self, self.train_starts, self.steps_per_epoch, training=True), batch_size=None)

    def val_dataloader(self) -> DataLoader[TrainingBatch]:
        """The fixed validation batches."""
        stream = _Stretches(self, self.validation_starts, self.data.validation_batches, training=False)
        return DataLoader(stream, batch_size=None)

    def transfer_batch_to_device(
        self, batch: TrainingBatch, device: torch.device, dataloader_idx: int
    ) -> TrainingBatch:
        """Move a batch."""
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """How many training batches have been drawn."""
        return {"batches_drawn": self.batches_drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the batches drawn so far."""
        self.batches_drawn = int(state_dict["batches_drawn"])
