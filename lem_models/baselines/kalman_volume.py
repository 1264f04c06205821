r"""Volume by a Kalman filter: Chen, Feng, Palomar (2016), "Forecasting intraday trading volume".

Log volume is a daily level, a dynamic part inside the day, the time slot's season and noise:

.. math:: y_t = \eta_t + \mu_t + \phi_{i(t)} + v_t, \quad
    \eta_{t+1} = a_\eta \eta_t + \varepsilon^\eta_t \text{ (between days)}, \quad
    \mu_{t+1} = a_\mu \mu_t + \varepsilon^\mu_t.

The season is the log of the slot's mean volume over the last 20 sessions. The other parameters come from moments of
the last 256 bars: with ``c_k`` the autocovariance of log volume less season and daily mean at lag ``k``, shrunk with a
prior of some bars, ``a_mu = c_2 / c_1``, ``var mu = c_1 / a_mu``, ``var v = c_0 - var mu``; the variance of the daily
level is that of the daily means. Outliers: their robust filter adds a sparse error ``z_t`` with an L1 penalty to the
observation, and its minimiser moves the innovation to the nearest end of a band, which is what is done here at three
standard deviations. Bars without volume are missing observations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.baselines.volume_forecast import Floats, History, VolumeForecaster

__all__ = ["KalmanVolume"]

_DAILY = 0.95  # a_eta: the daily level is close to a random walk; some days of history are too few to estimate it
_BAND = 3.0
_PRIOR_BARS = 64.0
_PRIOR = (0.20, 0.10, 0.07)  # c_0, c_1, c_2 of a market that nothing is known of


@register_policy("kalman_volume")
class KalmanVolume(VolumeForecaster):
    """Follows the VWAP by the filter's forecast of every bar to come; see the module.

    Example:
        >>> KalmanVolume().lookback
        256
    """

    def summary(self, history: History, symbols: list[str]) -> Floats:
        """``eta`` (with the mean of the history), ``mu``, ``a_mu``, ``var mu`` and ``var v``, [rows, 5]."""
        known = history.known
        y = np.log(history.ratio)
        mean = y.sum(1) / np.maximum(known.sum(1), 1)  # 0 where a bar is not known
        e = np.where(known, y - mean[:, None], 0.0)
        a, variance, noise, daily = self._moments(history, e)
        new_day = np.zeros(known.shape, dtype=bool)
        new_day[:, 1:] = history.session_of[:, 1:] != history.session_of[:, :-1]
        level, dynamic = self._filtered(history, e, new_day, a, variance, noise, daily)
        return np.stack([mean + level, dynamic, a, variance, noise], 1)

    def _moments(self, history: History, e: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """``a_mu``, ``var mu``, ``var v`` and ``var eta``, [rows] each."""
        known = history.known
        if history.has_days:
            days = int(history.session_of.max()) + 1
            table, count = np.zeros((len(e), days)), np.zeros((len(e), days))
            row = np.broadcast_to(np.arange(len(e))[:, None], e.shape)
            np.add.at(table, (row, history.session_of), np.where(known, e, 0.0))
            np.add.at(count, (row, history.session_of), known.astype(np.float64))
            means = table / np.maximum(count, 1)
            e = np.where(known, e - np.take_along_axis(means, history.session_of, axis=1), 0.0)
            daily = (means**2 * count).sum(1) / np.maximum(count.sum(1), 1)
        else:
            daily = np.zeros(len(e))
        e = np.clip(e, -_BAND, _BAND)
        covariances = []
        for lag, prior in enumerate(_PRIOR):
            both = known[:, lag:] & known[:, : known.shape[1] - lag]
            total = (e[:, lag:] * e[:, : e.shape[1] - lag] * both).sum(1)
            covariances.append((total + _PRIOR_BARS * prior) / (both.sum(1) + _PRIOR_BARS))
        c_0, c_1, c_2 = covariances
        c_1 = np.clip(c_1, 0.02 * c_0, 0.98 * c_0)
        a = np.clip(c_2 / c_1, 0.05, 0.98)
        variance = np.minimum(c_1 / a, 0.95 * c_0)
        return a, variance, c_0 - variance, daily

    def _filtered(
        self,
        history: History,
        e: Floats,
        new_day: npt.NDArray[np.bool_],
        a: Floats,
        variance: Floats,
        noise: Floats,
        daily: Floats,
    ) -> tuple[Floats, Floats]:
        """Filtered daily level and dynamic part after the last bar, [rows] each: two states, written out."""
        level, dynamic = np.zeros(len(a)), np.zeros(len(a))
        p, q, r = daily.copy(), np.zeros(len(a)), variance.copy()  # var level, covariance, var dynamic
        step, day_step = (1 - a**2) * variance, (1 - _DAILY**2) * daily
        for k in range(e.shape[1]):
            factor = np.where(new_day[:, k], _DAILY, 1.0)
            level, dynamic = factor * level, a * dynamic
            p = factor**2 * p + np.where(new_day[:, k], day_step, 0.0)
            q, r = factor * a * q, a**2 * r + step
            total = p + 2 * q + r + noise
            band = _BAND * np.sqrt(total)
            innovation = np.clip(e[:, k] - level - dynamic, -band, band)
            seen = history.known[:, k]
            gain_level, gain_dynamic = np.where(seen, (p + q) / total, 0.0), np.where(seen, (q + r) / total, 0.0)
            level, dynamic = level + gain_level * innovation, dynamic + gain_dynamic * innovation
            p, q, r = p - gain_level * (p + q), q - gain_level * (q + r), r - gain_dynamic * (q + r)
        return level, dynamic

    def forecast(self, summary: Tensor, periods: int) -> Tensor:
        """Mean of the log-normal volume of each bar ahead over that of its slot, [rows, periods].

        Its logarithm has mean ``eta + a^j mu`` and variance ``var v + (1 - a^2j) var mu``.
        """
        level, dynamic, a, variance, noise = (column[:, None] for column in summary.unbind(1))
        decay = a ** torch.arange(1, periods + 1)
        return torch.exp(level + decay * dynamic + (noise + (1 - decay**2) * variance) / 2)
