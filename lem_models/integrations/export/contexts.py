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
        chains: Chains of a row.
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
        serving: Tensor,
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor, Tensor]:
        """Read one bar.

        Args:
            now: Features of the bar as the row's side sees them, [rows, features].
            recent: Those of the bars before it, oldest first, [rows, bars, features].
            place: Where the bar lies.
            before: Where the bar before it lies.
            state: Tensors of :attr:`shapes`, [rows, chains, ...].
            read: Bars that each chain has read, int64 [rows, chains]; 0: there is no such chain.
            serving: Chain that serves the contexts of each row, int64 [rows].

        Returns:
            Context of the bar [rows, hidden], features of the bar before it as the head reads them, and the new state:
            tensors, bars read, serving chain.
        """
        number = [self._layout.block_number(each.timestamp, self._block) for each in (before, place)]
        turned = number[0] != number[1]
        chain = torch.arange(self.chains, device=read.device)
        if self._warmup:
            read, serving, fresh, late = self._turned(read, serving, turned, place)
        else:
            fresh, late = turned[:, None] & (chain == 0), torch.zeros_like(turned)
        read = torch.where(fresh, 0, read)
        # Keys and values of a chain that begins need no zeros: the attention looks back by the bars that it has read.
        state = [
            each if name in ("keys", "values") else torch.where(_spread(fresh, each), 0.0, each)
            for name, each in zip(self.shapes, state, strict=True)
        ]
        weights, rows = self._weights, now.shape[0]
        selected, _ = self.backbone.selection.select_scalars(now[:, None], weights.selection)
        shared = selected.expand(-1, self.chains, -1).flatten(0, 1)
        flat = BackboneState.of([each.flatten(0, 1).clone() for each in (*state, read)])
        contexts = self.backbone.step_selected(shared, flat, weights).reshape(rows, self.chains, -1)
        context = contexts.gather(1, serving[:, None, None].expand(-1, 1, contexts.shape[2]))[:, 0]
        state = [each.reshape(rows, self.chains, *each.shape[1:]) for each in flat.tensors()[:-1]]
        is_serving = chain == serving[:, None]
        read = torch.where(is_serving | fresh | (read > 0), read + 1, read)
        if self.reads_late:
            answers = self._late(late.any(), torch.cat([recent, now[:, None]], 1))
            context = torch.where(late[:, None], answers[0], context)
            replaced = late[:, None] & is_serving
            state = [
                torch.where(_spread(replaced, each), whole[:, None], each)
                for whole, each in zip(answers[1:], state, strict=True)
            ]
            read = torch.where(replaced, self._warmup + 1, read)
        # A chain's first bar has none before it.
        is_first = torch.where(is_serving, read, 0).sum(1) == 1
        return context, torch.where(is_first[:, None], now, recent[:, -1]), state, read, serving

    def _turned(
        self, read: Tensor, serving: Tensor, turned: Tensor, place: Place
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Let chains begin and end where blocks do.

        Returns:
            Bars that each chain has read; the chain that serves each row; whether a chain begins, bool [rows, chains];
            whether a block has begun without a chain that has warmed up, bool [rows].
        """
        chain = torch.arange(self.chains, device=read.device)
        served = chain == serving[:, None]
        warmed = ~served & (read == self._warmup)
        ready = warmed & turned[:, None]
        goes_on = ready.any(1)
        serving = torch.where(goes_on, ready.to(torch.int64).argmax(1), serving)
        # Chains that have warmed up serve now, or were not needed.
        over = (warmed & ~ready) | (served & goes_on[:, None])
        read = torch.where(over, 0, read)
        # A chain begins where there is none, or in place of the oldest that warms up.
        use = torch.where(read == 0, self._warmup + 1, read)
        use = torch.where(chain == serving[:, None], -1, use)
        fresh = self._begins(place)[:, None] & (chain == use.argmax(1)[:, None])
        return read, serving, fresh, turned & ~goes_on

    def _begins(self, place: Place) -> Tensor:
        """Whether the bar ``warmup`` bars after this one should begin a block, bool [rows]."""
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


def _spread(condition: Tensor, like: Tensor) -> Tensor:
    """A condition [rows, chains] with as many axes as a tensor [rows, chains, ...]."""
    return condition.view(*condition.shape, *([1] * (like.ndim - 2)))
