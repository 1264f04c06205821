r"""The backbone's layers for one bar at a time, in NumPy: what a live decision computes.

With one row a layer takes the time of its calls, not of its sums: a call of NumPy costs a quarter of one of torch. So
the weights are taken out of the modules once, what is a product of weights is multiplied out, and a bar goes through
plain arrays [rows, features] (a row per chain of :mod:`lem_models.modeling.stream`). The numbers are those of the
modules up to rounding in single precision, for as long as the modules' weights stay as they are; dropout is that of a
trained model, none. Formulas: :mod:`lem_models.modeling.layers.selection`, :mod:`lem_models.modeling.layers.tkan`.

Logistic functions are hyperbolic tangents here, ``sigmoid(x) = (1 + tanh(x / 2)) / 2``: they do not overflow, and the
halves are part of the weights.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lem_models.modeling.layers.attention import WindowedAttention
from lem_models.modeling.layers.kan import LAYER_NORM_EPS, KANLinear
from lem_models.modeling.layers.selection import (
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    VariableSelectionNetwork,
)
from lem_models.modeling.layers.tkan import TKANCell, TKANState

__all__ = ["CellState", "RowAttention", "RowCell", "RowGate", "RowResidual", "RowSelection", "as_array"]

Array: TypeAlias = npt.NDArray[np.float32]


def as_array(tensor: Tensor) -> Array:
    """A tensor as a contiguous array of its own."""
    return np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")


def _affine(linear: nn.Linear) -> tuple[Array, Array]:
    """Kernel [in, out] and bias [out]."""
    return as_array(linear.weight.t()), as_array(linear.bias)


@cache
def _averaging(width: int) -> Array:
    """A product with this [width, 1] is the mean of rows: half the time of a reduction."""
    return np.full((width, 1), 1.0 / width, dtype=np.float32)


def _normalise(x: Array) -> Array:
    """Normalise rows in place: mean 0, variance 1."""
    averaging = _averaging(x.shape[-1])
    x -= x @ averaging
    deviation = (x * x) @ averaging
    deviation += np.float32(LAYER_NORM_EPS)
    x /= np.sqrt(deviation, out=deviation)
    return x


def _softmax(x: Array) -> Array:
    """Softmax over the last axis, in place."""
    x -= np.maximum.reduce(x, -1, keepdims=True)
    np.exp(x, out=x)
    x /= np.add.reduce(x, -1, keepdims=True)
    return x


def _elu(x: Array) -> Array:
    """``x`` where it is positive, ``exp(x) - 1`` elsewhere."""
    below = np.exp(np.minimum(x, 0.0))
    below -= 1.0
    below += np.maximum(x, 0.0)
    return below


class RowGate:
    """A :class:`~lem_models.modeling.layers.selection.GateAddNorm`.

    Args:
        module: The module.
        before: Kernel and bias of a linear layer in front of it, to be multiplied in.
    """

    def __init__(self, module: GateAddNorm, before: tuple[Array, Array] | None = None) -> None:
        kernel, bias = _affine(module.gate.linear)
        if before is not None:
            kernel, bias = before[0] @ kernel, before[1] @ kernel + bias
        self._kernel, self._bias, self._width = 0.5 * kernel, 0.5 * bias, kernel.shape[1] // 2
        self._scale, self._offset = as_array(module.norm.weight), as_array(module.norm.bias)

    def __call__(self, z: Array, skip: Array) -> Array:
        """Gate ``z`` [rows, in], add ``skip`` [rows, out] and normalise."""
        both = z @ self._kernel
        both += self._bias
        gate = np.tanh(both[:, self._width :])
        gate += 1.0
        gate *= both[:, : self._width]
        gate += skip
        _normalise(gate)
        gate *= self._scale
        gate += self._offset
        return gate


class RowResidual:
    """A :class:`~lem_models.modeling.layers.selection.GatedResidualNetwork`.

    Args:
        module: The module.
        embedding: An embedding of scalars in front of it, to be multiplied in.
    """

    def __init__(self, module: GatedResidualNetwork, embedding: InputEmbedding | None = None) -> None:
        kernel, bias = (
            np.concatenate(pair, -1) for pair in zip(_affine(module.hidden1), _affine(module.skip), strict=True)
        )
        if embedding is not None:
            slope, intercept = as_array(embedding.weight), as_array(embedding.bias)
            bias = bias + intercept.ravel() @ kernel
            kernel = (kernel.reshape(*slope.shape, -1) * slope[..., None]).sum(0)
        self._kernel, self._bias, self._width = kernel, bias, module.hidden1.out_features
        self._gate = RowGate(module.gate_add_norm, _affine(module.hidden2))

    def __call__(self, x: Array) -> Array:
        """Map [rows, in] to [rows, out]."""
        both = x @ self._kernel
        both += self._bias
        return self._gate(_elu(both[:, : self._width]), both[:, self._width :])


class RowSelection:
    """``VariableSelectionNetwork.select_scalars``.

    Args:
        module: The module.
        embedding: The embedding in front of it.
    """

    def __init__(self, module: VariableSelectionNetwork, embedding: InputEmbedding) -> None:
        networks = module.networks
        self._selector = RowResidual(module.selector, embedding)
        first = as_array(torch.cat([networks.hidden1_weight, networks.skip_weight], 2))  # [inputs, embedding, 2 hidden]
        bias = as_array(torch.cat([networks.hidden1_bias, networks.skip_bias], 1))
        slope, intercept = as_array(embedding.weight.t()), as_array(embedding.bias.t())
        self._slope, self._intercept = (slope[:, None] @ first)[:, 0], (intercept[:, None] @ first)[:, 0] + bias
        gate = as_array(networks.gate_weight)
        self._gate = 0.5 * (as_array(networks.hidden2_weight) @ gate)
        self._gate_bias = 0.5 * ((as_array(networks.hidden2_bias)[:, None] @ gate)[:, 0] + as_array(networks.gate_bias))
        self._scale, self._offset = as_array(networks.norm_weight), as_array(networks.norm_bias)
        self._width = networks.hidden_size

    def __call__(self, x: Array) -> Array:
        """The selected features [1, hidden] of scalars [1, inputs]."""
        width = self._width
        weights = _softmax(self._selector(x))
        first = x.T * self._slope
        first += self._intercept
        both = np.matmul(_elu(first[:, :width])[:, None], self._gate)[:, 0]
        both += self._gate_bias
        outputs = np.tanh(both[:, width:])
        outputs += 1.0
        outputs *= both[:, :width]
        outputs += first[:, width:]
        _normalise(outputs)
        outputs *= self._scale
        outputs += self._offset
        selected: Array = weights @ outputs
        return selected


class CellState(NamedTuple):
    """A :class:`~lem_models.modeling.layers.tkan.TKANState` as arrays, of one chain per row.

    Attributes:
        h: [rows, hidden].
        c: [rows, hidden].
        s: [rows, sub-layers, input].
    """

    h: Array
    c: Array
    s: Array

    @classmethod
    def of(cls, state: TKANState) -> CellState:
        """Out of tensors."""
        return cls(*map(as_array, state))


class RowCell:
    """One step of a :class:`~lem_models.modeling.layers.tkan.TKANCell`.

    Args:
        module: The module.
    """

    def __init__(self, module: TKANCell) -> None:
        self._input, self._hidden = module.input_size, module.hidden_size
        # One product for all that the input enters: the sub-layers, then the three gates.
        sub = as_array(module.sub_input_kernel.permute(1, 0, 2).flatten(1))
        self._kernel = np.concatenate([sub, 0.5 * as_array(module.kernel)], 1)
        self._recurrent, self._bias = 0.5 * as_array(module.recurrent_kernel), 0.5 * as_array(module.bias)
        self._sub_state = as_array(module.sub_state_kernel)
        self._gain, self._keep = as_array(module.sub_output_gain), as_array(module.sub_memory_gain)
        self._output, self._output_bias = 0.5 * as_array(module.output_kernel), 0.5 * as_array(module.output_bias)
        self._kans = [_RowKAN(kan) for kan in module.kans if isinstance(kan, KANLinear)]

    def __call__(self, x: Array, state: CellState) -> tuple[Array, CellState]:
        """Output [rows, hidden] and the state after a step; ``x`` [rows, input], or one row for all."""
        projected = x @ self._kernel
        split = len(self._kans) * self._input
        outputs = [
            kan(
                projected[:, layer * self._input : (layer + 1) * self._input]
                + state.s[:, layer] @ self._sub_state[layer]
            )
            for layer, kan in enumerate(self._kans)
        ]
        sub = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, 1)
        memory = state.s * self._keep
        memory += sub.reshape(memory.shape) * self._gain
        output_gate = sub @ self._output
        output_gate += self._output_bias
        np.tanh(output_gate, out=output_gate)
        output_gate += 1.0
        gates = state.h @ self._recurrent
        gates += projected[:, split:]
        gates += self._bias
        np.tanh(gates, out=gates)
        gates += 1.0
        gates *= 0.5
        hidden = self._hidden
        cell = gates[:, :hidden] * np.tanh(gates[:, 2 * hidden :])
        cell += gates[:, hidden : 2 * hidden] * state.c
        output_gate *= np.tanh(cell)
        output_gate *= 0.5
        return output_gate, CellState(output_gate, cell, memory)


class _RowKAN:
    """A :class:`~lem_models.modeling.layers.kan.KANLinear` with its normalisation."""

    def __init__(self, module: KANLinear) -> None:
        norm = module.norm
        self._scale = as_array(torch.ones(module.in_features) if norm is None else norm.weight)
        self._offset = as_array(torch.zeros(module.in_features) if norm is None else norm.bias)
        self._centres, self._inverse = as_array(module.centres()), np.float32(1.0 / module.step)
        # Of each feature: the rectified part, then its bases; a basis is (max(2 - a, 0)^3 - 4 max(1 - a, 0)^3) / 6.
        spline = as_array(module.spline_weight).reshape(module.in_features, module.count, -1)
        base = as_array(module.base_weight)[:, None]
        self._kernel = np.concatenate([base, spline / 6.0], 1).reshape(-1, module.out_features)
        self._bias = as_array(module.base_bias)

    def __call__(self, x: Array) -> Array:
        """Map [rows, in] to [rows, out]."""
        _normalise(x)
        x *= self._scale
        x += self._offset
        distance = x[..., None] - self._centres
        np.abs(distance, out=distance)
        distance *= self._inverse
        outer = np.maximum(2.0 - distance, 0.0)
        inner = np.maximum(1.0 - distance, 0.0)
        terms = np.empty((*x.shape, 1 + len(self._centres)), dtype=np.float32)
        np.maximum(x, 0.0, out=terms[..., 0])
        np.multiply(outer * outer, outer, out=outer)
        np.multiply(inner * inner, inner, out=inner)
        inner *= 4.0
        np.subtract(outer, inner, out=terms[..., 1:])
        result: Array = terms.reshape(len(x), -1) @ self._kernel
        result += self._bias
        return result


class RowAttention:
    """A :class:`~lem_models.modeling.layers.attention.WindowedAttention` of one new row to the rows before it.

    Args:
        module: The module.
    """

    def __init__(self, module: WindowedAttention) -> None:
        kernel, bias = _affine(module.query_key_value)
        hidden = len(kernel)
        self.heads, self.head_size, self._window = module.heads, hidden // module.heads, module.window
        scale = np.float32(self.head_size**-0.5)
        self._query, self._query_bias = np.ascontiguousarray(scale * kernel[:, :hidden]), scale * bias[:hidden]
        self._key_value, self._key_value_bias = np.ascontiguousarray(kernel[:, hidden:]), bias[hidden:]
        self._output, self._output_bias = _affine(module.output)
        self._distance_bias = as_array(module.distance_bias.flip(1).unsqueeze(2))  # [heads, window, 1], oldest first

    def key_value(self, rows: Array) -> Array:
        """Keys and values [2, heads, rows, size of a head] of rows [rows, hidden]."""
        both = rows @ self._key_value + self._key_value_bias
        return both.reshape(len(rows), 2, self.heads, self.head_size).transpose(1, 2, 0, 3)

    def __call__(self, row: Array, memory: Array, read: int) -> Array:
        """Attend from the newest row [1, hidden] to ``read`` keys and values in ``memory`` [2, heads, rows, ...]."""
        seen = min(read, self._window)
        query = row @ self._query
        query += self._query_bias
        keys, values = memory[:, :, read - seen : read]
        scores = np.matmul(keys, query.reshape(self.heads, self.head_size, 1))
        scores += self._distance_bias[:, self._window - seen :]
        mixed = np.matmul(_softmax(scores[..., 0])[:, None], values)
        result: Array = mixed.reshape(1, -1) @ self._output
        result += self._output_bias
        return result
