"""Path features: an order's position against its benchmark, its schedule, its durations and its size, for a network.

Prices are multiplied by the side, so that positive is good for the order. They are in bar volatilities, and no feature
depends on the units of price or volume. The expected weight of a future bar in the VWAP is its expected volume times
the factor that the context forecasts (the outlook). In the TWAP it is 1.

Under the square-root law a fill ``w`` in a bar of volume ``v`` (in mean expected bars) costs ``impact w sqrt(w / v)``
bar volatilities. So the size of an order and the factor of the law come in as one number,
:attr:`OrderBatch.impact <lem_models.execution.records.OrderBatch>`. Half-spread and fee are the same for every
schedule: no feature has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lem_models.execution.records import ExecutionState, OrderBatch

__all__ = [
    "LEAST_EXPECTED",
    "PATH_FEATURES",
    "PRIOR",
    "SIZE_FEATURES",
    "PathWindow",
    "RaggedState",
    "Weights",
    "benchmark_weights",
    "path_features",
]

PATH_FEATURES = 36
SIZE_FEATURES = 16  # of the size, of benchmarks that do not end with the order, and in units of its horizon
LEAST_EXPECTED = 1e-3  # of the mean: keeps the logarithm of an expected volume finite
PRIOR = 2.0  # bars of expected volume that shrink the level of the volume so far towards 1
_LEAST_VOLUME = 0.05  # of the bars in which the rest is to be traded: the impact divides by them


@dataclass(frozen=True)
class RaggedState(ExecutionState):
    """State of orders that are each in a period of their own.

    Attributes:
        period: Period of each order, int64 [orders].
        prices: [orders, horizon]; those of the first ``period`` columns count.
        volumes: Likewise.
    """

    period: Tensor  # type: ignore[assignment]


@dataclass(frozen=True)
class PathWindow:
    """The periods of an order around the one to decide: the same numbers, whatever the layout of the state.

    Where an order is in its first period, what says "last" is a stand-in that :meth:`known` puts aside.

    Attributes:
        period: Period to decide, one for all orders or int64 [orders].
        expected: Expected volumes from this period on, [orders, ahead]; what lies behind the horizon has any value.
        ahead: Numbers of these periods, int64 [ahead] or [orders, ahead].
        elapsed: The period as a number, [orders].
        volume_so_far: Volume of the periods so far, [orders].
        expected_so_far: Its expectation, [orders].
        prices: Bar prices of the periods so far, [orders, any]; some may occur twice.
        last_price: Price of the last period, [orders].
        price_before: Price of the period before that, [orders].
        last_volume: Volume of the last period, [orders].
        last_expected: Its expectation, [orders].
    """

    period: int | Tensor
    expected: Tensor
    ahead: Tensor
    elapsed: Tensor
    volume_so_far: Tensor
    expected_so_far: Tensor
    prices: Tensor
    last_price: Tensor
    price_before: Tensor
    last_volume: Tensor
    last_expected: Tensor

    @classmethod
    def of(cls, state: ExecutionState) -> PathWindow:
        """The window of a state."""
        return cls._ragged(state) if isinstance(state, RaggedState) else cls._uniform(state)

    @classmethod
    def _uniform(cls, state: ExecutionState) -> PathWindow:
        s, expected, volume_so_far = state.period, state.expected_volume, state.volumes.sum(1)
        prices = state.prices if s else state.last_close[:, None]
        last = expected[:, s - 1] if s else expected[:, 0]
        return cls(
            period=s,
            expected=expected[:, s:],
            ahead=torch.arange(s, expected.shape[1], device=expected.device),
            elapsed=torch.full_like(volume_so_far, float(s)),
            volume_so_far=volume_so_far,
            expected_so_far=expected[:, :s].sum(1),
            prices=prices,
            last_price=prices[:, -1],
            price_before=prices[:, -2] if s > 1 else prices[:, -1],
            last_volume=state.volumes[:, -1] if s else last,
            last_expected=last,
        )

    @classmethod
    def _ragged(cls, state: RaggedState) -> PathWindow:
        s, expected = state.period[:, None], state.expected_volume
        column = torch.arange(expected.shape[1], device=expected.device)
        ahead, gone = column + s, column < s

        def at(values: Tensor, back: int) -> Tensor:
            return values.gather(1, (s - back).clamp(min=0))[:, 0]

        last_price = torch.where(state.period > 0, at(state.prices, 1), state.last_close)
        return cls(
            period=state.period,
            expected=expected.gather(1, ahead.clamp(max=expected.shape[1] - 1)),
            ahead=ahead,
            elapsed=state.period.to(expected.dtype),
            volume_so_far=torch.where(gone, state.volumes, 0.0).sum(1),
            expected_so_far=torch.where(gone, expected, 0.0).sum(1),
            prices=torch.where(gone, state.prices, last_price[:, None]),
            last_price=last_price,
            price_before=torch.where(state.period > 1, at(state.prices, 2), last_price),
            last_volume=at(state.volumes, 1),
            last_expected=at(expected, 1),
        )

    def known(self, values: Tensor, otherwise: Tensor, periods: int = 1) -> Tensor:
        """``values`` of orders with so many periods behind them, [orders]."""
        if isinstance(self.period, int):
            return values if self.period >= periods else otherwise
        return torch.where(self.period >= periods, values, otherwise)


@dataclass(frozen=True)
class Weights:
    """Weights of the order's bars in its benchmark, and their volumes.

    Against the arrival price they are volumes, which make trading cheap.

    Attributes:
        past: Weight of the periods so far, [orders].
        future: Expected weights of the periods from now on, 0 after the maximum, [orders, horizon - period].
        volume_so_far: Volume of the periods so far, [orders].
        volume: Expected volumes of the periods from now on, 0 after the maximum, [orders, horizon - period].
        log_level: Log of the volume so far over its expectation, shrunk, [orders].
        window: The periods that they belong to.
    """

    past: Tensor
    future: Tensor
    volume_so_far: Tensor
    volume: Tensor
    log_level: Tensor
    window: PathWindow

    @property
    def pace(self) -> Tensor:
        """This period's share of the expected weight from now to the maximum, [orders]."""
        return self.future[:, 0] / self.future.sum(1).clamp(min=1e-6)

    @property
    def schedule(self) -> Tensor:
        """Share of the whole expected weight up to and including this period, [orders]."""
        return (self.past + self.future[:, 0]) / (self.past + self.future.sum(1)).clamp(min=1e-6)


def benchmark_weights(
    orders: OrderBatch, state: ExecutionState, outlook: Tensor, exponent: Tensor | None = None
) -> Weights:
    """Past and expected weights.

    Args:
        orders: The orders.
        state: What has happened so far.
        outlook: Log of the volume to come over the expected one, for the next bars, [orders, horizon].
        exponent: Power of the expected volumes, [orders, 1]; 1 without it.
    """
    window = PathWindow.of(state)
    expected, volume_so_far = window.expected, window.volume_so_far
    live = (window.ahead < orders.max_periods[:, None]).to(expected.dtype)
    promised = expected if exponent is None else expected.clamp(min=LEAST_EXPECTED) ** exponent.to(expected)
    volume = promised * torch.exp(outlook[:, : expected.shape[1]].to(expected)) * live
    return Weights(
        past=torch.where(orders.is_twap, window.elapsed, volume_so_far),
        future=torch.where(orders.is_twap[:, None], live, volume),
        volume_so_far=volume_so_far,
        volume=volume,
        log_level=torch.log((volume_so_far + PRIOR) / (window.expected_so_far + PRIOR)),
        window=window,
    )


def path_features(orders: OrderBatch, state: ExecutionState, weights: Weights) -> Tensor:
    """Path features and those of the size, [orders, PATH_FEATURES + SIZE_FEATURES], of about unit size, within +-6."""
    window = weights.window
    s = window.period
    maximum, minimum = orders.max_periods.to(state.remaining.dtype), orders.min_periods.to(state.remaining.dtype)
    side, sigma = orders.side, state.volatility
    past, future = weights.past, weights.future
    cumulative = torch.cumsum(future, 1)
    to_end = cumulative[:, -1]
    next_weight = future[:, 0]
    zero = torch.zeros_like(sigma)

    # Finishing takes `needed` periods at the cap. The benchmark ends after them, but not before the minimum. That over
    # the full horizon ends with the maximum.
    needed = torch.ceil(state.remaining / orders.max_rate - 1e-6).clamp(min=1)
    finish_index = (torch.maximum(needed, minimum - s) - 1).long().clamp(0, future.shape[1] - 1)
    to_finish = cumulative.gather(1, finish_index[:, None]).squeeze(1)
    minimum_index = (orders.min_periods - s - 1).clamp(0, future.shape[1] - 1)
    to_minimum = torch.where(minimum > s, cumulative.gather(1, minimum_index[:, None]).squeeze(1), zero)
    is_full, is_arrival = orders.has_benchmark("full_vwap"), orders.has_benchmark("arrival")
    to_finish, to_minimum = (torch.where(is_full, to_end, weight) for weight in (to_finish, to_minimum))

    benchmark = state.benchmark(orders)
    close = state.last_close
    filled = 1 - state.remaining
    average = filled * state.executed_price + state.remaining * close  # executed price if the rest trades at the close

    def gain(reference: Tensor, price: Tensor) -> Tensor:
        return side * torch.log(reference / price) / sigma

    def benchmark_after(weight: Tensor) -> Tensor:
        # Without any weight this is 0. The least value, far outside the features' limits, gives its log a gradient.
        after = ((past * benchmark + weight * close) / (past + weight).clamp(min=1e-6)).clamp(min=1e-30)
        return torch.where(is_arrival, 1.0, after)

    prices = window.prices.clamp(min=1e-6)
    against = side[:, None] * torch.log(prices / close[:, None]) / sigma[:, None]
    best, worst = (window.known(extreme, zero) for extreme in (against.amin(1), against.amax(1)))
    before, coming = window.last_expected, window.expected[:, 0]
    last_expected = window.known(torch.where(orders.is_twap, torch.ones_like(zero), before), zero)
    surprise = window.known(torch.log((window.last_volume + 0.05) / (before + 0.05)), zero)
    drift = window.known(torch.log((coming + 0.05) / (before + 0.05)), torch.log(coming + 0.05))
    step = window.known(gain(window.price_before, window.last_price), zero, 2)
    share_past = past / (past + to_end).clamp(min=1e-6)
    share_minimum = past / (past + to_minimum).clamp(min=1e-6)
    left = (maximum - s).clamp(min=1)
    one = torch.ones_like(zero)
    # In units of the order's own horizon: prices move with the root of time.
    scale = torch.sqrt(maximum / 12)
    after_finish, after_end = (gain(benchmark_after(weight), average) for weight in (to_finish, to_end))
    fills_gain = filled * gain(benchmark, state.executed_price)
    rest = orders.impact * state.remaining * torch.sqrt(state.remaining.clamp(min=1e-12))

    def rest_within(volume: Tensor) -> Tensor:
        """Impact of trading the rest in proportion to bars of this volume together."""
        return rest / torch.sqrt(volume.clamp(min=_LEAST_VOLUME)) / scale

    columns = [
        s / maximum,
        left / 12,
        (minimum - s - 1).clamp(min=0) / 12,
        (minimum <= s + 1).to(zero.dtype),
        minimum / maximum,
        one / left,
        filled,
        state.lower,
        state.upper,
        orders.max_rate,
        torch.log(orders.max_rate * maximum),
        orders.min_rate * maximum,
        state.remaining / orders.max_rate / left,
        share_past,
        2 * (filled - share_past),
        share_minimum,
        next_weight / to_end.clamp(min=1e-6),
        next_weight / (past + next_weight).clamp(min=1e-6),
        weights.log_level,
        surprise,
        drift,
        last_expected - 1,
        gain(benchmark, close),
        fills_gain,
        gain(benchmark, state.last_price),
        gain(one, close),
        after_finish,
        after_end,
        gain(benchmark_after(to_minimum), average),
        best,
        worst,
        step,
        torch.log(orders.risk_aversion + 0.02) / 2,
        orders.risk_aversion / (1 + orders.risk_aversion),
        orders.is_twap.to(zero.dtype),
        orders.is_notional.to(zero.dtype),
        is_full.to(zero.dtype),
        is_arrival.to(zero.dtype),
        torch.log(orders.impact + 0.02) / 2,
        orders.impact / (1 + orders.impact),
        rest_within(weights.volume[:, 0]),
        rest_within(weights.volume.sum(1)),
        orders.impact * filled / torch.sqrt(weights.volume_so_far + PRIOR),
        torch.log(maximum / 12),
        gain(benchmark, close) / scale,
        fills_gain / scale,
        gain(one, close) / scale,
        after_finish / scale,
        after_end / scale,
        best / scale,
        worst / scale,
        after_finish / torch.sqrt(left / 12),
    ]
    return torch.stack(columns, 1).clamp(-6.0, 6.0)
