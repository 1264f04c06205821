"""Programmes on the sessions of their market: periods, minimum, maximum and caps, and the orders that a policy sees.

A period of a programme is a session without a blackout. Where blackout days count in the benchmark, they are periods
too, in which nothing may be bought; minimum and maximum still count the other sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import BarsError, OrderError
from lem_models.execution.costs import order_impacts, relative_sizes
from lem_models.execution.execute import complete_for
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import (
    Policy,
    checked_contexts,
    lookback_of,
    policy_faults,
    rows_not_finite,
    sessions_of,
)
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.features.market import Market
from lem_models.markets.origins import REASONS, exclusion_codes
from lem_models.programmes.caps import average_daily_volumes, cap_shares
from lem_models.programmes.days import TradingDays
from lem_models.programmes.terms import Dates, ProgrammeTerms

__all__ = ["Course", "Periods", "check_feasible", "first_row", "periods_from", "periods_to_come"]

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_STEP = 64  # sessions to come that are looked up at a time
_FURTHEST = 2000


@dataclass(frozen=True, eq=False)
class Periods:
    """The periods of one programme.

    Attributes:
        rows: Session of each period, as a row of the daily bars with those to come, int64 [periods].
        may_trade: Whether the programme may buy in it, bool [periods].
        minimum: Periods until it may be complete.
        maximum: Periods until it has to be.
    """

    rows: Integers
    may_trade: Booleans
    minimum: int
    maximum: int


def first_row(terms: ProgrammeTerms, dates: Dates, first: date | None = None) -> int:
    """Row of the first session of a programme: the first on or after its first day that is no blackout."""
    day = np.datetime64(terms.first_day if first is None else first, "D")
    rows = np.flatnonzero((dates >= day) & ~terms.blacked_out(dates))
    return int(rows[0]) if len(rows) else len(dates)


def periods_from(terms: ProgrammeTerms, dates: Dates, start: int) -> Periods | None:
    """The periods of a programme that starts in a session; ``None`` if the days end before it does.

    Raises:
        OrderError: There is no session between the earliest and the latest day of completion.
    """
    rows = np.arange(start, len(dates))
    blackout = terms.blacked_out(dates[rows])
    if not terms.blackout_in_benchmark:
        rows, blackout = rows[~blackout], blackout[~blackout]
    session = np.cumsum(~blackout)
    days = dates[rows]

    def ends(bound: int | date, *, last: bool) -> int | None:
        """Place of the period that a bound names; ``None`` if the days end before."""
        if isinstance(bound, int):
            places = np.flatnonzero((session == bound) & ~blackout)
            return int(places[0]) if len(places) else None
        day = np.datetime64(bound, "D")
        if not len(days) or days[-1] < day:
            return None
        places = np.flatnonzero(((days <= day) if last else (days >= day)) & ~blackout)
        return int(places[-1 if last else 0]) if len(places) else -1

    maximum, minimum = ends(terms.latest, last=True), ends(terms.earliest, last=False)
    if maximum is None:
        return None
    if minimum is None or not 0 <= minimum <= maximum:
        raise OrderError(
            f"no session without a blackout lies between the earliest completion ({terms.earliest}) and the latest "
            f"({terms.latest}); move one of them",
            field="earliest",
            rule="earliest before latest",
        )
    end = maximum + 1
    return Periods(rows[:end], ~blackout[:end], minimum + 1, end)


def periods_to_come(terms: ProgrammeTerms, days: TradingDays) -> tuple[Periods, Integers]:
    """The periods of the programme, and the starts of the sessions to come that it needs.

    Raises:
        OrderError: See :func:`periods_from`.
        BarsError: The calendar ends before the programme does.
    """
    count = 0
    while count <= _FURTHEST:
        coming = days.coming(count)
        dates = np.concatenate([days.dates, coming.astype("datetime64[ns]").astype("datetime64[D]")])
        start = first_row(terms, dates)
        periods = periods_from(terms, dates, start) if start < len(dates) else None
        if periods is not None:
            needed = max(int(periods.rows[-1]) + 1 - len(days), 0)
            return periods, coming[:needed]
        count += _STEP
    raise OrderError(
        f"the programme does not end within {_FURTHEST} sessions after the last bar",
        field="latest",
        rule="range of days",
    )


def check_feasible(terms: ProgrammeTerms, periods: Periods, cap: int, price: float) -> None:
    """Refuse a programme that its daily cap forbids, before it starts.

    Args:
        terms: The programme.
        periods: Its periods.
        cap: Shares of a day before the start.
        price: Last close before the start.

    Raises:
        OrderError: All sessions at the cap buy less than the minimum.
    """
    sessions = int(periods.may_trade.sum())
    most = sessions * cap * (price if terms.is_notional else 1)
    if most < terms.minimum and terms.daily_cap is not None:
        needed = int(np.ceil(terms.minimum / max(most / sessions, 1e-9))) if cap else 0
        raise OrderError(
            f"the daily cap ({terms.daily_cap}) allows {cap:,} shares a day, and {sessions} sessions at it buy "
            f"{terms.amount_in_words(most)}, less than {terms.amount_in_words(terms.minimum)}"
            + (f"; allow {needed} sessions, or buy less" if cap else ""),
            field="latest",
            rule="daily cap",
        )


@dataclass(frozen=True, eq=False)
class Course:
    """Programmes of the same terms on the sessions of their market, as a policy sees them.

    Attributes:
        terms: The terms.
        days: Closed sessions.
        dates: Days of all rows, those to come included.
        rows: Session of each period, int64 [programmes, periods]; the last one of a programme is repeated.
        may_trade: Whether it may buy in the period, bool [programmes, periods].
        average: Average daily volume as known before each session, [programmes, periods].
        caps: Most shares of each session, int64 [programmes, periods].
        table: The programmes as a complete table of orders.
        orders: The same as tensors.
        window: What is known of the market before the first period.
    """

    terms: ProgrammeTerms
    days: TradingDays
    dates: Dates
    rows: Integers
    may_trade: Booleans
    average: Floats
    caps: Integers
    table: pd.DataFrame
    orders: OrderBatch
    window: MarketWindow
    _contexts: Tensor | None = field(repr=False)
    _context_rows: Integers = field(repr=False)

    @classmethod
    def of(
        cls,
        terms: ProgrammeTerms,
        policy: Policy,
        days: TradingDays,
        programmes: Sequence[Periods],
        coming: Integers,
        *,
        told_size: bool = True,
    ) -> tuple[Course, list[str]]:
        """Prepare programmes.

        Args:
            terms: Their terms.
            policy: Who decides.
            days: Closed sessions.
            programmes: Their periods.
            coming: Starts of sessions to come, nanoseconds UTC.
            told_size: Whether a policy that reads the size of orders is told it.

        Returns:
            The programmes that can run, and why each cannot, empty for those that can.

        Raises:
            BarsError: The bars have another length than those that the policy was trained on.
            OrderError: A policy cannot serve such an order.
        """
        check_frequency(policy, days.bars)
        bars = days.extended(coming)
        dates = np.concatenate([days.dates, coming.astype("datetime64[ns]").astype("datetime64[D]")])
        start = np.array([each.rows[0] for each in programmes], dtype=np.int64)
        length = np.array([each.rows[-1] - each.rows[0] + 1 for each in programmes], dtype=np.int64)
        codes = exclusion_codes(bars, start, length, lookback=lookback_of(policy))
        reasons = [REASONS[int(code)] for code in codes]
        most = max(each.maximum for each in programmes)
        rows = np.stack([np.append(p.rows, np.full(most - p.maximum, p.rows[-1])) for p in programmes])
        may_trade = np.stack([np.append(p.may_trade, np.zeros(most - p.maximum, dtype=bool)) for p in programmes])
        average = average_daily_volumes(days.bars.volume, days.dates, dates, terms.daily_cap)[rows]
        caps = cap_shares(average, terms.daily_cap, terms.lot_size)
        for place, periods in enumerate(programmes):
            if not reasons[place] and np.isnan(average[place, 0]):
                reasons[place] = "not enough history for the average daily volume"
            if not reasons[place]:
                try:
                    check_feasible(terms, periods, int(caps[place, 0]), float(bars.close[start[place] - 1]))
                except OrderError as error:
                    if len(programmes) == 1:
                        raise
                    reasons[place] = error.message
        able = np.flatnonzero([not reason for reason in reasons])
        if not len(able):
            raise BarsError(
                f"no programme can run: {reasons[0]} ({lookback_of(policy)} sessions of history are needed)",
                symbol=terms.symbol,
                rule="history",
            )
        table = complete_for(
            policy, _orders_of(terms, bars.timestamp[start[able]], [programmes[i] for i in able.tolist()])
        )
        market = Market(bars)
        orders = OrderBatch.from_frame(table)
        maximum = table["max_periods"].to_numpy()
        window = MarketWindow.of(market, start[able], maximum, int(maximum.max()), sessions=sessions_of(policy))
        known = policy.assumed_costs if terms.costs.is_free else terms.costs
        if told_size and known is not None and policy.reads_size:
            amount = torch.full((len(able),), terms.total, dtype=torch.float64)
            size = relative_sizes(orders, window, amount)
            orders = replace(orders, impact=order_impacts(size, known.impact))
        kept = rows[able][:, : int(maximum.max())]
        # What is not known yet reads the context of the last closed session.
        before = np.minimum(kept - 1, len(days) - 1)
        which, place_of = np.unique(before, return_inverse=True)
        with policy_faults(policy, table):
            contexts = checked_contexts(policy.encode(market, which, np.ones_like(which)), len(which))
            if contexts is not None and rows_not_finite(contexts):
                raise BarsError("the policy's contexts are not finite", symbol=terms.symbol, rule="finite contexts")
        course = cls(
            terms=terms,
            days=days,
            dates=dates,
            rows=kept,
            may_trade=may_trade[able][:, : kept.shape[1]],
            average=average[able][:, : kept.shape[1]],
            caps=caps[able][:, : kept.shape[1]],
            table=table,
            orders=orders,
            window=window,
            _contexts=contexts,
            _context_rows=np.asarray(place_of).reshape(before.shape),
        )
        return course, reasons

    def __len__(self) -> int:
        """Number of programmes."""
        return len(self.rows)

    @property
    def periods(self) -> int:
        """Periods of the longest programme."""
        return int(self.rows.shape[1])

    @property
    def minimum(self) -> Integers:
        """Periods until each may be complete, int64 [programmes]."""
        return np.asarray(self.orders.min_periods.numpy())

    @property
    def maximum(self) -> Integers:
        """Periods until each has to be complete, int64 [programmes]."""
        return np.asarray(self.orders.max_periods.numpy())

    @property
    def elapsed(self) -> int:
        """Periods whose sessions have closed, of the first programme."""
        return int(np.count_nonzero(self.rows[0] < len(self.days)))

    def context(self, period: int) -> Tensor | None:
        """Context of the last closed session before a period, [programmes, width]."""
        return None if self._contexts is None else self._contexts[torch.from_numpy(self._context_rows[:, period])]

    def last_close(self, period: int) -> Floats:
        """Close of the last closed session before a period, a blackout day or not, [programmes]."""
        return np.asarray(self.days.bars.close[np.minimum(self.rows[:, period] - 1, len(self.days) - 1)])

    def sessions_left(self, period: int) -> Integers:
        """Sessions after a period in which the programme may buy, int64 [programmes]."""
        return np.asarray(self.may_trade[:, period + 1 :].sum(1))


def _orders_of(terms: ProgrammeTerms, start: Integers, programmes: Sequence[Periods]) -> pd.DataFrame:
    """Programmes as a table of orders."""
    columns = {
        "symbol": terms.symbol,
        "start": pd.DatetimeIndex(start, tz="UTC"),
        "side": "buy",
        "benchmark": "twap",
        "target": "notional" if terms.is_notional else "quantity",
        "min_periods": [each.minimum for each in programmes],
        "max_periods": [each.maximum for each in programmes],
        "amount": terms.total,
    }
    table = pd.DataFrame(columns)
    return table if terms.risk_aversion is None else table.assign(risk_aversion=terms.risk_aversion)
