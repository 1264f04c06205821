"""All periods of the flexible head in one call: what the simulator gives period by period, forward and backward."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.policy import Policy
from lem_models.execution.records import (
    BENCHMARKS,
    Decision,
    ExecutionState,
    MarketWindow,
    OrderBatch,
    OrderContexts,
    Paths,
    mapped,
)
from lem_models.execution.simulator import chosen_period, finishing_fills, simulate
from lem_models.modeling.heads import FlexibleHead, build_head
from lem_models.modeling.heads.base import AllocationHead
from lem_models.modeling.kernels import build, library
from lem_models.modeling.model import LEMModel
from tests.helpers import random_model, random_orders, random_window, tiny_config
from tests.modeling.compiled import need_kernels
from tests.training.tiny import tiny_batches, tiny_recipe

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
        head = build_head("flexible", CONTEXT, horizon, {"hidden_size": 12, "layers": 3, "sized": True, **settings})
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
    return mapped(lambda values: values.to(dtype) if values.is_floating_point() else values, [record])


def a_market(
    count: int, periods: int = PERIODS, *, silent: float = 0.0, seed: int = 0, **columns: Any
) -> tuple[OrderBatch, MarketWindow]:
    """Orders of every kind without lots and participation limits, some columns as given, and their market."""
    rng = np.random.default_rng(seed)
    table = random_orders(rng, count, periods, sized=False).assign(**columns)
    orders, window = OrderBatch.from_frame(table), random_window(rng, count, periods, silent=silent)
    window.volatility[:] = torch.from_numpy(rng.uniform(0.005, 0.02, count))
    orders.impact[:] = torch.from_numpy(np.where(rng.random(count) < 0.2, 0.0, 10 ** rng.uniform(-2, 0.5, count)))
    return orders, window


def both(head: FlexibleHead, contexts: Tensor, orders: OrderBatch, window: MarketWindow) -> tuple[Paths, Paths]:
    """Paths of the kernel and of the modules."""
    projected = head.project(contexts)
    fused = head.roll_out(OrderContexts.of(projected), orders, window)
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
    for benchmark in BENCHMARKS
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


@pytest.mark.parametrize("exponent", [False, True])
def test_a_head_without_sizes(exponent: bool) -> None:
    orders, window = a_market(61)
    head = flexible(profile_exponent=exponent, sized=False)
    assert_same(head, orders, window)
    # It knows nothing of the impact.
    contexts = contexts_for(61)
    dear = replace(orders, impact=orders.impact + 1)
    assert torch.equal(both(head, contexts, orders, window)[0].fills, both(head, contexts, dear, window)[0].fills)


@pytest.mark.parametrize("exponent", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("width", [3, 33])
def test_networks_of_any_size(width: int, layers: int, exponent: bool) -> None:
    head = flexible(hidden_size=width, layers=layers, profile_exponent=exponent)
    assert_same(head, *a_market(29, seed=layers))


@pytest.mark.parametrize("exponent", [False, True])
@pytest.mark.parametrize("silent", [0.4, 1.0])
def test_bars_without_volume(silent: float, exponent: bool) -> None:
    orders, window = a_market(61, silent=silent)
    assert (window.volume == 0).any(1).all() if silent == 1.0 else ((window.volume == 0).sum(1) > 3).any()
    assert_same(flexible(profile_exponent=exponent), orders, window)


@pytest.mark.parametrize("exponent", [False, True])
def test_short_orders_in_a_long_horizon(exponent: bool) -> None:
    orders, window = a_market(70, 24, min_periods=1, min_rate=0.0, max_rate=1.0, max_periods=[1, 2, 3, 5, 24] * 14)
    assert_same(flexible(24, profile_exponent=exponent), orders, window)


def test_a_window_shorter_than_the_horizon() -> None:
    assert_same(flexible(PERIODS + 5, profile_exponent=True), *a_market(20))


@pytest.mark.parametrize("minimum", [1, 4, PERIODS])
@pytest.mark.parametrize(("low", "cap"), [(0.0, 1.0), (0.0, 0.125), (0.125, 1.0), (0.1, 0.15)])
def test_caps_minimum_rates_and_minima(low: float, cap: float, minimum: int) -> None:
    orders, window = a_market(50, min_periods=minimum, max_periods=PERIODS, min_rate=low, max_rate=cap, silent=0.1)
    assert_same(flexible(), orders, window)


def test_orders_of_extreme_risk_aversion_and_wild_markets() -> None:
    orders, window = a_market(40, risk_aversion=[0.0, 1e-4, 3.0, 1e3] * 10)
    window.price.pow_(30.0), window.close.pow_(30.0), window.volume.pow_(4.0)  # features reach their limits
    assert_same(flexible(), orders, window)


@pytest.mark.parametrize("state", [torch.float32, torch.float64], ids=["training", "execution"])
def test_single_precision(state: torch.dtype) -> None:
    head = flexible(dtype=torch.float32, profile_exponent=True)
    orders, window = a_market(61)
    assert_same(head, in_type(orders, state), in_type(window, state), rtol=2e-3, atol=2e-4)


def test_gradients_are_those_of_small_changes() -> None:
    head = flexible(3, hidden_size=4, layers=2, profile_exponent=True, seed=3)
    orders, window = a_market(6, 3, seed=5, max_periods=3, min_periods=[1, 2, 3, 1, 2, 3], max_rate=[1.0, 0.5] * 3)
    contexts = contexts_for(6, 3)
    names = [name for name, _ in head.named_parameters()]

    def rolled(contexts: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # The kernel's weights are attributes of the layers, so they are exchanged for the call.
        with torch.nn.utils.stateless._reparametrize_module(head, dict(zip(names, weights, strict=True))):
            paths = head.roll_out(OrderContexts.of(head.project(contexts)), orders, window)
        assert paths is not None
        return paths.fills, paths.remaining, paths.finish

    inputs = [contexts, *(parameter.detach() for parameter in head.parameters())]
    assert torch.autograd.gradcheck(rolled, [each.clone().requires_grad_() for each in inputs], eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(("dtype", "half"), [(torch.float32, False), (torch.float32, True), (torch.float64, False)])
def test_an_order_does_not_depend_on_the_others(dtype: torch.dtype, half: bool) -> None:
    head = flexible(dtype=dtype, profile_exponent=True)
    orders, window = a_market(120, silent=0.2)
    projected = head.project(contexts_for(120, dtype=dtype)).detach()

    def rolled(rows: Tensor) -> tuple[Paths, Tensor]:
        mine = projected[rows].requires_grad_()
        few = MarketWindow(**{name: values[rows] for name, values in vars(window).items()})
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            paths = head.roll_out(OrderContexts.of(mine), orders[rows], few)
        assert paths is not None
        return paths, torch.autograd.grad((paths.fills**2).sum() + paths.finish.sum(), mine)[0]

    whole, gradient = rolled(torch.arange(120))
    for rows in (torch.tensor([77]), torch.arange(119, 40, -1), torch.arange(0, 120, 7)):
        some, of_some = rolled(rows)
        for name, values in vars(some).items():
            assert torch.equal(values, getattr(whole, name)[rows]), name
        assert torch.equal(of_some, gradient[rows])


def test_later_bars_change_no_earlier_decision() -> None:
    head, (orders, window) = flexible(dtype=torch.float32), a_market(60)
    projected = head.project(contexts_for(60, dtype=torch.float32)).detach()
    before = head.roll_out(OrderContexts.of(projected), orders, window)
    assert before is not None
    for known in range(PERIODS):
        for values in (window.price, window.close, window.volume):
            values[:, known:] *= torch.rand(values[:, known:].shape, dtype=torch.float64) + 0.5
        changed = projected.clone()
        changed[:, known + 1 :] += 1.0
        after = head.roll_out(OrderContexts.of(changed), orders, window)
        assert after is not None
        for name in ("fills", "remaining", "finish"):
            assert torch.equal(getattr(after, name)[:, : known + 1], getattr(before, name)[:, : known + 1]), name
        assert known >= PERIODS - 2 or not torch.equal(after.fills, before.fills)  # the last period has no choice
        orders, window = a_market(60)


@pytest.mark.parametrize("half", [False, True])
def test_gradients_are_the_same_on_any_number_of_threads(half: bool) -> None:
    head = flexible(dtype=torch.float32, profile_exponent=True)
    orders, window = a_market(700)
    contexts = contexts_for(700, dtype=torch.float32).requires_grad_()
    threads, results = torch.get_num_threads(), []
    projected = head.project(contexts)
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            weights = [projected, head.from_path.weight, head.hidden[1].weight, head.output.bias]
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                paths = head.roll_out(OrderContexts.of(projected), orders, window)
            assert paths is not None
            results.append([*vars(paths).values(), *gradients(paths, weights)])
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(map(torch.equal, others, results[0]))


def test_no_orders() -> None:
    head, (orders, window) = flexible(), a_market(3)
    none = MarketWindow(**{name: values[:0] for name, values in vars(window).items()})
    contexts = head.project(contexts_for(0))
    paths = head.roll_out(OrderContexts.of(contexts), orders[:0], none)
    assert paths is not None
    assert paths.fills.shape == (0, PERIODS)
    weight, bias = torch.autograd.grad(paths.fills.sum(), [head.output.weight, contexts])
    assert not weight.any()
    assert bias.shape == contexts.shape


def test_a_training_step_has_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LEMModel(tiny_recipe().model).double().eval()
    batch = in_type(tiny_batches().batch(0, training=True), torch.float64)
    monkeypatch.setattr(model, "log", lambda *_, **__: None)  # there is no trainer

    def step() -> list[Tensor]:
        loss = model.training_step(batch, 0)
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)]

    calls: list[Paths | None] = []
    roll_out = FlexibleHead.roll_out

    def counted(*given: Any, **named: Any) -> Paths | None:
        calls.append(roll_out(*given, **named))
        return calls[-1]

    monkeypatch.setattr(FlexibleHead, "roll_out", counted)
    fused = step()
    assert [paths is not None for paths in calls] == [True]
    monkeypatch.setattr(FlexibleHead, "roll_out", AllocationHead.roll_out)
    for ours, expected in zip(fused, step(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-10)


# --- where the simulator goes period by period ------------------------------------------------------------------------


def test_the_simulator_takes_the_kernel_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (orders, window) = random_model(tiny_config()), a_market(20, 6)
    assert isinstance(model.head, FlexibleHead)
    contexts = model.head.project(torch.randn(20, 6, model.head.context_size))
    fused = simulate(model, orders, window, contexts)

    def refused(*_: object) -> Decision:
        raise AssertionError("decide was called")

    monkeypatch.setattr(FlexibleHead, "decide", refused)
    assert torch.equal(simulate(model, orders, window, contexts).fills, fused.fills)
    with pytest.raises(AssertionError, match="decide was called"):
        simulate(PeriodByPeriod(model.head), orders, window, contexts)


@pytest.mark.parametrize("where", ["model", "head", "both"])
@pytest.mark.parametrize("how", ["class", "instance"])
def test_a_model_that_decides_in_its_own_way_is_asked(where: str, how: str) -> None:
    class OwnHead(FlexibleHead):
        def decide(self, *_: object) -> Decision:
            return Decision(fraction=0.25, finish=0.0)

    class OwnModel(LEMModel):
        def decide(self, *_: object) -> Decision:
            return Decision(fraction=0.25, finish=0.0)

    model, (orders, window) = random_model(tiny_config()), a_market(20, 6, max_rate=1.0, min_rate=0.0)
    contexts = model.head.project(torch.randn(20, 6, model.head.context_size))
    changed: list[Any] = [*([model] if where != "head" else []), *([model.head] if where != "model" else [])]
    for each in changed:
        if how == "class":
            each.__class__ = OwnModel if each is model else OwnHead
        else:
            each.decide = lambda *_: Decision(fraction=0.25, finish=0.0)
    fills = simulate(model, orders, window, contexts).fills
    assert (fills[orders.max_periods > 1, 0] == 0.25).all()


def test_a_policy_that_passes_attributes_on_to_a_model_is_asked() -> None:
    class Halting(Policy):
        def __init__(self, model: LEMModel) -> None:
            self.model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self.model, name)

        def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
            return Decision(fraction=0.0, finish=0.0)

    model, (orders, window) = random_model(tiny_config()), a_market(20, 6, max_rate=1.0, min_rate=0.0)
    contexts = model.head.project(torch.randn(20, 6, model.head.context_size))
    fills = simulate(Halting(model), orders, window, contexts).fills
    assert not fills[orders.max_periods > 1, 0].any()


def _with_hook(head: FlexibleHead) -> None:
    head.hidden[0].register_forward_hook(lambda *_: None)


def _with_lots(orders: OrderBatch) -> None:
    orders.lot[3] = 0.01


def _with_limits(orders: OrderBatch) -> None:
    orders.participation[3] = 0.1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda head, orders, window: _with_lots(orders), id="gradients through lots"),
        pytest.param(lambda head, orders, window: _with_limits(orders), id="gradients through participation limits"),
        pytest.param(lambda head, orders, window: _with_hook(head), id="hook"),
        pytest.param(lambda head, orders, window: window.price.requires_grad_(), id="gradient of prices"),
        pytest.param(lambda head, orders, window: head.bfloat16(), id="bfloat16"),
    ],
)
def test_what_the_kernel_lacks_goes_period_by_period(change: Any) -> None:
    head, (orders, window) = flexible(), a_market(10)
    assert head.roll_out(OrderContexts.of(head.project(contexts_for(10))), orders, window) is not None
    change(head, orders, window)
    assert head.roll_out(OrderContexts.of(head.project(contexts_for(10))), orders, window) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("target", ["quantity", "notional"])
def test_orders_with_lots_and_participation_limits(target: str, dtype: torch.dtype) -> None:
    head, (orders, window) = flexible(dtype=dtype), a_market(300, silent=0.1, target=target)
    rng = np.random.default_rng(1)
    orders.lot[:200] = torch.from_numpy(rng.choice([0.0, 0.01, 0.125, 1 / 3], 200))
    orders.participation[100:] = torch.from_numpy(rng.choice([0.02, 0.2, 1.0, np.inf], 200))
    with torch.no_grad():
        fused, plain = both(head, contexts_for(300, dtype=dtype), orders, window)
    assert (plain.capacity[100:] < orders.max_rate[100:, None]).float().mean() > 0.2
    # In single precision an answer may lie on the other side of half a lot.
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-4}
    same = torch.ones(300, dtype=torch.bool)
    if dtype == torch.float32:
        same = ((fused.fills - plain.fills).abs() < 1e-3).all(1)
        assert same.float().mean() > 0.98
    for name, values in vars(plain).items():
        torch.testing.assert_close(getattr(fused, name)[same], values[same], **tolerance, msg=name)


# ---- mixed precision -------------------------------------------------------------------------------------------------


def has_half_products() -> bool:
    """Whether processor and compiler know products of bfloat16."""
    command = [*build.find_compiler(), *next(library._attempts())[0], "-dM", "-E", "-x", "c++", os.devnull]
    return "__AVX512BF16__" in build.output(command)


@pytest.fixture
def half_products() -> None:
    if not has_half_products():
        pytest.skip("processor or compiler does not know products of bfloat16")


class HalfProduct(torch.autograd.Function):
    """``x w'`` of inputs rounded to bfloat16 with sums in single precision, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        x, w = x.bfloat16().float(), w.bfloat16().float()
        ctx.save_for_backward(x, w)
        return x @ w.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        gradient = gradient.bfloat16().float()
        return gradient @ w, gradient.t() @ x


def rolled(
    head: FlexibleHead, orders: OrderBatch, window: MarketWindow, dtype: torch.dtype | None = None
) -> tuple[Paths, list[Tensor]]:
    """Paths of the kernel, and gradients of contexts and network; under autocast to a type, if there is one."""
    contexts = contexts_for(len(orders), window.price.shape[1], head.output.weight.dtype)
    projected = head.project(contexts).detach().requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        paths = head.roll_out(OrderContexts.of(projected), orders, window)
    assert paths is not None
    return paths, gradients(paths, [projected, *network_of(head)])


def network_of(head: FlexibleHead) -> list[Tensor]:
    layers = (head.from_path, head.hidden, head.output, head.from_size, head.shift)
    return [weight for layer in layers if layer is not None for weight in layer.parameters()]


def assert_equal(one: tuple[Paths, list[Tensor]], other: tuple[Paths, list[Tensor]]) -> None:
    """Paths and gradients are the same in every bit."""
    assert all(map(torch.equal, [*vars(one[0]).values(), *one[1]], [*vars(other[0]).values(), *other[1]]))


def distance(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).norm() / expected.norm())


@pytest.mark.parametrize(("hidden_size", "layers"), [(12, 3), (33, 2), (128, 3)])
@pytest.mark.parametrize("state", [torch.float32, torch.float64])
@pytest.mark.usefixtures("half_products")
def test_under_autocast_the_products_take_rounded_inputs(
    hidden_size: int, layers: int, state: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = flexible(dtype=torch.float32, hidden_size=hidden_size, layers=layers)
    orders, window = (in_type(record, state) for record in a_market(301))
    paths, ours = rolled(head, orders, window, torch.bfloat16)
    projected = head.project(contexts_for(301, dtype=torch.float32)).detach().requires_grad_()
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda x, w, b=None: HalfProduct.apply(x, w) + (0 if b is None else b)
    )
    plain = simulate(PeriodByPeriod(head), orders, window, projected)
    # A sum that ends in another last bit may round the next layer's input to the neighbour.
    for name, values in vars(plain).items():
        difference = (getattr(paths, name) - values).abs()
        assert difference.max() < 2e-2, name
        assert difference.mean() < 2e-5, name
    for mine, theirs in zip(ours, gradients(plain, [projected, *network_of(head)]), strict=True):
        assert distance(mine, theirs) < 1e-2


@pytest.mark.usefixtures("half_products")
def test_under_autocast_results_are_those_of_single_precision_to_two_digits() -> None:
    torch.manual_seed(0)
    head = build_head("flexible", CONTEXT, PERIODS, {})
    assert isinstance(head, FlexibleHead)
    orders, window = (in_type(record, torch.float32) for record in a_market(500))
    single, expected = rolled(head, orders, window)
    half, ours = rolled(head, orders, window, torch.bfloat16)
    for name in ("fills", "remaining", "finish"):
        difference = (getattr(half, name) - getattr(single, name)).abs()
        assert 0 < difference.max() < 5e-3, name
        assert difference.mean() < 5e-4, name
    for mine, theirs in zip(ours, expected, strict=True):
        assert 0 < distance(mine, theirs) < 2e-2


def test_where_the_processor_has_no_half_products_autocast_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = flexible(dtype=torch.float32)
    orders, window = (in_type(record, torch.float32) for record in a_market(100))
    if has_half_products():
        monkeypatch.setenv("CXX", shlex.join([*build.find_compiler(), "-mno-avx512bf16"]))
        monkeypatch.setenv("LEM_CACHE", str(tmp_path))
        monkeypatch.setattr(library, "FLAGS", ("-std=c++17", "-O1", "-fPIC"))
        library.kernels.cache_clear()
    try:
        assert_equal(rolled(head, orders, window), rolled(head, orders, window, torch.bfloat16))
    finally:
        library.kernels.cache_clear()


@pytest.mark.parametrize(
    ("weights", "autocast"),
    [(torch.float64, torch.bfloat16), (torch.float32, torch.float16)],
    ids=["double", "float16"],
)
def test_other_mixtures_of_types_have_products_of_full_precision(weights: torch.dtype, autocast: torch.dtype) -> None:
    head = flexible(dtype=weights)
    orders, window = (in_type(record, weights) for record in a_market(100))
    assert_equal(rolled(head, orders, window), rolled(head, orders, window, autocast))


def test_contexts_in_half_precision_need_autocast() -> None:
    head, (orders, window) = flexible(dtype=torch.float32), a_market(50)
    contexts = contexts_for(50, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        projected = head.project(contexts)
        assert projected.dtype == torch.bfloat16
        half = head.roll_out(OrderContexts.of(projected), orders, window)
        same = head.roll_out(OrderContexts.of(projected.float()), orders, window)
    assert half is not None
    assert same is not None
    assert all(map(torch.equal, vars(half).values(), vars(same).values()))
    (gradient,) = torch.autograd.grad(half.fills.square().sum() + half.finish.sum(), contexts)
    assert gradient.dtype == torch.float32
    assert torch.isfinite(gradient).all()
    assert gradient.norm() > 0
    assert head.roll_out(OrderContexts.of(projected), orders, window) is None


def test_shapes_that_do_not_fit_are_left_to_the_modules() -> None:
    head, (orders, window) = flexible(), a_market(10)
    contexts = OrderContexts.of(head.project(contexts_for(10)))
    table, rows = contexts.values, contexts.rows
    for wrong in (
        OrderContexts(table, rows[:9]),
        OrderContexts(table, rows[:, :-1]),
        OrderContexts(table, rows.int()),
        OrderContexts(table, rows + 1),
        OrderContexts(table, rows - 1),
        OrderContexts(table[:-1], rows),
        OrderContexts(table[..., :-1], rows),
    ):
        assert head.roll_out(wrong, orders, window) is None
    assert head.roll_out(contexts, orders[:9], window) is None
    longer, market = a_market(10, PERIODS + 1)
    assert head.roll_out(OrderContexts.of(head.project(contexts_for(10, PERIODS + 1))), longer, market) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_orders_may_read_the_same_bars(threads: int) -> None:
    head, (orders, window) = flexible(), a_market(60)
    table = head.project(torch.randn(25, CONTEXT, dtype=torch.float64)).detach().requires_grad_()
    rows = torch.randint(25, (60, PERIODS), generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gradients = []
        for contexts in (OrderContexts(table, rows), OrderContexts.of(table[rows])):
            paths = head.roll_out(contexts, orders, window)
            assert paths is not None
            objective = (paths.fills * window.price).sum() + paths.finish.square().sum() + paths.remaining.sum()
            gradients.append(torch.autograd.grad(objective, [table, *head.parameters()], allow_unused=True))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)
    assert gradients[0][0].abs().sum() > 0


def test_nothing_changes_up_to_the_period_of_finishing() -> None:
    head, (orders, window) = flexible(), a_market(200)
    with torch.no_grad():
        head.output.bias[1] = 0.3  # every order may finish soon
        contexts = OrderContexts.of(head.project(contexts_for(200)))
        whole, short = (head.roll_out(contexts, orders, window, to_finish=only) for only in (False, True))
        assert whole is not None
        assert short is not None
        period = chosen_period(whole)
        assert (period < orders.max_periods - 1).float().mean() > 0.2
        assert torch.equal(chosen_period(short), period)
        assert torch.equal(finishing_fills(short, period[:, None]), finishing_fills(whole, period[:, None]))
        plain = simulate(PeriodByPeriod(head), orders, window, contexts, to_finish=True)
        assert torch.equal(chosen_period(plain), period)


def test_without_kernels_the_simulator_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (orders, window) = random_model(tiny_config()).double(), a_market(40, 6)
    contexts = model.head.project(torch.randn(40, 6, model.head.context_size, dtype=torch.float64))
    fused = simulate(model, orders, window, contexts)
    monkeypatch.setattr(library, "kernels", lambda dtype: None)
    assert model._roll_out(OrderContexts.of(contexts), orders, window, to_finish=False) is None
    plain = simulate(model, orders, window, contexts)
    for name, values in vars(plain).items():
        torch.testing.assert_close(getattr(fused, name), values, rtol=1e-9, atol=1e-11, msg=name)


def test_answers_that_are_no_numbers_are_refused_as_ever() -> None:
    model, (orders, window) = random_model(tiny_config()), a_market(20, 6, max_periods=6, min_periods=1, max_rate=0.5)
    contexts = model.head.project(torch.randn(20, 6, model.head.context_size)).detach()
    contexts[7, 2] = torch.nan
    with pytest.raises(PolicyError, match=r"decide\(\) of period 2: .* is not finite") as caught:
        simulate(model, orders, window, contexts)
    assert caught.value.positions == (7,)
