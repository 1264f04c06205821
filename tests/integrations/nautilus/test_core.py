"""The ledger of child orders and the mapping of parameters, without the engine."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lem_models import execute
from lem_models.errors import ConfigError, DeskError, OrderError
from lem_models.integrations import nautilus
from lem_models.integrations.nautilus.bars import bar_row, closed_after, history_table
from lem_models.integrations.nautilus.core import ChildLedger, child_id, parent_of
from lem_models.integrations.nautilus.parameters import PARAMETERS, VenueRules, desk_order, read_parameters
from lem_models.integrations.nautilus.tags import participation_of, participation_tag
from tests.helpers.markets import hourly

RULES = VenueRules(Decimal("0.1"), Decimal("0.01"))
HOUR = 3600 * 10**9
START = pd.Timestamp("2024-01-13 06:00", tz="UTC")
BARS = hourly(days=16)
SYMBOL = BARS.symbols[0]
COMING = BARS.between(start=START).frame.query("symbol == @SYMBOL").to_dict("records")


def order(label="O-1", amount="24", side="buy", **parameters):
    return desk_order(label, SYMBOL, side, Decimal(amount), RULES, {"max_periods": 6} | parameters)


def ledger(place=None, policy="twap", at=START):
    return ChildLedger(place, policy, clock=lambda: at.value)


def opened(place=None, policy="twap", **parameters):
    made = ledger(place, policy)
    made.take(order(**parameters), BARS.between(end=START))
    made.desk._ledger.clock = lambda: pd.Timestamp("2030", tz="UTC").value
    return made


class TestParameters:
    def test_are_fields_of_a_desk_order(self):
        made = order(min_periods=2, benchmark="twap", risk_aversion=0.3, max_participation=0.1)
        assert (made.min_duration, made.max_duration, made.benchmark.value) == (2, 6, "twap")
        assert (made.risk_aversion, made.max_participation) == (0.3, 0.1)
        assert made.hold_open
        assert (made.lot_size, made.tick_size) == (Decimal("0.1"), Decimal("0.01"))

    def test_texts_mean_what_numbers_mean(self):
        texts = {"min_periods": "2", "max_periods": "6", "risk_aversion": "0.3", "max_participation": "0.1"}
        numbers = {"min_periods": 2, "max_periods": 6, "risk_aversion": 0.3, "max_participation": 0.1}
        assert order(**texts) == order(**numbers)

    def test_durations_are_kept(self):
        assert read_parameters({"max_periods": "6h", "min_periods": "session"}) == {
            "max_duration": "6h",
            "min_duration": "session",
        }

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("max_period", "did you mean 'max_periods'"),
            ("horizon", "did you mean 'max_periods'"),
            ("urgency", "known: "),
        ],
    )
    def test_an_unknown_one_is_refused_with_a_hint(self, name, hint):
        with pytest.raises(OrderError, match=hint) as refused:
            read_parameters({name: 3})
        assert refused.value.field == name

    @pytest.mark.parametrize(
        ("name", "value"), [("max_periods", "many"), ("benchmark", "open"), ("risk_aversion", "x")]
    )
    def test_a_value_that_cannot_be_read_is_refused(self, name, value):
        with pytest.raises(OrderError) as refused:
            order(**{name: value})
        assert refused.value.field == PARAMETERS[name]

    def test_a_quantity_between_lots_is_refused(self):
        with pytest.raises(OrderError, match="no whole number of lots"):
            order(amount="1.05")

    def test_money_is_a_notional_order(self):
        assert desk_order("O", SYMBOL, "buy", Decimal(1000), RULES, is_money=True).is_notional


class TestIds:
    @given(st.text("AOx09-E", min_size=1), st.integers(1, 10**6))
    def test_an_id_names_its_parent_and_number(self, parent, number):
        assert parent_of(child_id(parent, number)) == (parent, number)

    @pytest.mark.parametrize("other", ["O-1", "O-1-E0", "O-1-E", "-E1"])
    def test_others_are_none(self, other):
        assert parent_of(other) is None

    def test_tags_carry_the_limit(self):
        assert participation_of(["x", participation_tag(0.05)]) == Decimal("0.05")
        assert participation_of(["max_participation=lots"]) is None


@dataclass
class FakeBar:
    open: float
    high: float
    low: float
    close: float
    volume: float
    ts_init: int


@dataclass
class FakeMoneyBar(FakeBar):
    quote_volume: Decimal


class TestBars:
    def test_are_stamped_with_their_start(self):
        row = bar_row(FakeBar(1, 4, 1, 2, 10, START.value + HOUR), HOUR)
        assert row["timestamp"] == START
        assert row["notional"] == pytest.approx((4 + 1 + 2) / 3 * 10)

    def test_money_that_is_known_is_not_estimated(self):
        assert bar_row(FakeMoneyBar(1, 4, 1, 2, 10, HOUR, Decimal("21.5")), HOUR)["notional"] == 21.5

    def test_newer_bars_come_in_their_order(self):
        cache = [FakeBar(1, 1, 1, 1, 1, hour * HOUR) for hour in (5, 4, 3, 2)]  # the newest first
        assert [bar.ts_init for bar in closed_after(cache, 3 * HOUR)] == [4 * HOUR, 5 * HOUR]

    def test_a_table_is_read_as_bars(self):
        bars = [FakeBar(1, 2, 1, 2, 3, START.value + hour * HOUR) for hour in range(48)]
        assert list(history_table(bars, "X", HOUR).columns) == list(BARS.frame.columns[:8])


class TestLedger:
    def test_a_child_is_decided_before_it_is_sent_and_only_once(self):
        made = opened()
        (child,) = made.wanted()
        assert (child.id, child.decision.quantity, child.start) == ("O-1-E1", Decimal(4), START.value)
        assert made.wanted() == [child]

    def test_every_bar_has_its_child_until_the_amount_is_filled(self):
        made, ids = opened(), []
        for row in COMING[:6]:
            for child in made.wanted():
                ids.append(child.id)
                made.fill(child.id, child.decision.quantity, row["close"], "t")
            made.observe(SYMBOL, [row])
        assert ids == [f"O-1-E{number}" for number in range(1, 7)]
        assert (made.parent("O-1").status, made.parent("O-1").filled) == ("done", Decimal(24))
        assert made.is_over("O-1")

    def test_what_is_open_at_the_venue_is_never_sent_again(self):
        made = opened()
        made.observe(SYMBOL, [COMING[0]])  # the first child has not filled: it may still do so
        sizes = [child.decision.quantity for child in made.wanted()]
        made.close("O-1-E1")
        made.observe(SYMBOL, [COMING[1]])
        freed = [child.decision.quantity for child in made.wanted()]
        assert sum(sizes) + 4 <= 24
        assert freed > sizes  # what the first did not fill is spread over the rest

    def test_a_refused_child_is_decided_again_and_nothing_is_lost(self):
        made, filled = opened(), Decimal(0)
        for number, row in enumerate(COMING[:6]):
            for child in made.wanted():
                if number == 2:
                    made.close(child.id, refused="no margin")
                    assert made.wanted() == []  # not again in the same bar
                    continue
                made.fill(child.id, child.decision.quantity, row["close"], "t")
                filled += child.decision.quantity
            made.observe(SYMBOL, [row])
        assert (filled, made.parent("O-1").rejections, made.parent("O-1").status) == (Decimal(24), 1, "done")

    def test_a_fill_is_booked_once_and_a_late_one_too(self):
        made = opened()
        assert made.fill("O-1-E1", 1, 100, "a").kind == "booked"
        assert made.fill("O-1-E1", 1, 100, "a").kind == "duplicate"
        made.observe(SYMBOL, [COMING[0]])
        assert made.fill("O-1-E1", 3, 100, "b").kind == "late"
        assert made.parent("O-1").filled == 4

    def test_fills_that_are_told_again_under_other_ids_are_not_booked_again(self):
        made = opened()
        made.fill("O-1-E1", 1, 100, "a")
        assert made.catch_up("O-1-E1", [(Decimal(1), Decimal(100), "a", START.value)]) == 0
        assert made.catch_up("O-1-E1", [(Decimal(1), Decimal(100), "inferred", START.value)]) == 0
        assert made.catch_up("O-1-E1", [(Decimal(3), Decimal(101), "one for all", START.value)]) == 2
        told = [(Decimal(1), Decimal(100), "a", START.value), (Decimal(3), Decimal(101), "c", START.value)]
        assert made.catch_up("O-1-E1", told) == 1
        assert (made.parent("O-1").filled, made.parent("O-1").over) == (4, 0)
        assert made.catch_up("O-2-E1", told) == 0

    def test_fills_of_others_are_passed_over(self):
        made = opened()
        assert made.fill("O-1-E7", 1, 100, "a") is None
        assert made.fill("O-2-E1", 1, 100, "a") is None
        made.close("O-2-E1")

    def test_an_order_that_expired_is_over_once_its_last_child_is(self):
        made = opened(max_periods=1)
        made.observe(SYMBOL, [COMING[0]])
        assert not made.is_over("O-1")  # the child may still fill
        made.close("O-1-E1")
        assert made.is_over("O-1")
        assert made.parent("O-1").status == "expired"

    def test_the_same_order_goes_on_and_another_one_of_its_id_is_refused(self):
        made = opened()
        assert not made.take(order())
        with pytest.raises(OrderError, match="differs in side"):
            made.take(order(side="sell"))
        made.cancel("O-1")
        with pytest.raises(OrderError, match="it is cancelled"):
            made.take(order())

    def test_bars_that_were_missed_are_taken_together(self):
        made = opened(max_periods=5)
        made.observe(SYMBOL, COMING[:3])
        (child,) = made.wanted()
        assert (child.id, child.decision.period) == ("O-1-E2", 3)

    def test_a_file_gives_the_same_children_to_the_next_process(self, tmp_path):
        pytest.importorskip("sqlalchemy", reason="SQLAlchemy is the extra 'desk', which is not installed")
        first = opened(tmp_path / "state.db")
        first.fill("O-1-E1", 1, 100, "a")
        first.observe(SYMBOL, [COMING[0]])
        before = first.wanted()
        with pytest.raises(DeskError, match="two processes never run one desk"):
            ledger(tmp_path / "state.db")
        first.shut()
        second = ledger(tmp_path / "state.db")
        assert second.wanted() == before
        assert (second.parents, second.active, second.children("O-1")) == (["O-1"], ["O-1"], ["O-1-E1", "O-1-E2"])
        assert second.fill("O-1-E1", 1, 100, "a").kind == "duplicate"
        assert second.open_children(of_the_past=True) == ["O-1-E1"]
        second.shut()


@pytest.mark.parametrize("policy", ["twap", "volume_curve", "lem-crypto-hourly"])
def test_where_the_venue_fills_what_is_wished_the_lots_are_the_simulators(policy):
    made, lots = opened(policy=policy, amount="60", min_periods=2), []
    for row in COMING[:6]:
        for child in made.wanted():
            lots.append(int(child.decision.quantity / RULES.lot_size))
            made.fill(child.id, child.decision.quantity, row["notional"] / row["volume"], "t")
        made.observe(SYMBOL, [row])
    table = {"symbol": SYMBOL, "start": START, "side": "buy", "amount": 60.0, "lot_size": 0.1}
    table |= {"min_periods": 2, "max_periods": 6}
    schedule = execute(policy, BARS, pd.DataFrame([table]), cap_ahead=True).schedule
    assert lots == [round(fraction * 600) for fraction in schedule["fraction"] if fraction > 0]


class TestWithoutTheEngine:
    def test_the_core_imports_none_of_it(self, monkeypatch):
        monkeypatch.setattr(nautilus, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"LEMExecAlgorithm needs .*lem-models\[nautilus\]"):
            nautilus.LEMExecAlgorithm  # noqa: B018

    def test_an_unknown_name_is_no_attribute(self):
        with pytest.raises(AttributeError, match="no attribute 'LEMAlgo'"):
            nautilus.LEMAlgo  # noqa: B018
