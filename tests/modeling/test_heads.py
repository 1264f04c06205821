"""Heads: a closed registry, and the flexible head's decisions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, MarketWindow, OrderBatch, OrderContexts
from lem_models.execution.simulator import simulate
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import AllocationHead, FlexibleHead, HeadConfig, build_head, list_heads, register_head
from lem_models.modeling.heads.path_state import PATH_FEATURES, SIZE_FEATURES, benchmark_weights, path_features
from tests.helpers import Recorder, Scripted, order_batch, random_orders, random_window

CONTEXT = 5


class _WithContext(Recorder):
    """A head as a policy, with a random context."""

    def __init__(self, head, seed=0):
        super().__init__(head)
        self.generator = torch.Generator().manual_seed(seed)

    def decide(self, context, orders, state):
        contexts = torch.randn(len(orders), CONTEXT, generator=self.generator)
        return super().decide(self.policy.project(contexts), orders, state)


def _weights(orders, state):
    return benchmark_weights(orders, state, torch.zeros(len(orders), 12))


def _path(orders, state):
    return path_features(orders, state, _weights(orders, state))


def _head(seed=0, scale=1.0):
    torch.manual_seed(seed)
    head = build_head("flexible", CONTEXT, 12, {"hidden_size": 16, "layers": 2})
    with torch.no_grad():
        head.output.weight.mul_(scale)
    return head.requires_grad_(False)


# --- the registry ----------------------------------------------------------------------------------------------------


def test_heads_are_built_by_name():
    assert "flexible" in list_heads()
    assert isinstance(_head(), FlexibleHead)
    with pytest.raises(UnknownNameError, match="unknown head 'flexibel'; did you mean 'flexible'"):
        build_head("flexibel", CONTEXT, 12, {})


@pytest.mark.parametrize("settings", [{"width": 3}, {"layers": 0}, {"hidden_size": 10**9}, {"layers": "many"}], ids=str)
def test_a_head_checks_its_settings(settings):
    with pytest.raises(ConfigError, match=f"head_config of 'flexible': {next(iter(settings))}"):
        build_head("flexible", CONTEXT, 12, settings)


def test_a_head_of_one_s_own_can_be_registered_and_named_in_a_configuration(monkeypatch):
    from lem_models.modeling.heads import base

    monkeypatch.setattr(base, "_HEADS", dict(base._HEADS))

    @register_head("all-at-once")
    class AllAtOnce(AllocationHead):
        def decide(self, context, orders, state):
            return Decision(1.0, True)

    assert LEMConfig(head="all-at-once").head == "all-at-once"
    assert isinstance(build_head("all-at-once", CONTEXT, 12, {}), AllAtOnce)
    register_head("all-at-once")(AllAtOnce)  # once more the same class is no conflict
    with pytest.raises(ConfigError, match="already registered as AllAtOnce"):
        register_head("all-at-once")(type("Other", (AllAtOnce,), {}))


def test_a_head_must_decide():
    with pytest.raises(TypeError, match="abstract"):
        AllocationHead(CONTEXT, 12, HeadConfig())


# --- the path of an order --------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 12), silent=st.sampled_from([0.0, 0.4, 1.0]))
def test_path_features_are_bounded_numbers_whatever_happens(seed, horizon, silent):
    rng = np.random.default_rng(seed)
    orders = OrderBatch.from_frame(random_orders(rng, 10, horizon))
    recorder = Recorder(Scripted(rng.random((10, horizon)) / 2))
    simulate(recorder, orders, random_window(rng, 10, horizon, silent=silent))
    for state in recorder.states:
        features = _path(orders, state)
        assert features.shape == (10, PATH_FEATURES + SIZE_FEATURES)
        assert torch.isfinite(features).all()
        assert (features.abs() <= 6).all()
        for share in (_weights(orders, state).pace, _weights(orders, state).schedule):
            assert ((share >= 0) & (share <= 1 + 1e-9)).all()


def test_the_path_of_an_order_does_not_depend_on_the_longest_of_its_batch():
    rng = np.random.default_rng(0)
    table = random_orders(rng, 30, 6)
    orders, window = OrderBatch.from_frame(table), random_window(rng, 30, 12)
    over = torch.arange(12) >= orders.max_periods[:, None]
    window.volume[over] = 0.0
    window.expected_volume[over] = 0.0
    script = Scripted(rng.random((30, 12)) / 3)
    recorder = Recorder(script)
    simulate(recorder, orders, window)
    for row in range(30):
        periods = int(table["max_periods"][row])
        part = slice(row, row + 1)
        alone = MarketWindow(**{k: v[part, :periods] if v.ndim == 2 else v[part] for k, v in vars(window).items()})
        one = Recorder(Scripted(script.fraction[part]))
        simulate(one, orders[part], alone)
        for period in range(periods):
            together = _path(orders, recorder.states[period])[part]
            torch.testing.assert_close(_path(orders[part], one.states[period]), together, atol=1e-9, rtol=0)


def test_a_buy_and_a_mirrored_sell_see_nearly_the_same_path():
    rng = np.random.default_rng(1)
    window = random_window(rng, 40, 8)
    mirrored = MarketWindow(**{**vars(window), "price": 1 / window.price, "close": 1 / window.close})
    script = Scripted(rng.random((40, 8)) / 4)
    seen = []
    for side, market in (("buy", window), ("sell", mirrored)):
        recorder = Recorder(script)
        orders = order_batch(40, max_periods=8, min_periods=3, side=side)
        simulate(recorder, orders, market)
        seen.append([_path(orders, state) for state in recorder.states])
    for buy, sell in zip(*seen, strict=True):
        # Averages of prices differ by the square of the volatility (1 %), in units of the volatility.
        assert (buy - sell).abs().max() < 0.15
        assert (buy - sell).abs().mean() < 5e-3


# --- the outlook -----------------------------------------------------------------------------------------------------


def test_the_auxiliary_loss_is_least_where_the_outlook_is_right():
    rng = np.random.default_rng(2)
    head, window = _head(), random_window(rng, 50, 12)
    truth = torch.tensor(0.7)
    window.volume[:] = window.expected_volume * torch.exp(truth)
    orders = order_batch(50, max_periods=12)
    losses = []
    for guess in (0.0, 0.4, 0.7, 1.0, 1.4):
        head.outlook.weight.zero_()
        head.outlook.bias.fill_(guess)
        losses.append(
            float(head.auxiliary_loss(OrderContexts.of(head.project(torch.zeros(50, 12, CONTEXT))), orders, window))
        )
    assert losses[2] == min(losses) == pytest.approx(0.0, abs=0.01)


def test_the_outlook_of_a_period_is_about_the_periods_after_it():
    rng = np.random.default_rng(3)
    head, window = _head(), random_window(rng, 20, 12)
    orders = order_batch(20, max_periods=6)
    contexts = torch.randn(20, 12, CONTEXT, requires_grad=True)
    head.requires_grad_(True).auxiliary_loss(OrderContexts.of(head.project(contexts)), orders, window).backward()
    assert (contexts.grad[:, :6].abs().sum((0, 2)) > 0).all()
    assert (contexts.grad[:, 6:] == 0).all()  # nothing is left to forecast after the maximum


# --- decisions -------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 12), scale=st.sampled_from([1.0, 1e3]))
def test_fractions_lie_in_the_feasible_interval_by_construction(seed, horizon, scale):
    rng = np.random.default_rng(seed)
    orders = OrderBatch.from_frame(random_orders(rng, 10, horizon))
    policy = _WithContext(_head(seed % 7, scale), seed)
    simulate(policy, orders, random_window(rng, 10, horizon, silent=0.1))
    for period, state in enumerate(policy.states):
        fraction, finish = policy.decisions()[:, period].T
        assert (fraction >= state.lower.numpy() - 1e-12).all()
        assert (fraction <= state.upper.numpy() + 1e-12).all()
        assert ((finish >= 0) & (finish <= 1)).all()


def test_a_fresh_head_keeps_close_to_the_volume_curve_and_rarely_finishes():
    rng = np.random.default_rng(2)
    orders, window = order_batch(50, max_periods=12, min_periods=1), random_window(rng, 50, 12)
    policy = _WithContext(_head())
    paths = simulate(policy, orders, window)
    assert (policy.decisions()[..., 1] < 0.3).all()
    curve = window.expected_volume / 12
    assert (paths.fills - curve).abs().mean() < 0.02


def test_decisions_keep_the_simulator_s_precision():
    orders, window = order_batch(3, max_periods=4), random_window(np.random.default_rng(0), 3, 4)
    assert simulate(_WithContext(_head()), orders, window).fills.dtype == torch.float64
    narrow = MarketWindow(**{k: v.float() for k, v in vars(window).items()})
    paths = simulate(_WithContext(_head()), order_batch(3, torch.float32, max_periods=4), narrow)
    assert paths.fills.dtype == torch.float32


def test_orders_that_are_over_cost_no_answer_and_change_none():
    head, rng, count = _head().double(), np.random.default_rng(0), 60
    orders = OrderBatch.from_frame(random_orders(rng, count, 12, sized=False, benchmarks=["vwap", "twap"]))
    contexts = head.project(torch.randn(count, 12, CONTEXT, dtype=torch.float64))
    asked = []

    class Watched(Policy):
        def decide(self, context, orders, state):
            live = (state.remaining > 0) & (state.period < orders.max_periods)
            asked.append(int(live.sum()))
            ours, every = head.decide(context, orders, state), head._answers(context, orders, state)
            for answer, expected in zip((ours.fraction, ours.finish), (every.fraction, every.finish), strict=True):
                torch.testing.assert_close(answer[live], expected[live], rtol=1e-12, atol=1e-13)
            assert torch.equal(ours.fraction[~live], state.lower[~live])
            assert not ours.finish[~live].any()
            return ours

    simulate(Watched(), orders, random_window(rng, count, 12, silent=0.1), contexts)
    assert asked[0] == count
    assert 0 < asked[-1] < count
