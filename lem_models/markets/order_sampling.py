"""Samples of orders: every valid origin of a market times every combination of the settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.calendar.frequency import Moment
from lem_models.markets.order_placing import bars_in
from lem_models.markets.origins import Origins, sample_origins
from lem_models.orders.durations import read_duration
from lem_models.orders.fields import is_missing, read_field, unknown_field
from lem_models.orders.rules import DEFAULTS, MAX_PERIODS
from lem_models.orders.sizes import with_amount
from lem_models.orders.table import complete_orders

__all__ = ["sample_orders"]


def sample_orders(
    bars: BarsLike,
    *,
    every: str | int,
    side: str | Sequence[str],
    max_periods: int | str | Sequence[int | str],
    min_periods: int | str | Sequence[int | str] | None,
    lookback: int,
    start: Moment | None,
    end: Moment | None,
    limit: int | None,
    seed: int,
    within_session: bool | None,
    **settings: Any,
) -> pd.DataFrame:
    """Sample orders; see :meth:`lem_models.orders.order.Order.sample` for arguments, result and errors."""
    bars = Bars.of(bars)
    settings = with_amount(settings)
    unknown = next((name for name in settings if name not in DEFAULTS), None)
    if unknown is not None:
        raise unknown_field(unknown, "order columns")
    both = isinstance(side, str) and side.strip().lower() == "both"
    sides = ["buy", "sell"] if both else side
    lengths = {"max_periods": max_periods, "min_periods": min_periods}
    periods = {name: [_in_bars(name, each, bars) for each in _values(given)] for name, given in lengths.items()}
    combinations = _combinations({"side": sides, **periods, **settings})
    longest = max(combination["max_periods"] for combination in combinations)
    origins = sample_origins(
        bars,
        lookback=lookback,
        horizon=longest,
        every=every,
        start=start,
        end=end,
        within_session=within_session,
    )
    numbers = _drawn(len(origins), len(combinations), len({each["side"] for each in combinations}), limit, seed)
    table = _cross(bars, origins, combinations, numbers)
    table.insert(0, "order_id", np.arange(len(table)))
    table = complete_orders(table, horizon=longest, risk_aversion=None)
    table.attrs["excluded"] = dict(origins.excluded)
    return table


def _drawn(origins: int, combinations: int, sides: int, limit: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Numbers of the orders that are drawn, ascending: ``origin * combinations + combination``.

    The sides of a start are drawn together: an order and the same order of the other side share the drift of the
    market, and it cancels in their mean.

    Args:
        origins: Number of origins.
        combinations: Number of combinations of the settings; those of one side follow each other.
        sides: Number of sides.
        limit: Largest number of orders.
        seed: Seed of the draw.
    """
    if limit is not None and limit < sides:
        both = ": each start has an order of either side" if sides > 1 else ""
        raise OrderError(f"limit must be at least {sides}{both}; got {limit}", field="limit")
    if limit is None or origins * combinations <= limit:
        return np.arange(origins * combinations)
    kinds = combinations // sides  # combinations of the settings but the side
    drawn = np.random.default_rng(seed).choice(origins * kinds, size=limit // sides, replace=False)
    first = drawn // kinds * combinations + drawn % kinds
    return np.sort((first[:, None] + kinds * np.arange(sides)).ravel())


def _combinations(settings: dict[str, object]) -> list[dict[str, Any]]:
    """Every combination of the values of the settings, except those whose minimum exceeds their maximum."""
    choices = {name: [_value(name, each) for each in _values(given)] for name, given in settings.items()}
    empty = next((name for name, values in choices.items() if not values), None)
    if empty is not None:
        raise OrderError(f"{empty} is an empty list: give a value, or leave it out", field=empty, rule="a value")
    longest = max(choices["max_periods"])
    if not longest <= MAX_PERIODS:  # NaN where it is left out
        raise OrderError(f"max_periods must be given, and at most {MAX_PERIODS}; got {longest}", field="max_periods")
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    feasible = [each for each in combinations if not each["min_periods"] > each["max_periods"]]
    if not feasible:
        raise OrderError("min_periods exceeds max_periods in every combination", field="min_periods")
    return feasible


def _values(given: object) -> list[Any]:
    values = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    return [value.value if isinstance(value, Enum) else value for value in values]


def _in_bars(name: str, length: object, bars: Bars) -> object:
    """A number of bars in place of a duration; other values are left as they are.

    Raises:
        OrderError: It is no whole number of bars, or not the same number for every symbol.
    """
    duration = read_duration(length)
    if duration is None:
        return length
    counts = {bars_in(duration, name, calendar) for calendar in bars.grid.calendars.kinds}
    if len(counts) > 1:
        raise OrderError(
            f"{name} is {shown(duration.text)}, which is {' or '.join(map(str, sorted(counts)))} bars by the symbol: "
            "sample the symbols of each calendar (bars.by_calendar()), or give a number of bars",
            field=name,
            rule="whole number of bars",
        )
    return counts.pop()


def _value(name: str, value: object) -> Any:  # noqa: ANN401
    """A value of a column; NaN if an order has the default."""
    return np.nan if is_missing(value) else read_field(name, value)


def _cross(
    bars: Bars, origins: Origins, combinations: list[dict[str, Any]], numbers: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Some of the orders that every origin makes with every combination; those of an origin follow each other."""
    rows, which = origins.take(numbers // len(combinations)), numbers % len(combinations)
    table = pd.DataFrame(
        {
            "symbol": np.array(bars.symbols, dtype=object)[bars.grid.symbol(rows)],
            "start": pd.to_datetime(bars.timestamp[rows], utc=True),
        }
    )
    for name in combinations[0]:
        table[name] = np.array([each[name] for each in combinations])[which]
    return table
