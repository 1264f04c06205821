"""All periods of the flexible head in one call: what the simulator gives period by period, forward and backward."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, Paths
from lem_models.execution.simulator import simulate
from lem_models.modeling.heads import FlexibleHead, build_head
from lem_models.modeling.heads.base import AllocationHead
from tests.helpers import random_orders, random_window
from tests.modeling.compiled import need_kernels

CONTEXT = 5
PERIODS = 8


@pytest.fixture(autouse=True)
def compiled() -> None:
    need_kernels()


class PeriodByPeriod(Policy):
    """A head as the simulator asks it."""

    def __init__(self, head: AllocationHead) -> None:
        self.head = head

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        assert context is not None
        return self.head.decide(context, orders, state)


def flexible(
    horizon: int = PERIODS, dtype: torch.dtype = torch.float64, seed: int = 0, **settings: Any
) -> FlexibleHead:
    """A head with every weight random, whose decisions differ widely."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head("flexible", CONTEXT, horizon, {"hidden_size": 12, "layers": 3, **settings})
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
            head.output.weight.mul_(3.0)
            head.outlook.weight.mul_(4.0)
    assert isinstance(head, FlexibleHead)
    return head.to(dtype)


def contexts_for(orders: int, periods: int = PERIODS, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(orders, periods, CONTEXT, generator=generator, dtype=torch.float64).to(dtype)


def in_type(record: Any, dtype: torch.dtype) -> Any:
    """A record of tensors with its real numbers in another type."""
    values = {name: v.to(dtype) if v.is_floating_point() else v for name, v in vars(record).items()}
    return type(record)(**values)


def a_market(
    count: int, periods: int = PERIODS, *, silent: float = 0.0, seed: int = 0, **columns: Any
) -> tuple[OrderBatch, MarketWindow]:
    """Orders of every kind without lots and participation limits, some columns as given, and their market."""
    rng = np.random.default_rng(seed)
    table = random_orders(rng, count, periods, sized=False, benchmarks=["vwap", "twap"]).assign(**columns)
    orders, window = OrderBatch.from_frame(table), random_window(rng, count, periods, silent=silent)
    window.volatility[:] = torch.from_numpy(rng.uniform(0.005, 0.02, count))
    return orders, window


def both(head: FlexibleHead, contexts: Tensor, orders: OrderBatch, window: MarketWindow) -> tuple[Paths, Paths]:
    """Paths of the kernel and of the modules."""
    projected = head.project(contexts)
    fused = head.roll_out(projected, orders, window)
    assert fused is not None
    return fused, simulate(PeriodByPeriod(head), orders, window, projected)


def gradients(paths: Paths, inputs: list[Tensor]) -> list[Tensor]:
    """Of sums of all outputs with random weights."""
    generator, loss = torch.Generator().manual_seed(11), torch.zeros((), dtype=paths.fills.dtype)
    for values in (paths.fills, paths.remaining, paths.finish):
        weights = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values)
        loss = loss + (weights * values).sum()
    return list(torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True))


def assert_same(head: FlexibleHead, orders: OrderBatch, window: MarketWindow, **tolerance: float) -> None:
    """Paths and gradients of kernel and modules agree."""
    contexts = contexts_for(len(orders), window.price.shape[1], head.output.weight.dtype).requires_grad_()
    fused, plain = both(head, contexts, orders, window)
    tolerance = tolerance or {"rtol": 1e-9, "atol": 1e-11}
    for name, values in vars(plain).items():
        torch.testing.assert_close(
            getattr(fused, name), values, **tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
    inputs = [contexts, *head.parameters()]
    ours, expected = gradients(fused, inputs), gradients(plain, inputs)
    names = ["contexts", *(name for name, _ in head.named_parameters())]
    for name, mine, theirs in zip(names, ours, expected, strict=True):
        assert torch.isfinite(theirs).all()
        torch.testing.assert_close(mine, theirs, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


KINDS = [
    {"side": side, "benchmark": benchmark, "target": target}
    for side in ("buy", "sell")
    for benchmark in ("vwap", "twap")
    for target in ("quantity", "notional")
]


@pytest.mark.parametrize("exponent", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_a_roll_out_is_what_the_simulator_gives(kind: dict[str, str], exponent: bool) -> None:
    head = flexible(profile_exponent=exponent)
    orders, window = a_market(61, **kind)
    assert ((orders.max_rate < 1) & (orders.max_periods > 2)).any()
    assert ((orders.min_rate > 0) & (orders.max_periods > 2)).any()
    assert (orders.max_periods < PERIODS - 2).any()
    assert_same(head, orders, window)
