"""The KAN layer: closed-form splines against the recursion that defines them, and the layer around them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.modeling.layers.kan import BASES, FIRST_KNOT, KNOT_STEP, KANLinear, basis_centres, cubic_bases


def cox_de_boor(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """The recursion that defines B-splines, [..., len(knots) - 1 - degree]."""
    x = x.unsqueeze(-1)
    bases = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
    for d in range(1, degree + 1):
        left = (x - knots[: -d - 1]) / (knots[d:-1] - knots[: -d - 1])
        right = (knots[d + 1 :] - x) / (knots[d + 1 :] - knots[1:-d])
        bases = left * bases[..., :-1] + right * bases[..., 1:]
    return bases


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


KNOTS = FIRST_KNOT + KNOT_STEP * torch.arange(BASES + 4, dtype=torch.float64)


def bases(x: Tensor) -> Tensor:
    return cubic_bases(x, basis_centres(x))


@given(seed=st.integers(0, 2**32 - 1))
def test_closed_form_is_the_recursion(seed: int) -> None:
    inside = 6.0 * torch.rand(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 3.0
    x = torch.cat([inside, KNOTS, KNOTS[:1] - 1e-3, KNOTS[-1:] + 1e-3])
    torch.testing.assert_close(bases(x), cox_de_boor(x, KNOTS, 3), rtol=0.0, atol=1e-12)


def test_bases_sum_to_one_where_all_overlap() -> None:
    x = torch.linspace(-1.0, 1.0, 101, dtype=torch.float64)
    sums = bases(x).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("x", [-math.inf, -1e30, -3.1, -3.0, 3.0, 3.1, 1e30, math.inf])
def test_bases_are_zero_outside_the_knots(x: float) -> None:
    assert bases(torch.tensor(x, dtype=torch.float64)).abs().max() < 1e-30


def test_bases_keep_leading_axes_and_are_not_negative() -> None:
    values = bases(3.0 * doubles(2, 3, 5))
    assert values.shape == (2, 3, 5, BASES)
    assert values.min() >= 0.0


def test_bases_of_a_missing_number_are_missing() -> None:
    assert bases(torch.tensor(math.nan)).isnan().all()


def test_float32_is_accurate_to_rounding() -> None:
    x = torch.linspace(-3.5, 3.5, 1001, dtype=torch.float64)
    single = bases(x.float()).double()
    torch.testing.assert_close(single, bases(x.float().double()), rtol=0.0, atol=1e-6)


def test_gradient_of_the_bases() -> None:
    x = (2.0 * doubles(7, 3)).requires_grad_()
    assert torch.autograd.gradcheck(bases, x)
    assert torch.autograd.gradgradcheck(bases, x)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_gradient_of_the_layer(layer_norm: bool) -> None:
    torch.manual_seed(0)
    layer = KANLinear(3, 2, layer_norm=layer_norm).double()
    names = [name for name, _ in layer.named_parameters()]

    def output_of(x: Tensor, *parameters: Tensor) -> Tensor:
        output = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        assert isinstance(output, Tensor)
        return output

    assert torch.autograd.gradcheck(output_of, (doubles(4, 3).requires_grad_(), *layer.parameters()))


def test_layer_is_base_plus_spline() -> None:
    torch.manual_seed(0)
    layer = KANLinear(3, 2, layer_norm=False).double()
    x = doubles(10, 3)
    spline = torch.einsum("nij,ijo->no", cox_de_boor(x, KNOTS, 3), layer.spline_weight.view(3, BASES, 2))
    torch.testing.assert_close(layer(x), x.relu() @ layer.base_weight + layer.base_bias + spline)


def test_layer_norm_makes_the_layer_blind_to_shift_and_almost_to_scale() -> None:
    layer, x = KANLinear(5, 2).double(), doubles(6, 5)
    torch.testing.assert_close(layer(x + 7.0), layer(x))
    torch.testing.assert_close(layer(100.0 * x), layer(1000.0 * x), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="in_features and out_features must be at least 1"):
        KANLinear(*sizes)
