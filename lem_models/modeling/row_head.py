"""The flexible head for one order: its decision in plain numbers and a few products, for live sessions.

The same formulas as :class:`~lem_models.modeling.heads.flexible.FlexibleHead` and
:mod:`~lem_models.modeling.heads.path_state`, which see whole batches: there some 150 calls of torch take most of a live
decision's time whatever they work on, here they are arithmetic of numbers. The decisions are equal up to rounding in
single precision, the weights those of the moment when the object is made.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.execution.policy import Decision, ExecutionState, OrderBatch
from lem_models.modeling.heads.flexible import EDGE, OUTLOOK_LIMIT, FlexibleHead
from lem_models.modeling.heads.path_state import LEAST_EXPECTED, PRIOR
from lem_models.modeling.single_row import as_array

__all__ = ["RowHead"]

Array: TypeAlias = npt.NDArray[np.float32]


class _Weights(NamedTuple):
    """Weights of the order's bars in its benchmark: so far, and of each period from now on."""

    past: float
    future: list[float]


def _sigmoid(x: float) -> float:
    return 0.5 * math.tanh(0.5 * x) + 0.5


def _silu(x: Array) -> Array:
    gate: Array = np.tanh(np.float32(0.5) * x)
    gate += 1.0
    gate *= x
    gate *= 0.5
    return gate


class RowHead:
    """See the module.

    Args:
        head: The head.
    """

    def __init__(self, head: FlexibleHead) -> None:
        self._width = head.from_context.out_features
        # One product for all that the context enters: the first layer, the outlook, and the exponent if there is one.
        said = [head.outlook, *([] if head.exponent is None else [head.exponent])]
        self._context = np.concatenate([as_array(layer.weight.t()) for layer in (head.from_context, *said)], 1)
        self._said_bias = np.concatenate([as_array(layer.bias) for layer in said])
        self._outlook = slice(self._width, self._width + head.outlook.out_features)
        self._has_exponent = head.exponent is not None
        self._path, self._bias = as_array(head.from_path.weight.t()), as_array(head.from_path.bias)
        self._hidden = [(as_array(layer.weight.t()), as_array(layer.bias)) for layer in _linear(head.hidden)]
        self._output, self._output_bias = as_array(head.output.weight.t()), as_array(head.output.bias)

    def project(self, context: Array) -> Array:
        """:meth:`FlexibleHead.project` of a context [context_size]."""
        projected: Array = context @ self._context
        projected[self._width :] += self._said_bias
        return projected

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period of one order, see :meth:`lem_models.execution.policy.Policy.decide`."""
        first = context.numpy()
        outlook = first[0, self._outlook].clip(-OUTLOOK_LIMIT, OUTLOOK_LIMIT).tolist()
        exponent = 2 * _sigmoid(first[0, -1].item()) if self._has_exponent else None
        weights = _weights(orders, state, outlook, exponent)
        path = np.array([_path_features(orders, state, weights)], dtype=np.float32)
        hidden = _silu(first[:, : self._width] + (path @ self._path + self._bias))
        for kernel, bias in self._hidden:
            hidden = hidden + _silu(hidden @ kernel + bias)
        tilt, finish, mixture = (hidden @ self._output + self._output_bias)[0].tolist()

        remaining, lower, upper = state.remaining.item(), state.lower.item(), state.upper.item()
        room, now, total = upper - lower, weights.future[0], sum(weights.future)

        def place(fraction: float) -> float:
            u = min(max((fraction - lower) / max(room, 1e-6), EDGE), 1 - EDGE)
            return math.log(u / (1 - u))

        pace = place(remaining * now / max(total, 1e-6))
        schedule = place((weights.past + now) / max(weights.past + total, 1e-6) - (1 - remaining))
        anchor = pace + _sigmoid(mixture) * (schedule - pace)
        return Decision(fraction=lower + room * _sigmoid(tilt + anchor), finish=_sigmoid(finish))


def _linear(layers: torch.nn.ModuleList) -> list[torch.nn.Linear]:
    return [layer for layer in layers if isinstance(layer, torch.nn.Linear)]


def _weights(orders: OrderBatch, state: ExecutionState, outlook: list[float], exponent: float | None) -> _Weights:
    """``path_state.benchmark_weights`` of one order."""
    s, maximum = state.period, orders.max_periods.item()
    expected = state.expected_volume[0].tolist()[s:]
    if orders.is_twap.item():
        return _Weights(float(s), [float(period < maximum) for period in range(s, s + len(expected))])
    if exponent is not None:
        expected = [max(volume, LEAST_EXPECTED) ** exponent for volume in expected]
    coming = zip(range(s, s + len(expected)), expected, outlook, strict=False)
    future = [volume * math.exp(log) if period < maximum else 0.0 for period, volume, log in coming]
    return _Weights(float(state.volumes[0].sum()), future)


def _path_features(orders: OrderBatch, state: ExecutionState, weights: _Weights) -> list[float]:
    """``path_state.path_features`` of one order."""
    log = math.log
    s = state.period
    is_twap, is_notional = orders.is_twap.item(), orders.is_notional.item()
    maximum, minimum = int(orders.max_periods.item()), int(orders.min_periods.item())
    max_rate, min_rate = orders.max_rate.item(), orders.min_rate.item()
    scale = orders.side.item() / state.volatility.item()
    aversion = orders.risk_aversion.item()
    remaining, lower, upper = state.remaining.item(), state.lower.item(), state.upper.item()
    expected = state.expected_volume[0].tolist()
    volumes, prices = state.volumes[0].tolist(), state.prices[0].tolist()
    close, executed = state.last_close.item(), state.executed_price.item()
    benchmark = (state.twap if is_twap else state.vwap).item()

    past = weights.past
    cumulative = list(accumulate(weights.future))
    to_end, next_weight, last = cumulative[-1], weights.future[0], len(cumulative) - 1
    needed = max(math.ceil(remaining / max_rate - 1e-6), 1)
    to_finish = cumulative[min(max(needed, minimum - s) - 1, last)]
    to_minimum = cumulative[min(minimum - s - 1, last)] if minimum > s else 0.0
    filled = 1 - remaining
    average = filled * executed + remaining * close

    def gain(reference: float, price: float) -> float:
        # No weight in the benchmark at all (nothing has traded, the minimum is over): as far away as can be.
        return scale * (log(reference / price) if reference > 0 else -math.inf)

    def benchmark_after(weight: float) -> float:
        return (past * benchmark + weight * close) / max(past + weight, 1e-6)

    best = worst = last_expected = surprise = step = 0.0
    drift = log(expected[s] + 0.05)
    if s:
        against = [gain(max(price, 1e-6), close) for price in prices]
        best, worst = min(against), max(against)
        last_expected = 1.0 if is_twap else expected[s - 1]
        before = log(expected[s - 1] + 0.05)
        surprise, drift = log(volumes[-1] + 0.05) - before, drift - before
        step = gain(prices[-2], prices[-1]) if s > 1 else 0.0
    share_past = past / max(past + to_end, 1e-6)
    left = max(maximum - s, 1)
    columns = (
        s / maximum,
        left / 12,
        max(minimum - s - 1, 0) / 12,
        float(minimum <= s + 1),
        minimum / maximum,
        1 / left,
        filled,
        lower,
        upper,
        max_rate,
        log(max_rate * maximum),
        min_rate * maximum,
        remaining / max_rate / left,
        share_past,
        2 * (filled - share_past),
        past / max(past + to_minimum, 1e-6),
        next_weight / max(to_end, 1e-6),
        next_weight / max(past + next_weight, 1e-6),
        log((sum(volumes) + PRIOR) / (sum(expected[:s]) + PRIOR)),
        surprise,
        drift,
        last_expected - 1,
        gain(benchmark, close),
        filled * gain(benchmark, executed),
        gain(benchmark, state.last_price.item()),
        gain(1.0, close),
        gain(benchmark_after(to_finish), average),
        gain(benchmark_after(to_end), average),
        gain(benchmark_after(to_minimum), average),
        best,
        worst,
        step,
        log(aversion + 0.02) / 2,
        aversion / (1 + aversion),
        float(is_twap),
        float(is_notional),
    )
    return [min(max(column, -6.0), 6.0) for column in columns]
