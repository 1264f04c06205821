r"""The simulator: one for training, evaluation, baselines and live sessions.

Before each period a policy gives a fraction and a probability of finishing. The simulator books the *continuing path*:
the fills of an order that never finishes early. From it follow the fills of finishing in any period ``s``. With ``R_s``
left and capacities ``c_r`` (the cap where the bar trades, less under a participation limit), period ``r >= s`` fills

.. math:: w_r = \mathrm{clip}(R_s - (C_r - C_s), 0, c_r), \quad C_r = \sum_{q<r} c_q,

a closed form through cumulative sums. A policy that acts picks one ``s``; the training objective is the expectation
over all of them (:mod:`lem_models.execution.objective`). Both see the same fills.

:class:`~lem_models.execution.roll.Roll` has the rules that turn a decision into a fill.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.execution.measures import shortfall
from lem_models.execution.policy import Policy
from lem_models.execution.records import (
    BENCHMARKS,
    CostlyWindow,
    MarketWindow,
    OrderBatch,
    OrderContexts,
    Outcome,
    Paths,
)
from lem_models.execution.roll import Roll, dust
from lem_models.statistics.reference_prices import REFERENCE_PRICES, OrderMarket

__all__ = [
    "average_prices",
    "chosen_period",
    "finishing_fills",
    "participation",
    "settle",
    "simulate",
]

_LARGEST_COST = 0.9  # as a fraction of the price: no law of impact holds there, and a sale never has a negative price


def simulate(
    policy: Policy,
    orders: OrderBatch,
    window: MarketWindow,
    contexts: OrderContexts | Tensor | None = None,
    *,
    to_finish: bool = False,
    cap_ahead: bool = False,
) -> Paths:
    """Roll a policy over a batch of orders.

    A model with a kernel for all periods at once (:meth:`AllocationHead.roll_out`) uses it, through a private method
    of the model: it is handed the whole market, which ``decide`` never sees, so it is no part of the policy protocol.

    Args:
        policy: Anything with ``decide``.
        orders: The orders, on the window's dtype.
        window: Their market.
        contexts: Context of the last closed bar before each period, [orders, periods, width].
        to_finish: Whether the periods after :func:`chosen_period` are not wanted. They may then hold anything.
        cap_ahead: Whether participation limits cap decisions too, by the volume expected of each period.

    Returns:
        The continuing paths with their finish probabilities.

    Raises:
        PolicyError: when the policy answers with something that is not a finite number per order.
    """
    if isinstance(contexts, Tensor):
        contexts = OrderContexts.of(contexts)
    # Of the class: an object that passes unknown attributes on to a model decides in its own way.
    roll_out = getattr(type(policy), "_roll_out", None)
    has_kernel = not (cap_ahead and bool(torch.isfinite(orders.participation).any()))  # no kernel caps ahead
    if roll_out is not None and contexts is not None and has_kernel:
        paths: Paths | None = roll_out(policy, contexts, orders, window, to_finish=to_finish)
        if paths is not None:
            return paths
    roll = Roll.of(orders, window, cap_ahead=cap_ahead)
    # Bars by period, each a contiguous row: the columns of [orders, periods] are strided.
    bars = zip(
        *(values.t().contiguous().unbind(0) for values in (window.price, window.close, window.volume)), strict=True
    )
    # One unbind: the gradient of each single slice would be a tensor of all periods.
    by_period = [None] * window.price.shape[1] if contexts is None else contexts.dense().unbind(1)
    for context, bar in zip(by_period, bars, strict=False):
        roll.decide(policy, context)
        roll.book(*bar)
    return roll.paths()


def chosen_period(paths: Paths) -> Tensor:
    """First period whose finish probability exceeds 1/2, int64 [orders]."""
    return (paths.finish > 0.5).to(torch.int8).argmax(dim=1)


def finishing_fills(paths: Paths, period: Tensor) -> Tensor:
    """Fills of orders that finish in given periods: the continuing path before, then the cap until the order is done.

    Args:
        paths: Continuing paths.
        period: Period of finishing, int64 [orders, choices].

    Returns:
        [orders, choices, periods], exact, by the closed form in the module's docstring.
    """
    count, periods = paths.fills.shape
    before = torch.cumsum(paths.capacity, 1) - paths.capacity
    spent = before[:, None, :] - before.gather(1, period)[:, :, None]
    left = paths.remaining.gather(1, period)[:, :, None] - spent
    left = torch.where(left > dust(left.dtype), left, 0.0)
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
    price = window.price
    filled = fills.sum(-1)
    executed, net = average_prices(fills, filled, orders, window)
    periods = torch.arange(1, fills.shape[-1] + 1, device=fills.device)
    complete = filled > 1 - dust(price.dtype)
    last_fill = ((fills > 0) * periods).amax(-1)
    used = torch.where(complete, last_fill, orders.max_periods[:, None])
    end = torch.maximum(used, orders.min_periods[:, None]) - 1
    market = OrderMarket(price, window.volume, end, orders.max_periods[:, None] - 1, orders.is_notional)
    benchmark = benchmark_prices(orders, market)
    improvement = -orders.side[:, None] * (net / benchmark - 1)
    is_arrival = orders.has_benchmark("arrival")[:, None]
    if is_arrival.any():
        last = window.close.gather(1, market.last)
        improvement = torch.where(is_arrival, -shortfall(net, filled, last, 1.0, orders.side[:, None]), improvement)
    return Outcome(executed, net, benchmark, improvement, used, filled)


def benchmark_prices(orders: OrderBatch, market: OrderMarket) -> Tensor:
    """The benchmark of each order over the arrival price, [orders, choices]."""
    rows = {row.benchmark: row for row in REFERENCE_PRICES}
    benchmark: Tensor | None = None
    for name in BENCHMARKS:
        mine = orders.has_benchmark(name)[:, None]
        if benchmark is None or mine.any():
            price = rows[name].price(market).expand(market.end.shape)
            benchmark = price if benchmark is None else torch.where(mine, price, benchmark)
    assert benchmark is not None
    return benchmark


def average_prices(fills: Tensor, filled: Tensor, orders: OrderBatch, window: MarketWindow) -> tuple[Tensor, Tensor]:
    """Average price of fills without and with costs, weighted by quantity, or by money for a notional target.

    Args:
        fills: [orders, choices, periods].
        filled: Their sums over the periods, [orders, choices].
        orders: The orders.
        window: Their market; a :class:`CostlyWindow` has costs.

    Returns:
        Both in multiples of the arrival price, [orders, choices]; NaN where nothing filled.
    """
    some = filled > dust(window.price.dtype)
    safe = torch.where(some, filled, 1.0)

    def average(price: Tensor) -> Tensor:
        """Average of prices [orders, choices or 1, periods]."""
        money, inverse = (fills * price).sum(-1), (fills / price).sum(-1)
        mean = torch.where(orders.is_notional[:, None], safe / torch.where(some, inverse, 1.0), money / safe)
        return torch.where(some, mean, torch.nan)

    executed = average(window.price[:, None])
    if not isinstance(window, CostlyWindow):
        return executed, executed
    traded = participation(fills, orders, window, window.size)
    # The root has no gradient at 0, where the cost w sqrt(w) of a fill w has one.
    root = traded.clamp(min=torch.finfo(traded.dtype).tiny).sqrt()
    cost = (window.flat_cost[:, None, None] + window.impact[:, None, None] * root).clamp(max=_LARGEST_COST)
    return executed, average(window.price[:, None] * (1 + orders.side[:, None, None] * cost))


def participation(fills: Tensor, orders: OrderBatch, window: MarketWindow, size: Tensor) -> Tensor:
    """Part of each bar's volume that an order trades, or of its notional for a notional target.

    Args:
        fills: [orders, choices, periods].
        orders: The orders.
        window: Their market.
        size: Their sizes, [orders], see :func:`~lem_models.execution.costs.relative_sizes`.

    Returns:
        [orders, choices, periods]; above 1 where an order is larger than a bar.
    """
    # The size of a notional order is money, so its participation is a ratio of money to the bar's notional.
    volume = torch.where(orders.is_notional[:, None], window.volume * window.price, window.volume)
    volume = torch.where(volume > 0, volume, 1.0)  # nothing fills where nothing trades
    return fills * (size[:, None] / volume)[:, None]
