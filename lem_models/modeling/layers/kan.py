r"""Kolmogorov-Arnold linear layer on uniform cubic B-splines.

A KAN layer has a learned function of one variable on every edge. Here the function of edge (i, o) is a rectified linear
term plus a spline with learned coefficients,

    y_o = b_o + sum_i [ w_io relu(x_i) + sum_j c_ijo B_j(x_i) ].

So one layer is two matrix products: one with relu(x), one with the basis values B_j(x_i) side by side.

A uniform grid needs no recursion. Basis j is the cardinal cubic spline centred on knot j + 2. With the distance
a = |x - centre_j| / step it is

    B_j(x) = ( max(2 - a, 0)^3 - 4 max(1 - a, 0)^3 ) / 6.

The first cube is the outer piece (2 - a)^3 / 6. The second turns it into 2/3 - a^2 + a^3 / 2 for a < 1. Beyond its
knots the basis is zero.

Sources: Liu et al., "KAN: Kolmogorov-Arnold Networks" (arXiv 2404.19756), section 2.2; de Boor, "A Practical Guide to
Splines", chapter IX.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lem_models.errors import ConfigError

__all__ = ["BASES", "FIRST_KNOT", "KNOT_STEP", "LAYER_NORM_EPS", "KANLinear", "basis_centres", "cubic_bases"]

BASES = 6
"""Number of bases: three pieces on which all bases overlap, plus the degree."""

FIRST_KNOT, KNOT_STEP = -3.0, 2.0 / 3.0
"""The ``BASES + 4`` knots go from -3 to 3. An input beyond them contributes its rectified linear term only."""

LAYER_NORM_EPS = 1e-3
"""Added to the variance in every layer normalisation of the model: the published networks' value, not torch's 1e-5."""

# A length scaled by the cube root of a factor has its cube scaled by the factor: that saves a pass over the bases.
_OUTER = (1.0 / 6.0) ** (1.0 / 3.0)
_INNER = (4.0 / 6.0) ** (1.0 / 3.0)


def basis_centres(like: Tensor) -> Tensor:
    """Centres of the bases, ``[BASES]``, in the type and on the device of ``like``."""
    return torch.arange(2, BASES + 2, dtype=like.dtype, device=like.device) * KNOT_STEP + FIRST_KNOT


def cubic_bases(x: Tensor, centres: Tensor) -> Tensor:
    """Values of the uniform cubic B-splines.

    Args:
        x: Points, ``[...]``.
        centres: Centres of the bases, from :func:`basis_centres`. A loop over time steps computes them once.

    Returns:
        ``[..., BASES]``. Zero outside the knots; the sum over the bases is one from -1 to 1.

    Example:
        >>> x = torch.tensor(-3.0 + 2 * 2 / 3)
        >>> cubic_bases(x, basis_centres(x))[:2]
        tensor([0.6667, 0.1667])
    """
    distance = (x.unsqueeze(-1) - centres).abs()
    outer = torch.relu(torch.rsub(distance, 2.0 * _OUTER, alpha=_OUTER / KNOT_STEP))
    inner = torch.relu(torch.rsub(distance, _INNER, alpha=_INNER / KNOT_STEP))
    return outer.pow(3) - inner.pow(3)


class KANLinear(nn.Module):
    """Linear layer with a learned spline on every edge.

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        layer_norm: Normalise the input first, so that it lies on the grid.

    Shape:
        ``[..., in_features]`` to ``[..., out_features]``.

    Raises:
        ConfigError: If a size is not positive.

    Example:
        >>> KANLinear(5, 8)(torch.zeros(2, 3, 5)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, in_features: int, out_features: int, layer_norm: bool = True) -> None:
        super().__init__()
        if min(in_features, out_features) < 1:
            raise ConfigError(f"in_features and out_features must be at least 1, got {in_features}, {out_features}")
        self.in_features, self.out_features = in_features, out_features
        self.norm = nn.LayerNorm(in_features, eps=LAYER_NORM_EPS) if layer_norm else None
        self.base_weight = nn.Parameter(torch.empty(in_features, out_features))
        self.base_bias = nn.Parameter(torch.empty(out_features))
        self.spline_weight = nn.Parameter(torch.empty(in_features * BASES, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both kernels from the uniform distribution of Glorot, the spline's over all its bases; zero bias."""
        nn.init.xavier_uniform_(self.base_weight)
        nn.init.zeros_(self.base_bias)
        nn.init.xavier_uniform_(self.spline_weight)
        if self.norm is not None:
            self.norm.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        rows = self.rows(x.reshape(-1, self.in_features), basis_centres(self.base_weight))
        return rows.view(*x.shape[:-1], self.out_features)

    def rows(self, x: Tensor, centres: Tensor) -> Tensor:
        """Map rows ``[rows, in_features]`` to ``[rows, out_features]``, with the ``centres`` of the bases at hand."""
        if self.norm is not None:
            x = self.norm(x)
        base = torch.addmm(self.base_bias, torch.relu(x), self.base_weight)
        return torch.addmm(base, cubic_bases(x, centres).flatten(1), self.spline_weight)

    def by_basis(self) -> Tensor:
        """All weights, ``[(BASES + 1) * in, out]``: those of the rectified features, then basis after basis."""
        spline = self.spline_weight.view(self.in_features, BASES, self.out_features)
        return torch.cat([self.base_weight, spline.transpose(0, 1).reshape(-1, self.out_features)])

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}"
