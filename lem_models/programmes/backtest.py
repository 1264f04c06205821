"""Backtest of a programme: the same terms from many first days, all policies on the same days.

Every session fills what was decided at its VWAP (of the time that the rules allow, with intraday bars). Intervals are
those of :mod:`lem_models.statistics.bootstrap`, over days: programmes that overlap share the moves of their days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError, OrderError
from lem_models.execution.policy import Policy
from lem_models.markets.calendar.frequency import DAY
from lem_models.programmes.course import Course, Periods, first_row, periods_from, periods_to_come
from lem_models.programmes.days import TradingDays
from lem_models.programmes.progress import Progress
from lem_models.programmes.terms import ProgrammeTerms
from lem_models.statistics.summary import compare, paired_difference

__all__ = ["ProgrammeBacktest", "backtest"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_LARGEST_COST = 0.9  # of the price, as in the simulator
_ROUNDING_BPS = 1e-9
_ENDS_BEFORE = "the bars end before the programme does"
_OUT_OF_HISTORY = "the first day lies before the second bar"


@dataclass(frozen=True, eq=False)
class ProgrammeBacktest:
    """Programmes from many first days, by policy.

    Columns of the programmes: those of the orders of an execution (``slippage_bps`` positive = cost, ``net_*`` with the
    programme's costs, ``periods_used``, ``filled``, ``completed``), and ``shares``, ``spent``, ``net_spent``,
    ``earned_bps`` and ``net_earned_bps`` (after the discount promised, positive is better), ``largest_participation``
    (of the average daily volume) and ``sessions`` (with a purchase).

    Attributes:
        terms: The programme.
        programmes: A row per first day, by policy; all policies have the same rows.
        purchases: Shares of every session, int64 [programmes, periods], by policy.
        excluded: ``start`` and ``reason`` of the first days that cannot be run.
    """

    terms: ProgrammeTerms
    programmes: Mapping[str, pd.DataFrame]
    purchases: Mapping[str, Integers] = field(repr=False)
    excluded: pd.DataFrame

    def summary(self, by: str | None = None) -> pd.DataFrame:
        """Improvement over the mean of the daily VWAPs, gross and net, with 95 % intervals: a row per policy.

        See :func:`lem_models.statistics.summary.compare` for the columns; those here are joined by the mean of
        ``earned_bps`` and ``net_earned_bps`` and by the largest participation of a day.
        """
        table = compare(self.programmes, by)
        if by is not None:
            return table
        more = {name: rows for name, rows in self.programmes.items()}
        return table.assign(
            earned_bps=[more[name]["earned_bps"].mean() for name in table["policy"]],
            net_earned_bps=[more[name]["net_earned_bps"].mean() for name in table["policy"]],
            largest_participation=[more[name]["largest_participation"].max() for name in table["policy"]],
        )

    def difference(self, policy: str, other: str, *, net: bool = True) -> pd.DataFrame:
        """Improvement of one policy minus that of another on the same programmes, with a 95 % interval.

        Args:
            policy: Name of the policy.
            other: Name of the other one.
            net: Whether costs are taken off.

        Raises:
            ConfigError: There is no such policy here.
        """
        for name in (policy, other):
            if name not in self.programmes:
                raise ConfigError(f"there is no policy {name!r} here; there are {', '.join(self.programmes)}")
        a, b = self.programmes[policy], self.programmes[other]
        if net:
            a, b = (table.assign(slippage_bps=table["net_slippage_bps"]) for table in (a, b))
        return paired_difference(a, b)


def backtest(
    terms: ProgrammeTerms,
    policies: Mapping[str, Policy],
    days: TradingDays,
    starts: Iterable[str | date] | str | int,
    *,
    told_size: bool = True,
) -> ProgrammeBacktest:
    """Run a programme from many first days.

    Args:
        terms: The programme. Days of completion are counted in sessions from its own first day, and every start has as
            many. Blackout days stay where they are.
        policies: Who decides, by name; at least one.
        days: Closed sessions of the whole period.
        starts: First days; or the step between them in sessions, from the programme's first day on.
        told_size: Whether a policy that reads the size of orders is told it.

    Raises:
        ConfigError: There is no policy, or no first day.
        BarsError: No programme can run.
    """
    if not policies:
        raise ConfigError("there is no policy to run")
    rows = _start_rows(terms, days, starts)
    terms = _in_sessions(terms, days)
    programmes, chosen, excluded = [], [], []
    for row in rows:
        periods = _periods(terms, days, row)
        if isinstance(periods, str):
            excluded.append((days.dates[min(row, len(days) - 1)], periods))
        else:
            programmes.append(periods)
            chosen.append(row)
    if not programmes:
        raise OrderError(f"no programme fits into the bars: {excluded[0][1]}", field="latest", rule="length")
    # Programmes that every policy can run: all have the same rows.
    none = np.zeros(0, dtype=np.int64)
    courses = {
        name: Course.of(terms, policy, days, programmes, none, told_size=told_size) for name, policy in policies.items()
    }
    able = np.array([all(not reasons[i] for _, reasons in courses.values()) for i in range(len(programmes))])
    for at in np.flatnonzero(~able):
        reason = next(reasons[at] for _, reasons in courses.values() if reasons[at])
        excluded.append((days.dates[chosen[at]], reason))
    tables, purchases = {}, {}
    for name, (course, reasons) in courses.items():
        kept = able[[not reason for reason in reasons]]
        table, shares = _execute(course, policies[name])
        tables[name], purchases[name] = table[kept].reset_index(drop=True), shares[kept]
    return ProgrammeBacktest(terms, tables, purchases, pd.DataFrame(excluded, columns=["start", "reason"]))


def _start_rows(terms: ProgrammeTerms, days: TradingDays, starts: Iterable[str | date] | str | int) -> list[int]:
    """Rows of the first sessions, each once."""
    if isinstance(starts, int):
        if starts < 1:
            raise ConfigError(f"the step between starts is a number of sessions, at least 1; got {starts}")
        rows = list(range(first_row(terms, days.dates), len(days), starts))
        blackout = terms.blacked_out(days.dates)
        rows = [row for row in rows if not blackout[row]]
    else:
        given = [starts] if isinstance(starts, str) else list(starts)
        rows = [first_row(terms, days.dates, date.fromisoformat(str(day))) for day in given]
    if not rows:
        raise ConfigError("there is no first day inside the bars")
    return sorted(set(rows))


def _in_sessions(terms: ProgrammeTerms, days: TradingDays) -> ProgrammeTerms:
    """The terms with completion in sessions."""
    if isinstance(terms.earliest, int) and isinstance(terms.latest, int):
        return terms
    periods, _ = periods_to_come(terms, days)
    earliest = int(periods.may_trade[: periods.minimum].sum())
    return terms.with_terms(earliest=earliest, latest=int(periods.may_trade.sum()))


def _periods(terms: ProgrammeTerms, days: TradingDays, row: int) -> Periods | str:
    """The periods of one start, or why it has none."""
    if row < 1:
        return _OUT_OF_HISTORY
    periods = periods_from(terms, days.dates, row) if row < len(days) else None
    return _ENDS_BEFORE if periods is None else periods


def _execute(course: Course, policy: Policy) -> tuple[pd.DataFrame, Integers]:
    """Programmes of one policy, and their purchases [programmes, periods]."""
    days = course.days
    bars, progress = days.bars, Progress(course, policy)
    count, periods = course.rows.shape
    shares, price = np.zeros((count, periods), dtype=np.int64), days.fill_vwap[course.rows]
    for s in range(periods):
        rows = course.rows[:, s]
        purchase = progress.decide()
        shares[:, s] = progress.filled(purchase, price[:, s], days.fill_volume[rows])
        progress.book(shares[:, s], price[:, s], bars.vwap_at(rows), bars.close[rows], bars.volume[rows])
        if progress.ended.all():
            break
    return _priced(course, progress, shares, price), shares


def _priced(course: Course, progress: Progress, shares: Integers, price: Floats) -> pd.DataFrame:
    terms, bars = course.terms, course.days.bars
    count, periods = shares.shape
    volume, vwap = bars.volume[course.rows], bars.vwap_at(course.rows)
    volatility = course.window.volatility.numpy()
    part = shares / np.where(volume > 0, volume, 1.0)
    rate = terms.half_spread_and_fee + terms.costs.impact * volatility[:, None] * np.sqrt(part)
    spent = (shares * price).sum(1)
    net_spent = (shares * price * (1 + np.minimum(rate, _LARGEST_COST))).sum(1)
    bought = shares.sum(1)
    done = spent if terms.is_notional else bought
    # A fixed notional is spent to the lot: less than a lot's money, at a price of its time, may stay.
    slack = terms.lot_size * np.maximum(price, vwap).max(1) if terms.is_notional else 0.0
    completed = done + slack >= terms.minimum
    used = np.where(completed, progress.used, course.maximum)
    end = np.maximum(used, course.minimum)
    counted = (np.arange(periods) < end[:, None]) & (volume > 0)
    benchmark = np.where(counted, vwap, 0.0).sum(1) / np.maximum(counted.sum(1), 1)
    executed, net = spent / np.maximum(bought, 1), net_spent / np.maximum(bought, 1)
    slippage, net_slippage = (
        np.where(bought > 0, _without_rounding((each / benchmark - 1) * 1e4), np.nan) for each in (executed, net)
    )
    earned, net_earned = (
        np.where(bought > 0, (terms.promised - each / benchmark) * 1e4, np.nan) for each in (executed, net)
    )
    last = bars.timestamp[course.rows[np.arange(count), course.maximum - 1]]
    names = ("symbol", "start", "side", "benchmark", "target", "min_periods", "max_periods", "amount", "risk_aversion")
    return course.table[[*names]].assign(
        order_id=course.table["start"].dt.strftime("%Y-%m-%d"),
        end=pd.to_datetime(last + DAY, utc=True),
        shares=bought,
        spent=spent,
        net_spent=net_spent,
        periods_used=used,
        sessions=(shares > 0).sum(1),
        filled=np.minimum(done / terms.total, 1.0),
        completed=completed,
        executed_price=executed,
        benchmark_price=benchmark,
        arrival_price=course.window.arrival_price.numpy(),
        volatility_bps=volatility * 1e4,
        slippage_bps=slippage,
        order_value=spent,
        cost_bps=(net / executed - 1) * 1e4,
        net_price=net,
        net_slippage_bps=net_slippage,
        earned_bps=earned,
        net_earned_bps=net_earned,
        largest_participation=np.nan_to_num(shares / course.average).max(1),
    )


def _without_rounding(bps: Floats) -> Floats:
    """Differences without rounding errors: an equal purchase every session is the mean, exactly."""
    return np.where(np.abs(bps) < _ROUNDING_BPS, 0.0, bps)
