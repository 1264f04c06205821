"""Split a history into three consecutive parts for fine-tuning, and check that it is long enough.

    training | validation, which chooses among checkpoints | test, which neither of them reads

Orders of a part decide and trade inside it and end before the next part begins. Only their lookback may lie in the part
before: every decision may know these bars, and a history of a few weeks is too short to leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from lem_models.errors import BarsError, ConfigError
from lem_models.features.market import MAX_LOOKBACK
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock

__all__ = ["FEW_DAYS", "LITTLE", "MIN_DAYS", "Part", "Split", "choose_split", "shortest_stretch"]

_SHARES = (0.6, 0.8)  # of the days: where training and validation end
_ORDERS = 4  # orders of full length that the training part must hold, one after the other
MIN_DAYS = 4
"""Days that validation and test need, because the bootstrap resamples days."""
FEW_DAYS = 10
"""With fewer days with test orders an interval says little."""
LITTLE = 2000
"""With fewer training bars, of all symbols together, little can be learnt."""


@dataclass(frozen=True)
class Part:
    """One of the three parts.

    Attributes:
        name: ``"training"``, ``"validation"`` or ``"test"``.
        start: First day.
        end: Day after the last.
        days: Days that have bars.
        bars: Bars of all symbols.
        longest: Bars of the symbol with the most bars.
    """

    name: str
    start: date
    end: date
    days: int
    bars: int
    longest: int

    def __str__(self) -> str:
        """Name, dates and size."""
        return f"{self.name} {self.start} to {self.end} (exclusive): {self.days:,} days, {self.bars:,} bars"


@dataclass(frozen=True)
class Split:
    """Training, validation and test part of a history, which meet at midnight UTC."""

    training: Part
    validation: Part
    test: Part

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """The parts in the order of time."""
        return self.training, self.validation, self.test


def shortest_stretch(bars: Bars, horizon: int) -> int:
    """Fewest bars of a stretch in which orders of ``horizon`` periods have different positions."""
    return 2 * horizon + 1 if bars.is_session_bound else horizon + max(horizon // 2, 4)


def choose_split(
    bars: Bars, *, horizon: int, train_end: date | None = None, validation_end: date | None = None
) -> Split:
    """Split a history by time: 60, 20 and 20 % of its days, or at given days.

    Args:
        bars: The bars.
        horizon: Longest order in periods.
        train_end: First day of validation; with ``validation_end``, or neither.
        validation_end: First day of the test.

    Raises:
        ConfigError: when only one of the days is given, they are out of order, or lie outside the bars.
        BarsError: when a part is too short; the message gives the bars that there are and that are needed.
    """
    if (train_end is None) != (validation_end is None):
        raise ConfigError("give train_end and validation_end, or neither")
    days = np.unique(np.asarray(bars.timestamp).astype("datetime64[ns]").astype("datetime64[D]"))
    if train_end is None or validation_end is None:
        last = len(days) - 1
        train_end, validation_end = (days[min(round(share * len(days)), last)].item() for share in _SHARES)
    elif train_end >= validation_end:
        raise ConfigError(f"validation_end ({validation_end}) must be after train_end ({train_end})")
    else:
        _check_inside(days[0].item(), days[-1].item(), train_end=train_end, validation_end=validation_end)
    borders = [days[0].item(), train_end, validation_end, (days[-1] + 1).item()]
    parts = []
    for name, start, end in zip(("training", "validation", "test"), borders[:-1], borders[1:], strict=True):
        counts = np.diff(bars.rows_between(start, end), axis=1)
        inside = int(((days >= np.datetime64(start)) & (days < np.datetime64(end))).sum())
        parts.append(Part(name, start, end, inside, int(counts.sum()), int(counts.max())))
    split = Split(*parts)
    _require_enough(bars, split, horizon)
    return split


def _check_inside(first: date, last: date, **given: date) -> None:
    """Refuse days that leave a part without bars."""
    outside = [f"{name} ({day})" for name, day in given.items() if not first < day <= last]
    if outside:
        raise ConfigError(
            f"{' and '.join(outside)} outside the bars, which are of {first} to {last}: each part needs bars"
        )


def _require_enough(bars: Bars, split: Split, horizon: int) -> None:
    training = MAX_LOOKBACK + _ORDERS * horizon
    other = shortest_stretch(bars, horizon)
    purpose = f"{MAX_LOOKBACK} of lookback and {_ORDERS} orders of {horizon} periods"
    for part, needed in zip(split.parts, (training, other, other), strict=True):
        if part.longest < needed:
            reason = f"{needed} bars are needed: " + (
                purpose if part is split.training else f"orders of {horizon} periods"
            )
            raise BarsError(_shortage(bars, split, part, training, other, reason), rule="enough bars")
    for part in split.parts[1:]:
        if part.days < MIN_DAYS:
            reason = f"{MIN_DAYS} days are needed for an interval"
            raise BarsError(_shortage(bars, split, part, training, other, reason), rule="enough bars")


def _shortage(bars: Bars, split: Split, part: Part, training: int, other: int, reason: str) -> str:
    """Message with the bars of a part, the bars that it needs, and the history that would suffice."""
    counts = np.diff(bars.offsets)
    days = sum(each.days for each in split.parts)
    per_day = max(float(counts.max()) / max(days, 1), 1e-9)
    shares = (_SHARES[0], 1 - _SHARES[1])
    enough = max(training / shares[0], other / shares[1], MIN_DAYS / shares[1] * per_day)
    return (
        f"too little data to fine-tune: the {part.name} part ({part.start} to {part.end}, exclusive) has {part.days} "
        f"days and at most {part.longest} bars of a symbol, but {reason}. There are {counts.max()} bars of "
        f"{clock(bars.frequency)} per symbol at most; about {int(np.ceil(enough)) + 1} "
        f"({int(np.ceil(enough / per_day)) + 1} days) are needed, fewer with a shorter horizon"
    )
