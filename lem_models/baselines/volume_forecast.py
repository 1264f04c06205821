r"""Dynamic VWAP: trading by a forecast of the volumes still to come, renewed after every bar.

An order follows the VWAP when, after each period, the fraction left of the order is the fraction left of the volume.
With ``V`` the volume of the order's periods so far and ``v_s, ..., v_{n-1}`` the forecast of the others, period ``s``
brings the fraction left to

.. math:: \frac{\sum_{r>s} v_r}{V + \sum_{r \ge s} v_r},

up to the maximum duration ``n`` (Bialkowski, Darolles, Le Fol 2008, for the idea to renew the forecast and
reweigh what is left). Against the TWAP every volume counts as one.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.features.profile import profile_days

__all__ = ["History", "VolumeForecaster"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_ROWS = 4096  # windows computed together
_LAST = 8  # bars whose volumes are in a context


class History:
    """Log volumes of the bars up to some rows, and their time slots.

    Args:
        market: The market.
        rows: Last bar of each window, [rows].

    Attributes:
        slots: Slots of a session that have a seasonal of their own; 1 where sessions are too long for the lookback.
        slot: Slot of the last bar, [rows].
        slot_of: Slot of every bar of the window, [rows, bars].
        session_of: Session of every bar, counted from the first of the window, [rows, bars].
        known: Whether the bar exists and traded, [rows, bars].
        level: Mean volume of the window, [rows]; 1 where nothing traded.
        volume: Volume over the level, [rows, bars].
    """

    def __init__(self, market: Market, rows: Integers) -> None:
        bars = market.bars
        session = bars.slots_per_session
        self.slots = session if profile_days(session, MAX_LOOKBACK) else 1
        index = rows[:, None] - np.arange(MAX_LOOKBACK - 1, -1, -1)
        inside = index >= bars.offsets[bars.grid.symbol(rows)][:, None]
        index = np.where(inside, index, rows[:, None])
        raw = np.where(inside, bars.volume[index], 0.0)
        self.known = raw > 0
        count = self.known.sum(1)
        self.level = np.where(count > 0, raw.sum(1) / np.maximum(count, 1), 1.0)
        self.volume = raw / self.level[:, None]
        slot = np.asarray(bars.grid.slot(index))
        self.slot_of = slot % self.slots
        self.slot = self.slot_of[:, -1]
        new = np.zeros(slot.shape, dtype=bool)
        new[:, 1:] = slot[:, 1:] <= slot[:, :-1]
        self.session_of = np.cumsum(new, axis=1)

    def slot_means(self, values: Floats) -> Floats:
        """Mean of values of the bars by slot, where known, [rows, slots]; the mean of all where a slot has none."""
        table, count = np.zeros((len(values), self.slots)), np.zeros((len(values), self.slots))
        row = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
        np.add.at(table, (row, self.slot_of), np.where(self.known, values, 0.0))
        np.add.at(count, (row, self.slot_of), self.known.astype(np.float64))
        overall = table.sum(1) / np.maximum(count.sum(1), 1)
        # Few sessions: each slot leans on the mean of all slots with the weight of half a session.
        return np.asarray((table + 0.5 * overall[:, None]) / (count + 0.5))

    def by_slot(self, table: Floats) -> Floats:
        """Entry of a table [rows, slots] for each bar, [rows, bars]."""
        return np.asarray(np.take_along_axis(table, self.slot_of, axis=1))


class VolumeForecaster(Policy):
    """A policy that follows the VWAP by a forecast; the context of a bar is what its forecast needs."""

    lookback = MAX_LOOKBACK

    @abstractmethod
    def summary(self, history: History, symbols: list[str]) -> Floats:
        """What the forecast needs of the past, [rows, width]: a function of the history alone.

        Args:
            history: The bars up to each row.
            symbols: Symbol of each row.
        """

    @abstractmethod
    def forecast(self, summary: Tensor, slots: int, periods: int) -> Tensor:
        """Volume of the next bars in units of the history's mean volume, [rows, periods], positive.

        Args:
            summary: As :meth:`summary` gave it.
            slots: Slots of the seasonal.
            periods: Bars ahead.
        """

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """The last volumes, the number of slots and :meth:`summary`, from at most 256 bars; the same for both sides."""
        unique, back = np.unique(rows, return_inverse=True)
        contexts = [np.empty((0, _LAST + 2))]
        for first in range(0, len(unique), _ROWS):
            some = unique[first : first + _ROWS]
            history = History(market, some)
            symbols = [market.bars.symbols[i] for i in market.bars.grid.symbol(some)]
            slots = np.full((len(some), 1), float(history.slots))
            contexts.append(np.concatenate([history.volume[:, -_LAST:], slots, self.summary(history, symbols)], 1))
        return torch.from_numpy(np.concatenate(contexts[1:] or contexts)[back])

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Bring the fraction left to the share of the benchmark that is forecast to come after this period."""
        assert context is not None
        s, periods = state.period, state.expected_volume.shape[1]
        ahead = self.forecast(context[:, _LAST + 1 :], int(context[0, _LAST]), periods - s)
        # The forecast is in means of the history, the state in expected volumes. Bars that both have give the ratio.
        both = min(s, _LAST)
        ours, theirs = context[:, _LAST - both : _LAST].sum(1), state.volumes[:, s - both :].sum(1)
        unit = torch.where((theirs > 0) & (ours > 0), ours / torch.where(theirs > 0, theirs, 1.0), 1.0)
        live = (torch.arange(s, periods) < orders.max_periods[:, None]).to(ahead)
        ahead = torch.where(orders.is_twap[:, None], live, ahead * live)
        past = torch.where(orders.is_twap, torch.full_like(state.remaining, float(s)), state.volumes.sum(1) * unit)
        total = past + ahead.sum(1)
        target = ahead[:, 1:].sum(1) / total.clamp(min=1e-12)
        return Decision(fraction=state.remaining - target, finish=False)
