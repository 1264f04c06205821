"""Whatever a policy does wrong, the error names the policy and the first order that it is wrong for."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import Decision, execute
from lem_models.errors import PolicyError
from lem_models.execution.policy import Policy
from lem_models.execution.session import LiveSession
from tests.helpers import hourly

BARS = hourly()
START = pd.Timestamp("2024-01-14T00:00Z")
ORDERS = pd.DataFrame(
    {
        "order_id": ["first", "second", "third"],
        "symbol": ["S001", "S000", "S001"],
        "start": [START, START, START + pd.Timedelta("1h")],
        "side": ["buy", "sell", "sell"],
        "max_periods": 6,
    }
)


class Even(Policy):
    """Answers what it is told to, and says of itself what it is told to."""

    def __init__(self, answer=None, **said):
        self.answer = answer
        for name, value in said.items():
            setattr(self, name, value)

    def decide(self, context, orders, state):
        even = Decision(state.remaining / (orders.max_periods - state.period), False)
        return even if self.answer is None else self.answer(orders, state, even)


def _fault(policy, orders=ORDERS):
    with pytest.raises(PolicyError) as error:
        execute(policy, BARS, orders)
    assert error.value.policy == type(policy).__name__
    assert f"policy '{type(policy).__name__}'" in str(error.value)
    assert "\n" not in str(error.value)
    copy = pickle.loads(pickle.dumps(error.value))
    assert (str(copy), vars(copy)) == (str(error.value), vars(error.value))
    return error.value


@pytest.mark.parametrize(
    "lookback", [-1, 1.5, 12.0, "12", 257, 2**70, None, True, float("nan"), [1], np.float64(3)], ids=repr
)
def test_a_lookback_is_a_whole_number_up_to_256(lookback):
    error = _fault(Even(lookback=lookback))
    assert "lookback is" in str(error)
    assert (error.order_id, error.symbol, error.start) == ("first", "S001", START)
    with pytest.raises(PolicyError, match=r"lookback is .* order_id 'first'"):
        LiveSession(Even(lookback=lookback), ORDERS.head(1), BARS.between(end=START))


@pytest.mark.parametrize("horizon", [-1, 0, 1.5, "12", 10**9, True, float("nan"), [6]], ids=repr)
def test_a_horizon_is_a_whole_number_of_periods(horizon):
    assert "horizon is" in str(_fault(Even(horizon=horizon)))


@pytest.mark.parametrize("name", ["risk_aversion", "fixed_risk_aversion"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True, 1j, np.array([1.0])], ids=repr)
def test_a_default_risk_aversion_is_a_number(name, value):
    assert f"{name} is" in str(_fault(Even(**{name: value})))


def test_settings_of_numpy_are_numbers():
    policy = Even(lookback=np.int64(3), horizon=np.int32(6), risk_aversion=np.float32(1))
    assert len(execute(policy, BARS, ORDERS).orders) == 3


ENCODED = [
    ([1.0], "list"),
    (np.zeros((18, 2)), "ndarray"),
    (1.0, "float"),
    (torch.zeros(18), r"[18]"),
    (torch.zeros(12, 2), r"[12, 2]"),
    (torch.zeros(18, 2, 2), r"[18, 2, 2]"),
    (torch.zeros(18, 2, dtype=torch.int64), "int64"),
    (torch.zeros(18, 2, dtype=torch.bool), "bool"),
    (torch.zeros(18, 2, dtype=torch.complex64), "complex64"),
]


@pytest.mark.parametrize(("encoded", "problem"), ENCODED, ids=lambda value: str(type(value)))
def test_contexts_are_floats_a_row_for_each_bar(encoded, problem):
    policy = Even()
    policy.encode = lambda market, rows, side: encoded
    error = _fault(policy)
    assert "encode() gave" in str(error)
    assert problem in str(error)
    assert error.order_id == "first"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_context_that_is_not_finite_is_named_with_the_first_order_that_reads_it(bad):
    policy, third = Even(), BARS.locate("S001", [(START + pd.Timedelta("6h")).value])[0] - 1

    def encode(market, rows, side):
        # The last bar that only the third order reads, for its side.
        return torch.where(torch.from_numpy((rows == third) & (side < 0))[:, None], bad, torch.zeros(len(rows), 2))

    policy.encode = encode
    error = _fault(policy)
    assert error.order_id == "third"
    assert "not finite for the bar of 2024-01-14 05:00 UTC" in str(error)
    policy.encode = lambda market, rows, side: torch.full((len(rows), 2), bad)
    with pytest.raises(PolicyError, match=r"not finite for the bar of 2024-01-13 23:00 UTC .*symbol 'S001'"):
        LiveSession(policy, ORDERS.head(1), BARS.between(end=START))


ANSWERS = [
    (None, "no attribute 'fraction'"),
    (0.1, "no attribute 'fraction'"),
    (Decision(None, False), "not one number per order"),
    (Decision("half", False), "not one number per order"),
    (Decision(0.1j, False), "complex"),
    (Decision(np.array([0.1j, 0.1, 0.1]), False), "complex"),
    (Decision(torch.tensor([0.1j, 0.1, 0.1]), False), "complex"),
    (Decision(torch.zeros(3), torch.zeros(3, dtype=torch.complex64)), "complex"),
    (Decision([0.1, 0.1j, 0.1], False), "complex"),
    (Decision(torch.zeros(2), False), "not one number per order"),
    (Decision(torch.zeros(3, 1), False), "not one number per order"),
    (Decision(np.zeros(3, dtype="m8[s]"), False), "not one number per order"),
    (Decision(np.array(["a", "b", "c"]), False), "not one number per order"),
]


@pytest.mark.parametrize(
    ("answer", "problem"), ANSWERS, ids=lambda value: None if isinstance(value, str) else repr(value)[:40]
)
def test_an_answer_is_one_real_number_per_order(answer, problem):
    error = _fault(Even(lambda orders, state, even: answer if state.period == 2 else even))
    assert "decide() of period 2" in str(error)
    assert problem in str(error)
    assert (error.order_id, error.symbol, error.start) == ("first", "S001", START)


@pytest.mark.parametrize("name", ["fraction", "finish"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named_with_its_order(name, bad):
    def answer(orders, state, even):
        values = torch.where(orders.side < 0, torch.tensor([0.1, 0.1, bad], dtype=torch.float64), 0.1)
        return Decision(values, False) if name == "fraction" else Decision(0.1, values)

    error = _fault(Even(answer))
    assert f"decide() of period 0: {name} is not finite" in str(error)
    assert error.order_id == "third"


def test_a_live_session_names_them_too():
    session = Even(lambda orders, state, even: Decision(float("nan"), False)).session(
        ORDERS.iloc[0].to_dict(), BARS.between(end=START)
    )
    with pytest.raises(PolicyError, match="policy 'Even', order_id 'first', symbol 'S001', start 2024-01-14 00:00"):
        session.decide()


def test_an_error_of_the_policy_itself_is_named_and_any_other_is_left_alone():
    def refuses(orders, state, even):
        raise PolicyError("not today")

    assert str(_fault(Even(refuses))).startswith("not today (policy 'Even'")

    def breaks(orders, state, even):
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        execute(Even(breaks), BARS, ORDERS)
