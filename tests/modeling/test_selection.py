"""Embedding, gates and variable selection: the batched networks against one network per input."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lem_models.errors import ConfigError
from lem_models.modeling.layers import selection
from lem_models.modeling.layers.selection import (
    Gate,
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    VariableSelectionNetwork,
)

INPUTS, EMBEDDING, HIDDEN = 5, 4, 8


def select(network, embedding, x):
    """Variable selection of scalars."""
    return network.select_scalars(x, network.collapsed(embedding))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module: torch.nn.Module, seed: int = 0) -> None:
    """Make every weight random, so that biases and the scales of the normalisations matter too."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


@pytest.fixture
def embedding() -> InputEmbedding:
    module = InputEmbedding(INPUTS, EMBEDDING)
    randomised(module)
    return module


@pytest.fixture
def network() -> VariableSelectionNetwork:
    module = VariableSelectionNetwork(INPUTS, EMBEDDING, HIDDEN)
    randomised(module)
    return module


def network_of_input(network: VariableSelectionNetwork, i: int) -> GatedResidualNetwork:
    """The i-th of the stacked networks, as one by itself."""
    stack, single = network.networks, GatedResidualNetwork(EMBEDDING, HIDDEN).double()
    single.load_state_dict(
        {
            "skip.weight": stack.skip_weight[i].t(),
            "skip.bias": stack.skip_bias[i],
            "hidden1.weight": stack.hidden1_weight[i].t(),
            "hidden1.bias": stack.hidden1_bias[i],
            "hidden2.weight": stack.hidden2_weight[i].t(),
            "hidden2.bias": stack.hidden2_bias[i],
            "gate_add_norm.gate.linear.weight": stack.gate_weight[i].t(),
            "gate_add_norm.gate.linear.bias": stack.gate_bias[i],
            "gate_add_norm.norm.weight": stack.norm_weight[i],
            "gate_add_norm.norm.bias": stack.norm_bias[i],
        }
    )
    return single


def test_each_input_is_embedded_by_itself(embedding: InputEmbedding) -> None:
    x = numbers(3, 7, INPUTS)
    embedded = embedding(x)
    assert embedded.shape == (3, 7, EMBEDDING, INPUTS)
    for i in range(INPUTS):
        line = x[..., i, None] * embedding.weight[:, i] + embedding.bias[:, i]
        torch.testing.assert_close(embedded[..., i], line)


def test_gate_is_dense_times_sigmoid_of_gated() -> None:
    gate, z = Gate(3, 2).double(), numbers(6, 3)
    dense, gated = functional.linear(z, gate.linear.weight, gate.linear.bias).chunk(2, dim=-1)
    torch.testing.assert_close(gate(z), dense * torch.sigmoid(gated))


def test_gate_add_norm_is_normalised() -> None:
    output = GateAddNorm(3, 16).double()(numbers(6, 3), numbers(6, 16, seed=1))
    torch.testing.assert_close(output.mean(-1), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(output.var(-1, correction=0), torch.ones(6, dtype=torch.float64), rtol=0.0, atol=0.01)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network, x = GatedResidualNetwork(5, 8, dropout=0.5).double(), numbers(6, 5)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_selection_is_the_weighted_sum_of_one_network_per_input(network: VariableSelectionNetwork) -> None:
    x = numbers(3, 7, EMBEDDING, INPUTS)
    selected, weights = network(x)
    expected_weights = torch.softmax(network.selector(x.reshape(3, 7, -1)), dim=-1)
    outputs = torch.stack([network_of_input(network, i)(x[..., i]) for i in range(INPUTS)], dim=-1)
    assert selected.shape == (3, 7, HIDDEN)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(selected, (outputs * expected_weights.unsqueeze(-2)).sum(-1))


def test_weights_sum_to_one(network: VariableSelectionNetwork) -> None:
    _, weights = network(10.0 * numbers(3, 7, EMBEDDING, INPUTS))
    assert weights.shape == (3, 7, INPUTS)
    assert weights.min() > 0.0
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 7, dtype=torch.float64))


def test_scalars_are_selected_as_if_they_had_been_embedded(
    network: VariableSelectionNetwork, embedding: InputEmbedding
) -> None:
    x, parameters = numbers(3, 7, INPUTS), [*network.parameters(), *embedding.parameters()]

    def gradients(selected: Tensor, weights: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(selected.square().sum() + weights.pow(3).sum(), parameters))

    torch.testing.assert_close(select(network, embedding, x), network(embedding(x)))
    torch.testing.assert_close(gradients(*select(network, embedding, x)), gradients(*network(embedding(x))))


def test_blocks_of_tokens_change_nothing(
    network: VariableSelectionNetwork, embedding: InputEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = numbers(3, 7, INPUTS)
    at_once = network(embedding(x))
    monkeypatch.setattr(selection, "_BLOCK_ELEMENTS", 4 * INPUTS * HIDDEN)
    torch.testing.assert_close(network(embedding(x)), at_once)
    torch.testing.assert_close(select(network, embedding, x), at_once)


def test_any_leading_axes(network: VariableSelectionNetwork, embedding: InputEmbedding) -> None:
    x = numbers(2, 3, 4, INPUTS)
    selected, weights = select(network, embedding, x)
    flat_selected, flat_weights = select(network, embedding, x.view(-1, INPUTS))
    assert torch.equal(selected, flat_selected.view(2, 3, 4, HIDDEN))
    assert torch.equal(weights, flat_weights.view(2, 3, 4, INPUTS))


def test_gradient() -> None:
    network, embedding = VariableSelectionNetwork(2, 3, 2), InputEmbedding(2, 3)
    randomised(network)
    randomised(embedding)
    names = [name for name, _ in network.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        outputs = torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), embedding(x))
        return tuple(outputs)

    assert torch.autograd.gradcheck(run, (numbers(3, 2).requires_grad_(), *network.parameters()))
    x = numbers(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: select(network, embedding, x), x)


def test_a_token_does_not_see_the_others(network: VariableSelectionNetwork, embedding: InputEmbedding) -> None:
    x = numbers(3, 7, INPUTS)
    changed = x.clone()
    changed[:, 4:] = numbers(3, 3, INPUTS, seed=9)
    before, after = (
        select(network, embedding, x)[0],
        select(network, embedding, changed)[0],
    )
    assert torch.equal(before[:, :4], after[:, :4])


def test_a_new_network_is_neutral() -> None:
    network = VariableSelectionNetwork(INPUTS, EMBEDDING, HIDDEN)
    assert torch.equal(network.networks.norm_weight, torch.ones(INPUTS, HIDDEN))
    assert not network.networks.gate_bias.any()
    selected, _ = network(numbers(100, EMBEDDING, INPUTS).float())
    assert 0.1 < selected.std() < 2.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InputEmbedding(0, 4), "num_inputs must be at least 1, got 0"),
        (lambda: GatedResidualNetwork(3, 0), "hidden_size must be at least 1, got 0"),
        (lambda: GatedResidualNetwork(3, 4, dropout=1.5), r"dropout must be in \[0, 1\), got 1.5"),
        (lambda: VariableSelectionNetwork(3, -1, 4), "embedding_dim must be at least 1, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=message):
        build()
