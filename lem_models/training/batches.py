"""Batches of stretches: one pass of the backbone over a stretch of bars serves every order drawn in it.

No windows are stored: a data set consists of the bars, their features, and an index of valid stretch starts.

A batch is made in two steps. The *draw* chooses stretches and orders; it reads no prices and is the same in every
process. The *gather* looks up the bars; each of ``R`` processes gathers its own ``1 / R`` of the stretches. The mean of
the processes' gradients is the gradient of the whole batch, which a single process computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import torch

from lem_models.errors import BarsError, ConfigError
from lem_models.execution.costs import order_impacts
from lem_models.execution.records import CostlyWindow, MarketWindow, OrderBatch
from lem_models.features.causal import FEATURES, SUPPORT
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.origins import Origins, stretch_starts
from lem_models.modeling.batch import TrainingBatch
from lem_models.modeling.config import LEMConfig
from lem_models.training.recipe import DataConfig
from lem_models.training.sampling import DrawnOrders, OrderSampling, draw_orders, validation_orders
from lem_models.training.teacher import Teacher

__all__ = ["Draw", "MarketBatches"]


@dataclass(frozen=True)
class Draw:
    """The stretches and orders of a batch, before any price is looked up.

    Attributes:
        first: Flat index of the first bar of each stretch, warm-up included, int64 [stretches].
        side: Side of the orders of each stretch, float32 [stretches].
        position: Position in its stretch of the last bar closed before each order, int64 [orders].
        drawn: The orders, equally many in each stretch, stretch after stretch.
        auxiliary_share: See :class:`~lem_models.modeling.batch.TrainingBatch`.
        is_taught: Whether the teacher, if there is one, is asked for its schedules.
    """

    first: npt.NDArray[np.int64]
    side: npt.NDArray[np.float32]
    position: npt.NDArray[np.int64]
    drawn: DrawnOrders
    auxiliary_share: float = 1.0
    is_taught: bool = False

    @property
    def orders(self) -> OrderBatch:
        """The orders, without the impact that depends on their market."""
        return self.drawn.orders

    @property
    def stretch(self) -> npt.NDArray[np.int64]:
        """Stretch of each order, [orders]."""
        return np.repeat(np.arange(len(self.first)), len(self.orders) // len(self.first))

    def share(self, rank: int, world_size: int) -> Draw:
        """The share of process ``rank`` of ``world_size``: consecutive stretches, equally many for each."""
        stretches, orders = len(self.first) // world_size, len(self.orders) // world_size
        own = slice(rank * stretches, (rank + 1) * stretches)
        mine = slice(rank * orders, (rank + 1) * orders)
        drawn = self.drawn[mine]
        auxiliary_share = world_size * _pairs(drawn.orders) / _pairs(self.orders)
        return Draw(self.first[own], self.side[own], self.position[mine], drawn, auxiliary_share, self.is_taught)


def _pairs(orders: OrderBatch) -> int:
    """Pairs of a period and this or a later one, in all orders; an auxiliary loss is a mean over them."""
    return int((orders.max_periods * (orders.max_periods + 1) // 2).sum())


class MarketBatches:
    """Training and validation batches from one table of bars.

    Args:
        bars: The bars.
        config: Splits and batch sizes.
        model: Architecture of the model to train (warm-up, horizon, features).
        sampling: How training orders are drawn.
        seed: Seed of everything drawn.
        teacher: Whose schedules training orders imitate; none by default.

    Raises:
        BarsError: when a split holds no valid stretch, or the bars lack a symbol of the recipe.
        ConfigError: when a stretch is too short for the horizon, the horizon is longer than the model's, or the teacher
            cannot teach these orders.
    """

    def __init__(
        self,
        bars: Bars,
        config: DataConfig,
        model: LEMConfig,
        sampling: OrderSampling,
        *,
        seed: int = 0,
        teacher: Teacher | None = None,
    ) -> None:
        self.horizon = model.horizon if config.horizon is None else config.horizon
        if self.horizon > model.horizon:
            raise ConfigError(f"data.horizon ({self.horizon}) must not exceed the model's ({model.horizon})")
        if config.stretch <= self.horizon:
            raise ConfigError(f"data.stretch ({config.stretch}) must exceed the horizon ({self.horizon})")
        if bars.is_session_bound and not (config.stretch > 2 * self.horizon and self.horizon <= bars.slots_per_session):
            raise ConfigError(
                f"in a market with sessions data.stretch ({config.stretch}) must exceed twice the horizon "
                f"({self.horizon}), and the horizon fit into a session of {bars.slots_per_session} bars"
            )
        self.data, self.model_config, self.sampling = config, model, sampling
        if teacher is not None:
            teacher.check(bars, lookback=model.warmup + SUPPORT, horizon=self.horizon)
        self.seed, self.teacher = seed, teacher
        self.rank, self.world_size = 0, 1
        self.market = Market(_chosen(bars, config))
        self._columns = [FEATURES.index(name) for name in model.features]
        self._length = model.warmup + config.stretch
        self._starts = {
            True: self._stretch_starts(None, config.train_end),
            False: self._stretch_starts(config.train_end, config.validation_end),
        }

    def starts(self, *, training: bool) -> Origins:
        """First bar of each valid stretch of the training or the validation split."""
        return self._starts[training]

    def _stretch_starts(self, start: date | None, end: date) -> Origins:
        """First bar of each valid stretch in ``[start, end)``, its lookback included unless it is shared."""
        # With a shared lookback the first order of the first stretch starts at ``start``.
        reach_back = self.model_config.warmup + SUPPORT if self.data.shared_lookback and start is not None else 0
        starts = stretch_starts(
            self.market.bars,
            length=self._length,
            support=SUPPORT,
            skip=self.data.skip_bars,
            start=start,
            end=end,
            reach_back=reach_back,
        )
        if not len(starts):
            where = f"before {end}" if start is None else f"between {start} and {end}"
            raise BarsError(f"no stretch of {self._length} bars without gap or halt lies {where}")
        return starts

    def take_share(self, rank: int, world_size: int) -> None:
        """Gather only the share of each batch that belongs to process ``rank`` of ``world_size``.

        Raises:
            ConfigError: when the stretches of a batch cannot be shared equally.
        """
        if self.data.stretches % world_size:
            down = self.data.stretches // world_size * world_size
            choices = " or ".join(str(number) for number in (down, down + world_size) if number)
            raise ConfigError(
                f"data.stretches ({self.data.stretches}) cannot be shared equally by {world_size} processes; "
                f"make it {choices}, or use another number of devices"
            )
        self.rank, self.world_size = rank, world_size

    def batch(self, number: int, *, training: bool) -> TrainingBatch:
        """This process's share of the batch of a number."""
        return self.gather(self.draw(number, training=training).share(self.rank, self.world_size))

    def draw(self, number: int, *, training: bool) -> Draw:
        """Stretches and orders of the whole batch of a number: random sides, orders at random positions."""
        rng = np.random.default_rng((self.seed, 1 if training else 2, number))
        bars, config, model = self.market.bars, self.data, self.model_config
        starts = self.starts(training=training)
        first = starts.take(rng.integers(0, len(starts), config.stretches))
        side = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), config.stretches)
        per_stretch = config.orders_per_stretch if training else config.validation_orders_per_stretch
        sides, firsts = np.repeat(side, per_stretch), np.repeat(first, per_stretch)
        drawn = (
            draw_orders(rng, sides, self.horizon, self.sampling)
            if training
            else validation_orders(sides, model, self.horizon, sized=self.sampling.sized > 0)
        )
        maximum = drawn.orders.max_periods.numpy()
        # The last context is needed before the last period: at position + maximum - 1 < length.
        latest = np.maximum(self._length - maximum, model.warmup + 1)
        position = rng.integers(model.warmup, latest, len(sides))
        if bars.is_session_bound:
            # Orders stay inside their session. An order that would cross its end is moved back to end with it. If it
            # would then start before the first context, it is moved to the start of the next session.
            start = firsts + position + 1
            end = bars.grid.session_end(start)
            back, floor = end - maximum, firsts + model.warmup + 1
            start = np.where(start <= back, start, np.where(back >= floor, back, end))
            position = start - firsts - 1
        return Draw(first, side, position, drawn, is_taught=training)

    def gather(self, draw: Draw) -> TrainingBatch:
        """Look up the bars of a draw, and ask the teacher, if there is one, for its schedules."""
        stretch = draw.stretch
        start = draw.first[stretch] + draw.position + 1
        drawn = draw.drawn
        window = MarketWindow.of(
            self.market,
            start,
            drawn.orders.max_periods.numpy(),
            self.horizon,
            torch.float32,
            sessions=self.model_config.sessions,
        )
        features = self.market.feature_windows(draw.first, self._length)[:, :, self._columns]
        size = drawn.size * window.horizon_volume
        window = CostlyWindow(
            **vars(window),
            flat_cost=torch.zeros_like(size),  # the same for every schedule
            impact=drawn.impact * window.volatility,
            size=torch.nan_to_num(size),
        )
        orders = replace(drawn.orders, impact=order_impacts(size, drawn.impact))
        taught = None
        if draw.is_taught and self.teacher is not None:
            taught = self.teacher.schedules(self.market, start, orders, window.price.dtype)
        return TrainingBatch(
            features=torch.from_numpy(features),
            side=torch.from_numpy(draw.side),
            stretch=torch.from_numpy(stretch),
            position=torch.from_numpy(draw.position),
            orders=orders,
            window=window,
            auxiliary_share=draw.auxiliary_share,
            taught=taught,
        )


def _chosen(bars: Bars, config: DataConfig) -> Bars:
    """The bars of the symbols to train on."""
    if not config.symbols and not config.held_out:
        return bars
    unknown = sorted({*config.symbols, *config.held_out} - set(bars.symbols))
    if unknown:
        raise BarsError("the recipe names symbols that the bars lack: " + ", ".join(unknown[:10]))
    chosen = [name for name in config.symbols or bars.symbols if name not in config.held_out]
    if not chosen:
        raise BarsError("data.held_out leaves no symbol to train on")
    return bars.select(chosen)
