"""What comes from a market: closed bars, and what can be wrong with them; and the one class that a venue needs.

A bar that is not simply the next one is a *fault*. Every fault has a message of its own and is an event of the log:

- ``missing``: an expected bar did not come before the next one, or in time. A bar without volume at the last close
  stands for it, so the orders go on.
- ``late``: the bar came after another one had stood for it. ``revised``: a bar came again with other numbers. Both are
  kept in the log. They change neither past decisions nor what later ones are made from, so a restart decides the same.
- ``duplicate``: the bar came again.
- ``out_of_order``: it is older than the bars that are followed. In one call bars may come in any order.
- ``off_grid``: no bar of this market starts then.
- ``skew``: it ends after the desk's clock: it is still open, or a clock is wrong. It is not taken.
- ``stale``: the bar that should have closed has not come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from lem_models.errors import BarsError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.bars import Bars
from lem_models.markets.validation import REQUIRED, VALUES

if TYPE_CHECKING:
    from lem_models.desk.decision import Decision

__all__ = ["BarFeed", "ChildDone", "ClosedBars", "Fault", "FeedRules", "Fill", "bars_by_symbol"]

ClosedBars: TypeAlias = "Mapping[str, Mapping[str, Any] | pd.Series[Any]] | pd.DataFrame | Bars"
"""Bars that have closed: one for each symbol, or a table of any number of them."""


class Fault(str, Enum):
    """What a bar, or its absence, is; see the module."""

    MISSING = "missing"
    LATE = "late"
    REVISED = "revised"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    OFF_GRID = "off_grid"
    SKEW = "skew"
    STALE = "stale"


@dataclass(frozen=True)
class FeedRules:
    """How long a desk waits for bars, and when the fallback stands in for the policy.

    Attributes:
        grace: Seconds after a bar's end before it is stale.
        patience: Seconds after a bar's end before a bar without volume stands for it, by :meth:`Desk.watch`.
        skew: Seconds that a bar may end after the desk's clock.
        most_bridged: Missing bars within the policy's lookback with which it still decides; with more of them the
            fallback does.
        longest_gap: Most missing bars in a row. After more the symbol needs a new history.
    """

    grace: float = 10.0
    patience: float = 60.0
    skew: float = 2.0
    most_bridged: int = 2
    longest_gap: int = 2000


@dataclass(frozen=True)
class Fill:
    """What a venue filled.

    Attributes:
        order: Label of the order.
        quantity: Units.
        price: Price.
        id: Label of the fill, unique in the order: a fill that comes twice is booked once.
        child: Label of the child order; by default the last one.
        time: When it was filled, with a zone: a time, or a text of ISO 8601. By default when the desk takes it in.
    """

    order: str
    quantity: Decimal
    price: Decimal
    id: str
    child: str | None = None
    time: datetime | str | None = None


@dataclass(frozen=True)
class ChildDone:
    """A venue has reported everything about a child order: it fills no more.

    Attributes:
        order: Label of the order.
        child: Label of the child order.
        refused: Why the venue refused it, or the rest of it; ``None`` where it did not.
    """

    order: str
    child: str
    refused: str | None = None


class BarFeed(Protocol):
    """A market and a venue: the one class that a user writes to trade at an own venue.

    A venue must know a child order by its label and take it once, because after a crash it is sent again. It may report
    a fill any number of times.
    """

    def bars(self) -> Iterable[ClosedBars]:
        """Bars as they close, those of one moment together; ends when there are no more."""
        ...

    def send(self, decision: Decision) -> None:
        """Send a child order, to be filled within its window; the venue cancels what is left at its end."""
        ...

    def fills(self) -> Iterable[Fill | ChildDone]:
        """Fills and finished child orders, at least those that were not handed out before; older ones do not matter."""
        ...


def bars_by_symbol(bars: ClosedBars) -> dict[str, list[dict[str, Any]]]:
    """Bars of each symbol in time order, as mappings of the columns that are needed.

    Raises:
        BarsError: They are no bars, or a bar has no time.
    """
    if isinstance(bars, Bars):
        return {
            name: [
                {"timestamp": pd.Timestamp(int(bars.timestamp[row]), tz="UTC")}
                | {each: float(getattr(bars, each)[row]) for each in VALUES}
                for row in range(int(bars.offsets[index]), int(bars.offsets[index + 1]))
            ]
            for index, name in enumerate(bars.symbols)
        }
    if isinstance(bars, pd.DataFrame):
        if "symbol" not in bars:
            raise BarsError("the table of bars has no column symbol", column="symbol", rule="required columns")
        rows = [(str(row["symbol"]), {str(name): row[name] for name in row}) for row in bars.to_dict("records")]
    elif isinstance(bars, Mapping) and all(isinstance(bar, Mapping | pd.Series) for bar in bars.values()):
        rows = [(str(name), dict(bar)) for name, bar in bars.items()]
    else:
        raise BarsError(
            "closed bars are a table, or a mapping from symbols to bars, {'BTCUSDT': {'timestamp': ..., 'open': ...}}; "
            f"got {shown(bars)}",
            rule="bars by symbol",
        )
    closed: dict[str, list[dict[str, Any]]] = {}
    for name, row in rows:
        missing = [each for each in REQUIRED if each not in row and each != "symbol"]
        if missing:
            raise BarsError(
                f"the bar lacks the columns {missing}", symbol=name, column=missing[0], rule="required columns"
            )
        closed.setdefault(name, []).append({"timestamp": _stamp(row["timestamp"], name)} | {v: row[v] for v in VALUES})
    for each in closed.values():
        each.sort(key=lambda row: row["timestamp"])
    return closed


def _stamp(value: object, symbol: str) -> pd.Timestamp:
    if isinstance(value, pd.Timestamp) and value.tzinfo is timezone.utc and value.unit == "ns":
        return value
    try:
        return pd.Timestamp(np.int64(read_moment(value, needs_zone=True)), tz="UTC")
    except MomentError as error:
        raise BarsError(error.reason, symbol=symbol, column="timestamp", rule="timestamp") from None
