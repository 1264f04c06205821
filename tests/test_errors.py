"""Errors are part of the interface: typed, they name what they know, and they survive a process border."""

import pickle
import unicodedata

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


ODD = [
    *("\n", "\r", "\t", "\0", "\x07", "\x1b[2J", "\x7f", "\x85", "\x9b31m"),  # control characters
    *("\u202e", "\u202a", "\u2066", "\u2069", "\u200e", "\u061c"),  # of direction
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad"),  # without width
    *("\u2028", "\u2029", "\u00a0", "\u3000", "\ud800", "\ue000", "\U000e0041"),
]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
@pytest.mark.parametrize("name", errors.__all__)
def test_what_does_not_print_as_itself_is_escaped_in_every_message(name, odd):
    error = getattr(errors, name)(f"before{odd}after")
    assert str(error).isprintable()
    assert all(unicodedata.category(sign)[0] not in "C" for sign in str(error))
    assert str(error).startswith("before\\")
    assert str(error).endswith("after")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_coordinates_are_escaped_too(odd):
    assert str(BarsError("bad", symbol=f"a{odd}", timestamp=f"t{odd}", column=f"c{odd}", rule=odd)).isprintable()
    assert str(OrderError("bad", field=f"f{odd}", rule=odd)).isprintable()
    assert str(UnknownNameError.among("model", f"x{odd}", [f"x{odd}y"])).isprintable()


def test_letters_of_the_world_stay_as_they_are():
    text = "größer als 3 × σ – 日本 „x“ …"
    assert str(LEMError(text)) == text
