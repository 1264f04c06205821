"""Contexts of live bars from a policy that only has ``encode``: the market is encoded anew after every bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.policy import ContextStream, Policy, checked_contexts, rows_not_finite, sessions_of
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.live_bars import ClosedBar, followed_by
from lem_models.orders.rules import SIZE_SESSIONS

__all__ = ["EncodingStream", "kept_bars", "stream_of"]

Integers = npt.NDArray[np.int64]

_KEPT = 4096  # a lookback has 256 at most, and stock splits show in the others


def kept_bars(policy: Policy, bars: Bars) -> int:
    """Bars of history that live orders of a policy look at: those of its sessions and of sizes, and some more."""
    slots = max(kind.slots_per_session for kind in bars.grid.calendars.kinds)
    return max(_KEPT, (max(sessions_of(policy), SIZE_SESSIONS) + 1) * slots + MAX_LOOKBACK)


def stream_of(policy: Policy) -> ContextStream | None:
    """How a policy reads the market live; ``None`` for one that has neither ``stream`` nor ``encode``."""
    stream = getattr(policy, "stream", None)
    own: ContextStream | None = stream() if callable(stream) else None
    if own is None and callable(getattr(policy, "encode", None)):
        return EncodingStream(policy)
    return own


class EncodingStream:
    """Contexts of a policy that has ``encode`` and no ``stream``: the market anew after every bar."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._history: dict[str, Bars] = {}
        self._rows: dict[tuple[str, int], int] = {}
        self._contexts: list[Tensor] = []

    def add(self, market: Market, rows: Integers, side: Integers) -> Integers | None:
        """See :class:`ContextStream`; ``None`` where the policy gives no contexts."""
        bars, pairs, contexts = market.bars, list[tuple[str, int]](), dict[tuple[str, int], Tensor]()
        names = [bars.symbols[number] for number in bars.grid.symbol(rows).tolist()]
        history = {name: bars.select([name]) for name in dict.fromkeys(names)}
        for position, pair in enumerate(zip(names, side.tolist(), strict=True)):
            if pair not in contexts:
                context = self._encoded(history[pair[0]], pair[1], position)
                if context is None:
                    return None
                contexts[pair] = context
            pairs.append(pair)
        # Nothing has changed so far. A pair that is followed already gets its context anew.
        self._history |= history
        for pair, context in contexts.items():
            if pair not in self._rows:
                self._rows[pair] = len(self._contexts)
                self._contexts.append(context)
            self._contexts[self._rows[pair]] = context
        return np.array([self._rows[pair] for pair in pairs], dtype=np.int64)

    def push(self, bars: Mapping[str, ClosedBar]) -> None:
        """See :class:`ContextStream`."""
        history = {
            name: followed_by(self._history[name], self._history[name].calendar, [[bar[:7]]]).last(
                kept_bars(self._policy, self._history[name])
            )
            for name, bar in bars.items()
            if name in self._history
        }
        contexts: dict[int, Tensor] = {}
        for (name, side), row in self._rows.items():
            if name in history:
                context = self._encoded(history[name], side, row)
                if context is None:
                    raise PolicyError("encode() gave contexts for the history, and none after a new bar")
                contexts[row] = context
        self._history |= history
        for row, context in contexts.items():
            self._contexts[row] = context

    def drop(self, symbols: Sequence[str]) -> None:
        """See :class:`ContextStream`."""
        self._history = {name: bars for name, bars in self._history.items() if name not in symbols}

    def contexts(self, rows: Integers) -> Tensor:
        """See :class:`ContextStream`."""
        return torch.stack([self._contexts[row] for row in rows.tolist()])

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """See :class:`ContextStream`."""
        return self._policy.decide(context, orders, state)

    @torch.no_grad()
    def _encoded(self, bars: Bars, side: int, position: int) -> Tensor | None:
        """Context of the last bar, in a tensor of its own; ``position`` goes into an error."""
        contexts = checked_contexts(self._policy.encode(Market(bars), np.array([len(bars) - 1]), np.array([side])), 1)
        if contexts is None:
            return None
        if rows_not_finite(contexts):
            raise PolicyError(
                "encode() gave numbers that are not finite for the bar of "
                f"{moment(bars.timestamp[-1]):%Y-%m-%d %H:%M} UTC",
                positions=(position,),
            )
        return contexts[0].clone()
