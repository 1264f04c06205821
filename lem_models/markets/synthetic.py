r"""Simulated bars with a known distribution: for tests, demonstrations and nulls.

Prices are traded inside every bar along a path of ``intrabar_steps`` trades with random sizes, so open, high, low,
close and VWAP belong together (the VWAP is the size-weighted mean price of the path, inside [low, high] by
construction). For bar t with standard deviation ``sigma_t`` and trade j = 1..K:

    log p[t, j] = log p[t, j - 1] + sigma_t / sqrt(K) * z[t, j],        z = sqrt(c) * market + sqrt(1 - c) * own
    sigma_t     = volatility * m_t * exp(h_t - E),                      h_t = persistence * h_(t-1) + noise, std s
    log v_t     = log volume + season(t) + link * (log m_t + h_t - E) + u_t,
    u_t         = rho * u_(t-1) + noise, std volume_noise

``m_t`` is the mixing variable of Student's t (``sqrt((nu - 2) / chi2_nu)``: bar returns have fat tails), and E scales
``sigma_t`` to the given volatility (root mean square). This is the log-normal stochastic volatility model of Taylor
(1986) with the volume link of Clark (1973): a bar with a large move has a large volume.

With ``martingale=True`` sigma_t is constant and the drift of every step is ``- sigma^2 / (2 K)``: the price itself is
a martingale and its returns are independent, so no forecast of prices is possible. With ``price_process="bar"`` the
bars' own prices are that martingale: each VWAP is the last one times an independent log-normal, the close equals the
VWAP, volumes are independent log-normals. The optimal execution of an order is then a textbook problem.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from lem_models.guard.settings import Settings
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import DAY, read_frequency

__all__ = ["SyntheticMarket", "synthetic_bars"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class SyntheticMarket(Settings):
    """Settings of a simulated market; equal settings give equal bars.

    Raises:
        ConfigError: A setting is out of range; the message names every one.

    Example:
        >>> SyntheticMarket(symbols=2, days=7, seed=1).bars()
        Bars(2 symbols, 336 bars, 2024-01-01 00:00 to 2024-01-07 23:00 UTC, every 1h, calendar 24/7, 0 gaps)
    """

    refusal: ClassVar[str] = "synthetic market refused"

    symbols: int | tuple[str, ...] = Field(
        default=("S000", "S001"), description="Names, or how many (S000, S001, ...)."
    )
    days: float = Field(default=30.0, gt=0.0, description="Length of the period in calendar days.")
    frequency: str = Field(default="1h", description="Length of a bar, at most a day.")
    start: str = Field(default="2024-01-01", description="First day (UTC).")
    seed: int = Field(default=0, ge=0, description="Seed of the random numbers.")
    session: tuple[str, str] | None = Field(
        default=None, description="Opening and closing time (UTC) on weekdays, e.g. 14:30 and 21:00; none is 24/7."
    )
    price: float = Field(default=100.0, gt=0.0, description="First price, quote units.")
    volume: float = Field(default=1000.0, gt=0.0, description="Median volume of a bar, base units.")
    volatility: float = Field(default=0.0075, ge=0.0, le=0.5, description="Standard deviation of a bar, a fraction.")
    volatility_clustering: float = Field(
        default=0.4, ge=0.0, le=2.0, description="Standard deviation of log volatility; 0 switches clustering off."
    )
    volatility_persistence: float = Field(
        default=0.97, ge=0.0, lt=1.0, description="Autocorrelation of log volatility from bar to bar."
    )
    tail_degrees: float | None = Field(
        default=5.0, gt=2.0, description="Degrees of freedom of Student's t for bar returns; none is Gaussian."
    )
    volume_noise: float = Field(default=0.6, ge=0.0, le=3.0, description="Standard deviation of log volume.")
    volume_persistence: float = Field(
        default=0.7, ge=0.0, lt=1.0, description="Autocorrelation of log volume from bar to bar."
    )
    volume_seasonality: float = Field(
        default=0.4, ge=0.0, le=3.0, description="Amplitude of the time-of-day profile of log volume."
    )
    volume_volatility_link: float = Field(
        default=1.0, ge=0.0, le=3.0, description="How much log volume rises with the log volatility of the bar."
    )
    market_correlation: float = Field(
        default=0.3, ge=0.0, le=1.0, description="Correlation of the returns of any two symbols."
    )
    intrabar_steps: int = Field(default=12, ge=1, le=1000, description="Trades per bar.")
    martingale: bool = Field(default=False, description="Constant volatility, independent returns, price a martingale.")
    price_process: Literal["path", "bar"] = Field(
        default="path", description="Whether trades inside the bar or the bars' own prices are the random walk."
    )

    @field_validator("symbols")
    @classmethod
    def _name(cls, symbols: int | tuple[str, ...]) -> tuple[str, ...]:
        if isinstance(symbols, int):
            symbols = tuple(f"S{index:03d}" for index in range(symbols))
        if not symbols or len(set(symbols)) != len(symbols):
            raise ValueError("at least one symbol is needed, and no name twice")
        return symbols

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if len(self._timestamps()) < 2:
            raise ValueError(f"{self.days} days have fewer than two bars of {self.frequency}")
        return self

    def bars(self) -> Bars:
        """Simulate.

        Returns:
            Checked bars, every symbol with every bar.
        """
        timestamp = self._timestamps()
        profile = self.volume_seasonality * self._season(timestamp)
        root = np.random.default_rng(self.seed)
        # Each symbol has its own stream, so more symbols do not change the first ones.
        market_stream, *streams = root.spawn(1 + len(self._names()))
        market = market_stream.standard_normal((len(timestamp), self._steps()))
        simulate = self._bar_martingale if self.price_process == "bar" else self._path
        columns = [simulate(stream, market, profile) for stream in streams]
        frame = pd.DataFrame(
            {
                "timestamp": np.tile(timestamp, len(columns)),
                "symbol": np.repeat(np.array(self._names(), dtype=object), len(timestamp)),
                **{name: np.concatenate([column[name] for column in columns]) for name in columns[0]},
            }
        )
        frame["timestamp"] = pd.DatetimeIndex(frame["timestamp"], tz="UTC")
        calendar = "24/7" if self.session is None else "sessions"
        return Bars.from_frame(frame, calendar=calendar, frequency=self.frequency)

    def _path(self, stream: np.random.Generator, market: Floats, profile: Floats) -> dict[str, Floats]:
        """One symbol whose price moves from trade to trade; ``market`` [bars, steps], ``profile`` [bars]."""
        count, steps = len(market), self._steps()
        scale = np.ones(count)
        drift = 0.0
        if self.martingale:
            drift = -0.5 * self.volatility**2 / steps
        else:
            log_volatility = _autoregression(
                stream.standard_normal(count), self.volatility_persistence, self.volatility_clustering
            )
            # Divided by sqrt(E exp(2 h)) = exp(s^2), so that the root mean square of sigma_t is the volatility.
            scale = np.exp(log_volatility - self.volatility_clustering**2)
            if self.tail_degrees is not None:
                scale *= np.sqrt((self.tail_degrees - 2.0) / stream.chisquare(self.tail_degrees, count))
        returns = self._correlate(stream, market) * (self.volatility / np.sqrt(steps) * scale)[:, None] + drift
        log_price = np.cumsum(returns).reshape(count, steps) + np.log(self.price)
        trades = np.exp(log_price)
        opening = np.concatenate([[self.price], trades[:-1, -1]])
        size = stream.exponential(size=(count, steps)) + 1e-3
        size /= size.sum(axis=1, keepdims=True)
        noise = _autoregression(stream.standard_normal(count), self.volume_persistence, self.volume_noise)
        volume = self.volume * np.exp(profile + self.volume_volatility_link * np.log(scale) + noise)
        return {
            "open": opening,
            "high": np.maximum(opening, trades.max(axis=1)),
            "low": np.minimum(opening, trades.min(axis=1)),
            "close": trades[:, -1],
            "volume": volume,
            "notional": volume * (size * trades).sum(axis=1),
        }

    def _bar_martingale(self, stream: np.random.Generator, market: Floats, profile: Floats) -> dict[str, Floats]:
        """One symbol whose VWAPs are a log-normal martingale; ``market`` [bars, 1], the profile is not used."""
        returns = self._correlate(stream, market)[:, 0] * self.volatility - 0.5 * self.volatility**2
        price = self.price * np.exp(np.cumsum(returns))
        opening = np.concatenate([[self.price], price[:-1]])
        volume = self.volume * np.exp(self.volume_noise * stream.standard_normal(len(profile)))
        return {
            "open": opening,
            "high": np.maximum(opening, price),
            "low": np.minimum(opening, price),
            "close": price,
            "volume": volume,
            "notional": volume * price,
        }

    def _correlate(self, stream: np.random.Generator, market: Floats) -> Floats:
        """Standard normals of one symbol, [bars, steps], correlated with the market's."""
        own = stream.standard_normal((len(market), self._steps()))
        return math.sqrt(self.market_correlation) * market + math.sqrt(1.0 - self.market_correlation) * own

    def _timestamps(self) -> Integers:
        """Bar starts, int64 [bars], nanoseconds UTC."""
        step = read_frequency(self.frequency).value
        if step > DAY:
            raise ValueError("a bar is at most a day long")
        first = pd.Timestamp(self.start).tz_localize("UTC").normalize().as_unit("ns").value
        period = round(self.days * DAY)
        if self.session is None:
            return first + step * np.arange(period // step)
        opening, closing = self._session_times(self.session)
        days = np.arange(first // DAY, (first + period) // DAY)
        days = days[(days + 3) % 7 < 5]  # 1970-01-01 was a Thursday
        within = opening + step * np.arange((closing - opening) // step)
        return np.asarray((days[:, None] * DAY + within[None, :]).reshape(-1))

    def _season(self, timestamp: Integers) -> Floats:
        """Profile of log volume by time of day, [bars]: two humps round the clock, a U over a session."""
        if self.session is None:
            hour = timestamp % DAY / DAY * 24.0
            return np.asarray(np.cos((hour - 14.5) * np.pi / 12.0) + 0.4 * np.cos((hour - 2.5) * np.pi / 6.0))
        opening, closing = self._session_times(self.session)
        return np.asarray(np.cos(2.0 * np.pi * (timestamp % DAY - opening) / (closing - opening)))

    @staticmethod
    def _session_times(session: tuple[str, str]) -> tuple[int, int]:
        """Opening and closing time in nanoseconds after midnight."""
        opening, closing = (pd.Timedelta(f"{text}:00").as_unit("ns").value for text in session)
        if not 0 <= opening < closing <= DAY:
            raise ValueError(f"the session {session} must open before it closes, on the same day")
        return opening, closing

    def _steps(self) -> int:
        return 1 if self.price_process == "bar" else self.intrabar_steps

    def _names(self) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self.symbols)  # a number is already replaced by names


def synthetic_bars(**settings: Any) -> Bars:
    """Simulate bars in one call.

    Args:
        **settings: Fields of :class:`SyntheticMarket`.

    Returns:
        Checked bars.

    Example:
        >>> synthetic_bars(symbols=("BTCUSDT",), days=2, frequency="30min", martingale=True)
        Bars(1 symbol, 96 bars, 2024-01-01 00:00 to 2024-01-02 23:30 UTC, every 30min, calendar 24/7, 0 gaps)
    """
    return SyntheticMarket(**settings).bars()


def _autoregression(noise: Floats, persistence: float, std: float) -> Floats:
    """Stationary AR(1) with this autocorrelation and standard deviation, driven by standard normals; [bars]."""
    shocks = noise * std * np.sqrt(1.0 - persistence**2)
    shocks[0] = noise[0] * std
    return np.fromiter(accumulate(shocks.tolist(), lambda last, shock: persistence * last + shock), np.float64)
