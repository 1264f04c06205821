r"""The model one bar at a time: the context of each new bar for the price of one step, for many symbols at once.

:meth:`LEMModel.encode <lem_models.modeling.model.LEMModel.encode>` cuts the market into blocks at fixed times and reads
``config.warmup`` bars before each. So the context of a bar comes from a *chain*: a state of the backbone that began,
with nothing read, ``warmup`` bars before the bar's block. A new bar moves every chain on by one step of the same
modules and kernels that read whole blocks.

When the next block begins, its chain must have read its ``warmup`` bars already. The time is known in advance (round
the clock exactly, elsewhere as far as sessions repeat), so that chain starts early and runs beside the current one: no
bar takes much longer than another. If a block begins unexpectedly (a market closed early), its chain reads the
``warmup`` bars at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.causal import FEATURES, SIGNED
from lem_models.features.live import LiveFeatures
from lem_models.features.market import Market
from lem_models.markets.calendar.frequency import DAY
from lem_models.markets.calendar.kinds import Calendar, RoundTheClock
from lem_models.markets.live_bars import ClosedBar
from lem_models.modeling.backbone import BackboneState
from lem_models.modeling.module import LEMModule

__all__ = ["ModelStream"]

Integers = npt.NDArray[np.int64]
Features = npt.NDArray[np.float32]


@dataclass
class _Symbol:
    """A symbol that is followed.

    Attributes:
        number: Its number among the features.
        clock: When its blocks begin.
        sides: Row of the contexts of each side that is followed.
    """

    number: int
    clock: _BlockClock
    sides: dict[int, int]


@dataclass
class _Chain:
    """What has been read since one beginning; its state lies in the rows of the stream's state.

    Attributes:
        row: Row of the contexts that it serves.
        read: Bars read.
        is_current: Whether the newest bar lies in its block; other chains are warming up.
    """

    row: int
    read: int
    is_current: bool


class ModelStream:
    """Contexts of symbols and sides, bar after bar; see :meth:`lem_models.execution.policy.Policy.stream`.

    The weights are the model's own, as they are when the stream is made: do not train the model meanwhile.

    Args:
        model: The model.
    """

    def __init__(self, model: LEMModule) -> None:
        config = model.config
        self._model, self._backbone = model, model.backbone
        self._weights, self._head = model.live_weights()
        if getattr(model.decide, "__func__", None) is not LEMModule.decide:  # a subclass decides in its own way
            self._head = self._head._replace(decide=model.decide)
        self._like = model.backbone.attention.output.weight
        self._mirror = np.array([-1.0 if SIGNED[name] else 1.0 for name in config.features], np.float32)
        self._warmup, self._block = config.warmup, config.block
        self._features = LiveFeatures()
        self._columns = np.array([FEATURES.index(name) for name in config.features])
        self._symbols: dict[str, _Symbol] = {}
        self._recent = np.empty((0, max(self._warmup, 1), len(self._columns)), np.float32)  # of each symbol
        self._chains: list[_Chain] = []
        self._state: BackboneState | None = None
        # Of the features, as the side of each row sees them.
        self._signs = np.empty((0, len(self._columns)), np.float32)
        self._contexts = torch.empty(0)

    def contexts(self, rows: npt.ArrayLike) -> Tensor:
        """What the head takes from the contexts of the last closed bars, float [rows, width]."""
        return self._contexts[torch.as_tensor(np.asarray(rows, dtype=np.int64))]

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period; see :meth:`lem_models.execution.policy.ContextStream.decide`."""
        return (
            self._model.decide(context, orders, state) if context is None else self._head.decide(context, orders, state)
        )

    @torch.no_grad()
    def add(self, market: Market, rows: Integers, side: Integers) -> Integers:
        """Follow symbols from their last bars on; see :meth:`lem_models.execution.policy.ContextStream.add`."""
        bars = market.bars
        numbers = bars.grid.symbol(rows)
        fresh = [
            (bars.symbols[number], row)
            for number, row in dict(zip(numbers.tolist(), rows.tolist(), strict=True)).items()
            if bars.symbols[number] not in self._symbols
        ]
        self._follow(market, [name for name, _ in fresh], np.array([row for _, row in fresh], dtype=np.int64))
        result, added = np.empty(len(rows), np.int64), list[tuple[_Symbol, int, int]]()
        for place, (number, row, one) in enumerate(zip(numbers.tolist(), rows.tolist(), side.tolist(), strict=True)):
            symbol = self._symbols[bars.symbols[number]]
            if one not in symbol.sides:
                symbol.sides[one] = len(self._signs) + len(added)
                added.append((symbol, row, one))
            result[place] = symbol.sides[one]
        if added:
            self._begin(market, added)
        return result

    def drop(self, symbols: Sequence[str]) -> None:
        """Stop following symbols; see :meth:`lem_models.execution.policy.ContextStream.drop`."""
        rows = {row for name in symbols if name in self._symbols for row in self._symbols.pop(name).sides.values()}
        self._keep([number for number, chain in enumerate(self._chains) if chain.row not in rows])

    @torch.no_grad()
    def push(self, bars: Mapping[str, ClosedBar]) -> None:
        """Read the next closed bar of some symbols; see :meth:`lem_models.execution.policy.ContextStream.push`."""
        closed = {name: bar for name, bar in bars.items() if name in self._symbols}
        if not closed:
            return
        symbols = [self._symbols[name] for name in closed]
        numbers = np.array([symbol.number for symbol in symbols])
        values = self._features.push(numbers, list(closed.values()))[0][:, self._columns]
        # What each row reads now, what it read before, and the rows whose block begins unexpectedly.
        rows, at = self._rows_of(symbols)
        previous = self._recent[numbers, -1]
        late = self._turn(symbols, list(closed.values()))
        self._step(rows, self._oriented(values[at], rows), self._oriented(previous[at], rows))
        if late:
            self._read_late(late, symbols, values)
        self._recent[numbers, :-1] = self._recent[numbers, 1:]
        self._recent[numbers, -1] = values

    # -- one bar -----------------------------------------------------------------------------------------------------

    def _turn(self, symbols: Sequence[_Symbol], bars: Sequence[ClosedBar]) -> list[int]:
        """Let chains begin and end where blocks do; rows whose block begins without a chain that has warmed up."""
        ahead, turned = set[int](), set[int]()
        for symbol, bar in zip(symbols, bars, strict=True):
            if symbol.clock.begins_ahead(bar.timestamp, bar.slot):
                ahead.update(symbol.sides.values())
            if symbol.clock.advance(bar.timestamp):
                turned.update(symbol.sides.values())
        pushed = {row for symbol in symbols for row in symbol.sides.values()}
        before, kept = self._chains, list[int]()
        for number, chain in enumerate(before):
            if chain.row in turned:
                # The current block is over. Of the chains that warm up, the one that is ready goes on.
                chain.is_current = not chain.is_current and chain.read == self._warmup
                if chain.is_current or chain.read < self._warmup:
                    kept.append(number)
            elif chain.is_current or chain.row not in pushed or chain.read < self._warmup:
                kept.append(number)
        late = sorted(turned - {before[number].row for number in kept if before[number].is_current})
        if self._warmup == 0:
            late, ahead = [], ahead | set(late)
        self._keep(kept)
        if ahead:
            self._chains += [_Chain(row, 0, self._warmup == 0) for row in sorted(ahead)]
            self._state = self._known().with_fresh(len(ahead))
        return late

    def _keep(self, numbers: list[int]) -> None:
        """Let the other chains go."""
        if len(numbers) < len(self._chains):
            self._chains = [self._chains[number] for number in numbers]
            self._state = self._known().select(torch.tensor(numbers, dtype=torch.int64))

    def _step(self, rows: Integers, now: Tensor, before: Tensor) -> None:
        """Move the chains of some rows on by one bar, and set the contexts of the rows.

        Args:
            rows: The rows, [rows].
            now: Features of their newest bar, [rows, features].
            before: Features of the bar before it, [rows, features].
        """
        place = {row: number for number, row in enumerate(rows.tolist())}
        moved = [number for number, chain in enumerate(self._chains) if chain.row in place]
        if not moved:
            return
        chains, state = [self._chains[number] for number in moved], self._known()
        read = np.array([place[chain.row] for chain in chains])
        if len(moved) == len(self._chains):
            contexts = self._backbone.step(now[read], state, self._weights)
        else:
            which = torch.tensor(moved)
            some = state.select(which)
            contexts = self._backbone.step(now[read], some, self._weights)
            state.replace(which, some)
        for chain in chains:
            chain.read += 1
        current = [number for number, chain in enumerate(chains) if chain.is_current]
        if current:
            own = read[current]
            first = [number for number, chain in enumerate(current) if chains[chain].read == 1]
            previous = before[own]
            previous[first] = now[own[first]]
            self._set([chains[number].row for number in current], contexts[current], now[own], previous)

    def _set(self, rows: Sequence[int], contexts: Tensor, now: Tensor, before: Tensor) -> None:
        """Contexts of some rows: the backbone's, and the features of the bar and of the one before."""
        projected = self._head.project(torch.cat([contexts, now, before], -1)).detach().cpu()
        if len(self._contexts) < len(self._signs):
            more = projected.new_zeros(len(self._signs) - len(self._contexts), projected.shape[1])
            self._contexts = torch.cat([self._contexts, more]) if len(self._contexts) else more
        self._contexts[torch.tensor(rows)] = projected

    def _rows_of(self, symbols: Sequence[_Symbol]) -> tuple[Integers, Integers]:
        """Rows of some symbols, and the place of each row's symbol among them."""
        pairs = [(row, place) for place, symbol in enumerate(symbols) for row in symbol.sides.values()]
        rows, places = zip(*pairs, strict=True)
        return np.array(rows), np.array(places)

    def _oriented(self, values: Features, rows: Integers) -> Tensor:
        """Features [rows, ..., features] as the side of each row sees them."""
        signs = self._signs[rows]
        return torch.from_numpy(values * (signs if values.ndim == 2 else signs[:, None])).to(self._like)

    def _known(self) -> BackboneState:
        if self._state is None:
            raise RuntimeError("no symbol is followed yet")
        return self._state

    # -- beginnings --------------------------------------------------------------------------------------------------

    def _follow(self, market: Market, names: Sequence[str], rows: Integers) -> None:
        """Follow the features and the blocks of symbols."""
        if not names:
            return
        bars = market.bars
        numbers = self._features.add(market, rows)
        calendars, which = bars.grid.calendars, bars.grid.calendars.which[bars.grid.symbol(rows)]
        for name, row, number, kind in zip(names, rows.tolist(), numbers.tolist(), which.tolist(), strict=True):
            clock = _BlockClock(calendars.kinds[kind], self._block, self._warmup, int(bars.timestamp[row]))
            self._symbols[name] = _Symbol(number, clock, {})
        more = np.empty((len(names), *self._recent.shape[1:]), np.float32)
        self._recent = np.concatenate([self._recent, more])

    def _begin(self, market: Market, added: Sequence[tuple[_Symbol, int, int]]) -> None:
        """Read the current block of each row, and the warm-up of the next one as far as it has come."""
        bars, first_row = market.bars, len(self._signs)
        sides = np.array([side for *_, side in added])
        self._signs = np.concatenate([self._signs, np.where(sides[:, None] > 0, np.float32(1.0), self._mirror)])
        last = np.array([row for _, row, _ in added])
        longest = self._warmup + self._block
        values = market.feature_windows(last - longest + 1, longest)[:, :, self._columns]
        # Where each chain begins, by its length: (place in added, whether it is of the current block).
        beginnings: dict[int, list[tuple[int, bool]]] = {}
        for place, (symbol, row, _) in enumerate(added):
            low = int(bars.offsets[bars.grid.symbol(last[place : place + 1])[0]])
            known = np.arange(max(row - longest + 1, low), row + 1)
            block = int(known[symbol.clock.block_start(bars.timestamp[known])])
            beginnings.setdefault(row + 1 - max(block - self._warmup, low), []).append((place, True))
            recent = known[max(len(known) - self._warmup, 0) :]
            starts = zip(bars.timestamp[recent].tolist(), bars.grid.slot(recent).tolist(), strict=True)
            for begin, (timestamp, slot) in enumerate(starts):
                if symbol.clock.begins_ahead(timestamp, slot):
                    beginnings.setdefault(len(recent) - begin, []).append((place, False))
            self._recent[symbol.number] = values[place, -self._recent.shape[1] :]
        for length, alike in sorted(beginnings.items()):
            places = np.array([place for place, _ in alike])
            features = self._oriented(values[places, longest - length :], first_row + places)
            self._read(first_row + places, features, [current for _, current in alike])

    def _read(self, rows: Integers, features: Tensor, current: Sequence[bool]) -> None:
        """Chains over sequences of bars [rows, time, features], and the contexts of those that are current."""
        contexts, state = self._backbone.begin(features, self._weights)
        length = features.shape[1]
        self._chains += [_Chain(row, length, one) for row, one in zip(rows.tolist(), current, strict=True)]
        if self._state is None:
            self._state = BackboneState.of([values.clone() for values in state.tensors()])
        else:
            joined = zip(self._state.tensors(), state.tensors(), strict=True)
            self._state = BackboneState.of([torch.cat(pair) for pair in joined])
        mine = torch.tensor(current)
        before = features[mine, max(length - 2, 0)]
        if mine.any():
            self._set(rows[mine.numpy()].tolist(), contexts[mine], features[mine, -1], before)

    def _read_late(self, late: Sequence[int], symbols: Sequence[_Symbol], values: Features) -> None:
        """Chains of blocks that begin unexpectedly: the bars of their warm-up and their first bar, read at once."""
        places = {row: place for place, symbol in enumerate(symbols) for row in symbol.sides.values()}
        rows = np.array(late)
        numbers = np.array([symbols[places[row]].number for row in late])
        now = values[[places[row] for row in late]]
        self._read(
            rows, self._oriented(np.concatenate([self._recent[numbers], now[:, None]], 1), rows), [True] * len(rows)
        )


class _BlockClock:
    """When blocks begin: the cuts of ``LEMModel.encode``, and those that are expected.

    Args:
        calendar: The symbol's calendar.
        block: Bars per block.
        warmup: How many bars ahead beginnings are asked for.
        timestamp: Start of the last closed bar, nanoseconds UTC.
    """

    def __init__(self, calendar: Calendar, block: int, warmup: int, timestamp: int) -> None:
        self._step, self._slots = calendar.frequency.value, calendar.slots_per_session
        self._never_closes = isinstance(calendar, RoundTheClock)
        self._length, self._warmup = self._step * block, warmup
        # As Market.block_starts_at: daily bars at midnight of some zone, six hours later, are all inside their day.
        self._shift = DAY // 4 if self._step >= DAY else 0
        self._current = self._number(timestamp)

    def advance(self, timestamp: int) -> bool:
        """Whether the next bar, which starts then, begins a block."""
        before, self._current = self._current, self._number(timestamp)
        return self._current != before

    def block_start(self, timestamp: Integers) -> int:
        """Place of the first bar in the block of the last bar."""
        return int(np.argmax((timestamp + self._shift) // self._length == self._current))

    def begins_ahead(self, timestamp: int, slot: int) -> bool:
        """Whether the bar ``warmup`` bars after this one should begin a block."""
        if not self._warmup:
            return False
        before, at = (self._number(self._coming(timestamp, slot, ahead)) for ahead in (self._warmup - 1, self._warmup))
        return before != at

    def _number(self, timestamp: int) -> int:
        return (timestamp + self._shift) // self._length

    def _coming(self, timestamp: int, slot: int, ahead: int) -> int:
        """Start of the bar so many bars on, if every session is full and weekdays have one."""
        if self._never_closes:
            return timestamp + ahead * self._step
        sessions, position = divmod(slot + ahead, self._slots)
        opening = timestamp - slot * self._step
        weekday = min((opening // DAY + 3) % 7, 4)  # 1970-01-01 was a Thursday
        return opening + (sessions + (weekday + sessions) // 5 * 2) * DAY + position * self._step
