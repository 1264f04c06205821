"""Where bars lie in time, for a graph: the length of a bar, the slots of a session, the beginnings of blocks.

A graph has no calendar. Round the clock, session and slot of a bar follow from its start. In a market that closes, they
are inputs of the graph, because holidays and daylight saving are the business of a calendar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.features.causal import profile_sessions
from lem_models.features.profile import profile_days
from lem_models.markets.calendar.frequency import DAY, HOUR, clock, read_frequency

__all__ = ["MarketLayout", "Place"]

_MOST_CELLS = 1 << 17  # volumes of a row's sessions: 1 MiB
_WEEKS = 20  # of simulated sessions: the blocks come round in fewer


@dataclass(frozen=True)
class Place:
    """Where the newest bar of each row lies, int64 [rows] each.

    Attributes:
        timestamp: Start, nanoseconds UTC.
        session: Number of the session.
        slot: Position in the session, from 0.
    """

    timestamp: Tensor
    session: Tensor
    slot: Tensor


@dataclass(frozen=True)
class MarketLayout:
    """Bars of one length in sessions of one number of slots.

    Attributes:
        step: Length of a bar, nanoseconds.
        slots: Usual number of bars of a session.
        never_closes: Whether the market trades round the clock.
    """

    step: int
    slots: int
    never_closes: bool

    @classmethod
    def of(cls, frequency: str, slots: int | None) -> MarketLayout:
        """The layout of a market.

        Args:
            frequency: Length of a bar, e.g. ``"1h"``.
            slots: Bars of a session; ``None`` for a market that never closes.

        Raises:
            ConfigError: When bars of this length do not divide a day, or a session has more of them than a day.
        """
        step = read_frequency(frequency).value
        if step < DAY and DAY % step:
            raise ConfigError(f"bars of {clock(step)} do not divide a day: a graph cannot number their slots")
        most = max(DAY // step, 1)
        if slots is not None and not 1 <= slots <= most:
            raise ConfigError(f"a session has 1 to {most} bars of {clock(step)}, got slots={slots}")
        return cls(step, most if slots is None else slots, slots is None)

    @property
    def is_session_bound(self) -> bool:
        """Whether an order stays inside its session: intraday bars of a market that closes."""
        return not self.never_closes and self.step < DAY

    @property
    def needs_place(self) -> bool:
        """Whether session and slot of a bar are inputs."""
        return not self.never_closes

    def expected_sessions(self, sessions: int) -> int:
        """Sessions that expected volumes average, for a model that averages so many (0: those of the lookback)."""
        return sessions or int(profile_days(self.slots))

    def feature_sessions(self) -> int:
        """Sessions that the profile of the features averages."""
        return int(profile_sessions(self.slots))

    def check_cells(self, sessions: int) -> None:
        """Refuse a state of more volumes than a graph should carry.

        Raises:
            ConfigError: When it has more.
        """
        cells = self.slots * (max(self.expected_sessions(sessions), self.feature_sessions()) + 1)
        if cells > _MOST_CELLS:
            raise ConfigError(
                f"{sessions} sessions of {self.slots} bars are {cells:,} volumes of state for each row, at most "
                f"{_MOST_CELLS:,} can be exported: take longer bars"
            )

    def place(self, inputs: Mapping[str, Tensor]) -> Place:
        """Where the newest bars lie."""
        timestamp = inputs["timestamp"]
        if self.needs_place:
            return Place(timestamp, inputs["session"], inputs["slot"])
        if self.step >= DAY:
            # As RoundTheClock: stamps of daily bars may be off by an hour, and a bar is a session.
            return Place(timestamp, (timestamp + self.step // 2) // self.step, torch.zeros_like(timestamp))
        return Place(timestamp, timestamp // DAY, timestamp % DAY // self.step)

    def follows(self, place: Place, before: Place) -> Tensor:
        """Whether no bar is missing between two, bool [rows]."""
        if self.never_closes:
            return (place.timestamp - before.timestamp - self.step).abs() <= (HOUR if self.step >= DAY else 0)
        next_slot = (place.session == before.session) & (place.slot == before.slot + 1)
        return next_slot | ((place.session == before.session + 1) & (place.slot == 0))

    def block_number(self, timestamp: Tensor, block: int) -> Tensor:
        """Number of the block of bars; see :meth:`lem_models.features.market.Market.block_starts_at`."""
        return (timestamp + (DAY // 4 if self.step >= DAY else 0)) // (self.step * block)

    def coming(self, place: Place, ahead: int) -> Tensor:
        """Start of the bar so many bars on, if every session is full and weekdays have one."""
        if self.never_closes:
            return place.timestamp + ahead * self.step
        position = place.slot + ahead
        sessions, opening = position // self.slots, place.timestamp - place.slot * self.step
        weekday = ((opening // DAY + 3) % 7).clamp(max=4)  # 1970-01-01 was a Thursday
        days = sessions + (weekday + sessions) // 5 * 2
        return opening + days * DAY + position % self.slots * self.step

    def warming_chains(self, block: int, warmup: int) -> int:
        """Most chains that warm up side by side: beginnings of blocks among so many bars."""
        if warmup == 0:
            return 0
        if self.never_closes:
            return -(-warmup // block)
        # Full sessions on weekdays, opening at any hour.
        opening = np.arange(0, DAY, max(HOUR // 2, self.step) if self.step < DAY else DAY)[:, None]
        day = np.arange(_WEEKS * 7)
        day = day[day % 7 < 5]
        session = day[:, None] * DAY + np.arange(self.slots) * self.step
        starts = opening + session.reshape(-1)
        number = (starts + (DAY // 4 if self.step >= DAY else 0)) // (self.step * block)
        begins = np.cumsum(number[:, 1:] != number[:, :-1], axis=1)
        width = min(warmup, begins.shape[1] - 1)
        return max(int((begins[:, width:] - begins[:, :-width]).max()), 1)
