r"""Temporal Kolmogorov-Arnold network: a recurrent layer whose output gate is a small recurrent KAN.

With the input x_t, the memory s of the sub-layer and its KAN K, the hidden state h and the cell state c:

    u_t = K( x_t A + s_{t-1} B )                       sub-layer, [input_size]
    s_t = p * u_t + q * s_{t-1}                        its memory, elementwise gains p and q
    o_t = sigmoid( u_t W_o + b_o )                     output gate
    (i, f, g)_t = sigmoid( x_t W + h_{t-1} U + b )     sigmoid on the candidate g too
    c_t = f_t * c_{t-1} + i_t * tanh(g_t)
    h_t = o_t * tanh(c_t)

(Genet and Inzirillo, "TKAN: Temporal Kolmogorov-Arnold Networks", arXiv 2405.07344, section on the TKAN layer, with one
sub-layer; the sigmoid under the tanh of the candidate is that of the published networks.)

The order of computation is chosen for speed. The first two lines do not depend on h or c. So a sequence takes four
stages: the products of x for all steps, the loop over u and s, the output gates of all steps in one product, the loop
over h and c. Inside, tensors are time-major, ``[time, batch, features]``, so that a step is a contiguous block.

On a CPU with a C++ compiler, both loops and their backward passes run in compiled kernels
(:mod:`lem_models.modeling.kernels`), in single precision for half-precision tensors too. Elsewhere the loops of this
file run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.errors import ConfigError
from lem_models.modeling.kernels.library import is_available
from lem_models.modeling.kernels.recurrence import LayerWeights, Splines, fused_layer
from lem_models.modeling.layers.kan import BASES, FIRST_KNOT, KNOT_STEP, LAYER_NORM_EPS, KANLinear, basis_centres

__all__ = ["SPLINES", "TKAN", "TKANCell", "TKANState"]

SPLINES = Splines(BASES, FIRST_KNOT, KNOT_STEP, LAYER_NORM_EPS)
"""The grid of the sub-layer's KAN."""


class TKANState(NamedTuple):
    """What one TKAN layer carries from one step to the next.

    Attributes:
        h: Hidden state (the last output), ``[batch, hidden]``.
        c: Cell state, ``[batch, hidden]``.
        s: Memory of the sub-layer, ``[batch, 1, input_size]``.
    """

    h: Tensor
    c: Tensor
    s: Tensor


class TKANCell(nn.Module):
    """One TKAN layer: its weights, one step of it, and a whole sequence of it.

    Kernels are kept as ``[in, out]``. New kernels of the inputs are Glorot uniform, those of the recurrence orthogonal.
    New biases are zero, except that of the forget gate, which is one: the cell remembers until it learns to forget. The
    memory of the sub-layer starts as an exponential average of its output. The memory gains of the features go from 0.1
    to 0.9, so that there are several time scales from the beginning.

    The weights of the sub-layer have a leading axis of one, and its KAN is called ``kans.0``, as saved models have
    them.

    Args:
        input_size: Features of the input.
        hidden_size: Features of the output.

    Raises:
        ConfigError: If a size is not positive.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        if min(input_size, hidden_size) < 1:
            raise ConfigError(f"input_size and hidden_size must be at least 1, got {input_size}, {hidden_size}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.kernel = nn.Parameter(torch.empty(input_size, 3 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.sub_input_kernel = nn.Parameter(torch.empty(1, input_size, input_size))
        self.sub_state_kernel = nn.Parameter(torch.empty(1, input_size, input_size))
        self.sub_output_gain = nn.Parameter(torch.empty(1, input_size))
        self.sub_memory_gain = nn.Parameter(torch.empty(1, input_size))
        self.output_kernel = nn.Parameter(torch.empty(input_size, hidden_size))
        self.output_bias = nn.Parameter(torch.empty(hidden_size))
        self.kans = nn.ModuleList([KANLinear(input_size, input_size)])
        self.reset_parameters()

    @property
    def kan(self) -> KANLinear:
        """The KAN of the sub-layer."""
        return cast(KANLinear, self.kans[0])

    def reset_parameters(self) -> None:
        """Draw the weights anew, as the class says."""
        if self.kernel.is_meta:  # there are no numbers, and torch would load its compiler to compute their shapes
            return
        hidden = self.hidden_size
        with torch.no_grad():
            nn.init.xavier_uniform_(self.kernel)
            for gate in range(3):
                nn.init.orthogonal_(self.recurrent_kernel[:, gate * hidden : (gate + 1) * hidden])
            self.bias.zero_()
            self.bias[hidden : 2 * hidden] = 1.0
            nn.init.xavier_uniform_(self.sub_input_kernel[0])
            nn.init.orthogonal_(self.sub_state_kernel[0])
            self.sub_memory_gain.copy_(torch.linspace(0.1, 0.9, self.input_size))
            self.sub_output_gain.copy_(1.0 - self.sub_memory_gain)
            nn.init.xavier_uniform_(self.output_kernel)
            self.output_bias.zero_()
            self.kan.reset_parameters()

    def initial_state(self, x: Tensor) -> TKANState:
        """The zero state for an input ``[..., batch, input_size]``, in its type and on its device."""
        batch = x.shape[-2]
        return TKANState(
            h=x.new_zeros(batch, self.hidden_size),
            c=x.new_zeros(batch, self.hidden_size),
            s=x.new_zeros(batch, 1, self.input_size),
        )

    def forward(self, x: Tensor, state: TKANState | None = None) -> tuple[Tensor, TKANState]:
        """One step.

        Args:
            x: ``[batch, input_size]``.
            state: State before the step, zero if None.

        Returns:
            Output ``[batch, hidden]`` and the state after the step.
        """
        output, state = self.sequence(x.unsqueeze(0), state)
        return output[0], state

    def sequence(
        self, x: Tensor, state: TKANState | None = None, weights: LayerWeights | None = None
    ) -> tuple[Tensor, TKANState]:
        """All steps of a sequence.

        Args:
            x: ``[time, batch, input_size]``, time at least 1.
            state: State before the first step, zero if None.
            weights: :meth:`fused_weights`, where many short sequences follow each other.

        Returns:
            Outputs ``[time, batch, hidden]`` and the state after the last step.

        Raises:
            ConfigError: If the input is empty, or input or state are not of this layer's sizes.
        """
        if x.ndim != 3 or x.shape[-1] != self.input_size or 0 in x.shape:
            raise ConfigError(f"x must be [time, batch, {self.input_size}] and not empty, got {list(x.shape)}")
        zero = self.initial_state(x)
        state = zero if state is None else state
        for name, values, expected in zip(TKANState._fields, state, zero, strict=True):
            if values.shape != expected.shape or values.device != x.device:
                raise ConfigError(
                    f"state.{name} must be {list(expected.shape)} on {x.device}, "
                    f"got {list(values.shape)} on {values.device}"
                )
        precise = torch.promote_types(self.kernel.dtype, torch.float32)
        if is_available(x, precise):
            with torch.autocast(x.device.type, enabled=False):
                weights = self.fused_weights() if weights is None else weights
                x_cast, h, c, s = (values.to(precise) for values in (x, state.h, state.c, state.s[:, 0]))
                computed = fused_layer(x_cast, h, c, s, weights, SPLINES)
                hidden, c, s = (values.to(x.dtype) for values in computed)
                return hidden, TKANState(hidden[-1], c, s.unsqueeze(1))
        return self.looped(x, state)

    def fused_weights(self) -> LayerWeights:
        """The weights as the compiled kernels take them, in single precision at least."""
        precise = torch.promote_types(self.kernel.dtype, torch.float32)
        norm = cast(nn.LayerNorm, self.kan.norm)
        weights = LayerWeights(
            kernel=self.kernel,
            bias=self.bias,
            recurrent=self.recurrent_kernel,
            sub_input=self.sub_input_kernel[0],
            sub_state=self.sub_state_kernel[0],
            gain=self.sub_output_gain[0],
            keep=self.sub_memory_gain[0],
            norm_weight=norm.weight,
            norm_bias=norm.bias,
            kan=self.kan.by_basis(),
            kan_bias=self.kan.base_bias,
            output=self.output_kernel,
            output_bias=self.output_bias,
        )
        return LayerWeights(*(weight.to(precise).contiguous() for weight in weights))

    def looped(self, x: Tensor, state: TKANState) -> tuple[Tensor, TKANState]:
        """:meth:`sequence` in eager loops, whatever the machine can compile."""
        h, c, memory = state.h, state.c, state.s[:, 0]
        gate_inputs = functional.linear(x, self.kernel.t(), self.bias)
        kan, centres, state_kernel = self.kan, basis_centres(self.kernel), self.sub_state_kernel[0]
        output_gain, memory_gain = self.sub_output_gain[0], self.sub_memory_gain[0]
        outputs = []
        for step in torch.matmul(x, self.sub_input_kernel[0]).unbind(0):
            output = kan.rows(torch.addmm(step, memory, state_kernel), centres)
            memory = torch.addcmul(memory * memory_gain, output, output_gain)
            outputs.append(output)
        gates = functional.linear(torch.stack(outputs), self.output_kernel.t(), self.output_bias)
        steps = []
        for step, output_gate in zip(gate_inputs.unbind(0), torch.sigmoid(gates).unbind(0), strict=True):
            input_gate, forget_gate, candidate = torch.sigmoid(torch.addmm(step, h, self.recurrent_kernel)).chunk(3, 1)
            c = torch.addcmul(forget_gate * c, input_gate, torch.tanh(candidate))
            h = output_gate * torch.tanh(c)
            steps.append(h)
        hidden = torch.stack(steps)
        return hidden, TKANState(hidden[-1], c, memory.unsqueeze(1))

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class TKAN(nn.Module):
    """Recurrent network of TKAN layers, used like ``torch.nn.LSTM(batch_first=True)``.

    Second derivatives and ``vmap`` need the eager loops: set ``LEM_KERNELS=0``.

    Args:
        input_size: Features of the input.
        hidden_size: Features of the output of every layer.
        num_layers: Layers on top of each other; each reads the outputs of the one below.
        batch_first: Input and output are ``[batch, time, features]``, else ``[time, batch, features]``.
        dropout: Probability of zeroing an output of any layer but the last, in training.

    Raises:
        ConfigError: If a size is not positive or ``dropout`` is not in [0, 1).

    Example:
        >>> tkan = TKAN(5, 8)
        >>> output, state = tkan(torch.zeros(4, 11, 5))
        >>> output.shape, state[0].s.shape
        (torch.Size([4, 11, 8]), torch.Size([4, 1, 5]))
        >>> more, state = tkan(torch.zeros(4, 3, 5), state)
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, batch_first: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"num_layers must be at least 1, got {num_layers}")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout = batch_first, dropout
        self.cells = nn.ModuleList(
            TKANCell(input_size if layer == 0 else hidden_size, hidden_size) for layer in range(num_layers)
        )

    def forward(
        self,
        x: Tensor,
        state: Sequence[TKANState] | None = None,
        weights: Sequence[LayerWeights] | None = None,
    ) -> tuple[Tensor, tuple[TKANState, ...]]:
        """Read a sequence.

        Args:
            x: ``[batch, time, input_size]`` (``[time, batch, input_size]`` if not ``batch_first``), time at least 1.
            state: One state per layer, as returned by an earlier call; zero if None.
            weights: :meth:`TKANCell.fused_weights` of every layer, where many short sequences follow each other.

        Returns:
            Outputs of the last layer, ``[batch, time, hidden]`` (or time first), and the state of every layer after
            the last step. A sequence may be read in pieces, with the state of one piece given to the next.

        Raises:
            ConfigError: If the input or the number of states does not fit this network.
        """
        if x.ndim != 3 or x.shape[-1] != self.input_size or 0 in x.shape[:2]:
            raise ConfigError(
                f"x must be {'[batch, time, ' if self.batch_first else '[time, batch, '}{self.input_size}] "
                f"and not empty, got {list(x.shape)}"
            )
        if state is not None and len(state) != self.num_layers:
            raise ConfigError(f"state must hold one TKANState for each of {self.num_layers} layers, got {len(state)}")
        states: list[TKANState] = []
        outputs = (x.transpose(0, 1) if self.batch_first else x).contiguous()
        for layer, cell in enumerate(cast("Iterable[TKANCell]", self.cells)):
            if layer > 0 and self.dropout > 0.0:
                outputs = functional.dropout(outputs, self.dropout, self.training)
            own = None if weights is None else weights[layer]
            outputs, after = cell.sequence(outputs, None if state is None else state[layer], own)
            states.append(after)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), tuple(states)
