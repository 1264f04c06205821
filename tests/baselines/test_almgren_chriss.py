"""The optimal schedule for every benchmark: against the formula of the paper, a solver, and its limits."""

import numpy as np
import pytest
import torch

from lem_models.baselines.almgren_chriss import AlmgrenChriss, optimal_remaining
from lem_models.errors import ConfigError
from lem_models.execution.execute import execute
from lem_models.features.market import Market
from tests.helpers import flat_bars, hourly, order_table

FLAT = flat_bars([100.0] * 320)
BARS = hourly()
START = 200


def _fractions(impact, risk, *, bars=FLAT, periods=10, benchmark="arrival"):
    table = order_table(bars, START, max_periods=periods, risk_aversion=risk, benchmark=benchmark)
    traded = execute(AlmgrenChriss(impact=impact), bars, table).schedule
    fractions = np.zeros(periods)
    fractions[traded["period"]] = traded["fraction"]
    return fractions


UNIT = np.sqrt(10 / 12)
"""Of the utility for 10 periods, in bar volatilities: the risk of an improvement counts in it."""


def _expected(bars, periods=10):
    """Expected volumes of the order, mean 1."""
    window = Market(bars).over_orders(np.array([START]), np.array([periods]), periods)
    return window["expected_volume"][0]


def _weight_left(benchmark, volume):
    """Share of the benchmark's weight after each period."""
    if benchmark == "arrival":
        return np.zeros(len(volume))
    weight = np.ones_like(volume) if benchmark == "twap" else volume
    return 1 - np.cumsum(weight) / weight.sum()


def _objective(fractions, volume, weight_left, impact, risk):
    return impact * (fractions**2 / volume).sum() + risk / UNIT * ((1 - np.cumsum(fractions) - weight_left) ** 2).sum()


@pytest.mark.parametrize(("impact", "risk"), [(5.0, 0.5), (1.0, 1.0), (0.2, 2.0)])
def test_on_arrival_with_flat_volumes_what_is_left_is_a_sinh(impact, risk):
    kappa = np.arccosh(1 + risk / UNIT / impact / 2)
    left = np.sinh(kappa * (10 - np.arange(11))) / np.sinh(kappa * 10)
    np.testing.assert_allclose(_fractions(impact, risk), -np.diff(left), atol=1e-10)


@pytest.mark.parametrize("benchmark", ["vwap", "twap", "full_vwap", "arrival"])
@pytest.mark.parametrize("risk", [0.0, 0.3, 3.0])
def test_it_solves_the_quadratic_program(benchmark, risk):
    """The dense optimality system of the volumes expected at the start."""
    impact, generator = 2.0, np.random.default_rng(0)
    volume = generator.uniform(0.3, 2.0, 10)
    volume /= volume.mean()
    weight = _weight_left(benchmark, volume)
    steps = np.eye(10) - np.eye(10, k=-1)  # fractions are e_0 - steps @ left
    first = np.eye(10)[0]
    penalty = steps.T @ np.diag(1 / volume) @ steps * impact
    system, right = penalty + risk * np.eye(10), impact * steps.T @ (first / volume) + risk * weight
    left = np.append(np.linalg.solve(system[:9, :9], right[:9]), 0.0)

    remaining, found = torch.ones(1, dtype=torch.float64), []
    for s in range(10):
        ahead = [torch.from_numpy(values[None, s:]) for values in (volume, weight)]
        ratio = torch.tensor([risk / impact], dtype=torch.float64)
        remaining = optimal_remaining(remaining, *ahead, ratio, torch.tensor([10 - s]))
        found.append(remaining.item())
    # Period by period from what was left is the plan of the start: the schedule is time-consistent.
    np.testing.assert_allclose(found, left, atol=1e-12)


def test_orders_of_other_lengths_beside_it_change_nothing():
    generator = torch.Generator().manual_seed(0)
    volume, weight = torch.rand((2, 3, 8), generator=generator, dtype=torch.float64) + 0.1
    one, periods = torch.ones(3, dtype=torch.float64), torch.tensor([8, 5, 1])
    together = optimal_remaining(one, volume, weight, 0.4 * one, periods)
    for row, length in enumerate(periods.tolist()):
        alone = optimal_remaining(
            one[:1], volume[row : row + 1, :length], weight[row : row + 1, :length], 0.4 * one[:1], periods[row][None]
        )
        assert alone.item() == pytest.approx(together[row].item(), abs=1e-14)
    assert together[2] == 0


@pytest.mark.parametrize("benchmark", ["vwap", "twap", "full_vwap", "arrival"])
def test_without_risk_aversion_it_is_the_volume_curve(benchmark):
    found = _fractions(5.0, 0.0, bars=BARS, benchmark=benchmark)
    np.testing.assert_allclose(found, _expected(BARS) / 10, atol=1e-12)
    assert np.ptp(found) > 0.02  # the curve is not flat


def test_little_impact_is_the_benchmark_itself():
    assert _fractions(1e-9, 1.0)[0] == pytest.approx(1.0, abs=1e-8)
    np.testing.assert_allclose(_fractions(1e-9, 1.0, bars=BARS, benchmark="twap"), 0.1, atol=1e-7)


@pytest.mark.parametrize("benchmark", ["twap", "arrival"])
def test_it_minimises_impact_plus_risk_in_the_simulator(benchmark):
    """Volumes of the order are not read by these benchmarks, so what is executed is the plan of the start."""
    impact, risk, volume = 2.0, 0.7, _expected(BARS)
    best, generator = _fractions(impact, risk, bars=BARS, benchmark=benchmark), np.random.default_rng(0)
    weight = _weight_left(benchmark, volume)
    for _ in range(100):
        move = 0.02 * generator.standard_normal(10)
        other = best + move - move.mean()
        assert _objective(other, volume, weight, impact, risk) > _objective(best, volume, weight, impact, risk)


def test_risk_aversion_follows_the_benchmark_and_trades_earlier_for_arrival():
    first = [_fractions(5.0, risk)[0] for risk in (0.0, 0.1, 1.0, 10.0)]
    assert first == sorted(first)
    distance = [
        np.abs(_fractions(5.0, risk, bars=BARS, benchmark="twap") - 0.1).max() for risk in (0.0, 1.0, 10.0, 100.0)
    ]
    assert distance == sorted(distance, reverse=True)


def test_a_surge_of_volume_is_followed():
    """Against the VWAP: twice the expected volume in the first bar leaves less weight to come."""
    surge = flat_bars([100.0] * 320, [*([1.0] * START), 5.0, *([1.0] * 119)])
    assert _fractions(0.5, 1.0, bars=surge, benchmark="vwap")[1] > _fractions(0.5, 1.0, benchmark="vwap")[1] + 0.05


@pytest.mark.parametrize("impact", [0.0, -1.0, float("nan")])
def test_impact_must_be_positive(impact):
    with pytest.raises(ConfigError, match="impact must be positive"):
        AlmgrenChriss(impact=impact)
