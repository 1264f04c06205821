"""The plan of a programme and the decision of its day, from the sessions closed so far and the fills reported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from lem_models.errors import OrderError
from lem_models.execution.policy import Policy
from lem_models.programmes.course import Course, periods_to_come
from lem_models.programmes.days import TradingDays
from lem_models.programmes.decision import DayDecision
from lem_models.programmes.fills import Fills
from lem_models.programmes.progress import Progress, Purchase
from lem_models.programmes.terms import ProgrammeTerms

__all__ = ["PLANNED", "cost_rate", "decide_today", "plan_days"]

PLANNED = ("day", "session", "state", "shares", "price", "notional", "cap", "participation", "cost_bps", "cost", "done")
"""Columns of a plan."""


@dataclass(frozen=True, eq=False)
class _Begun:
    """A programme after the sessions that have closed."""

    course: Course
    progress: Progress
    shares: np.ndarray[Any, np.dtype[np.int64]]
    money: np.ndarray[Any, np.dtype[np.float64]]


def cost_rate(terms: ProgrammeTerms, shares: float, volume: float, volatility: float) -> float:
    """What a purchase costs, as a fraction of its money: half-spread, fee, and impact by the square-root law."""
    part = shares / volume if volume > 0 else 0.0
    return terms.half_spread_and_fee + terms.costs.impact * volatility * math.sqrt(max(part, 0.0))


def _begin(terms: ProgrammeTerms, policy: Policy, days: TradingDays, fills: Fills, *, told_size: bool = True) -> _Begun:
    """Replay the closed sessions with the fills reported; the sessions before the first day need no programme."""
    periods, coming = periods_to_come(terms, days)
    course, reasons = Course.of(terms, policy, days, [periods], coming, told_size=told_size)
    del reasons  # of a single programme that cannot run an error is raised
    progress, known = Progress(course, policy), course.elapsed
    rows = course.rows[0, :known]
    shares, money = fills.by_day(course.dates[course.rows[0]])
    bars = days.bars
    for period, row in enumerate(rows):
        progress.decide()
        bought = int(shares[period])
        paid = money[period] / bought if bought else 1.0
        at = np.array([row])
        progress.book(np.array([bought]), np.array([paid]), bars.vwap_at(at), bars.close[at], bars.volume[at])
    return _Begun(course, progress, shares, money)


def decide_today(terms: ProgrammeTerms, policy: Policy, days: TradingDays, fills: Fills) -> DayDecision:
    """The decision of the session after the last closed one.

    Args:
        terms: The programme.
        policy: Who decides.
        days: The closed sessions.
        fills: What was bought. Fills after the last closed session belong to the one decided.

    Raises:
        OrderError: The programme is over, or has not started with the next session, or its caps forbid it.
    """
    begun = _begin(terms, policy, days, fills)
    course, progress = begun.course, begun.progress
    if progress.period >= course.periods:
        raise OrderError(
            f"the programme was over on {course.dates[course.rows[0, -1]]}; its report says what was bought",
            field="latest",
            rule="programme under way",
        )
    row = int(course.rows[0, progress.period])
    following = days.coming(1).astype("datetime64[ns]").astype("datetime64[D]")[0]
    if progress.period == 0 and row > len(days):
        raise OrderError(
            f"the programme starts on {course.dates[row]}, and the next session is {following}; give bars up to the "
            "session before",
            field="first_day",
            rule="programme under way",
        )
    # A blackout outside the benchmark is no period: the next session may be none of the programme's.
    paused = row > len(days)
    purchase = progress.decide()
    return _decision(begun, purchase, following if paused else course.dates[row], paused=paused)


def plan_days(
    terms: ProgrammeTerms, policy: Policy, days: TradingDays, fills: Fills, *, told_size: bool = True
) -> pd.DataFrame:
    """The programme session by session: what was bought, and what is bought if prices and volumes stay as they are.

    Args:
        terms: The programme.
        policy: Who decides.
        days: The closed sessions.
        fills: What was bought.
        told_size: Whether a policy that reads the size of orders is told it.

    Returns:
        A row per session, columns :data:`PLANNED`: day; number of the session; ``state`` (``"bought"``, ``"planned"``,
        ``"blackout"``); shares; price (of the fills, or the last close); notional; cap in shares; participation in the
        average daily volume known before the session; cost in bps and in money by the programme's cost model; and
        ``done``, the part of the total that is bought after it. The plan ends with the programme.
    """
    begun = _begin(terms, policy, days, fills, told_size=told_size)
    course, progress = begun.course, begun.progress
    volatility = float(course.window.volatility[0])
    state: list[str] = []
    shares, money = begun.shares.copy(), begun.money.copy()
    for period in range(course.periods):
        may_trade = bool(course.may_trade[0, period])
        if period < progress.period:
            state.append("bought" if may_trade else "blackout")
            continue
        purchase = progress.decide()
        if purchase.ended[0]:
            break
        price, volume = purchase.price, course.average[:, period]
        filled = progress.filled(purchase, price, volume)
        progress.book(filled, price, price, price, volume)
        shares[period], money[period] = int(filled[0]), float(filled[0] * price[0])
        state.append("planned" if may_trade else "blackout")
    count = max(len(state), 1)
    bought, spent, average = shares[:count], money[:count], course.average[0, :count]
    close = float(days.bars.close[-1])
    price = np.where(bought != 0, spent / np.where(bought != 0, bought, 1), np.nan)
    rate = [cost_rate(terms, float(q), float(v), volatility) for q, v in zip(bought, average, strict=True)]
    done = np.cumsum(spent if terms.is_notional else bought) / terms.total
    planned = np.array(state[:count]) == "planned"
    return pd.DataFrame(
        {
            "day": [_date(course.dates[row]) for row in course.rows[0, :count]],
            "session": np.cumsum(course.may_trade[0, :count]),
            "state": state[:count],
            "shares": bought,
            "price": np.where(planned & (bought == 0), close, price),
            "notional": spent,
            "cap": course.caps[0, :count] if terms.daily_cap is not None else np.full(count, np.nan),
            "participation": bought / average,
            "cost_bps": np.where(bought != 0, np.array(rate) * 1e4, 0.0),
            "cost": np.array(rate) * spent,
            "done": done,
        },
        columns=list(PLANNED),
    )


def _decision(begun: _Begun, purchase: Purchase, day: np.datetime64, *, paused: bool) -> DayDecision:
    course, progress = begun.course, begun.progress
    terms, s = course.terms, progress.period
    may_trade = bool(course.may_trade[0, s]) and not paused
    shares = int(purchase.shares[0]) if may_trade else 0
    price, average = float(purchase.price[0]), float(course.average[0, s])
    money = shares * price
    if terms.is_notional and may_trade:
        money = float(purchase.money[0])
    rate = cost_rate(terms, shares, average, float(course.window.volatility[0]))
    binds = _binding(course, purchase, may_trade=may_trade)
    done = float(progress.spent[0] if terms.is_notional else progress.bought[0])
    left = terms.total - done - (money if terms.is_notional else shares)
    is_today = not paused and s < len(begun.shares)
    decision: dict[str, Any] = {
        "terms": terms,
        "day": _date(day),
        "session": int(course.may_trade[0, : s + 1].sum()),
        "shares": shares,
        "notional": money,
        "least": int(purchase.least[0]) if may_trade else 0,
        "most": int(purchase.most[0]) if may_trade else 0,
        "cap": int(purchase.cap[0]) if terms.daily_cap is not None else None,
        "average_daily_volume": average,
        "binds": binds,
        "may_finish": bool(purchase.may_finish[0]) and may_trade,
        "finishes": bool(purchase.finishes[0]) and may_trade,
        "expected_cost_bps": rate * 1e4 if shares else 0.0,
        "expected_cost": rate * money,
        "left_after": max(left, 0.0),
        "filled_already": int(begun.shares[s]) if is_today else 0,
        "window": course.days.window_of(day),
    }
    return DayDecision(**decision, reason=_reason(course, progress, purchase, decision))


def _binding(course: Course, purchase: Purchase, *, may_trade: bool) -> str:
    """Which rule changed what the policy asked for."""
    lot = course.terms.lot_size
    wanted, least, most, cap = (
        float(each[0]) for each in (purchase.wanted, purchase.least, purchase.most, purchase.cap)
    )
    if bool(purchase.ended[0]):
        return "complete"
    if not may_trade:
        return "blackout"
    if wanted > most + lot / 2:
        if most == cap:
            return "daily cap"
        return "none" if bool(purchase.may_finish[0]) else "earliest completion"
    return "latest completion" if wanted < least - lot / 2 else "none"


def _reason(course: Course, progress: Progress, purchase: Purchase, decision: dict[str, Any]) -> str:
    """The decision in one sentence."""
    terms, binds, shares = course.terms, decision["binds"], decision["shares"]
    day = f"{decision['day']:%Y-%m-%d}"
    if binds == "complete":
        done = progress.spent[0] if terms.is_notional else progress.bought[0]
        return f"nothing to buy on {day}: the programme is complete with {terms.amount_in_words(float(done))}"
    if binds == "blackout":
        return f"nothing to buy on {day}: it is a blackout day"
    part = f"{100 * shares / decision['average_daily_volume']:.1f} % of the average daily volume"
    size = f"{shares:,} {terms.symbol}"
    if terms.is_notional:
        size = f"{terms.symbol} for {decision['notional']:,.0f} (about {shares:,} shares)"
    text = f"buy {size} on {day}, session {decision['session']} ({part})"
    because = {
        "daily cap": f"the daily cap, {terms.daily_cap}, allows {int(purchase.cap[0]):,} shares",
        "latest completion": f"the {course.sessions_left(progress.period)[0]} sessions after it could not buy the rest",
        "earliest completion": "one lot is kept until the earliest completion",
        "none": "the policy's choice",
    }[binds]
    if purchase.finishes[0]:
        because = f"the programme is finishing; {because}" if binds != "none" else "the programme is finishing"
        if terms.has_greenshoe:
            aim = "upper" if purchase.aims_at_most[0] else "lower"
            because += f" and aims at the {aim} end of its range"
    left = f"{terms.amount_in_words(decision['left_after'])} left after it"
    may = "" if decision["finishes"] else "; it may finish" if decision["may_finish"] else "; it may not finish yet"
    return f"{text}: {because}; {left}{may}; expected cost {decision['expected_cost_bps']:.1f} bps"


def _date(day: np.datetime64) -> date:
    return pd.Timestamp(day).date()
