"""The detector of look-ahead: silent about causal policies, loud about one bar too many."""

import numpy as np
import pytest
import torch

from lem_models.errors import BarsError
from lem_models.evaluation.leak import check_leak
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.features.market import Market
from tests.helpers import hourly, policy_named, random_model, sessions

BARS = hourly(days=20, symbols=2)


class _Sees(Policy):
    """Reads a bar so many bars after the last one that has closed: 0 is allowed."""

    def __init__(self, ahead: int, *, what: str = "close", answer: str = "fraction") -> None:
        self.ahead, self.what, self.answer = ahead, what, answer

    def encode(self, market: Market, rows: np.ndarray, side: np.ndarray) -> torch.Tensor:
        values = getattr(market.bars, self.what)
        seen = values[np.minimum(rows + self.ahead, len(values) - 1)]
        return torch.from_numpy(np.log1p(seen))[:, None]

    def decide(self, context, orders, state):
        signal = torch.sigmoid(context[:, 0] - 3.0) / 10
        if self.answer == "fraction":
            return Decision(signal, torch.zeros_like(signal))
        return Decision(torch.full_like(signal, 0.05), signal)


@pytest.mark.parametrize("name", ["twap", "volume_curve", "stopping_rule"])
@pytest.mark.parametrize("bars", [BARS, sessions()], ids=["24/7", "sessions"])
def test_causal_policies_pass(name, bars):
    assert check_leak(policy_named(name), bars, checks=4) is None


def test_a_model_passes():
    assert check_leak(random_model(), BARS, checks=3) is None
    assert check_leak(_Sees(0), BARS, checks=3) is None


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("what", ["close", "volume"])
@pytest.mark.parametrize("answer", ["fraction", "finish"])
def test_a_policy_that_sees_the_future_is_caught(ahead, what, answer):
    leak = check_leak(_Sees(ahead, what=what, answer=answer), BARS)
    assert leak is not None
    assert leak.what == answer
    assert leak.before != leak.after
    # The bar decided about is the earliest one that the peek can move.
    assert leak.changed_from - leak.bar == (ahead - 1) * BARS.frequency
    assert f"the {answer} decided for the bar of {leak.bar:%Y-%m-%d %H:%M}" in str(leak)


def test_the_same_seed_finds_the_same_leak():
    assert check_leak(_Sees(1), BARS, seed=3) == check_leak(_Sees(1), BARS, seed=3)


def test_too_few_bars():
    with pytest.raises(BarsError, match="256 bars of history"):
        check_leak(policy_named("twap"), hourly(days=9, symbols=1))
