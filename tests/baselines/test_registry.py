"""Policies by name: a user's own class runs by its name, and a wrong name is answered with the right ones."""

import pytest

from lem_models import Decision, LEMModel, execute, list_models, list_policies, load_policy, register_policy
from lem_models.baselines import TWAP, registry
from lem_models.errors import ConfigError, PolicyError, UnknownNameError
from lem_models.evaluation.leak import check_leak
from lem_models.execution.session import LiveSession
from tests.helpers import hourly, order_table

BARS = hourly()
ORDERS = order_table(BARS, [100, 200], max_periods=8)


class Hasty:
    """Twice the pace of TWAP; derives from nothing."""

    def decide(self, context, orders, state):
        return Decision(fraction=2.0 / orders.max_periods, finish=False)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_POLICIES", dict(registry._POLICIES))


def test_a_registered_class_runs_by_its_name():
    assert register_policy("hasty")(Hasty) is Hasty
    assert "hasty" in list_policies()
    by_name, by_object = execute("hasty", BARS, ORDERS), execute(Hasty(), BARS, ORDERS)
    assert by_name.schedule.equals(by_object.schedule)
    assert by_name.schedule["fraction"].tolist() == [0.25] * 8
    assert check_leak("hasty", BARS, checks=2) is None
    order = {"symbol": BARS.symbols[0], "start": ORDERS["start"].iloc[0], "side": "buy", "max_periods": 8}
    assert LiveSession("hasty", order, BARS.between(end=order["start"])).decide().fraction == 0.25


def test_a_name_has_one_class():
    register_policy("hasty")(Hasty)
    assert register_policy("hasty")(Hasty) is Hasty  # the same module read again
    with pytest.raises(ConfigError, match="policy 'twap' is already registered as TWAP"):
        register_policy("twap")(Hasty)
    assert type(load_policy("twap")) is TWAP


@pytest.mark.parametrize("name", [*list_models(), "org/name", "mine.py:Mine", "", "2fast", "a b", 7])
def test_a_name_that_means_something_else_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be the name of a policy"):
        register_policy(name)


def test_a_registered_class_that_is_no_policy_is_named_when_it_runs():
    register_policy("empty")(type("Empty", (), {}))
    with pytest.raises(PolicyError, match="Empty is not a policy: it has no method decide"):
        execute("empty", BARS, ORDERS)


def test_a_model_is_loaded_by_its_name_and_by_its_folder(tmp_path):
    model = load_policy("lem-crypto-hourly")
    assert isinstance(model, LEMModel)
    model.save_pretrained(tmp_path / "mine")
    assert isinstance(load_policy(str(tmp_path / "mine")), LEMModel)


def test_an_unknown_name_is_answered_with_policies_and_models():
    with pytest.raises(UnknownNameError, match="unknown policy 'lem-crypto-hourl'; did you mean") as refused:
        load_policy("lem-crypto-hourl")
    for name in (*list_policies(), *list_models(), "oracle_vwap"):
        assert repr(name) in str(refused.value)
    assert set(refused.value.known) == {*list_policies(), *list_models(), "oracle_vwap"}


def test_a_folder_that_is_no_model_is_told_what_it_lacks(tmp_path):
    with pytest.raises(UnknownNameError, match=r"is not a model: it lacks config\.json"):
        load_policy(str(tmp_path))


def test_a_bound_is_loaded_with_a_warning(caplog):
    assert load_policy("oracle_vwap").executable is False
    assert "oracle_vwap is a bound, not a policy" in caplog.text
