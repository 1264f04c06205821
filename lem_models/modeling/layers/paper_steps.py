r"""The networks of the periods in the LEM paper: one per period, minimum duration and kind of order.

In period ``s`` of ``n``, with the curve ``base`` to start from and the fraction ``left`` still to trade:

    factor = (1 + MLP_s(input_s)) ** scale                      MLP: relu, relu, softsign
    raw    = factor * base[s]
    need   = relu(left / (n - s) - max_rate)                    excess of the rest over the cap
    a      = clip(soft(soft(raw + min_rate, max_rate) + need, left), 0, left)
    soft(x, u) = x g + u (1 - g),   g = sigmoid(10 (u - x))     a minimum with a gradient on both sides

("LEMs: A Primer On Large Execution Models", arXiv 2509.25211.)
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FusedMLP", "allocation", "soft_clip"]

_SHARPNESS = 10.0


def soft_clip(x: Tensor, upper: Tensor) -> Tensor:
    """``x`` where it is well below ``upper``, ``upper`` where it is well above."""
    return torch.lerp(upper, x, torch.sigmoid(_SHARPNESS * (upper - x)))


def allocation(raw: Tensor, left: Tensor, periods_left: int | Tensor, min_rate: Tensor, max_rate: Tensor) -> Tensor:
    """Fraction of a period; all tensors are broadcast against each other.

    Args:
        raw: Fraction that the network asks for.
        left: Fraction of the order still to trade.
        periods_left: Periods left, this one included.
        min_rate: Smallest fraction per period.
        max_rate: Largest fraction per period.
    """
    need = functional.relu(left / periods_left - max_rate)
    return torch.minimum(soft_clip(soft_clip(raw + min_rate, max_rate) + need, left).clamp(min=0), left)


class FusedMLP(nn.Module):
    """Networks of three layers (relu, relu, softsign), one per minimum duration and branch, as stacks of weights.

    Args:
        input_size: Size of the input.
        hidden_size: Size of the two hidden layers.
        minima: Number of minimum durations.
        branches: Number of kinds of order.
    """

    def __init__(self, input_size: int, hidden_size: int, minima: int, branches: int = 8) -> None:
        super().__init__()
        sizes = [input_size, hidden_size, hidden_size, 1]
        shapes = list(pairwise(sizes))
        self.kernels = nn.ParameterList(torch.empty(minima, branches, *shape) for shape in shapes)
        self.biases = nn.ParameterList(torch.zeros(minima, branches, width) for width in sizes[1:])
        for kernel in self.kernels:
            bound = (6.0 / (kernel.shape[-2] + kernel.shape[-1])) ** 0.5
            nn.init.uniform_(kernel, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all networks, [batch, minima, branches], in (-1, 1), for inputs [batch, minima, input_size]."""
        x = x.unsqueeze(2)
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            # x is [batch, minima, 1 or branches, in]
            x = (x.unsqueeze(-2) @ kernel).squeeze(-2) + bias
            x = functional.relu(x) if layer < 2 else functional.softsign(x)
        return x.squeeze(-1)

    def chosen(self, x: Tensor, minimum: Tensor, branch: Tensor) -> Tensor:
        """Output of one network per row.

        Args:
            x: [rows, input_size].
            minimum: Index of the minimum duration, int64 [rows].
            branch: Index of the branch, int64 [rows].

        Returns:
            [rows], in (-1, 1).
        """
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = torch.baddbmm(bias[minimum, branch].unsqueeze(1), x.unsqueeze(1), kernel[minimum, branch]).squeeze(1)
            x = functional.relu(x) if layer < 2 else functional.softsign(x)
        return x.squeeze(1)
