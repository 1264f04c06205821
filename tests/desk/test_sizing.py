"""Child orders: sums are exact, whole lots, no dust, within minimums and caps."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.desk.orders.sizing import Constraints, held_inside, size_notional, size_quantity

PRICE = Decimal(100)


@given(
    lots=st.integers(1, 10_000),
    lot=st.sampled_from(["1", "0.1", "0.00001", "100", "7"]),
    wishes=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    minimum=st.integers(1, 60),
    by_money=st.booleans(),
    capped=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_child_orders_sum_to_the_amount(lots, lot, wishes, minimum, by_money, capped):
    lot = Decimal(lot)
    amount, least = lots * lot, min(minimum, lots) * lot
    rules = Constraints(lot, *((None, least * PRICE) if by_money else (least, None)))
    left, carry, sent = amount, Decimal(0), []
    for place, wish in enumerate(wishes):
        last = place == len(wishes) - 1
        cap = None if last or not capped else least * 3
        sized = size_quantity(wish, amount, left, carry=carry, constraints=rules, price=PRICE, cap=cap, takes_all=last)
        assert 0 <= sized.quantity <= left
        assert sized.quantity % lot == 0
        assert not sized.quantity or sized.quantity >= least
        assert cap is None or sized.quantity <= cap
        left, carry = left - sized.quantity, sized.carry
        assert 0 <= carry <= least
        assert left == 0 or left >= least  # no dust
        sent.append(sized.quantity)
    assert left == 0
    assert sum(sent) == amount


@given(amount=st.decimals("0.001", "1e9", places=3), wishes=st.lists(st.floats(0, 0.3), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_quantity_without_lots_is_exact_too(amount, wishes):
    left = amount
    for place, wish in enumerate(wishes):
        sized = size_quantity(
            wish,
            amount,
            left,
            carry=Decimal(0),
            constraints=Constraints(),
            price=PRICE,
            takes_all=place == len(wishes) - 1,
        )
        assert 0 <= sized.quantity <= left
        left -= sized.quantity
    assert left == 0


@given(
    money=st.integers(200, 1_000_000),
    prices=st.lists(st.decimals("50", "150", places=2), min_size=1, max_size=20),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_money_is_spent_to_the_lot_and_no_further(money, prices, data):
    amount = left = Decimal(money)
    carry = Decimal(0)
    for place, price in enumerate(prices):
        last = place == len(prices) - 1
        wish = data.draw(st.floats(0, 1))
        sized = size_notional(
            wish, amount, left, carry=carry, constraints=Constraints(Decimal(1)), price=price, takes_all=last
        )
        assert sized.quantity == int(sized.quantity)
        left, carry = left - sized.quantity * price, sized.carry
        assert left >= 0
    assert left < prices[-1]


def test_fewer_lots_than_bars_use_fewer_bars():
    left, carry, sent = Decimal(3), Decimal(0), []
    for period in range(12):
        wish = float(left) / 3 / (12 - period)
        sized = size_quantity(
            wish,
            Decimal(3),
            left,
            carry=carry,
            constraints=Constraints(Decimal(1)),
            price=PRICE,
            takes_all=period == 11,
        )
        left, carry = left - sized.quantity, sized.carry
        sent.append(int(sized.quantity))
    assert sum(sent) == 3
    assert max(sent) == 1  # one lot in each of three bars, not three in the last


def test_a_rest_below_the_minimum_is_named():
    rules = Constraints(Decimal(1), min_quantity=Decimal(10))
    sized = size_quantity(1.0, Decimal(100), Decimal(4), carry=Decimal(0), constraints=rules, price=PRICE)
    assert sized.quantity == 0
    assert "less than min_quantity allows (10)" in sized.reason


def test_a_cap_below_the_minimum_is_named():
    rules = Constraints(Decimal(1), min_notional=Decimal(1000))
    sized = size_quantity(
        0.5, Decimal(100), Decimal(100), carry=Decimal(0), constraints=rules, price=PRICE, cap=Decimal(7)
    )
    assert (sized.quantity, sized.reason) == (0, "max_participation allows less than min_notional")


@pytest.mark.parametrize(("volume", "allowed"), [(0.0, "0"), (55.0, "5"), (1000.0, "30")])
def test_the_rate_is_held_inside_the_bar(volume, allowed):
    assert held_inside(Decimal(30), 0.1, volume, Decimal(1)) == Decimal(allowed)
