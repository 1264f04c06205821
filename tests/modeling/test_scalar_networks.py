"""Variable selection of scalars in one kernel: the same as embedding them and selecting, in value and gradient."""

import pytest
import torch
from torch import Tensor

from lem_models.modeling.layers.selection import InputEmbedding, VariableSelectionNetwork
from tests.modeling.compiled import need_kernels


def select(network, embedding, x):
    """Variable selection of scalars."""
    return network.select_scalars(x, network.collapsed(embedding))


@pytest.fixture(autouse=True)
def compiled() -> None:
    need_kernels()


def selection(inputs: int, hidden: int, dtype: torch.dtype = torch.float64) -> torch.nn.ModuleList:
    """Embedding and selection with every weight random."""
    modules = torch.nn.ModuleList([InputEmbedding(inputs, 4), VariableSelectionNetwork(inputs, 4, hidden)]).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return modules.to(dtype)


def scalars(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients(output: Tensor, x: Tensor, modules: torch.nn.ModuleList) -> list[Tensor]:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(output)
    return list(torch.autograd.grad((weights * output).sum(), [x, *modules.parameters()]))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("tokens", "inputs", "hidden"), [(1, 1, 1), (5, 3, 8), (33, 2, 17), (100, 21, 32), (70, 4, 40)]
)
def test_equals_selection_after_embedding(tokens: int, inputs: int, hidden: int, threads: int) -> None:
    modules, x = selection(inputs, hidden), scalars(tokens, inputs).requires_grad_()
    embedding, network = modules
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        selected, weights = select(network, embedding, x)
        ours = gradients(selected, x, modules)
    finally:
        torch.set_num_threads(before)
    expected, expected_weights = network(embedding(x))
    torch.testing.assert_close(selected, expected)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(ours, gradients(expected, x, modules), rtol=1e-6, atol=1e-9)


def test_gradient() -> None:
    modules, x = selection(3, 4), scalars(5, 3).requires_grad_()
    embedding, network = modules
    assert torch.autograd.gradcheck(lambda x: select(network, embedding, x)[0], x)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 6e-2)])
def test_lower_precision_is_near_the_double_one(dtype: torch.dtype, tolerance: float) -> None:
    (embedding, network), x = selection(6, 16), scalars(40, 6)
    lower_embedding, lower = selection(6, 16, dtype)
    selected, _ = select(lower, lower_embedding, x.to(dtype))
    assert selected.dtype == dtype
    expected, _ = network(embedding(x))
    assert (selected.double() - expected).norm() <= tolerance * expected.norm()


def test_a_token_has_the_same_bits_in_any_company() -> None:
    (embedding, network), x = selection(21, 32, torch.float32), scalars(200, 21).float()
    network.networks.norm_bias.detach().zero_()  # its product is torch's
    alone = torch.cat(
        [network.networks.of_scalars(row, row.abs(), network.networks.collapsed(embedding)) for row in x.split(1)]
    )
    assert torch.equal(network.networks.of_scalars(x, x.abs(), network.networks.collapsed(embedding)), alone)


def test_a_missing_number_stays_missing() -> None:
    (embedding, network), x = selection(3, 8, torch.float32), scalars(40, 3).float()
    x[7, 1] = torch.nan
    selected, _ = select(network, embedding, x)
    assert selected[7].isnan().all()
    assert selected[torch.arange(40) != 7].isfinite().all()


@pytest.mark.parametrize(("inputs", "weights"), [(2, 3), (3, 2), (4, 4)])
def test_inputs_without_a_network_are_refused(inputs: int, weights: int) -> None:
    (embedding, network), x = selection(3, 8), scalars(5, 4)
    with pytest.raises(ValueError, match="3 networks need as many inputs and weights"):
        network.networks.of_scalars(x[:, :inputs], x[:, :weights], network.networks.collapsed(embedding))
