r"""Kolmogorov-Arnold linear layer on uniform cubic B-splines.

A KAN layer puts a learned function of one variable on every edge. Here the function of edge (i, o) is a rectified
linear part plus a spline with learned coefficients,

    y_o = b_o + sum_i [ w_io relu(x_i) + sum_j c_ijo B_j(x_i) ],

so one layer is two matrix products: one on relu(x), one on the basis values B_j(x_i) laid side by side.

On a uniform grid no recursion is needed. With knots low + k * step (k = 0 .. count + 3), basis j is the cardinal cubic
spline centred on knot j + 2, and with the distance a = |x - centre_j| / step it reads

    B_j(x) = ( max(2 - a, 0)^3 - 4 max(1 - a, 0)^3 ) / 6,

which is the fourth difference of a truncated cube written from the outside in: the first cube is the outer piece
(2 - a)^3 / 6 and the second bends it into 2/3 - a^2 + a^3 / 2 for a < 1. It vanishes outside the knots by itself.

Sources: Liu et al., "KAN: Kolmogorov-Arnold Networks" (arXiv 2404.19756), section 2.2; de Boor, "A Practical Guide to
Splines", chapter IX.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.errors import ConfigError

LAYER_NORM_EPS = 1e-3
"""Added to the variance in every layer normalisation of the model: the published networks' value, not torch's 1e-5."""

# A length scaled by the cube root of a factor has its cube scaled by the factor: that saves a pass over the bases.
_OUTER = (1.0 / 6.0) ** (1.0 / 3.0)
_INNER = (4.0 / 6.0) ** (1.0 / 3.0)


def cubic_bases(x: Tensor, low: float, step: float, count: int) -> Tensor:
    """Values of the uniform cubic B-splines.

    Args:
        x: Points, any shape ``[...]``.
        low: First knot.
        step: Distance between knots, positive.
        count: Number of bases; they live on ``count + 4`` knots.

    Returns:
        ``[..., count]``; zero outside the knots, and a partition of unity between the fourth and the fourth last knot.

    Example:
        >>> cubic_bases(torch.tensor([0.0]), low=-2.0, step=1.0, count=1)
        tensor([[0.6667]])
    """
    return bases_at(x, basis_centres(x, low, step, count), step)


def basis_centres(like: Tensor, low: float, step: float, count: int) -> Tensor:
    """Centres of the bases, ``[count]``, in the type and on the device of ``like``."""
    return torch.arange(2, count + 2, dtype=like.dtype, device=like.device) * step + low


def bases_at(x: Tensor, centres: Tensor, step: float) -> Tensor:
    """Cubic bases ``[..., count]`` at points ``[...]``, for the centres ``[count]`` of :func:`basis_centres`."""
    distance = (x.unsqueeze(-1) - centres).abs()
    outer = torch.relu(torch.rsub(distance, 2.0 * _OUTER, alpha=_OUTER / step))
    inner = torch.relu(torch.rsub(distance, _INNER, alpha=_INNER / step))
    return outer.pow(3) - inner.pow(3)


def kan_forward(
    x: Tensor,
    base_weight: Tensor,
    base_bias: Tensor,
    spline_weight: Tensor,
    centres: Tensor,
    step: float,
    base_activation: Callable[[Tensor], Tensor] = torch.relu,
) -> Tensor:
    """The layer's formula on rows.

    Args:
        x: ``[rows, in]``, normalised already if it is to be.
        base_weight: ``[in, out]``.
        base_bias: ``[out]``.
        spline_weight: ``[in * count, out]``, the bases of one feature after another.
        centres: ``[count]`` from :func:`basis_centres`.
        step: Distance between knots.
        base_activation: Function in front of the base weights.

    Returns:
        ``[rows, out]``.
    """
    base = torch.addmm(base_bias, base_activation(x), base_weight)
    return torch.addmm(base, bases_at(x, centres, step).flatten(1), spline_weight)


class KANLinear(nn.Module):
    """Linear layer with a learned spline on every edge.

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        grid_size: Number of spline pieces where all bases overlap; there are ``grid_size + spline_order`` bases.
        spline_order: Degree of the splines; only 3 has a closed form here.
        grid_range: First and last knot. Inputs outside contribute through the base part only.
        layer_norm: Normalise the input first, so that it lies on the grid.
        base_activation: Function in front of the base weights.

    Shape:
        ``[..., in_features]`` to ``[..., out_features]``.

    Raises:
        ConfigError: If a size is not positive, the grid is empty or the order is not 3.

    Example:
        >>> KANLinear(5, 8)(torch.zeros(2, 3, 5)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        grid_size: int = 3,
        spline_order: int = 3,
        grid_range: tuple[float, float] = (-3.0, 3.0),
        layer_norm: bool = True,
        base_activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        if min(in_features, out_features, grid_size) < 1:
            raise ConfigError(
                f"in_features, out_features and grid_size must be at least 1, "
                f"got {in_features}, {out_features}, {grid_size}"
            )
        if spline_order != 3:
            raise ConfigError(f"spline_order must be 3, the order whose closed form is used, got {spline_order}")
        low, high = grid_range
        if not low < high:
            raise ConfigError(f"grid_range must be (low, high) with low < high, got {grid_range}")
        self.in_features, self.out_features = in_features, out_features
        self.low, self.count = low, grid_size + spline_order
        self.step = (high - low) / (grid_size + 2 * spline_order)
        self.base_activation = base_activation
        self.norm = nn.LayerNorm(in_features, eps=LAYER_NORM_EPS) if layer_norm else None
        self.base_weight = nn.Parameter(torch.empty(in_features, out_features))
        self.base_bias = nn.Parameter(torch.empty(out_features))
        self.spline_weight = nn.Parameter(torch.empty(in_features * self.count, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both kernels from the uniform distribution of Glorot, the spline's over all its bases; zero bias."""
        nn.init.xavier_uniform_(self.base_weight)
        nn.init.zeros_(self.base_bias)
        nn.init.xavier_uniform_(self.spline_weight)
        if self.norm is not None:
            self.norm.reset_parameters()

    def centres(self) -> Tensor:
        """Centres of the bases, ``[count]``."""
        return basis_centres(self.base_weight, self.low, self.step, self.count)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        return self.rows(x.reshape(-1, self.in_features), self.centres()).view(*x.shape[:-1], self.out_features)

    def by_basis(self) -> Tensor:
        """All weights for the rectified features and then each basis of all features, ``[(count + 1) * in, out]``."""
        spline = self.spline_weight.view(self.in_features, self.count, self.out_features)
        return torch.cat([self.base_weight, spline.transpose(0, 1).reshape(-1, self.out_features)])

    def rows(self, x: Tensor, centres: Tensor) -> Tensor:
        """The same on rows ``[rows, in_features]``, with :meth:`centres` at hand: what a loop over time steps calls."""
        if self.norm is not None:
            x = functional.layer_norm(x, (self.in_features,), self.norm.weight, self.norm.bias, LAYER_NORM_EPS)
        return kan_forward(
            x, self.base_weight, self.base_bias, self.spline_weight, centres, self.step, self.base_activation
        )

    def extra_repr(self) -> str:
        """Sizes and grid."""
        return f"{self.in_features}, {self.out_features}, bases={self.count}, low={self.low:g}, step={self.step:g}"
