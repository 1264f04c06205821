"""The sinh schedule and its limits."""

import numpy as np
import pytest

from lem_models.baselines.almgren_chriss import AlmgrenChriss
from lem_models.errors import ConfigError
from lem_models.execution.execute import execute
from tests.helpers import hourly, order_table

BARS = hourly()


def _fractions(impact, risk, periods=10):
    table = order_table(BARS, 100, max_periods=periods, risk_aversion=risk)
    traded = execute(AlmgrenChriss(impact=impact), BARS, table).schedule
    fractions = np.zeros(periods)
    fractions[traded["period"]] = traded["fraction"]
    return fractions


@pytest.mark.parametrize(("impact", "risk"), [(5.0, 0.5), (1.0, 1.0), (0.2, 2.0)])
def test_what_is_left_is_a_sinh(impact, risk):
    kappa = np.arccosh(1 + risk / impact / 2)
    left = np.sinh(kappa * (10 - np.arange(11))) / np.sinh(kappa * 10)
    np.testing.assert_allclose(_fractions(impact, risk), -np.diff(left), atol=1e-10)


def test_no_risk_aversion_is_an_even_pace():
    np.testing.assert_allclose(_fractions(5.0, 0.0), 0.1, atol=1e-12)


def test_little_impact_is_everything_at_once():
    assert _fractions(1e-9, 1.0)[0] == pytest.approx(1.0, abs=1e-8)


def test_it_minimises_cost_plus_risk():
    impact, risk = 2.0, 0.7

    def objective(fractions):
        left = 1 - np.cumsum(fractions)
        return impact * (fractions**2).sum() + risk * (left**2).sum()

    best, rng = _fractions(impact, risk), np.random.default_rng(0)
    for _ in range(100):
        move = 0.02 * rng.standard_normal(10)
        assert objective(best + move - move.mean()) > objective(best)


def test_more_risk_aversion_trades_earlier():
    first = [_fractions(5.0, risk)[0] for risk in (0.0, 0.1, 1.0, 10.0)]
    assert first == sorted(first)


@pytest.mark.parametrize("impact", [0.0, -1.0, float("nan")])
def test_impact_must_be_positive(impact):
    with pytest.raises(ConfigError, match="impact must be positive"):
        AlmgrenChriss(impact=impact)
