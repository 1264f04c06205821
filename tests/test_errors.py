"""Errors are part of the interface: typed, they name what they know, and they survive a process border."""

import pickle

import pytest

from lem_models import errors
from lem_models.errors import BarsError, LEMError, OrderError, UnknownNameError


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"BarsWarning"}))
def test_every_error_is_caught_by_the_base_class(name):
    assert issubclass(getattr(errors, name), LEMError)


def test_a_warning_is_no_error():
    assert issubclass(errors.BarsWarning, UserWarning)
    assert not issubclass(errors.BarsWarning, LEMError)


@pytest.mark.parametrize("name", ["BarsError", "OrderError", "ConfigError"])
def test_errors_about_values_are_value_errors(name):
    assert issubclass(getattr(errors, name), ValueError)


def test_a_bars_error_names_everything_it_knows():
    error = BarsError("too low", symbol="BTC", timestamp="2024-01-01 00:00Z", column="low", rule="low <= high")
    assert str(error) == ("too low (symbol 'BTC', timestamp '2024-01-01 00:00Z', column 'low', rule 'low <= high')")
    assert (error.symbol, error.timestamp, error.column, error.rule) == (
        "BTC",
        "2024-01-01 00:00Z",
        "low",
        "low <= high",
    )


def test_a_bars_error_leaves_out_what_it_does_not_know():
    error = BarsError("the table has no rows", rule="at least one bar")
    assert str(error) == "the table has no rows (rule 'at least one bar')"
    assert error.symbol is None
    assert str(BarsError("nothing known")) == "nothing known"


def test_an_order_error_names_field_row_and_rule():
    error = OrderError("max_rate is 0", field="max_rate", rule="max_rate > 0", row=3)
    assert str(error) == "max_rate is 0 (field 'max_rate', row 3, rule 'max_rate > 0')"
    assert (error.field, error.rule, error.row) == ("max_rate", "max_rate > 0", 3)


@pytest.mark.parametrize(
    "error",
    [
        BarsError("bad", symbol="A", timestamp="t", column="low", rule="r"),
        OrderError("bad", field="side", rule="r", row=0),
        UnknownNameError.among("model", "x", ["y"]),
    ],
)
def test_errors_can_be_pickled(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_an_unknown_name_comes_with_the_closest_ones():
    error = UnknownNameError.among("policy", "TWOP", ["vwap", "twap"])
    assert isinstance(error, LookupError)
    assert str(error) == "unknown policy 'TWOP'; did you mean 'twap' or 'vwap'? known: 'twap', 'vwap'"


def test_an_unknown_name_like_no_other_comes_with_the_known_ones():
    assert str(UnknownNameError.among("model", "qqqq", ["twap"])) == "unknown model 'qqqq'; known: 'twap'"
    assert str(UnknownNameError.among("model", "qqqq", [])) == "unknown model 'qqqq'; known: none"


def test_a_long_list_of_known_names_is_cut():
    message = str(UnknownNameError.among("symbol", "?", [f"S{index:02d}" for index in range(30)]))
    assert message.endswith("'S19' and 10 more")
