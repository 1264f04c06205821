r"""Embedding of scalar inputs, gated residual networks and variable selection.

The blocks of the Temporal Fusion Transformer in front of the recurrent layers:

    gate(z)  = (z W_d + b_d) * sigmoid(z W_g + b_g)                          gated linear unit
    GRN(x)   = LayerNorm( x W_s + gate( elu(x W_1 + b_1) W_2 + b_2 ) )       gated residual network
    VSN(x)   = sum_i softmax(GRN_selector(x_1 .. x_I))_i * GRN_i(x_i)        variable selection network

(Lim, Arik, Loeff and Pfister, "Temporal Fusion Transformers", arXiv 1912.09363, eqs. 2-8; the skip connection is
always a linear layer here, as in the Large Execution Models, arXiv 2509.25211.)

Variable selection handles tokens x inputs x hidden numbers, the rest of the backbone tokens x hidden. So memory traffic
limits its speed. Three things reduce it:

- The networks of all inputs are one stack of weights, ``[inputs, in, out]``. One batched product per layer applies them
  to ``[inputs, tokens, in]``.
- W_2 and the two kernels of the gate, with only a bias between them, are multiplied with each other first.
- On the CPU the tokens go through in blocks that stay in the cache. Scalar inputs go through one compiled kernel
  (:mod:`lem_models.modeling.kernels.scalar_networks`) if there is a compiler.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.errors import ConfigError
from lem_models.modeling.kernels.library import is_available
from lem_models.modeling.kernels.scalar_networks import ScalarNetworks, fused_networks
from lem_models.modeling.layers.kan import LAYER_NORM_EPS

_BLOCK_ELEMENTS = 2**18
"""Elements of an intermediate tensor of variable selection on the CPU: a few such tensors fit into a core's cache."""


class InputEmbedding(nn.Module):
    """One linear map for each scalar input.

    Args:
        num_inputs: Number of scalar inputs.
        embedding_dim: Size of the embedding of one input.

    Shape:
        ``[..., inputs]`` to ``[..., embedding, inputs]``.

    Raises:
        ConfigError: If a size is not positive.
    """

    def __init__(self, num_inputs: int, embedding_dim: int) -> None:
        super().__init__()
        _require_positive(num_inputs=num_inputs, embedding_dim=embedding_dim)
        self.num_inputs, self.embedding_dim = num_inputs, embedding_dim
        self.weight = nn.Parameter(torch.empty(embedding_dim, num_inputs))
        self.bias = nn.Parameter(torch.empty(embedding_dim, num_inputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each map as a Glorot uniform kernel of one input; zero bias."""
        bound = (6.0 / (1 + self.embedding_dim)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., embedding, inputs]``."""
        return torch.addcmul(self.bias, x.unsqueeze(-2), self.weight)


class Gate(nn.Module):
    """Gated linear unit, ``dense(z) * sigmoid(gated(z))``, with one product for both linear maps.

    Args:
        input_size: Size of the last axis of the input.
        output_size: Size of the last axis of the output.

    Attributes:
        linear: Rows ``[:output_size]`` of its weight and bias are ``dense``, the others ``gated``.

    Shape:
        ``[..., input_size]`` to ``[..., output_size]``.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        _require_positive(input_size=input_size, output_size=output_size)
        self.linear = nn.Linear(input_size, 2 * output_size)
        nn.init.xavier_uniform_(self.linear.weight[:output_size])
        nn.init.xavier_uniform_(self.linear.weight[output_size:])
        nn.init.zeros_(self.linear.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``[..., input_size]`` to ``[..., output_size]``."""
        return functional.glu(self.linear(z), dim=-1)


class GateAddNorm(nn.Module):
    """Gate, residual connection and layer normalisation: ``LayerNorm(skip + gate(z))``.

    Args:
        input_size: Size of the last axis of ``z``.
        output_size: Size of the last axis of ``skip`` and of the output; ``input_size`` if None.
        dropout: Probability of zeroing an element of ``z``, in training.

    Shape:
        ``[..., input_size]`` and ``[..., output_size]`` to ``[..., output_size]``.
    """

    def __init__(self, input_size: int, output_size: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        output_size = input_size if output_size is None else output_size
        self.dropout = nn.Dropout(_probability(dropout))
        self.gate = Gate(input_size, output_size)
        self.norm = nn.LayerNorm(output_size, eps=LAYER_NORM_EPS)

    def forward(self, z: Tensor, skip: Tensor) -> Tensor:
        """Gate ``z``, add ``skip`` and normalise."""
        normalised: Tensor = self.norm(skip + self.gate(self.dropout(z)))
        return normalised


class GatedResidualNetwork(nn.Module):
    """Two dense layers with a gate and a linear skip connection around them.

    Args:
        input_size: Size of the last axis of the input.
        hidden_size: Size of the two hidden layers.
        output_size: Size of the last axis of the output; ``hidden_size`` if None.
        dropout: Probability of zeroing an element in front of the gate, in training.

    Shape:
        ``[..., input_size]`` to ``[..., output_size]``.

    Example:
        >>> GatedResidualNetwork(5, 8, 3)(torch.zeros(4, 7, 5)).shape
        torch.Size([4, 7, 3])
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        _require_positive(input_size=input_size, hidden_size=hidden_size)
        output_size = hidden_size if output_size is None else output_size
        self.skip = _dense(input_size, output_size)
        self.hidden1 = _dense(input_size, hidden_size)
        self.hidden2 = _dense(hidden_size, hidden_size)
        self.gate_add_norm = GateAddNorm(hidden_size, output_size, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., input_size]`` to ``[..., output_size]``."""
        output: Tensor = self.gate_add_norm(self.hidden2(functional.elu(self.hidden1(x))), self.skip(x))
        return output


class ScalarSelection(NamedTuple):
    """Maps of scalar inputs: the layers of variable selection with the embedding multiplied in.

    Attributes:
        hidden_weight: Of the selector's first layer, ``[hidden, inputs]``.
        hidden_bias: ``[hidden]``.
        skip_weight: Of the selector's skip connection, ``[inputs, inputs]``.
        skip_bias: ``[inputs]``.
        networks: The networks of the single inputs.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    skip_weight: Tensor
    skip_bias: Tensor
    networks: ScalarNetworks


class StackedGRN(nn.Module):
    """The weighted sum of one gated residual network per input, computed together.

    Args:
        num_inputs: Number of networks.
        input_size: Size of the last axis of their inputs.
        hidden_size: Size of their hidden layers and of their output.

    Raises:
        ConfigError: If a size is not positive.
    """

    def __init__(self, num_inputs: int, input_size: int, hidden_size: int) -> None:
        super().__init__()
        _require_positive(num_inputs=num_inputs, input_size=input_size, hidden_size=hidden_size)
        self.num_inputs, self.input_size, self.hidden_size = num_inputs, input_size, hidden_size
        self.skip_weight, self.skip_bias = _stack(num_inputs, input_size, hidden_size)
        self.hidden1_weight, self.hidden1_bias = _stack(num_inputs, input_size, hidden_size)
        self.hidden2_weight, self.hidden2_bias = _stack(num_inputs, hidden_size, hidden_size)
        self.gate_weight, self.gate_bias = _stack(num_inputs, hidden_size, 2 * hidden_size)
        self.norm_weight = nn.Parameter(torch.empty(num_inputs, hidden_size))
        self.norm_bias = nn.Parameter(torch.empty(num_inputs, hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernels of each network from the uniform distribution of Glorot; zero biases, unit norms."""
        hidden = self.hidden_size
        with torch.no_grad():
            for network in range(self.num_inputs):
                for weight in (self.skip_weight, self.hidden1_weight, self.hidden2_weight):
                    nn.init.xavier_uniform_(weight[network])
                nn.init.xavier_uniform_(self.gate_weight[network, :, :hidden])
                nn.init.xavier_uniform_(self.gate_weight[network, :, hidden:])
            for bias in (self.skip_bias, self.hidden1_bias, self.hidden2_bias, self.gate_bias, self.norm_bias):
                bias.zero_()
            self.norm_weight.fill_(1.0)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Sum of the networks' outputs, ``sum_i weights_i * GRN_i(x_i)``.

        Args:
            x: ``[tokens, input_size, inputs]``.
            weights: ``[tokens, inputs]``.

        Returns:
            ``[tokens, hidden]``.
        """
        hidden1, skip = (self.hidden1_weight, self.hidden1_bias), (self.skip_weight, self.skip_bias)
        return self._in_blocks(x, weights, hidden1, skip, self._gate())

    def collapsed(self, embedding: InputEmbedding) -> ScalarNetworks:
        """The networks of scalars: an embedding and a linear layer after it are one straight line for each input."""
        line = torch.stack((embedding.weight.t(), embedding.bias.t()), dim=1)  # [inputs, 2, input_size]

        def through(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            slope, intercept = torch.bmm(line, weight).chunk(2, dim=1)
            return slope.squeeze(1), intercept.squeeze(1) + bias

        with torch.autocast(self.norm_weight.device.type, enabled=False):
            hidden1 = through(self.hidden1_weight, self.hidden1_bias)
            skip = through(self.skip_weight, self.skip_bias)
            return ScalarNetworks(*hidden1, *skip, self.norm_weight, *self._gate())

    def of_scalars(self, x: Tensor, weights: Tensor, networks: ScalarNetworks) -> Tensor:
        """``self(embedding(x), weights)`` for scalars.

        Args:
            x: ``[tokens, inputs]``.
            weights: ``[tokens, inputs]``.
            networks: :meth:`collapsed` of the embedding.

        Returns:
            ``[tokens, hidden]``.
        """
        precise = torch.promote_types(self.norm_weight.dtype, torch.float32)
        if not is_available(x, precise):
            hidden1 = networks.slope.unsqueeze(1), networks.intercept
            skip = networks.skip_slope.unsqueeze(1), networks.skip_intercept
            return self._in_blocks(x.unsqueeze(1), weights, hidden1, skip, (networks.gate, networks.gate_bias))
        with torch.autocast(x.device.type, enabled=False):
            cast = ScalarNetworks(*(values.to(precise) for values in networks))
            weights = weights.to(precise)
            outputs = fused_networks(x.to(precise), weights, cast, LAYER_NORM_EPS)
            return torch.addmm(outputs, weights, self.norm_bias.to(precise)).to(self.norm_bias.dtype)

    def _gate(self) -> tuple[Tensor, Tensor]:
        """Second layer and gate in one: ``(e W_2 + b_2) W + b = e (W_2 W) + (b_2 W + b)``."""
        weight = torch.bmm(self.hidden2_weight, self.gate_weight)
        bias = torch.bmm(self.hidden2_bias.unsqueeze(1), self.gate_weight).squeeze(1) + self.gate_bias
        return weight, bias

    def _in_blocks(
        self,
        x: Tensor,
        weights: Tensor,
        hidden1: tuple[Tensor, Tensor],
        skip: tuple[Tensor, Tensor],
        gate: tuple[Tensor, Tensor],
    ) -> Tensor:
        norm = self.norm_weight, self.norm_bias
        block = max(1, _BLOCK_ELEMENTS // (self.num_inputs * self.hidden_size))
        # Blocks serve the caches of a CPU. A graph that is traced must not depend on the number of tokens.
        if x.device.type != "cpu" or torch.compiler.is_compiling() or len(x) <= block:
            return weighted_networks(x, weights, hidden1, skip, gate, norm)
        blocks = zip(torch.split(x, block), torch.split(weights, block), strict=True)
        return torch.cat([weighted_networks(*tokens, hidden1, skip, gate, norm) for tokens in blocks])


def weighted_networks(
    x: Tensor,
    weights: Tensor,
    hidden1: tuple[Tensor, Tensor],
    skip: tuple[Tensor, Tensor],
    gate: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
) -> Tensor:
    """Weighted sum of gated residual networks, one per input.

    Args:
        x: ``[tokens, in, inputs]``.
        weights: ``[tokens, inputs]``.
        hidden1: Kernels ``[inputs, in, hidden]`` and biases ``[inputs, hidden]`` of the first layers.
        skip: Those of the skip connections, of the same shapes.
        gate: ``[inputs, hidden, 2 * hidden]`` and ``[inputs, 2 * hidden]``, the second layers multiplied in.
        norm: Scale and offset of the normalisations, ``[inputs, hidden]`` each.

    Returns:
        ``[tokens, hidden]``.
    """
    by_input = x.permute(2, 0, 1)
    gated = functional.glu(_batched(functional.elu(_batched(by_input, *hidden1)), *gate), dim=-1)
    scale, offset = norm
    outputs = functional.layer_norm(_batched(by_input, *skip) + gated, scale.shape[1:], eps=LAYER_NORM_EPS)
    # The scale of the normalisation is applied before the sum over inputs; its offset is a product with the weights.
    outputs = outputs * scale.unsqueeze(1) * weights.t().unsqueeze(-1)
    return torch.addmm(outputs.sum(0), weights, offset)


class VariableSelectionNetwork(nn.Module):
    """Weighted sum of one network per input; the weights come from a further network that reads all inputs.

    Args:
        num_inputs: Number of inputs.
        embedding_dim: Size of the embedding of one input.
        hidden_size: Size of the output.

    Raises:
        ConfigError: If a size is not positive.

    Example:
        >>> selected, weights = VariableSelectionNetwork(5, 4, 8)(torch.zeros(3, 7, 4, 5))
        >>> selected.shape, weights.shape
        (torch.Size([3, 7, 8]), torch.Size([3, 7, 5]))
    """

    def __init__(self, num_inputs: int, embedding_dim: int, hidden_size: int) -> None:
        super().__init__()
        _require_positive(num_inputs=num_inputs, embedding_dim=embedding_dim, hidden_size=hidden_size)
        self.num_inputs, self.embedding_dim, self.hidden_size = num_inputs, embedding_dim, hidden_size
        self.selector = GatedResidualNetwork(embedding_dim * num_inputs, hidden_size, num_inputs)
        self.networks = StackedGRN(num_inputs, embedding_dim, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Select.

        Args:
            x: ``[..., embedding, inputs]``, from :class:`InputEmbedding`.

        Returns:
            The selected features ``[..., hidden]`` and the weights of the inputs ``[..., inputs]``, which sum to one.
        """
        weights = torch.softmax(self.selector(x.flatten(-2)), dim=-1)
        tokens = x.reshape(-1, self.embedding_dim, self.num_inputs)
        selected = self.networks(tokens, weights.reshape(-1, self.num_inputs))
        return selected.view(*weights.shape[:-1], self.hidden_size), weights

    def collapsed(self, embedding: InputEmbedding) -> ScalarSelection:
        """The maps for :meth:`select_scalars`: they depend on the weights, not on the scalars."""
        return ScalarSelection(
            *_through_embedding(embedding, self.selector.hidden1),
            *_through_embedding(embedding, self.selector.skip),
            self.networks.collapsed(embedding),
        )

    def select_scalars(self, x: Tensor, maps: ScalarSelection) -> tuple[Tensor, Tensor]:
        """The same as ``self(embedding(x))`` for scalar inputs, without the embedded tensor.

        The embedding of a scalar is a straight line, and a linear layer after it gives a straight line again.

        Args:
            x: ``[..., inputs]``.
            maps: :meth:`collapsed` of the embedding.

        Returns:
            The selected features ``[..., hidden]`` and the weights of the inputs ``[..., inputs]``.
        """
        selector = self.selector
        hidden = functional.elu(functional.linear(x, maps.hidden_weight, maps.hidden_bias))
        skip = functional.linear(x, maps.skip_weight, maps.skip_bias)
        weights = torch.softmax(selector.gate_add_norm(selector.hidden2(hidden), skip), dim=-1)
        tokens, flat = x.reshape(-1, self.num_inputs), weights.reshape(-1, self.num_inputs)
        selected = self.networks.of_scalars(tokens, flat, maps.networks)
        return selected.view(*weights.shape[:-1], self.hidden_size), weights


def _through_embedding(embedding: InputEmbedding, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of ``layer(embedding(x).flatten(-2))`` for scalars ``x``: the product of the two maps."""
    weight = layer.weight.view(-1, embedding.embedding_dim, embedding.num_inputs)
    return (weight * embedding.weight).sum(1), torch.addmv(layer.bias, layer.weight, embedding.bias.flatten())


def _batched(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x_i @ weight_i + bias_i`` for every input: ``[inputs, tokens, in]`` to ``[inputs, tokens, out]``."""
    return torch.baddbmm(bias.unsqueeze(1), x, weight)


def _stack(num_inputs: int, input_size: int, output_size: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Kernels ``[inputs, in, out]`` and biases ``[inputs, out]``, not initialised."""
    return (
        nn.Parameter(torch.empty(num_inputs, input_size, output_size)),
        nn.Parameter(torch.empty(num_inputs, output_size)),
    )


def _dense(input_size: int, output_size: int) -> nn.Linear:
    """A linear layer with a Glorot uniform kernel and zero bias."""
    layer = nn.Linear(input_size, output_size)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _probability(dropout: float) -> float:
    """The dropout probability, checked."""
    if not 0.0 <= dropout < 1.0:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
    return dropout


def _require_positive(**sizes: int) -> None:
    """Refuse sizes below one, by name."""
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
