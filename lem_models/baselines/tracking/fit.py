"""Fit the curve and the convex policy to bars: orders of fixed durations against the VWAP, before a date.

Orders are sampled, and their market and features come from the same records that the simulator hands to policies. The
coefficients of a duration have the least Huber loss on orders that end before ``train_end``. The ridge is the strongest
whose standard deviation on the orders of validation, clipped at 2 bar volatilities, is within 0.5 % of the least one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.baselines.tracking.coefficients import Coefficients, DurationTable, knot_count, knot_weights, rounded
from lem_models.baselines.tracking.features import NAMES, expected_share, market_context, order_features
from lem_models.baselines.tracking.slippage import LinearSlippage, fitted
from lem_models.baselines.twap import TWAP
from lem_models.errors import ConfigError, OrderError
from lem_models.execution.execute import by_calendar
from lem_models.execution.objective import CLIP
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.result import first_bars
from lem_models.execution.roll import Roll
from lem_models.features.causal import SUPPORT
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import Moment, clock
from lem_models.orders import Order
from lem_models.orders.rules import SIZE_SESSIONS
from lem_models.orders.table import complete_orders

__all__ = [
    "HUBER",
    "Design",
    "durations_up_to",
    "fit_tracking",
    "fixed_orders",
    "order_design",
]

HUBER = 0.7
"""Default threshold of the loss, in bar volatilities."""

_DURATIONS = (3, 6, 12, 24, 48, 78)
_RIDGES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_FEWEST = 500  # orders of a duration, for some hundreds of coefficients
_CHUNK = 8192
_NEARLY = 1.005
_LITTLE = 1e-6  # ridge of the curve, which has eleven numbers


def durations_up_to(horizon: int) -> tuple[int, ...]:
    """Durations that are fitted for orders of up to so many periods; between them coefficients are interpolated.

    Example:
        >>> durations_up_to(20)
        (3, 6, 12, 20)
    """
    return (*(periods for periods in _DURATIONS if periods < horizon), horizon)


class Design(NamedTuple):
    """Orders of one duration: their slippage, linear in a schedule and in coefficients.

    Attributes:
        slippage: Linear in the schedule.
        plain: Slippage of the expected volume's own schedule, float32 [orders].
        columns: What each coefficient adds to it, float32 [orders, (knots - 1) * features].
    """

    slippage: LinearSlippage
    plain: Tensor
    columns: Tensor


def fit_tracking(
    bars: Bars,
    *,
    train_end: Moment,
    validation_end: Moment | None = None,
    durations: Sequence[int] = (3, 6, 12, 24),
    huber: float = HUBER,
    orders: int = 70_000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda text, done, steps: None,
) -> Coefficients:
    """Fit the curve and the convex policy to bars.

    Args:
        bars: The market. Leave out the symbols that are to test the fit.
        train_end: Orders of the fit end before.
        validation_end: Orders of the validation start at ``train_end`` and end before; default the last bar.
        durations: Durations in periods, at least 2 each.
        huber: Threshold of the loss, in bar volatilities: errors above it count linearly. Larger ones serve the
            standard deviation, smaller ones the median order.
        orders: Most orders of a duration in the fit; a third as many in the validation.
        seed: Seed of the draws of orders.
        progress: Is told before each step what comes next, the steps done, and all steps.

    Raises:
        ConfigError: A duration is below 2, or the threshold is not positive.
        OrderError: The bars have too few orders of a duration.
    """
    if not durations or min(durations) < 2:
        raise ConfigError(f"durations are whole numbers of at least 2 periods; got {list(durations)}")
    if not 0 < huber < np.inf:
        raise ConfigError(f"huber must be positive; got {huber}")
    market, tables = Market(bars), []
    durations = sorted(set(durations))
    for number, periods in enumerate(durations):
        progress(f"orders of {periods} periods", 2 * number, 2 * len(durations))
        train = order_design(market, fixed_orders(bars, periods, end=train_end, limit=orders, seed=seed), periods)
        validation = fixed_orders(
            bars, periods, start=train_end, end=validation_end, limit=max(orders // 3, 1), seed=seed
        )
        progress(f"fitting orders of {periods} periods", 2 * number + 1, 2 * len(durations))
        tables.append(_fitted_table(train, order_design(market, validation, periods), periods, huber))
    return Coefficients(
        frequency=clock(bars.frequency),
        huber=huber,
        train_end=str(train_end),
        validation_end=None if validation_end is None else str(validation_end),
        tables=tuple(tables),
    )


def fixed_orders(
    bars: Bars, periods: int, *, start: Moment | None = None, end: Moment | None = None, limit: int, seed: int
) -> pd.DataFrame:
    """Buys of one fixed duration against the VWAP, drawn from all origins between two dates.

    Raises:
        OrderError: There are too few.
    """
    drawn = Order.sample(
        bars, side="buy", max_periods=periods, lookback=SUPPORT, start=start, end=end, limit=limit, seed=seed
    )
    if len(drawn) < _FEWEST:
        span = f"from {start} " if start is not None else ""
        raise OrderError(
            f"only {len(drawn)} orders of {periods} periods fit into the bars {span}up to {end or 'the last one'}; "
            f"a fit needs {_FEWEST}: give more bars, other dates, or shorter durations",
            field="max_periods",
        )
    return drawn


def order_design(market: Market, orders: pd.DataFrame, periods: int) -> Design:
    """The slippage of orders of one duration as a linear function of the coefficients."""
    table = complete_orders(orders, horizon=periods, risk_aversion=0.0)
    pieces = [
        _piece(one, table.iloc[rows[a : a + _CHUNK]], start[a : a + _CHUNK], periods)
        for one, rows, start in by_calendar(market, table, first_bars(market.bars, table))
        for a in range(0, len(rows), _CHUNK)
    ]
    slippages, plain, columns = zip(*pieces, strict=True)
    return Design(LinearSlippage(*map(torch.cat, zip(*slippages, strict=True))), torch.cat(plain), torch.cat(columns))


def _piece(market: Market, table: pd.DataFrame, start: npt.NDArray[np.int64], periods: int) -> Design:
    orders = OrderBatch.from_frame(table)
    window = MarketWindow.of(market, start, np.full(len(start), periods), periods, sessions=SIZE_SESSIONS, sized=False)
    slippage = LinearSlippage.of(window)
    rows, place = np.unique((start - 1)[:, None] + np.arange(periods - 1), return_inverse=True)
    contexts = market_context(market, rows)[torch.from_numpy(place.reshape(len(start), -1))]
    knots = knot_count(periods)
    columns = torch.zeros((len(start), knots - 1, len(NAMES)), dtype=torch.float32)
    plain, roll, pace = slippage.last.clone(), Roll.of(orders, window), TWAP()
    for s in range(periods - 1):
        state, step = roll.state(), slippage.steps[:, s]
        plain += expected_share(orders, state) * step
        added = (torch.stack(order_features(contexts[:, s], orders, state), 1) * step[:, None]).float()
        for knot, weight in enumerate(knot_weights((s + 1) / periods, knots)):
            if weight > 0:
                columns[:, knot] += float(weight) * added
        roll.decide(pace)
        roll.book(window.price[:, s], window.close[:, s], window.volume[:, s])
    return Design(slippage, plain.float(), columns.flatten(1))


def _fitted_table(train: Design, validation: Design, periods: int, huber: float) -> DurationTable:
    """Coefficients of one duration with the strongest ridge that does nearly as well as the best on validation.

    A stronger ridge strays less on orders without precedent, which the clipped errors do not see.
    """
    found, candidates = None, []
    for ridge in _RIDGES:
        found = fitted(train.columns, train.plain, huber=huber, ridge=ridge, start=found)
        error = (validation.plain + validation.columns @ found).clamp(-CLIP, CLIP).std().item()
        candidates.append((error, ridge, found))
    best = min(error for error, _, _ in candidates)
    _, ridge, found = next(each for each in reversed(candidates) if each[0] <= _NEARLY * best)
    return DurationTable(
        periods=periods,
        ridge=ridge,
        curve=rounded([_curve(train.slippage, periods).numpy()])[0],
        values=rounded(found.view(-1, len(NAMES)).numpy()),
    )


def _curve(slippage: LinearSlippage, periods: int) -> Tensor:
    """Corrections of the even pace with the least mean squared slippage, float32 [knots - 1]."""
    elapsed = torch.arange(1, periods, dtype=torch.float64) / periods
    weights = np.stack([knot_weights(share, knot_count(periods)) for share in elapsed.tolist()])
    even = slippage.last + slippage.steps @ elapsed
    return fitted((slippage.steps @ torch.from_numpy(weights)).float(), even.float(), huber=np.inf, ridge=_LITTLE)
