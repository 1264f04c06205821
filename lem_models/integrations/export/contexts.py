"""Contexts inside a graph: chains of the backbone that move on by one bar.

:mod:`lem_models.modeling.live` says what chains are. Here a row has one chain that serves its contexts and some that
warm up, all of which move on with every bar: a step costs the same whether a block begins or not. Round the clock a
chain is always ready when its block begins. In a market that closes, a block may begin unexpectedly after a holiday or
an early close. Then the bars of its warm-up are read at once, in a branch of the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lem_models.errors import ConfigError
from lem_models.integrations.export.layout import MarketLayout, Place
from lem_models.modeling.backbone import BackboneState, LEMBackbone, StepWeights
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.kernels.scalar_networks import ScalarNetworks
from lem_models.modeling.layers.selection import ScalarSelection

__all__ = ["ChainStep"]


class ChainStep(nn.Module):
    """One bar of the chains of each row.

    Args:
        backbone: The backbone, in evaluation mode.
        config: The model's configuration.
        layout: The market.

    Attributes:
        chains: Chains of a row, the one that serves its contexts first.
        shapes: Shapes of the tensors of a chain's state but for its count, by name.
        reads_late: Whether blocks may begin unexpectedly.

    Raises:
        ConfigError: When the encoder cannot be exported.
    """

    def __init__(self, backbone: LEMBackbone, config: LEMConfig, layout: MarketLayout) -> None:
        super().__init__()
        if config.encoder not in ("tkan", "none"):
            raise ConfigError(f"a backbone with encoder {config.encoder!r} cannot be exported; one with 'tkan' can")
        self.backbone, self._layout = backbone, layout
        self._warmup, self._block = config.warmup, config.block
        self.chains = 1 + layout.warming_chains(config.block, config.warmup)
        self.reads_late = layout.needs_place and self._warmup > 0
        selection = backbone.step_weights().selection
        flat: list[Tensor] = [*selection[:-1], *selection.networks]
        for number, weight in enumerate(flat):
            self.register_buffer(f"selection_{number}", weight.detach().clone(), persistent=False)
        _, state = backbone.begin(torch.zeros(1, 1, len(config.features)), StepWeights(selection))
        names = [*(f"encoder_{number}" for number in range(len(state.encoder))), "keys", "values"]
        self.shapes = {name: tuple(values.shape[1:]) for name, values in zip(names, state.tensors(), strict=False)}

    @property
    def _weights(self) -> StepWeights:
        flat = [getattr(self, f"selection_{number}") for number in range(4 + len(ScalarNetworks._fields))]
        hidden_weight, hidden_bias, skip_weight, skip_bias, *networks = flat
        return StepWeights(
            ScalarSelection(hidden_weight, hidden_bias, skip_weight, skip_bias, ScalarNetworks(*networks))
        )

    def forward(
        self,
        now: Tensor,
        recent: Tensor,
        place: Place,
        before: Place,
        state: list[Tensor],
        read: Tensor,
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """Read one bar.

        Args:
            now: Features of the bar as the row's side sees them, [rows, features].
            recent: Those of the bars before it, oldest first, [rows, bars, features].
            place: Where the bar lies.
            before: Where the bar before it lies.
            state: Tensors of :attr:`shapes`, [rows, chains, ...].
            read: Bars that each chain has read, int64 [rows, chains]; 0: there is no such chain.

        Returns:
            Context of the bar [rows, hidden], features of the bar before it as the head reads them, and the new state.
        """
        layout, warmup = self._layout, self._warmup
        number = [layout.block_number(each.timestamp, self._block) for each in (before, place)]
        turned = number[0] != number[1]
        if warmup:
            state, read, late = self._turned(state, read, turned, place)
        else:
            state, read = [_where(turned, torch.zeros_like(each), each) for each in state], read * ~turned[:, None]
            late = torch.zeros_like(turned)
        weights, rows = self._weights, now.shape[0]
        selected, _ = self.backbone.selection.select_scalars(now[:, None], weights.selection)
        spread = selected.expand(-1, self.chains, -1).flatten(0, 1)
        flat = BackboneState.of([each.flatten(0, 1).clone() for each in (*state, read)])
        contexts = self.backbone.step_selected(spread, flat, weights)
        context = contexts.reshape(rows, self.chains, -1)[:, 0]
        state = [each.reshape(rows, self.chains, *each.shape[1:]) for each in flat.tensors()[:-1]]
        # Of a chain that warms up the first bar sets the count; where there is none, it stays 0.
        first = torch.arange(self.chains, device=read.device) == 0
        begun = self._begins(place)[:, None] & (torch.arange(self.chains, device=read.device) == 1)
        read = torch.where(first | begun | (read > 0), read + 1, read)
        if self.reads_late:
            whole = torch.cat([recent, now[:, None]], 1)
            answers = self._late(late.any(), whole)
            context = _where(late, answers[0], context)
            state = [
                torch.cat([_where(late, fresh[:, None], each[:, :1]), each[:, 1:]], 1)
                for fresh, each in zip(answers[1:], state, strict=True)
            ]
            served = torch.where(late, warmup + 1, read[:, 0])
            read = torch.cat([served[:, None], read[:, 1:]], 1)
        # A chain's first bar has none before it.
        previous = _where(read[:, 0] == 1, now, recent[:, -1])
        return context, previous, state, read

    def _turned(
        self, state: list[Tensor], read: Tensor, turned: Tensor, place: Place
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Let chains begin and end where blocks do; and the rows whose block has no chain that has warmed up."""
        warm = read[:, 1:]
        ready = (warm == self._warmup) & turned[:, None]
        goes_on = ready.any(1)
        which = ready.to(torch.int64).argmax(1)
        begins = self._begins(place)

        def moved(values: Tensor, nothing: Tensor) -> Tensor:
            serving, warming = values[:, :1], values[:, 1:]
            if self.chains == 2:
                chosen = warming
            else:
                at = which.view(-1, *([1] * (values.ndim - 1))).expand(-1, 1, *values.shape[2:])
                chosen = warming.gather(1, at)
            shifted = torch.cat([nothing, warming[:, :-1]], 1)
            return torch.cat([_where(goes_on, chosen, serving), _where(begins, shifted, warming)], 1)

        # Chains that have warmed up serve now, or were not needed.
        read = torch.cat([read[:, :1], torch.where(warm == self._warmup, 0, warm)], 1)
        counts = moved(read, torch.zeros_like(read[:, :1]))
        served = torch.where(goes_on, self._warmup, counts[:, 0])
        counts = torch.cat([served[:, None], counts[:, 1:]], 1)
        return [moved(each, torch.zeros_like(each[:, :1])) for each in state], counts, turned & ~goes_on

    def _begins(self, place: Place) -> Tensor:
        """Whether the bar ``warmup`` bars after this one should begin a block, bool [rows]."""
        if not self._warmup:
            return torch.zeros_like(place.timestamp, dtype=torch.bool)
        before, at = (
            self._layout.block_number(self._layout.coming(place, ahead), self._block)
            for ahead in (self._warmup - 1, self._warmup)
        )
        return before != at

    def _late(self, is_any: Tensor, whole: Tensor) -> tuple[Tensor, ...]:
        """:meth:`_read` where a block begins late, else zeros: a branch in a graph."""
        if torch.compiler.is_compiling():
            branched: tuple[Tensor, ...] = torch.cond(is_any, self._read, self._skip, (whole,))
            return branched
        return self._read(whole) if bool(is_any) else self._skip(whole)

    def _read(self, whole: Tensor) -> tuple[Tensor, ...]:
        """Contexts and states of chains that read their warm-up and their first bar at once."""
        context, state = self.backbone.begin(whole, self._weights)
        return (context, *(each.clone() for each in state.tensors()[:-1]))

    def _skip(self, whole: Tensor) -> tuple[Tensor, ...]:
        """The same shapes of zeros."""
        rows = whole.shape[0]
        context = whole.new_zeros(rows, self.backbone.attention.output.out_features)
        return (context, *(whole.new_zeros(rows, *shape) for shape in self.shapes.values()))


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """``torch.where`` by row: the condition is [rows]."""
    return torch.where(condition.view(-1, *([1] * (no.ndim - 1))), yes, no)
