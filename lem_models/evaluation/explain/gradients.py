r"""Integrated gradients of a decision, over the features of the closed bars and over the path of the order.

.. math:: a_i = (x_i - x^0_i) \int_0^1 \partial_i f(x^0 + t (x - x^0)) \, dt, \qquad \sum_i a_i = f(x) - f(x^0)

(Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, eq. 1 and proposition 1.)
:math:`f` is the fraction or the probability of finishing, before lots and before the rules that put a finish in force.
:math:`x` is what the model reads: the features of the bars in its window, and the state of the order. The reference
:math:`x^0` is a market in which every bar has the mean of the features over the window, and an order on its expected
volume curve in a market that stood still and traded as expected since its start (:attr:`Situation.neutral`).

The integral is a sum over midpoints of intervals, in double precision. How much of ``f(b) - f(a)`` an interval explains
is known, so intervals that explain it badly are halved. Normalisation makes the network steep where its input is small,
and the heads have kinks: even steps would need thousands.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.evaluation.explain.situation import Situation
from lem_models.execution.records import ExecutionState, OrderBatch
from lem_models.modeling.model import LEMModel

__all__ = ["PATH_GROUPS", "TARGETS", "Attributions", "ModelInputs", "attribute"]

Floats = npt.NDArray[np.float64]

TARGETS = ("fraction", "finish")
"""What is attributed: the fraction of the order, and the probability of finishing."""

PATH_GROUPS: Mapping[str, tuple[str, ...]] = {
    "left": ("remaining", "lower", "upper"),
    "prices": ("executed_price", "vwap", "twap", "last_price", "last_close", "prices"),
    "volumes": ("volumes",),
}
"""Parts of the state that move during an order, by what they are: what is left, prices, and volumes."""

TOLERANCE = 5e-4
"""Difference aimed at between the sum of the attributions and that of the outputs, of a fraction or a probability."""

_BEGIN = 32  # intervals
_ROWS = 32  # of one pass
_SHORTEST = 2.0**-24
_MOST = 8192  # intervals, for a network that is nothing but jumps


@dataclass(frozen=True)
class ModelInputs:
    """What a model reads before a decision.

    Attributes:
        features: Features of the bars of its windows, turned to the order's side, float64 [bars, features].
        first: Row of the first of them in the market.
        window: Bars of the window of the last closed bar, int64 [time], among them.
        start_window: Those of the last bar before the order.
        state: State of the order.
    """

    features: Tensor
    first: int
    window: Tensor
    start_window: Tensor
    state: ExecutionState

    @classmethod
    def of(cls, situation: Situation) -> ModelInputs:
        """Read them.

        Raises:
            ConfigError: The model encodes bars in a way of its own.
        """
        model, market = situation.model, situation.market
        if model.stream() is None:
            raise ConfigError(f"{type(model).__name__} encodes bars in a way of its own: it cannot be explained")
        rows = np.array([situation.last, situation.start - 1])
        config = model.config
        first = np.maximum(market.block_starts_at(config.block, rows) - config.warmup, 0)
        low = int(first.min())
        values = market.feature_windows(np.array([low]), situation.last - low + 1)[0][:, model.columns]
        features = torch.from_numpy(values.astype(np.float64))
        side = torch.tensor([situation.side])
        turned = model.oriented(features[None], side)[0].to(torch.float64)
        windows = [torch.arange(int(a), int(b) + 1) - low for a, b in zip(first, rows, strict=True)]
        return cls(turned, low, windows[0], windows[1], situation.state())


@dataclass(frozen=True)
class Attributions:
    """Attributions of both targets.

    Attributes:
        features: By target, bar and feature, [2, bars, features].
        path: By target and field of the state, summed over its numbers, [2] each.
        value: The outputs, [2].
        reference: The outputs at the reference, [2].
        residual: What the attributions leave unexplained, [2]: ``value - reference`` minus their sum.
        steps: Intervals of the integral.
        first: Row of the first bar in the market.
    """

    features: Floats
    path: Mapping[str, Floats]
    value: Floats
    reference: Floats
    residual: Floats
    steps: int
    first: int

    @property
    def by_group(self) -> dict[str, Floats]:
        """Attributions of :data:`PATH_GROUPS`, [2] each."""
        return {group: np.sum([self.path[name] for name in names], axis=0) for group, names in PATH_GROUPS.items()}


def attribute(situation: Situation, *, tolerance: float = TOLERANCE) -> Attributions:
    """Attribute a decision.

    Args:
        situation: The order before it.
        tolerance: Residual aimed at.
    """
    model = copy.deepcopy(situation.model).to(torch.float64).eval().requires_grad_(False)
    inputs = ModelInputs.of(situation)
    orders = situation.traded[0]
    low = inputs.features.mean(0, keepdim=True).expand_as(inputs.features)
    here, neutral = _numbers(inputs.state), _numbers(situation.neutral.state())
    ends = {name: (neutral[name], here[name]) for name in here}
    read = _Decider(model, orders, inputs)
    reference = _plain(read(low[None], {name: pair[0] for name, pair in ends.items()}))
    value = _plain(read(inputs.features[None], {name: pair[1] for name, pair in ends.items()}))
    difference = value - reference
    features, path, steps = _integrated(read, low, inputs.features, ends, tolerance)
    total = features.sum(axis=(1, 2)) + sum(path.values())
    return Attributions(features, path, value, reference, difference - total, steps, inputs.first)


class _Decider:
    """Fraction and finish of some points between the reference and the inputs, with gradients."""

    def __init__(self, model: LEMModel, orders: OrderBatch, inputs: ModelInputs) -> None:
        self._model, self._orders, self._inputs = model, orders, inputs

    def __call__(self, features: Tensor, path: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Args: features [points, bars, features]; the moving fields of the state, [points or 1, ...]."""
        points, inputs, model = len(features), self._inputs, self._model
        rows = torch.zeros(points, dtype=torch.int64)

        def context(window: Tensor) -> Tensor:
            return model.head.project(model.contexts(features[:, window])[:, -1])

        fixed = {
            each.name: getattr(inputs.state, each.name)[rows]
            for each in fields(inputs.state)
            if isinstance(getattr(inputs.state, each.name), Tensor) and each.name not in path
        }
        moving = {name: values.expand(points, *values.shape[1:]) for name, values in path.items()}
        before = context(inputs.start_window) if inputs.state.period else None
        now = context(inputs.window)
        state = replace(inputs.state, **fixed | moving | {"start_context": now if before is None else before})
        decision = model.head.decide(now, self._orders[rows], state)
        return decision.fraction, decision.finish


def _numbers(state: ExecutionState) -> dict[str, Tensor]:
    """The fields of the state that move during an order."""
    return {name: getattr(state, name) for names in PATH_GROUPS.values() for name in names}


def _plain(outputs: tuple[Tensor, Tensor]) -> Floats:
    return np.array([float(each[0]) for each in outputs])


def _integrated(
    read: _Decider, low: Tensor, high: Tensor, ends: Mapping[str, tuple[Tensor, Tensor]], tolerance: float
) -> tuple[Floats, dict[str, Floats], int]:
    """Attributions to the features and to the path, and the number of intervals."""

    def between(at: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features = low + at[:, None, None] * (high - low)
        return features, {
            name: first + at.reshape(-1, *[1] * (first.ndim - 1)) * (last - first)
            for name, (first, last) in ends.items()
        }

    def outputs(at: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([each.expand(len(at)) for each in read(*between(at))])

    summed = torch.zeros(2, *high.shape, dtype=torch.float64)
    path = {name: np.zeros(2) for name in ends}
    begin = torch.arange(_BEGIN, dtype=torch.float64) / _BEGIN
    # Start and length of the intervals to do, [2, intervals].
    waiting = torch.stack([begin, torch.full_like(begin, 1.0 / _BEGIN)])
    count = 0
    while waiting.shape[1]:
        (start, length), waiting = waiting[:, :_ROWS], waiting[:, _ROWS:]
        count += len(start)
        features, moving = between(start + length / 2)
        leaves = [features.requires_grad_(True), *(values.requires_grad_(True) for values in moving.values())]
        slopes = [_slopes(output, leaves) for output in read(features, moving)]
        changes = [high - low, *(last - first for first, last in ends.values())]
        # [targets, leaves], one number for each interval in all of them.
        parts = [[length * _per_row(slope * change) for slope, change in zip(s, changes, strict=True)] for s in slopes]
        explained = torch.stack([torch.stack(each).sum(0) for each in parts])
        missing = (outputs(start + length) - outputs(start) - explained).abs().amax(0)
        good = (missing <= tolerance / 2 * length.clamp(min=1 / 16)) | (length <= _SHORTEST) | (count > _MOST)
        for target in range(2):
            weighted = slopes[target][0] * (length * good)[:, None, None]
            summed[target] += weighted.sum(0) * (high - low)
            for name, part in zip(ends, parts[target][1:], strict=True):
                path[name][target] += float(part[good].sum())
        half = length[~good] / 2
        halves = torch.stack([torch.cat([start[~good], start[~good] + half]), half.repeat(2)])
        waiting = torch.cat([waiting, halves], dim=1)
    return np.asarray(summed), path, count


def _slopes(output: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Gradients of an output, zeros where it does not depend on a leaf."""
    if not output.requires_grad:  # a constant moves with nothing
        return [torch.zeros_like(leaf) for leaf in leaves]
    gradients = torch.autograd.grad(output.sum(), leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if each is None else each for leaf, each in zip(leaves, gradients, strict=True)]


def _per_row(values: Tensor) -> Tensor:
    """Sums over everything but the first axis."""
    return values.reshape(len(values), -1).sum(1)
