r"""Dynamic VWAP: trading by a forecast of the volumes still to come, renewed after every bar.

An order follows the VWAP when, after each period, the fraction left of the order is the fraction left of the volume.
With ``V`` the volume of the order's periods so far and ``v_s, ..., v_{n-1}`` the forecast of the others, period ``s``
brings the fraction left to

.. math:: \frac{\sum_{r>s} v_r}{V + \sum_{r \ge s} v_r},

up to the maximum duration ``n`` (Bialkowski, Darolles, Le Fol 2008, for the idea to renew the forecast and
reweigh what is left). Against the TWAP every volume counts as one.

The time-of-day part of a forecast is the expected volume of the order's periods, from 20 sessions. What the last 256
bars say on top of it multiplies it.
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


class History:
    """The last bars before some decisions: their volumes over the volumes that their time slots led to expect.

    Args:
        market: The market.
        rows: Last bar of each window, [rows].
        sessions: Sessions of the time-of-day profile.

    Attributes:
        has_days: Whether sessions have several bars and the window holds some sessions.
        session_of: Session of every bar, counted from the first of the window, [rows, bars].
        known: Whether the bar exists and traded, [rows, bars].
        ratio: Volume over the mean volume of the same slot in the sessions before, [rows, bars]; 1 where not known.
    """

    def __init__(self, market: Market, rows: Integers, sessions: int) -> None:
        bars = market.bars
        self.has_days = bool(profile_days(bars.slots_per_session, MAX_LOOKBACK)) and bars.slots_per_session > 1
        index = rows[:, None] - np.arange(MAX_LOOKBACK - 1, -1, -1)
        inside = index >= bars.offsets[bars.grid.symbol(rows)][:, None]
        index = np.where(inside, index, rows[:, None])
        raw = np.where(inside, bars.volume[index], 0.0)
        self.known = raw > 0
        count = self.known.sum(1)
        mean = np.where(count > 0, raw.sum(1) / np.maximum(count, 1), 1.0)
        first = index.min(axis=1)
        profile = market.profile_over(first, MAX_LOOKBACK, sessions).at(index)
        usual = np.where(profile > 0, profile, mean[:, None])
        self.ratio = np.where(self.known, raw / usual, 1.0)
        slot = np.asarray(bars.grid.slot(index))
        new = np.zeros(slot.shape, dtype=bool)
        new[:, 1:] = slot[:, 1:] <= slot[:, :-1]
        self.session_of = np.cumsum(new, axis=1)


class VolumeForecaster(Policy):
    """A policy that follows the VWAP by a forecast; the context of a bar is what its forecast needs."""

    lookback = MAX_LOOKBACK
    sessions = 20

    @abstractmethod
    def summary(self, history: History, symbols: list[str]) -> Floats:
        """What the forecast needs of the past, [rows, width]: a function of the history alone.

        Args:
            history: The bars up to each row.
            symbols: Symbol of each row.
        """

    @abstractmethod
    def forecast(self, summary: Tensor, periods: int) -> Tensor:
        """Volume of the next bars over the expected volume of their slots, [rows, periods], positive.

        Args:
            summary: As :meth:`summary` gave it.
            periods: Bars ahead.
        """

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """:meth:`summary` of the last 256 bars and of the profile over :attr:`sessions`; the same for both sides."""
        unique, back = np.unique(rows, return_inverse=True)
        contexts = []
        for first in range(0, max(len(unique), 1), _ROWS):
            some = unique[first : first + _ROWS]
            symbols = [market.bars.symbols[i] for i in market.bars.grid.symbol(some)]
            contexts.append(self.summary(History(market, some, self.sessions), symbols))
        return torch.from_numpy(np.concatenate(contexts)[back])

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Bring the fraction left to the share of the benchmark that is forecast to come after this period."""
        assert context is not None
        s, periods = state.period, state.expected_volume.shape[1]
        ahead = state.expected_volume[:, s:] * self.forecast(context, periods - s)
        live = (torch.arange(s, periods) < orders.max_periods[:, None]).to(ahead)
        ahead = torch.where(orders.is_twap[:, None], live, ahead * live)
        past = torch.where(orders.is_twap, torch.full_like(state.remaining, float(s)), state.volumes.sum(1))
        total = past + ahead.sum(1)
        target = ahead[:, 1:].sum(1) / total.clamp(min=1e-12)
        return Decision(fraction=state.remaining - target, finish=False)
