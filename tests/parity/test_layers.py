"""Every layer gives the numbers of the authors' implementation, outputs and gradients, to 1e-5."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lem_models.modeling.layers.kan import BASES, FIRST_KNOT, KNOT_STEP, KANLinear, basis_centres, cubic_bases
from lem_models.modeling.layers.selection import GatedResidualNetwork, VariableSelectionNetwork
from lem_models.modeling.layers.tkan import TKAN, TKANCell, TKANState
from tests.parity import weights

TOLERANCE = 1e-5


def assert_equals_fixture(ours: Tensor, theirs: NDArray[np.float32], scale: float = 1.0) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0.0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("name", ["kan_linear", "kan_linear_nonorm"])
def test_kan_linear(name: str) -> None:
    fixture = weights.load_fixture(name)
    layer = KANLinear(5, 8, layer_norm=name == "kan_linear")
    layer.load_state_dict(weights.kan(fixture, "w"))
    assert_equals_fixture(layer(torch.from_numpy(fixture["x"])), fixture["y"])
    assert_equals_fixture(layer(torch.from_numpy(fixture["x3"])), fixture["y3"])


@pytest.mark.parametrize("name", ["kan_linear", "kan_linear_nonorm"])
def test_bases(name: str) -> None:
    fixture = weights.load_fixture(name)
    layer = KANLinear(5, 8, layer_norm=name == "kan_linear")
    layer.load_state_dict(weights.kan(fixture, "w"))
    x = torch.from_numpy(fixture["x"])
    x = x if layer.norm is None else layer.norm(x)
    assert_equals_fixture(cubic_bases(x, basis_centres(x)).flatten(1), fixture["bases"])
    knots = FIRST_KNOT + KNOT_STEP * np.arange(BASES + 4)
    np.testing.assert_allclose(knots, fixture["w.grid"][0, 0], rtol=0.0, atol=1e-6)


def test_tkan_cell_from_a_state_that_is_not_zero() -> None:
    fixture = weights.load_fixture("tkan_cell")
    cell = TKANCell(5, 8)
    cell.load_state_dict(weights.tkan_cell(fixture, "w"))
    h, c, s, x = (torch.from_numpy(fixture[key]) for key in ("h0", "c0", "s0", "x"))
    output, after = cell(x, TKANState(h, c, s.unsqueeze(1)))
    assert_equals_fixture(output, fixture["out"])
    assert_equals_fixture(after.h, fixture["h1"])
    assert_equals_fixture(after.c, fixture["c1"])
    assert_equals_fixture(after.s[:, 0], fixture["s1"])


def tkan_of(fixture: dict[str, NDArray[np.float32]]) -> TKAN:
    tkan = TKAN(5, 8)
    tkan.load_state_dict(weights.prefixed("cells.0", weights.tkan_cell(fixture, "w")))
    return tkan


def test_tkan_sequence() -> None:
    fixture = weights.load_fixture("tkan")
    output, _ = tkan_of(fixture)(torch.from_numpy(fixture["x"]))
    assert_equals_fixture(output, fixture["y"])


def test_tkan_gradients() -> None:
    fixture, gradients = weights.load_fixture("tkan"), weights.load_fixture("tkan_grad")
    tkan = tkan_of(fixture)
    x = torch.from_numpy(fixture["x"]).requires_grad_()
    output, _ = tkan(x)
    output.square().sum().backward()
    assert x.grad is not None
    assert_equals_fixture(x.grad, gradients["gx"], float(np.abs(gradients["gx"]).max()))
    expected = weights.prefixed("cells.0", weights.tkan_cell(gradients, "g"))
    ours = {name: parameter.grad for name, parameter in tkan.named_parameters()}
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        assert gradient is not None, name
        theirs = expected[name].numpy()
        assert_equals_fixture(gradient, theirs, float(np.abs(theirs).max()))


@pytest.mark.parametrize(("name", "output_size"), [("grn", None), ("grn_out3", 3)])
def test_gated_residual_network(name: str, output_size: int | None) -> None:
    fixture = weights.load_fixture(name)
    network = GatedResidualNetwork(5, 8, output_size)
    network.load_state_dict(weights.grn(fixture, "w"))
    assert_equals_fixture(network(torch.from_numpy(fixture["x"])), fixture["y"])


def test_variable_selection_network() -> None:
    fixture = weights.load_fixture("vsn")
    network = VariableSelectionNetwork(5, 4, 8)
    network.load_state_dict(weights.vsn(fixture, "w", num_inputs=5))
    selected, _ = network(torch.from_numpy(fixture["x"]))
    assert_equals_fixture(selected, fixture["y"])
