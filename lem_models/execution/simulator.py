r"""The simulator: one for training, evaluation, baselines and live sessions.

Before each period a policy gives a fraction and a probability of finishing. The simulator books the *continuing path*,
the fills of an order that never finishes early, and knows for every period ``s`` what finishing there would fill: with
``R_s`` left and capacities ``c_r`` (the cap where the bar trades, less under a participation limit), period ``r >= s``
fills

.. math:: w_r = \mathrm{clip}(R_s - (C_r - C_s), 0, c_r), \quad C_r = \sum_{q<r} c_q,

a closed form through cumulative sums. A policy that acts picks one ``s``; the training objective is the expectation
over all of them (:mod:`lem_models.execution.objective`). Both see the same fills.

Feasibility by construction: the fraction of period ``s`` lies in ``[lower, upper]``, ``upper =
min(max_rate, remaining)``, ``lower = max(min(min_rate, remaining), remaining - max_rate * (periods left after s))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.policy import Decision, ExecutionState, OrderBatch, Policy

__all__ = ["MarketWindow", "Outcome", "Paths", "chosen_period", "finishing_fills", "settle", "simulate"]


@dataclass(frozen=True)
class MarketWindow:
    """The market over the periods of each order; only the simulator sees it whole.

    Attributes:
        price: VWAP of each bar over the arrival price, [orders, periods].
        close: Close of each bar over the arrival price, [orders, periods].
        volume: Volume of each bar in units of the order's mean expected volume, [orders, periods]; 0 = cannot trade.
        expected_volume: Expected volume as known at the start, same unit, mean 1, [orders, periods].
        volatility: Volatility per bar at the start, as a fraction, [orders].
        arrival_price: Last close before the order, in units of the bars, [orders].
        volume_unit: Mean expected volume per period, in units of the bars, [orders].
    """

    price: Tensor
    close: Tensor
    volume: Tensor
    expected_volume: Tensor
    volatility: Tensor
    arrival_price: Tensor
    volume_unit: Tensor


@dataclass(frozen=True)
class Paths:
    """What a policy did, were it never to finish early.

    Attributes:
        fills: Fraction filled in each period, [orders, periods].
        remaining: Fraction left before each period, [orders, periods].
        finish: Probability of finishing in each period, 0 before the minimum and 1 in the last, [orders, periods].
        capacity: Largest fill of each period once finishing, [orders, periods].
    """

    fills: Tensor
    remaining: Tensor
    finish: Tensor
    capacity: Tensor


@dataclass(frozen=True)
class Outcome:
    """Result of a vector of fills; tensors have the fills' shape without the period axis.

    Attributes:
        executed_price: Average price of the fills over the arrival price; NaN when nothing filled.
        benchmark_price: VWAP or TWAP over ``max(min_periods, periods_used)`` periods, same unit.
        improvement: ``-side * (executed / benchmark - 1)``, a fraction, positive = good.
        periods_used: Periods until the last fill; ``max_periods`` for an order that did not complete.
        filled: Fraction filled.
    """

    executed_price: Tensor
    benchmark_price: Tensor
    improvement: Tensor
    periods_used: Tensor
    filled: Tensor


def _dust(dtype: torch.dtype) -> float:
    """Fractions below this are rounding errors of sums of fractions."""
    return 1e-12 if dtype == torch.float64 else 1e-6


def _to_lots(fraction: Tensor, lot: Tensor, *, down: bool = False) -> Tensor:
    """Nearest whole number of lots (or the next below), untouched where there are none."""
    safe = torch.where(lot > 0, lot, 1.0)
    lots = torch.floor(fraction / safe + 1e-6) if down else torch.round(fraction / safe)
    return torch.where(lot > 0, lots * safe, fraction)


def capacities(orders: OrderBatch, window: MarketWindow) -> Tensor:
    """Largest possible fill of each period, [orders, periods]: cap, participation limit, 0 where nothing trades."""
    periods = torch.arange(window.price.shape[1], device=window.price.device)
    open_ = (window.volume > 0) & (periods < orders.max_periods[:, None])
    units = window.volume * window.volume_unit[:, None]
    units = torch.where(orders.is_notional[:, None], units * window.price * window.arrival_price[:, None], units)
    limit = torch.nan_to_num(orders.participation[:, None] * units, nan=0.0, posinf=torch.inf)
    limit = _to_lots(torch.minimum(limit, orders.max_rate[:, None]), orders.lot[:, None], down=True)
    return torch.where(open_, limit, 0.0)


def simulate(policy: Policy, orders: OrderBatch, window: MarketWindow, contexts: Tensor | None = None) -> Paths:
    """Roll a policy over a batch of orders.

    Args:
        policy: Anything with ``decide``.
        orders: The orders, on the window's dtype.
        window: Their market.
        contexts: Context of the last closed bar before each period, [orders, periods, width].

    Returns:
        The continuing paths with their finish probabilities.

    Raises:
        PolicyError: when the policy answers with something that is not a finite number per order.
    """
    price, volume = window.price, window.volume
    count, periods = price.shape
    capacity = capacities(orders, window)
    traded = volume > 0
    money, units = torch.cumsum(price * volume, 1), torch.cumsum(volume, 1)
    price_sum, price_count = torch.cumsum(price * traded, 1), torch.cumsum(traded.to(price.dtype), 1)
    tiny = _dust(price.dtype)

    remaining = price.new_ones(count)
    weighted = price.new_zeros(count)  # sum of w P, or of w / P for a notional target
    fills, lefts, finishes = [], [], []
    for s in range(periods):
        last_close = window.close[:, s - 1] if s else price.new_ones(count)
        left_after = (orders.max_periods - 1 - s).clamp(min=0)
        upper = torch.minimum(orders.max_rate, remaining)
        lower = torch.maximum(torch.minimum(orders.min_rate, remaining), remaining - orders.max_rate * left_after)
        lower = torch.minimum(torch.where(lower > tiny, lower, 0.0), upper)
        filled = 1 - remaining
        some = filled > tiny
        safe_filled, safe_weighted = torch.where(some, filled, 1.0), torch.where(some, weighted, 1.0)
        average = torch.where(orders.is_notional, safe_filled / safe_weighted, safe_weighted / safe_filled)
        if s:
            any_volume = units[:, s - 1] > 0
            vwap = torch.where(any_volume, money[:, s - 1] / torch.where(any_volume, units[:, s - 1], 1.0), last_close)
            twap = torch.where(any_volume, price_sum[:, s - 1] / price_count[:, s - 1].clamp(min=1), last_close)
        else:
            vwap = twap = last_close
        # Copies: a policy holds nothing from which it could reach later bars, or change what the simulator knows.
        state = ExecutionState(
            period=s,
            remaining=remaining.clone(),
            lower=lower.clone(),
            upper=upper.clone(),
            executed_price=torch.where(some, average, last_close),
            vwap=vwap.clone(),
            twap=twap.clone(),
            last_price=price[:, s - 1].clone() if s else last_close.clone(),
            last_close=last_close.clone(),
            prices=price[:, :s].clone(),
            volumes=volume[:, :s].clone(),
            expected_volume=window.expected_volume.clone(),
            volatility=window.volatility.clone(),
            arrival_price=window.arrival_price.clone(),
        )
        decision = policy.decide(None if contexts is None else contexts[:, s].clone(), orders.copy(), state)
        live = (s < orders.max_periods) & (remaining > 0)
        fraction, finish = _checked(decision, live, remaining, s)
        may_finish = s + 1 >= orders.min_periods
        must_finish = s + 1 >= orders.max_periods
        finish = torch.where(must_finish, 1.0, torch.where(may_finish, finish, 0.0))
        fraction = torch.where(must_finish, upper, _to_lots(fraction, orders.lot))
        fill = torch.minimum(torch.minimum(torch.maximum(fraction, lower), upper), capacity[:, s])
        fills.append(fill)
        lefts.append(remaining)
        finishes.append(finish)
        weighted = weighted + torch.where(orders.is_notional, fill / price[:, s], fill * price[:, s])
        remaining = remaining - fill
        remaining = torch.where(remaining > tiny, remaining, 0.0)
    return Paths(torch.stack(fills, 1), torch.stack(lefts, 1), torch.stack(finishes, 1), capacity)


def _checked(decision: Decision, live: Tensor, like: Tensor, period: int) -> tuple[Tensor, Tensor]:
    """Answers of a policy, [orders] each; what it says of orders that are over does not matter."""
    answers = []
    if isinstance(decision, tuple) and len(decision) == 2:  # a plain pair is welcome from a user's own policy
        decision = Decision(*decision)
    for name in ("fraction", "finish"):
        try:
            answer = torch.as_tensor(getattr(decision, name), dtype=like.dtype, device=like.device).expand_as(like)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise PolicyError(f"decide() of period {period}: {name} is not one number per order: {error}") from None
        answer = torch.where(live, answer, 0.0)
        if not bool(torch.isfinite(answer).all()):
            raise PolicyError(f"decide() of period {period}: {name} is not finite for some orders")
        answers.append(answer)
    return answers[0], answers[1].clamp(0.0, 1.0)


def chosen_period(paths: Paths) -> Tensor:
    """First period whose finish probability exceeds 1/2, int64 [orders]."""
    return (paths.finish > 0.5).to(torch.int8).argmax(dim=1)


def finishing_fills(paths: Paths, period: Tensor) -> Tensor:
    """Fills of orders that finish in given periods: the continuing path before, the cap until done from there.

    Args:
        paths: Continuing paths.
        period: Period of finishing, int64 [orders, choices].

    Returns:
        [orders, choices, periods]. Exact: the closed form of the module's docstring.
    """
    count, periods = paths.fills.shape
    before = torch.cumsum(paths.capacity, 1) - paths.capacity
    spent = before[:, None, :] - before.gather(1, period)[:, :, None]
    left = paths.remaining.gather(1, period)[:, :, None] - spent
    left = torch.where(left > _dust(left.dtype), left, 0.0)
    finishing = torch.minimum(left, paths.capacity[:, None, :])
    ahead = torch.arange(periods, device=period.device) < period[:, :, None]
    return torch.where(ahead, paths.fills[:, None, :].expand(count, period.shape[1], periods), finishing)


def settle(fills: Tensor, orders: OrderBatch, window: MarketWindow) -> Outcome:
    """Prices, benchmark and improvement of fills.

    Args:
        fills: [orders, choices, periods].
        orders: The orders.
        window: Their market.

    Returns:
        Outcome with tensors [orders, choices].
    """
    price, volume = window.price, window.volume
    filled = fills.sum(-1)
    some = filled > _dust(price.dtype)
    safe = torch.where(some, filled, 1.0)
    money = (fills * price[:, None]).sum(-1)
    inverse = (fills / price[:, None]).sum(-1)
    executed = torch.where(orders.is_notional[:, None], safe / torch.where(some, inverse, 1.0), money / safe)
    executed = torch.where(some, executed, torch.nan)

    periods = torch.arange(1, fills.shape[-1] + 1, device=fills.device)
    complete = filled > 1 - 1e-5 if price.dtype != torch.float64 else filled > 1 - 1e-9
    last_fill = ((fills > 0) * periods).amax(-1)
    used = torch.where(complete, last_fill, orders.max_periods[:, None])
    end = torch.maximum(used, orders.min_periods[:, None]) - 1
    traded = (volume > 0).to(price.dtype)
    weight = torch.where(orders.is_twap[:, None], traded, volume)
    numerator, denominator = torch.cumsum(price * weight, 1).gather(1, end), torch.cumsum(weight, 1).gather(1, end)
    benchmark = numerator / torch.where(denominator > 0, denominator, torch.nan)
    improvement = -orders.side[:, None] * (executed / benchmark - 1)
    return Outcome(executed, benchmark, improvement, used, filled)
