r"""Temporal Kolmogorov-Arnold network: a recurrent layer whose output gate is a small recurrent KAN.

With the input x_t, per sub-layer l a memory s^l and a KAN K^l, the hidden state h and the cell state c:

    u^l_t = K^l( x_t A^l + s^l_{t-1} B^l )                 sub-layer, [input_size]
    s^l_t = p^l * u^l_t + q^l * s^l_{t-1}                  its memory, elementwise gains p and q
    o_t   = sigmoid( [u^1_t ... u^L_t] W_o + b_o )         output gate
    (i, f, g)_t = sigmoid( x_t W + h_{t-1} U + b )         sigmoid on the candidate g too
    c_t   = f_t * c_{t-1} + i_t * tanh(g_t)
    h_t   = o_t * tanh(c_t)

(Genet and Inzirillo, "TKAN: Temporal Kolmogorov-Arnold Networks", arXiv 2405.07344, section on the TKAN layer; the
sigmoid under the tanh of the candidate is that of the published networks.)

The order of computation is chosen for speed. Nothing in the first two lines depends on h or c. So a sequence is four
stages: the products of x for all steps, the loop over u and s, the output gates of all steps in one product, the loop
over h and c. Inside, tensors are time-major, ``[time, batch, features]``, so that a step is a contiguous block.

On a CPU both loops and their backward passes run in compiled kernels (:mod:`lem_models.modeling.kernels`) where a
compiler is at hand, in single precision for half-precision tensors too; elsewhere in the loops of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.errors import ConfigError
from lem_models.modeling.kernels.layer import LayerWeights, Splines, fused_layer
from lem_models.modeling.kernels.library import is_available
from lem_models.modeling.layers.kan import LAYER_NORM_EPS, KANLinear


class TKANState(NamedTuple):
    """What one TKAN layer carries from one step to the next.

    Attributes:
        h: Hidden state (the last output), ``[batch, hidden]``.
        c: Cell state, ``[batch, hidden]``.
        s: Memories of the sub-layers, ``[batch, sub_layers, input_size]``.
    """

    h: Tensor
    c: Tensor
    s: Tensor


class TKANCell(nn.Module):
    """One TKAN layer: its weights, one step of it, and a whole sequence of it.

    Kernels are kept as ``[in, out]``. At the start the kernels of the inputs are Glorot uniform and those of the
    recurrence orthogonal; biases are zero, except that of the forget gate, which is one (what a cell has seen stays
    until it learns to forget). A sub-layer's memory starts as exponential averages of its output, with the memory gain
    of the features spread from 0.1 to 0.9, so that several time scales are there from the beginning.

    Args:
        input_size: Features of the input.
        hidden_size: Features of the output.
        sub_layers: Number of recurrent KAN sub-layers side by side.
        grid_size: Spline pieces of the KANs, see :class:`~lem_models.modeling.layers.kan.KANLinear`.
        grid_range: First and last knot of the KANs.

    Raises:
        ConfigError: If a size is not positive.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        sub_layers: int = 1,
        grid_size: int = 3,
        grid_range: tuple[float, float] = (-3.0, 3.0),
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, sub_layers) < 1:
            raise ConfigError(
                f"input_size, hidden_size and sub_layers must be at least 1, "
                f"got {input_size}, {hidden_size}, {sub_layers}"
            )
        self.input_size, self.hidden_size, self.sub_layers = input_size, hidden_size, sub_layers
        self.kernel = nn.Parameter(torch.empty(input_size, 3 * hidden_size))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.sub_input_kernel = nn.Parameter(torch.empty(sub_layers, input_size, input_size))
        self.sub_state_kernel = nn.Parameter(torch.empty(sub_layers, input_size, input_size))
        self.sub_output_gain = nn.Parameter(torch.empty(sub_layers, input_size))
        self.sub_memory_gain = nn.Parameter(torch.empty(sub_layers, input_size))
        self.output_kernel = nn.Parameter(torch.empty(sub_layers * input_size, hidden_size))
        self.output_bias = nn.Parameter(torch.empty(hidden_size))
        self.kans = nn.ModuleList(
            KANLinear(input_size, input_size, grid_size=grid_size, grid_range=grid_range) for _ in range(sub_layers)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew, as the class says."""
        hidden = self.hidden_size
        with torch.no_grad():
            nn.init.xavier_uniform_(self.kernel)
            for gate in range(3):
                nn.init.orthogonal_(self.recurrent_kernel[:, gate * hidden : (gate + 1) * hidden])
            self.bias.zero_()
            self.bias[hidden : 2 * hidden] = 1.0
            for layer in range(self.sub_layers):
                nn.init.xavier_uniform_(self.sub_input_kernel[layer])
                nn.init.orthogonal_(self.sub_state_kernel[layer])
            self.sub_memory_gain.copy_(torch.linspace(0.1, 0.9, self.input_size).expand_as(self.sub_memory_gain))
            self.sub_output_gain.copy_(1.0 - self.sub_memory_gain)
            nn.init.xavier_uniform_(self.output_kernel)
            self.output_bias.zero_()
            for kan in self.kans:
                _kan(kan).reset_parameters()

    def initial_state(self, x: Tensor) -> TKANState:
        """The zero state for an input ``[..., batch, input_size]``, in its type and on its device."""
        batch = x.shape[-2]
        return TKANState(
            h=x.new_zeros(batch, self.hidden_size),
            c=x.new_zeros(batch, self.hidden_size),
            s=x.new_zeros(batch, self.sub_layers, self.input_size),
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

    def sequence(self, x: Tensor, state: TKANState | None = None) -> tuple[Tensor, TKANState]:
        """All steps of a sequence.

        Args:
            x: ``[time, batch, input_size]``, time at least 1.
            state: State before the first step, zero if None.

        Returns:
            Outputs ``[time, batch, hidden]`` and the state after the last step.

        Raises:
            ConfigError: If the input is empty, or input or state are not of this layer's sizes.
        """
        if x.ndim != 3 or x.shape[-1] != self.input_size or 0 in x.shape:
            raise ConfigError(f"x must be [time, batch, {self.input_size}] and not empty, got {list(x.shape)}")
        state = self.initial_state(x) if state is None else self._fitting(state, x)
        precise = torch.promote_types(self.kernel.dtype, torch.float32)
        if is_available(x, precise) and all(_is_standard(_kan(kan)) for kan in self.kans):
            with torch.autocast(x.device.type, enabled=False):
                return self._fused(x, state, precise)
        return self.looped(x, state)

    def _fitting(self, state: TKANState, x: Tensor) -> TKANState:
        """A state, checked: the kernels go by the sizes of ``x``."""
        hidden = (x.shape[1], self.hidden_size)
        sizes = (hidden, hidden, (x.shape[1], self.sub_layers, self.input_size))
        for name, part, size in zip(TKANState._fields, state, sizes, strict=True):
            if part.shape != size or part.device != x.device:
                raise ConfigError(
                    f"state.{name} must be {list(size)} on {x.device}, got {list(part.shape)} on {part.device}"
                )
        return state

    def _fused(self, x: Tensor, state: TKANState, dtype: torch.dtype) -> tuple[Tensor, TKANState]:
        kans = [_kan(kan) for kan in self.kans]
        weights = LayerWeights(
            kernel=self.kernel,
            bias=self.bias,
            recurrent=self.recurrent_kernel,
            sub_input=self.sub_input_kernel,
            sub_state=self.sub_state_kernel,
            gain=self.sub_output_gain,
            keep=self.sub_memory_gain,
            norm_weight=torch.stack([kan.norm.weight for kan in kans if kan.norm is not None]),
            norm_bias=torch.stack([kan.norm.bias for kan in kans if kan.norm is not None]),
            kan=torch.stack([kan.by_basis() for kan in kans]),
            kan_bias=torch.stack([kan.base_bias for kan in kans]),
            output=self.output_kernel,
            output_bias=self.output_bias,
        )
        splines = Splines(kans[0].count, kans[0].low, kans[0].step, LAYER_NORM_EPS)
        h, c, s = (part.to(dtype) for part in state)
        cast = LayerWeights(*(weight.to(dtype) for weight in weights))
        hidden, c, s = (part.to(x.dtype) for part in fused_layer(x.to(dtype), h, c, s.transpose(0, 1), cast, splines))
        return hidden, TKANState(hidden[-1], c, s.transpose(0, 1))

    def looped(self, x: Tensor, state: TKANState) -> tuple[Tensor, TKANState]:
        """:meth:`sequence` in eager loops, whatever the machine can compile."""
        h, c, s = state
        # Gates first: their product does not wait for the loop.
        gate_inputs = functional.linear(x, self.kernel.t(), self.bias)
        outputs, memories = zip(
            *(self._sub_layer(layer, x, memory) for layer, memory in enumerate(s.unbind(1))), strict=True
        )
        gates = torch.sigmoid(functional.linear(_joined(outputs), self.output_kernel.t(), self.output_bias))
        hidden, c = scan_cell(gate_inputs, gates, self.recurrent_kernel, h, c)
        return hidden, TKANState(hidden[-1], c, torch.stack(memories, dim=1))

    def _sub_layer(self, layer: int, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return scan_sub_layer(
            torch.matmul(x, self.sub_input_kernel[layer]),
            self.sub_state_kernel[layer],
            self.sub_output_gain[layer],
            self.sub_memory_gain[layer],
            _kan(self.kans[layer]),
            memory,
        )

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}, sub_layers={self.sub_layers}"


class TKAN(nn.Module):
    """Recurrent network of TKAN layers, used like ``torch.nn.LSTM(batch_first=True)``.

    Second derivatives and ``vmap`` need the eager loops: set ``LEM_KERNELS=0``.

    Args:
        input_size: Features of the input.
        hidden_size: Features of the output of every layer.
        num_layers: Layers on top of each other; each reads the outputs of the one below.
        sub_layers: Recurrent KAN sub-layers in each layer.
        batch_first: Input and output are ``[batch, time, features]``, else ``[time, batch, features]``.
        dropout: Probability of zeroing an output of any layer but the last, in training.
        grid_size: Spline pieces of the KANs.
        grid_range: First and last knot of the KANs.

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
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        sub_layers: int = 1,
        batch_first: bool = True,
        dropout: float = 0.0,
        grid_size: int = 3,
        grid_range: tuple[float, float] = (-3.0, 3.0),
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"num_layers must be at least 1, got {num_layers}")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout = batch_first, dropout
        self.cells = nn.ModuleList(
            TKANCell(input_size if layer == 0 else hidden_size, hidden_size, sub_layers, grid_size, grid_range)
            for layer in range(num_layers)
        )

    def forward(self, x: Tensor, state: Sequence[TKANState] | None = None) -> tuple[Tensor, tuple[TKANState, ...]]:
        """Run a sequence.

        Args:
            x: ``[batch, time, input_size]`` (``[time, batch, input_size]`` if not ``batch_first``), time at least 1.
            state: One state per layer, as returned by an earlier call; zero if None.

        Returns:
            Outputs of the last layer, ``[batch, time, hidden]`` (or time first), and the state of every layer after
            the last step: a sequence run in pieces with the state carried along gives what one run gives.

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
        carried: list[TKANState] = []
        outputs = (x.transpose(0, 1) if self.batch_first else x).contiguous()
        for layer, cell in enumerate(self.cells):
            if layer > 0 and self.dropout > 0.0:
                outputs = functional.dropout(outputs, self.dropout, self.training)
            outputs, after = _cell(cell).sequence(outputs, None if state is None else state[layer])
            carried.append(after)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), tuple(carried)


def scan_sub_layer(
    inputs: Tensor, state_kernel: Tensor, output_gain: Tensor, memory_gain: Tensor, kan: KANLinear, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence of one sub-layer.

    Args:
        inputs: Inputs times the input kernel, ``[time, batch, features]``.
        state_kernel: ``[features, features]``.
        output_gain: ``[features]``, weight of the new output in the memory.
        memory_gain: ``[features]``, weight of the old memory in the new one.
        kan: The sub-layer's KAN, features to features.
        memory: Memory before the first step, ``[batch, features]``.

    Returns:
        Outputs of the KAN, ``[time, batch, features]``, and the memory after the last step, ``[batch, features]``.
    """
    centres = kan.centres()
    outputs: list[Tensor] = []
    for step in inputs.unbind(0):
        output = kan.rows(torch.addmm(step, memory, state_kernel), centres)
        memory = torch.addcmul(memory * memory_gain, output, output_gain)
        outputs.append(output)
    return torch.stack(outputs), memory


def scan_cell(
    gate_inputs: Tensor, output_gates: Tensor, recurrent_kernel: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence of hidden and cell state.

    Args:
        gate_inputs: Inputs times their kernel plus bias, ``[time, batch, 3 * hidden]``: input, forget, candidate.
        output_gates: ``[time, batch, hidden]``.
        recurrent_kernel: ``[hidden, 3 * hidden]``.
        h: Hidden state before the first step, ``[batch, hidden]``.
        c: Cell state before the first step, ``[batch, hidden]``.

    Returns:
        Hidden states of all steps, ``[time, batch, hidden]``, and the last cell state, ``[batch, hidden]``.
    """
    hidden: list[Tensor] = []
    for step, output_gate in zip(gate_inputs.unbind(0), output_gates.unbind(0), strict=True):
        input_gate, forget_gate, candidate = torch.sigmoid(torch.addmm(step, h, recurrent_kernel)).chunk(3, dim=1)
        c = torch.addcmul(forget_gate * c, input_gate, torch.tanh(candidate))
        h = output_gate * torch.tanh(c)
        hidden.append(h)
    return torch.stack(hidden), c


def _joined(outputs: Sequence[Tensor]) -> Tensor:
    """Outputs of the sub-layers side by side (no copy when there is only one)."""
    return outputs[0] if len(outputs) == 1 else torch.cat(tuple(outputs), dim=-1)


def _kan(module: nn.Module) -> KANLinear:
    """A sub-layer's KAN out of a ``ModuleList``, which forgets its items' type."""
    if not isinstance(module, KANLinear):
        raise ConfigError(f"a TKAN sub-layer must be a KANLinear, got {type(module).__name__}")
    return module


def _is_standard(kan: KANLinear) -> bool:
    """Whether a KAN is of the kind that the kernels know."""
    return kan.norm is not None and kan.base_activation is torch.relu


def _cell(module: nn.Module) -> TKANCell:
    """A layer out of a ``ModuleList``, which forgets its items' type."""
    if not isinstance(module, TKANCell):
        raise ConfigError(f"a TKAN layer must be a TKANCell, got {type(module).__name__}")
    return module
