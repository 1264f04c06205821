r"""Dynamic volume curve: Bialkowski, Darolles, Le Fol (2008), "Improving VWAP strategies: a dynamic volume approach".

The turnover of stock ``i`` (volume over its recent mean) is the sum of a common part, which follows the factors of the
market, and a specific part:

.. math:: x_{it} = c_{it} + y_{it}, \qquad c_{it} = \bar x_i + \sum_k \lambda_{ik} f_{kt},

The factors are principal components over the cross-section. The common part is seasonal: its forecast is its mean in
the same slot over the last 20 sessions. The specific part is taken relative to it, so that its size does not depend on
the time of day: ``x = c (1 + y)``. It follows ARMA(1, 1) with a constant, or SETAR if its AIC is lower:

.. math:: y_t = \psi + \varphi y_{t-1} + e_t + \theta e_{t-1}; \qquad
    y_t = \begin{cases} \varphi_{11} y_{t-1} + \varphi_{12} + e_t & y_{t-1} \le \tau \\
                        \varphi_{21} y_{t-1} + \varphi_{22} + e_t & y_{t-1} > \tau. \end{cases}

:meth:`DynamicVolumeCurve.fit` estimates the coefficients of the specific part on a training period. The last 256 bars
before a decision give its state. Without a fit it is ARMA(1, 1) with typical coefficients. (A decision reads its own
symbol only: the cross-section enters through the fit.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.baselines.volume_forecast import Floats, History, VolumeForecaster
from lem_models.errors import BarsError
from lem_models.features.market import MAX_LOOKBACK
from lem_models.markets.bars import Bars, BarsLike

__all__ = ["DynamicVolumeCurve", "SpecificPart", "fit_specific"]

_LOW, _HIGH = -3.0, 5.0  # of the specific part: beyond are outliers
_FLOOR = 0.05
_LONGEST = 3000  # bars that the specific part is fitted on


@dataclass(frozen=True)
class SpecificPart:
    """Coefficients of the specific part: ARMA(1, 1) where the regimes agree, SETAR where ``theta`` is 0.

    Attributes:
        low_constant: Constant at or below the threshold.
        low: Autoregression there.
        high_constant: Constant above it.
        high: Autoregression there.
        threshold: Threshold.
        theta: Moving average.
    """

    low_constant: float = 0.0
    low: float = 0.8
    high_constant: float = 0.0
    high: float = 0.8
    threshold: float = 0.0
    theta: float = -0.3

    def numbers(self) -> list[float]:
        """All of them, in order."""
        return [self.low_constant, self.low, self.high_constant, self.high, self.threshold, self.theta]


@register_policy("dynamic_volume_curve")
class DynamicVolumeCurve(VolumeForecaster):
    """Follows the VWAP by the curve and the specific part's forecast; see the module. Make one that knows a market with
    :meth:`fit`.

    Example:
        >>> DynamicVolumeCurve().specific("BTCUSDT").low
        0.8
    """  # noqa: D205

    def __init__(self) -> None:
        self._specific: dict[str, SpecificPart] = {}

    @classmethod
    def fit(cls, bars: BarsLike, *, factors: int = 1) -> DynamicVolumeCurve:
        """Estimate the specific parts beside the common one.

        Args:
            bars: Training period, all of it before the orders to be judged.
            factors: Principal components of the common part; one symbol has none, its slot means are the common part.

        Returns:
            A new policy. Symbols that the training period lacks get the defaults.

        Raises:
            BarsError: when there are fewer than 50 bars at which every symbol traded, or the symbols have several
                calendars.
        """
        bars = Bars.of(bars)
        _ = bars.calendar  # there is one: the error says how to take the markets apart
        turnover = _turnover(bars)
        if len(turnover) < 50:
            raise BarsError(f"{len(turnover)} bars at which every symbol traded are too few; 50 are needed", rule="fit")
        common = _common_part(turnover, factors)
        slot = bars.slot[: bars.offsets[1]]  # slots by time, from the first symbol
        slots = pd.Series(slot, index=bars.timestamp[: bars.offsets[1]]).reindex(turnover.index).to_numpy(np.int64)
        # All symbols have the slots of the first one: the panel holds only times at which all of them traded.
        expected = common.groupby(slots).transform("mean").clip(lower=_FLOOR)
        relative = (turnover / expected - 1).clip(_LOW, _HIGH).iloc[-_LONGEST:]
        policy = cls()
        policy._specific = {name: fit_specific(relative[name].to_numpy()) for name in relative.columns}
        return policy

    def specific(self, symbol: str) -> SpecificPart:
        """Coefficients of a symbol's specific part."""
        return self._specific.get(symbol, SpecificPart())

    def summary(self, history: History, symbols: list[str]) -> Floats:
        """Specific part, its last error and the coefficients, [rows, 8]."""
        coefficients = np.array([self.specific(symbol).numbers() for symbol in symbols]).reshape(-1, 6)
        y, error = _tracked(history, np.clip(history.ratio - 1, _LOW, _HIGH), coefficients)
        return np.concatenate([np.stack([y, error], 1), coefficients], 1)

    def forecast(self, summary: Tensor, periods: int) -> Tensor:
        """``1 + y`` of each bar ahead, at least a twentieth, [rows, periods]."""
        y, error, constant_low, low, constant_high, high, threshold, theta = summary.unbind(1)
        shock, columns = theta * error, []
        for _ in range(periods):
            y = torch.where(y <= threshold, constant_low + low * y, constant_high + high * y) + shock
            y = y.clamp(_LOW, _HIGH)
            shock = torch.zeros_like(shock)
            columns.append(y)
        return (1 + torch.stack(columns, 1)).clamp(min=_FLOOR)


def _tracked(history: History, y: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
    """The specific part at the last bar, and its error there; bars that did not trade take their forecast."""
    constant_low, low, constant_high, high, threshold, theta = coefficients.T
    last, error = np.zeros(len(y)), np.zeros(len(y))
    for k in range(y.shape[1]):
        regime = np.where(last <= threshold, constant_low + low * last, constant_high + high * last)
        expected = np.clip(regime + theta * error, _LOW, _HIGH)
        seen = history.known[:, k]
        last, error = np.where(seen, y[:, k], expected), np.where(seen, y[:, k] - expected, 0.0)
    return last, error


def _turnover(bars: Bars) -> pd.DataFrame:
    """Volume of each bar over the mean of the symbol's last bars, [times at which all traded, symbols]."""
    columns = {}
    for i, name in enumerate(bars.symbols):
        rows = slice(int(bars.offsets[i]), int(bars.offsets[i + 1]))
        volume = pd.Series(bars.volume[rows], index=bars.timestamp[rows])
        level = volume.rolling(MAX_LOOKBACK, min_periods=min(len(volume), 24)).mean()
        columns[name] = (volume / level.where(level > 0)).where(volume > 0)
    return pd.DataFrame(columns).dropna()


def _common_part(turnover: pd.DataFrame, factors: int) -> pd.DataFrame:
    """Projection of the turnovers on the first principal components."""
    if turnover.shape[1] < 2:
        return turnover
    from statsmodels.multivariate.pca import PCA

    count = min(factors, turnover.shape[1] - 1)
    projection = PCA(turnover.clip(upper=_HIGH), ncomp=count, standardize=True, demean=True).projection
    return pd.DataFrame(projection, index=turnover.index, columns=turnover.columns)


def fit_specific(y: npt.NDArray[np.float64]) -> SpecificPart:
    """ARMA(1, 1) with a constant or SETAR, whichever has the lower AIC.

    Args:
        y: Specific part, [bars].
    """
    from statsmodels.regression.linear_model import OLS
    from statsmodels.tsa.arima.model import ARIMA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # starting values outside the stationary region are replaced, with a warning
        arma = ARIMA(y, order=(1, 0, 1), trend="c").fit()
    mean, phi, theta, _ = (float(value) for value in arma.params)
    phi = float(np.clip(phi, -0.98, 0.98))
    best, chosen = float(arma.aic), SpecificPart((1 - phi) * mean, phi, (1 - phi) * mean, phi, 0.0, theta)
    previous, current = y[:-1], y[1:]
    for threshold in np.quantile(previous, np.linspace(0.15, 0.85, 15)):
        below = previous <= threshold
        regressors = np.stack([below, below * previous, ~below, ~below * previous], 1).astype(np.float64)
        setar = OLS(current, regressors).fit()
        aic = float(setar.aic) + 2.0  # the threshold is a parameter too
        if aic < best:
            values = [float(value) for value in setar.params]
            low, high = float(np.clip(values[1], -0.98, 0.98)), float(np.clip(values[3], -0.98, 0.98))
            best, chosen = aic, SpecificPart(values[0], low, values[2], high, float(threshold), 0.0)
    return chosen
