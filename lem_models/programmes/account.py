"""The account of a programme: what was bought against the mean of the daily VWAPs, and the rules day by day.

With ``X`` the average price paid, ``A`` the mean of the daily VWAPs and ``d`` the discount, the bank receives
``A (1 - d)`` for each share and paid ``X``: it earns ``shares * (A (1 - d) - X)``. Reported prices hold spread and
impact already, so the net figure takes off fees alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.calendar.frequency import DAY
from lem_models.programmes.caps import average_daily_volumes, cap_shares
from lem_models.programmes.course import periods_to_come
from lem_models.programmes.days import TradingDays
from lem_models.programmes.fills import Fills
from lem_models.programmes.terms import Dates, ProgrammeTerms

__all__ = ["DAY_COLUMNS", "ProgrammeReport", "report_to_date"]

DAY_COLUMNS = (
    *("day", "session", "shares", "price", "notional", "vwap", "mean_vwap", "difference_bps", "cap"),
    *("participation", "share_of_volume", "within_cap", "day_allowed", "time_allowed"),
)
"""Columns of the days of a report."""

_NOT_CHECKED = "not checked"


@dataclass(frozen=True, eq=False)
class ProgrammeReport:
    """A programme to date.

    Attributes:
        terms: The programme.
        state: ``"not started"``, ``"under way"``, ``"within its range"`` (the minimum is spent and the maximum is not),
            ``"complete"``, or ``"over"`` with something left.
        as_of: Last closed session.
        sessions: Sessions so far, blackout days left out.
        earliest: Sessions until the programme may be complete.
        latest: Sessions until it has to be.
        bought: Shares.
        spent: Money, without fees.
        average_price: Average price; NaN before anything is bought.
        mean_vwap: Mean of the daily VWAPs so far; after completion of those until then; NaN before the first session.
        difference_bps: How much lower the price is than the mean, in bps of the mean: positive is better.
        difference: The same in money.
        earned_bps: The same after the discount that is promised: what the bank earns, before fees.
        earned: The same in money.
        net_earned: Less fees.
        left: Shares or money left to the total.
        days: A row for each session so far, columns :data:`DAY_COLUMNS`. ``difference_bps`` is against the VWAP of the
            day; ``time_allowed`` is ``"yes"``, ``"no"`` or ``"not checked"``.
        breaches: Rules that fills broke, in words.
        notes: What could not be checked, in words.
    """

    terms: ProgrammeTerms
    state: str
    as_of: date
    sessions: int
    earliest: int
    latest: int
    bought: int
    spent: float
    average_price: float
    mean_vwap: float
    difference_bps: float
    difference: float
    earned_bps: float
    earned: float
    net_earned: float
    left: float
    days: pd.DataFrame = field(repr=False)
    breaches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The report in a few lines."""
        terms = self.terms
        lines = [
            f"{terms.symbol}, {self.state} as of {self.as_of}: session {self.sessions}, completion between "
            f"{self.earliest} and {self.latest}",
            f"bought {self.bought:,} shares for {self.spent:,.0f}; {terms.amount_in_words(self.left)} left to the "
            "total",
        ]
        if self.bought:
            lines.append(
                f"average price {self.average_price:,.4f}, mean of the daily VWAPs {self.mean_vwap:,.4f}: "
                f"{self.difference_bps:+.1f} bps, {self.difference:+,.0f} (positive is better)"
            )
            lines.append(
                f"after the discount of {terms.discount_bps:g} bps {self.earned_bps:+.1f} bps, {self.earned:+,.0f}; "
                f"{self.net_earned:+,.0f} after fees"
            )
        if terms.has_greenshoe:
            lines.append(f"range {terms.minimum:,.0f} to {terms.maximum:,.0f}: {self._range_in_words()}")
        lines += [f"BREACH: {text}" for text in self.breaches]
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join(lines)

    def _range_in_words(self) -> str:
        if self.spent < self.terms.minimum:
            return f"{self.terms.minimum - self.spent:,.0f} left to the minimum"
        return f"inside; {max(self.terms.maximum - self.spent, 0):,.0f} left to the maximum"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {name: getattr(self, name) for name in vars(self) if name not in ("terms", "as_of", "days")}
        days = self.days.assign(day=[day.isoformat() for day in self.days["day"]])
        greenshoe = {"minimum": self.terms.minimum, "maximum": self.terms.maximum}
        return {"symbol": self.terms.symbol, "as_of": self.as_of.isoformat(), **plain, **greenshoe, "days": days}


def report_to_date(terms: ProgrammeTerms, days: TradingDays, fills: Fills, *, ended: bool = False) -> ProgrammeReport:
    """The account of a programme.

    Args:
        terms: The programme.
        days: The closed sessions.
        fills: What was bought.
        ended: Whether a programme within its range ended with its last purchase.

    Raises:
        OrderError: There is no session between the earliest and the latest completion.
    """
    periods, coming = periods_to_come(terms, days)
    dates = np.concatenate([days.dates, coming.astype("datetime64[ns]").astype("datetime64[D]")])
    rows = periods.rows[periods.rows < len(days)]
    may_trade = periods.may_trade[: len(rows)]
    fills = fills.up_to(days.dates[-1])
    shares, money = fills.by_day(dates[rows])
    # What was bought after the last session of the programme belongs to no session of it, and is bought all the same.
    bought, spent = int(fills.quantity.sum()), float((fills.quantity * fills.price).sum())
    last_price = float(days.bars.close[-1])
    done = spent if terms.is_notional else bought
    state = _state(terms, done, last_price, len(rows), over=len(rows) == len(periods.rows), ended=ended)
    used = int(np.flatnonzero(shares)[-1]) + 1 if shares.any() else 0
    counted = min(max(used, periods.minimum), len(rows)) if state == "complete" else len(rows)
    vwap, volume = days.bars.vwap[rows], days.bars.volume[rows]
    mean = float(vwap[:counted][volume[:counted] > 0].mean()) if (volume[:counted] > 0).any() else np.nan
    price = spent / bought if bought else np.nan
    gain = bought * (mean - price) if bought else 0.0
    earned = bought * (mean * terms.promised - price) if bought else 0.0
    table = _days_table(terms, days, fills, rows, may_trade, shares, money)
    return ProgrammeReport(
        terms=terms,
        state=state,
        as_of=pd.Timestamp(days.dates[-1]).date(),
        sessions=int(may_trade.sum()),
        earliest=int(periods.may_trade[: periods.minimum].sum()),
        latest=int(periods.may_trade.sum()),
        bought=bought,
        spent=spent,
        average_price=price,
        mean_vwap=mean,
        difference_bps=(1 - price / mean) * 1e4,
        difference=gain,
        earned_bps=(terms.promised - price / mean) * 1e4,
        earned=earned,
        net_earned=earned - spent * terms.costs.fee_bps / 1e4,
        left=max(terms.total - done, 0.0),
        days=table,
        breaches=tuple(_breaches(terms, days, fills, dates[periods.rows], table)),
        notes=tuple(_notes(terms, days, fills)),
    )


def _state(terms: ProgrammeTerms, done: float, price: float, elapsed: int, *, over: bool, ended: bool) -> str:
    lot = terms.lot_size * price if terms.is_notional else 1
    if not elapsed and not done:
        return "not started"
    if terms.maximum - done < lot or (not terms.has_greenshoe and terms.total - done < lot):
        return "complete"
    if done >= terms.minimum:
        return "complete" if over or ended else "within its range"
    return "over" if over else "under way"


def _days_table(
    terms: ProgrammeTerms,
    days: TradingDays,
    fills: Fills,
    rows: npt.NDArray[np.int64],
    may_trade: npt.NDArray[np.bool_],
    shares: npt.NDArray[np.int64],
    money: npt.NDArray[np.float64],
) -> pd.DataFrame:
    bars, dates = days.bars, days.dates[rows]
    average = average_daily_volumes(bars.volume, days.dates, dates, terms.daily_cap)
    cap = cap_shares(average, terms.daily_cap, 1)
    vwap, volume = bars.vwap[rows], bars.volume[rows]
    traded = volume > 0
    some = shares != 0
    price = np.where(some, money / np.where(some, shares, 1), np.nan)
    sums, counts = np.cumsum(np.where(traded, vwap, 0.0)), np.cumsum(traded)
    outside = terms.blacked_out(fills.dates) | (fills.dates < np.datetime64(terms.first_day, "D"))
    broken = set(fills.dates[outside].tolist())
    return pd.DataFrame(
        {
            "day": [pd.Timestamp(day).date() for day in dates],
            "session": np.cumsum(may_trade),
            "shares": shares,
            "price": price,
            "notional": money,
            "vwap": vwap,
            "mean_vwap": np.where(counts > 0, sums / np.maximum(counts, 1), np.nan),
            "difference_bps": (1 - price / vwap) * 1e4,
            "cap": cap if terms.daily_cap is not None else np.full(len(rows), np.nan),
            "participation": shares / average,
            "share_of_volume": np.where(traded, shares / np.where(traded, volume, 1.0), np.nan),
            "within_cap": (shares <= cap) | (terms.daily_cap is None),
            "day_allowed": [
                may and day not in broken for may, day in zip(may_trade.tolist(), dates.tolist(), strict=True)
            ],
            "time_allowed": _times(days, fills, dates),
        },
        columns=list(DAY_COLUMNS),
    )


def _times(days: TradingDays, fills: Fills, dates: Dates) -> list[str]:
    """Whether the fills of each day lie in the time that the rules allow."""
    allowed = _times_of_fills(days, fills)
    texts = []
    for day in dates:
        mine = [each for each in allowed[fills.dates == day].tolist()]
        texts.append("no" if "no" in mine else "yes" if mine and set(mine) == {"yes"} else _NOT_CHECKED)
    return texts


def _times_of_fills(days: TradingDays, fills: Fills) -> npt.NDArray[np.str_]:
    """``yes``, ``no`` or ``not checked`` for each fill."""
    out = np.full(len(fills), _NOT_CHECKED)
    if not days.is_intraday or not len(fills):
        return out
    at = np.minimum(np.searchsorted(days.dates, fills.dates), len(days) - 1)
    known = (days.dates[at] == fills.dates) & fills.has_time
    inside = (fills.time >= days.opened[at] + days.quiet[0]) & (fills.time < days.closed[at] - days.quiet[1])
    out[known] = np.where(inside, "yes", "no")[known]
    return out


def _breaches(
    terms: ProgrammeTerms, days: TradingDays, fills: Fills, sessions: Dates, table: pd.DataFrame
) -> list[str]:
    texts = [
        f"{row.shares:,} shares on {row.day} are above the cap of {row.cap:,.0f} ({terms.daily_cap})"
        for row in table[~table["within_cap"]].itertuples()
    ]
    blackout = terms.blacked_out(fills.dates)
    texts += [f"{fills.quantity[at]:,} shares on {fills.dates[at]}, a blackout day" for at in np.flatnonzero(blackout)]
    first, last = np.datetime64(terms.first_day, "D"), sessions[-1]
    for at in np.flatnonzero((fills.dates < first) | (fills.dates > last)):
        which = "before the first day" if fills.dates[at] < first else "after the latest completion"
        texts.append(f"{fills.quantity[at]:,} shares on {fills.dates[at]}, {which}")
    for at in np.flatnonzero(_times_of_fills(days, fills) == "no"):
        moment = pd.Timestamp(fills.time[at], tz="UTC")
        texts.append(f"{fills.quantity[at]:,} shares at {moment:%Y-%m-%d %H:%M} UTC, outside the allowed hours")
    return texts


def _notes(terms: ProgrammeTerms, days: TradingDays, fills: Fills) -> list[str]:
    rules = ["no opening trade"] * terms.no_opening_trade
    rules += [f"none in the last {terms.quiet_close_minutes} minutes"] * bool(terms.quiet_close_minutes)
    if not rules:
        return []
    if not days.is_intraday:
        return [f"not checked: {' and '.join(rules)}; daily bars show no times of the day, so give intraday bars"]
    without = int((~fills.has_time).sum())
    if without:
        return [f"not checked for {without} fills without a time: {' and '.join(rules)}"]
    if days.step > 10 * 60 * 10**9 and days.step < DAY:
        return ["the opening bar is as long as the bars are; shorter bars leave out less of the session"]
    return []
