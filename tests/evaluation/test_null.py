"""The martingale null keeps sizes, volumes and the grid, and leaves nothing to forecast."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import synthetic_bars
from lem_models.evaluation.null import martingale_null


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=3, days=40, seed=2)


def _moves(bars, price):
    """Log distance of a price from the previous close, all bars but each symbol's first."""
    previous = np.roll(np.log(bars.close), 1)
    inner = np.ones(len(bars), dtype=bool)
    inner[bars.offsets[:-1]] = False
    return (np.log(price) - previous)[inner]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_bar_is_kept_or_reflected_about_the_previous_close(seed):
    bars = synthetic_bars(symbols=2, days=5, seed=1)
    null = martingale_null(bars, seed)
    sign = np.sign(_moves(null, null.close)) * np.sign(_moves(bars, bars.close))
    for name in ("open", "close", "vwap"):
        assert _moves(null, getattr(null, name)) == pytest.approx(sign * _moves(bars, getattr(bars, name)), abs=1e-9)
    up, down = _moves(bars, bars.high), _moves(bars, bars.low)
    assert _moves(null, null.high) == pytest.approx(np.where(sign > 0, up, -down), abs=1e-9)
    assert _moves(null, null.low) == pytest.approx(np.where(sign > 0, down, -up), abs=1e-9)


def test_volumes_symbols_and_grid_stay(bars):
    null = martingale_null(bars, 3)
    assert null.symbols == bars.symbols
    assert np.array_equal(null.volume, bars.volume)
    assert np.array_equal(null.timestamp, bars.timestamp)


def test_signs_are_fair_and_independent_of_the_past(bars):
    moves = _moves(bars, bars.close)
    signs = np.array([np.sign(_moves(martingale_null(bars, s), martingale_null(bars, s).close)) for s in range(20)])
    signs *= np.sign(moves)
    tolerance = 4 / np.sqrt(signs.size)
    assert abs(signs.mean()) < tolerance
    assert abs((signs[:, 1:] * signs[:, :-1]).mean()) < tolerance


def test_equal_seeds_give_equal_bars(bars):
    assert martingale_null(bars, 7).content_hash == martingale_null(bars, 7).content_hash
    assert martingale_null(bars, 7).content_hash != martingale_null(bars, 8).content_hash
