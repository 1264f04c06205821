"""The kernels of live orders, a bar of the backbone and a period of the flexible head: as the modules compute them."""

import pytest
import torch

from lem_models.execution.costs import CostModel
from lem_models.execution.execute import execute
from lem_models.execution.records import BENCHMARKS
from lem_models.modeling.backbone import BackboneState, LEMBackbone, StepWeights
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import AllocationHead, FlexibleHead
from lem_models.modeling.kernels.library import Table
from lem_models.orders import Order
from tests.helpers import hourly, random_model, tiny_config
from tests.modeling.compiled import need_kernels


@pytest.fixture(autouse=True)
def compiled() -> None:
    need_kernels()


def backbone(config: LEMConfig) -> LEMBackbone:
    """A backbone in double precision with every weight random."""
    made, generator = LEMBackbone(config).double().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def bars(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def begun(made: LEMBackbone, features: torch.Tensor, weights: StepWeights) -> BackboneState:
    _, state = made.begin(features, weights)
    return BackboneState.of([values.clone() for values in state.tensors()])


CONFIGS = {
    "small": {},
    "one feature, one head": {"features": ("range",), "attention_heads": 1},
    "three layers, wide": {"tkan_layers": 3, "hidden_size": 36, "attention_heads": 3},
    "a window of one bar": {"attention_window": 1},
    "a long window": {"attention_window": 70},
}


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sequences", [1, 9, 40])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_is_that_of_the_modules(name: str, sequences: int, threads: int) -> None:
    config = tiny_config(**CONFIGS[name])
    made, features = backbone(config), bars(sequences, 25, len(config.features))
    weights = made.step_weights()
    assert weights.fused is not None
    states = [begun(made, features[:, :3], weights) for _ in range(2)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for bar in range(3, features.shape[1]):
            fused = made.step(features[:, bar], states[0], weights)
            torch.testing.assert_close(fused, made.step(features[:, bar], states[1], weights._replace(fused=None)))
            torch.testing.assert_close(states[0].tensors(), states[1].tensors())
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(fused, made(features)[:, -1])


@torch.no_grad()
def test_a_step_of_a_sequence_is_the_same_in_any_batch() -> None:
    made, features = backbone(tiny_config()).float(), bars(40, 6, 21).float()
    weights = made.step_weights()
    together = made.step(features[:, 5], begun(made, features[:, :5], weights), weights)
    for row in (0, 8, 39):
        alone = begun(made, features[:, :5], weights).select(torch.tensor([row]))
        assert torch.equal(made.step(features[row : row + 1, 5], alone, weights)[0], together[row])


@torch.no_grad()
@pytest.mark.parametrize("parameter", [name for name, _ in LEMBackbone(tiny_config()).named_parameters()])
def test_a_step_knows_every_weight(parameter: str) -> None:
    made, features = backbone(tiny_config()), bars(2, 4, 21)
    weights = made.step_weights()
    first = made.step(features[:, 3], begun(made, features[:, :3], weights), weights)
    made.get_parameter(parameter).mul_(1.5).add_(0.1)
    changed = made.step_weights()
    second = made.step(features[:, 3], begun(made, features[:, :3], changed), changed)
    expected = made(features)[:, -1]
    torch.testing.assert_close(second, expected)
    assert not torch.allclose(first, second, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("exponent", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_decision_is_that_of_the_head(dtype: torch.dtype, exponent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(
        head_config={"hidden_size": 12, "layers": 3, "profile_exponent": exponent, "sized": True},
        benchmarks=BENCHMARKS,
        impact=0.8,
    )
    model, market = random_model(config).to(dtype), hourly(40, 2)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    decide, live, seen = FlexibleHead.decide, model.head.live(), set()

    def both(head, context, orders, state):
        expected, answer = decide(head, context, orders, state), live.decide(context, orders, state)
        under_way = orders.max_periods > state.period  # answers for orders that are over do not matter
        for name in ("fraction", "finish"):
            torch.testing.assert_close(
                *(getattr(each, name)[under_way] for each in (answer, expected)),
                **({} if dtype == torch.float64 else {"rtol": 0.0, "atol": 1e-5}),
            )
            assert torch.isfinite(getattr(answer, name)).all()
        seen.add(state.period)
        return expected

    monkeypatch.setattr(FlexibleHead, "decide", both)
    monkeypatch.setattr(FlexibleHead, "roll_out", AllocationHead.roll_out)  # period by period
    table = Order.sample(
        market, every=3, benchmark=BENCHMARKS, target=["quantity", "notional"], max_periods=[1, 4, 6], seed=2
    )
    table["max_rate"] = [
        (1.0, 0.6, 0.4)[row % 3] if length > 3 else 1.0 for row, length in enumerate(table["max_periods"])
    ]
    execute(model, market, table.assign(amount=10.0), costs=CostModel(impact=0.8))
    assert seen == set(range(6))


def test_contexts_are_projected_alike() -> None:
    head = random_model(tiny_config()).head
    contexts = bars(5, head.context_size).float()
    torch.testing.assert_close(head.live().project(contexts), head.project(contexts))


def test_a_head_that_decides_in_its_own_way_keeps_it() -> None:
    class Own(FlexibleHead):
        def decide(self, context, orders, state):
            return super().decide(context, orders, state)

    made = random_model(tiny_config()).head
    own = Own(made.context_size, made.horizon, made.config)
    assert own.live().decide == own.decide


def test_a_table_refuses_what_a_kernel_would_misread() -> None:
    with pytest.raises(TypeError, match="a table takes plain contiguous"):
        Table([torch.zeros(2, 3).t()])
