r"""The backbone one bar at a time: the context of each new bar for the price of one step, for live decisions.

:meth:`LEMModel.encode <lem_models.modeling.model.LEMModel.encode>` cuts the market into blocks at fixed times and reads
``config.warmup`` bars before each. So the context of a bar comes from a *chain*: a recurrent state that began, at zero,
``warmup`` bars before the bar's block, and the keys and values of the bars read since. A new bar moves the chain on by
one step of the recurrence and one row of attention.

When the next block begins, its chain must have read its ``warmup`` bars already. The time is known in advance (round
the clock exactly, elsewhere as far as sessions repeat), so that chain starts early and runs beside the current one, as
a second row of the same small products: no bar takes much longer than another. A beginning that was not foreseen (a
market that closed early) is made up for by reading the ``warmup`` bars at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.execution.policy import Decision, ExecutionState, OrderBatch
from lem_models.features.causal import FEATURES, SIGNED, SUPPORT, compute_features
from lem_models.features.stream import FeatureStream
from lem_models.markets.calendar.frequency import DAY
from lem_models.markets.live_bars import ClosedBar, last_bars
from lem_models.modeling.heads.flexible import FlexibleHead
from lem_models.modeling.layers.tkan import TKANCell
from lem_models.modeling.row_head import RowHead
from lem_models.modeling.single_row import CellState, RowAttention, RowCell, RowGate, RowResidual, RowSelection

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars
    from lem_models.modeling.model import LEMModel

__all__ = ["BackboneStream"]

Array: TypeAlias = npt.NDArray[np.float32]


@dataclass
class _Chain:
    """What has been read since one beginning, apart from the recurrent state.

    Attributes:
        read: Bars read.
        memory: Their keys and values, [2, heads, warmup + block, size of a head]; ``read`` of them are filled.
    """

    read: int
    memory: Array


class BackboneStream:
    """Contexts of one side, bar after bar; see :meth:`lem_models.execution.policy.Policy.stream`.

    Weights are taken as they are when the stream is made.

    Args:
        model: The model.
        history: Closed bars of one symbol; the last ``model.lookback`` of them gapless.
        side: +1 or -1, the side of the orders that read the contexts.

    Attributes:
        context: What the head takes from the context of the last closed bar, as ``encode`` gives it, float32 [width].

    Raises:
        BarsError: when the history holds several symbols.
    """

    def __init__(self, model: LEMModel, history: Bars, side: int) -> None:
        config, backbone = model.config, model.backbone
        self._backbone, self._warmup, self._block = backbone, config.warmup, config.block
        self._features = FeatureStream(history)
        self._columns = np.array([FEATURES.index(name) for name in config.features])
        self._signs = np.array([-1.0 if side < 0 and SIGNED[name] else 1.0 for name in config.features], np.float32)
        self._select = RowSelection(backbone.selection, backbone.embedding)
        self._cells = [RowCell(cell) for cell in backbone.tkan.cells if isinstance(cell, TKANCell)]
        self._recurrent_gate, self._enrich = RowGate(backbone.recurrent_gate), RowResidual(backbone.enrichment)
        self._attention, self._attention_gate = RowAttention(backbone.attention), RowGate(backbone.attention_gate)
        self._clock = _BlockClock(history, config.block, config.warmup)
        self._model, self._row_head = model, RowHead(model.head) if type(model.head) is FlexibleHead else None
        self._chains: list[_Chain] = []
        self._states: list[CellState] = []
        self._rows: deque[Array] = deque(maxlen=max(config.warmup, 1))
        self.context = self._begin(history)

    def push(self, bar: ClosedBar) -> None:
        """Read the next closed bar: :attr:`context` is then its own."""
        row = self._oriented(self._features.push(bar)[None])
        if self._clock.begins_ahead(bar.timestamp, bar.slot):
            fresh = [CellState(*(np.zeros_like(part[:1]) for part in state)) for state in self._states]
            self._join(_Chain(0, self._memory()), fresh)
        is_new_block = self._clock.advance(bar.timestamp)
        # The current chain comes first, others only while they warm up.
        self._keep([n for n, chain in enumerate(self._chains) if chain.read <= self._warmup or not (n or is_new_block)])
        if is_new_block and not (self._chains and self._chains[0].read == self._warmup):
            chain, self._states, enriched = self._read(np.concatenate([*self._rows, row])[-self._warmup - 1 :])
            self._chains = [chain]
        else:
            enriched = self._step(row)
        self.context = self._attended(enriched, row)
        self._rows.append(row)

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """What the model decides for one order, see :meth:`lem_models.execution.policy.Policy.decide`."""
        return (self._row_head or self._model).decide(context, orders, state)

    # -- one bar -----------------------------------------------------------------------------------------------------

    def _step(self, row: Array) -> Array:
        """Move every chain on by a row [1, features]; the current chain's enriched row, [1, hidden]."""
        selected = outputs = self._select(row)
        for layer, cell in enumerate(self._cells):
            outputs, self._states[layer] = cell(outputs, self._states[layer])
        enriched = self._enrich(self._recurrent_gate(outputs, selected))
        key_value = self._attention.key_value(enriched)
        for number, chain in enumerate(self._chains):
            chain.memory[:, :, chain.read] = key_value[:, :, number]
            chain.read += 1
        return enriched[:1]

    def _attended(self, enriched: Array, row: Array) -> Tensor:
        """Context of the newest bar from the current chain, projected by the head, [width]."""
        chain = self._chains[0]
        attended = self._attention_gate(self._attention(enriched, chain.memory, chain.read), enriched)
        previous = row if chain.read == 1 else self._rows[-1]
        return self._projected(np.concatenate([attended[0], row[0], previous[0]]))

    def _projected(self, context: Array) -> Tensor:
        """What the head takes from a context [hidden + 2 * features]."""
        if self._row_head is not None:
            return torch.from_numpy(self._row_head.project(context))
        like = self._backbone.attention.output.weight
        return self._model.head.project(torch.from_numpy(context).to(like)[None])[0].detach().cpu()

    def _oriented(self, values: Array) -> Array:
        """Rows of all features as the order's side sees those of the model, [time, features]."""
        return values[:, self._columns] * self._signs

    # -- beginnings --------------------------------------------------------------------------------------------------

    def _begin(self, history: Bars) -> Tensor:
        """Read the current block of the history, and the warm-up of the next ones as far as it has come."""
        kept = last_bars(history, SUPPORT + self._warmup + self._block)
        rows = self._oriented(compute_features(kept).values)
        first = self._clock.block_start(kept.timestamp)
        chain, self._states, enriched = self._read(rows[max(first - self._warmup, 0) :])
        self._chains = [chain]
        recent = np.arange(max(len(kept) - self._warmup, 0), len(kept))
        starts = zip(recent.tolist(), kept.timestamp[recent].tolist(), kept.slot[recent].tolist(), strict=True)
        for row, timestamp, slot in starts:
            if self._clock.begins_ahead(timestamp, slot):
                ahead, states, _ = self._read(rows[row:])
                self._join(ahead, states)
        self._rows.extend(rows[-max(self._warmup, 1) - 1 : -1, None])
        context = self._attended(enriched, rows[-1:])
        self._rows.append(rows[-1:])
        return context

    @torch.inference_mode()
    def _read(self, rows: Array) -> tuple[_Chain, list[CellState], Array]:
        """A chain over rows [time, features] at once, its recurrent states and its last enriched row [1, hidden]."""
        backbone = self._backbone
        features = torch.from_numpy(rows).to(backbone.attention.output.weight)
        selected, _ = backbone.selection.select_scalars(features, backbone.embedding)
        recurrent, states = backbone.tkan(selected[None])
        enriched: Array = backbone.enrichment(backbone.recurrent_gate(recurrent[0], selected)).float().cpu().numpy()
        chain = _Chain(len(rows), self._memory())
        chain.memory[:, :, : len(rows)] = self._attention.key_value(enriched)
        return chain, [CellState.of(state) for state in states], enriched[-1:]

    def _memory(self) -> Array:
        attention = self._attention
        return np.empty((2, attention.heads, self._warmup + self._block, attention.head_size), dtype=np.float32)

    def _keep(self, numbers: list[int]) -> None:
        """Let the other chains go."""
        if len(numbers) < len(self._chains):
            self._chains = [self._chains[number] for number in numbers]
            self._states = [CellState(*(part[numbers] for part in state)) for state in self._states]

    def _join(self, chain: _Chain, states: list[CellState]) -> None:
        """Let a chain run beside the others."""
        self._chains.append(chain)
        pairs = zip(self._states, states, strict=True)
        self._states = [CellState(*map(np.concatenate, zip(mine, new, strict=True))) for mine, new in pairs]


class _BlockClock:
    """When blocks begin: the cuts of ``LEMModel.encode``, and those to be expected.

    Args:
        history: Closed bars of one symbol.
        block: Bars per block.
        warmup: How many bars ahead beginnings are asked for.
    """

    def __init__(self, history: Bars, block: int, warmup: int) -> None:
        self._step, self._slots = history.frequency.value, history.slots_per_session
        self._never_closes = history.calendar.name == "24/7"
        self._length, self._warmup = self._step * block, warmup
        # As Market.block_starts_at: daily bars at midnight of some zone, six hours later, are all inside their day.
        self._shift = DAY // 4 if self._step >= DAY else 0
        self._current = self._number(int(history.timestamp[-1]))

    def advance(self, timestamp: int) -> bool:
        """Whether the next bar, which starts then, begins a block."""
        before, self._current = self._current, self._number(timestamp)
        return self._current != before

    def block_start(self, timestamp: npt.NDArray[np.int64]) -> int:
        """Row of the first bar in the block of the last bar."""
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
