"""Settings refuse what is wrong with the typed error that their class names, wherever the value stands."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from lem_models.errors import ConfigError, LEMError, OrderError
from lem_models.guard.settings import Settings, problems


class Costs(Settings):
    refusal: ClassVar[str] = "costs refused"

    fee: float = Field(0.0, ge=0)


class Market(Settings):
    path: str
    weights: tuple[float, ...] = ()


class Plan(Settings):
    refusal: ClassVar[str] = "plan refused"

    costs: Costs = Costs()
    markets: tuple[Market, ...] = ()


class Ticket(Settings):
    side: str

    @classmethod
    def refused(cls, error: ValidationError) -> LEMError:
        return OrderError(problems(error), field=str(error.errors()[0]["loc"][0]))


def test_every_problem_is_named_by_its_place():
    with pytest.raises(ConfigError) as error:
        Plan(costs={"fee": -1}, markets=[{"path": 3}, {"weights": 1}], other=1)
    assert str(error.value) == (
        "plan refused: costs.fee: Input should be greater than or equal to 0; "
        "markets.0.path: Input should be a valid string; markets.1.path: Field required; "
        "markets.1.weights: must be a list, not 1; other: Extra inputs are not permitted"
    )


def test_a_file_is_named():
    with pytest.raises(ConfigError, match=r"^the plan x\.yaml is refused: costs: must hold settings, not 'none'$"):
        Plan.parse({"costs": "none"}, "the plan x.yaml is refused")
    with pytest.raises(ConfigError, match=r"^x\.yaml is refused: it must hold settings, not \[1\]$"):
        Plan.parse([1], "x.yaml is refused")
    assert Plan.parse({"costs": {"fee": 1}}, "").costs == Costs(fee=1)


def test_a_class_may_raise_another_error():
    with pytest.raises(OrderError, match=r"side: Field required \(field 'side'\)"):
        Ticket()


def test_places_may_be_written_in_another_way():
    with pytest.raises(ValidationError) as error:
        Plan.model_validate({"markets": [{}]})
    assert problems(error.value, lambda keys: "/".join(map(str, keys))) == "markets/0/path: Field required"


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(ConfigError, match="settings refused: Input should be a valid string"):
        Market(**{"\ud800": "x"})


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Costs().fee = 1.0
