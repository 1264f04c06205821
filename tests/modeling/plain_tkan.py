"""The TKAN layer as its formulas are written, step by step: the reference for the values and the time of the others."""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.modeling.layers.tkan import TKAN, TKANCell, TKANState

__all__ = ["cells", "plain_loop", "plain_step"]


def plain_step(cell: TKANCell, x: Tensor, state: TKANState) -> TKANState:
    """One step as the formulas are written."""
    h, c, s = state
    i, f, g = torch.sigmoid(x @ cell.kernel + h @ cell.recurrent_kernel + cell.bias).chunk(3, dim=-1)
    c = f * c + i * torch.tanh(g)
    u = cell.kan(x @ cell.sub_input_kernel[0] + s[:, 0] @ cell.sub_state_kernel[0])
    o = torch.sigmoid(u @ cell.output_kernel + cell.output_bias)
    memory = cell.sub_output_gain * u + cell.sub_memory_gain * s[:, 0]
    return TKANState(o * torch.tanh(c), c, memory.unsqueeze(1))


def plain_loop(network: TKAN, x: Tensor) -> tuple[Tensor, list[TKANState]]:
    """Step by step, layer by layer: the reference."""
    states, outputs = [cell.initial_state(x[:, 0]) for cell in cells(network)], []
    for t in range(x.shape[1]):
        step = x[:, t]
        for layer, cell in enumerate(cells(network)):
            states[layer] = plain_step(cell, step, states[layer])
            step = states[layer].h
        outputs.append(step)
    return torch.stack(outputs, dim=1), states


def cells(network: TKAN) -> list[TKANCell]:
    return [cell for cell in network.cells if isinstance(cell, TKANCell)]
