"""A programme as tables for the terminal and as a page."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from lem_models.programmes.account import ProgrammeReport
from lem_models.programmes.backtest import ProgrammeBacktest
from lem_models.programmes.decision import DayDecision
from lem_models.report.html import Headline, Report, write_report
from lem_models.report.numbers import interval, number, number_text
from lem_models.report.tables import Column, Table

__all__ = ["backtest_table", "days_table", "plan_table", "write_programme_page"]


def plan_table(plan: pd.DataFrame) -> Table:
    """The plan of a programme, a row per session."""
    columns = [
        Column("day", "day"),
        Column("session", "session", "{:,}"),
        Column("state", "state"),
        Column("shares", "shares", "{:,}"),
        Column("price", "price", "{:,.4f}", dropped=2),
        Column("notional", "notional", "{:,.0f}", dropped=3),
        Column("cap", "cap", "{:,.0f}", dropped=4),
        Column("participation", "of volume", "{:.2%}"),
        Column("cost_bps", "cost, bps", "{:.1f}"),
        Column("cost", "cost", "{:,.0f}", dropped=1),
        Column("done", "done", "{:.1%}"),
    ]
    note = "Sessions to come are planned for prices at the last close and volumes at their average."
    return Table(plan, columns, title="Plan", note=note)


def days_table(report: ProgrammeReport) -> Table:
    """The sessions so far with the checks of their rules."""
    columns = [
        Column("day", "day"),
        Column("shares", "shares", "{:,}"),
        Column("price", "price", "{:,.4f}"),
        Column("vwap", "VWAP", "{:,.4f}"),
        Column("mean_vwap", "mean VWAP", "{:,.4f}", dropped=3),
        Column("difference_bps", "better, bps", "{:+.1f}"),
        Column("participation", "of average volume", "{:.2%}"),
        Column("share_of_volume", "of volume", "{:.2%}", dropped=4),
        Column("cap", "cap", "{:,.0f}", dropped=2),
        Column("within_cap", "within cap"),
        Column("day_allowed", "day allowed", dropped=5),
        Column("time_allowed", "time allowed", dropped=1),
    ]
    return Table(report.days, columns, title="Sessions so far")


def backtest_table(backtest: ProgrammeBacktest) -> Table:
    """The policies of a backtest: improvement over the mean of the daily VWAPs, gross and net."""
    columns = [
        Column("policy", "policy"),
        Column("orders", "programmes", "{:,}"),
        Column(("mean_bps", "low_bps", "high_bps"), "gross, bps", _interval),
        Column(("net_bps", "net_low_bps", "net_high_bps"), "net, bps", _interval),
        Column("std_bps", "std, bps", "{:.0f}"),
        Column("net_earned_bps", "net of the discount, bps", lambda value: number(value, ".1f"), dropped=1),
        Column("periods_used", "sessions", "{:.1f}"),
        Column("largest_participation", "largest day, of volume", "{:.1%}", dropped=2),
        Column("completed_percent", "complete", "{:.0f} %"),
    ]
    note = "Improvement over the mean of the daily VWAPs, positive is better; 95 % intervals over days."
    return Table(backtest.summary(), columns, title="Backtest", note=note)


def write_programme_page(
    path: str | os.PathLike[str],
    report: ProgrammeReport,
    *,
    plan: pd.DataFrame | None = None,
    decision: DayDecision | None = None,
    command: str = "",
) -> Path:
    """Write a programme to date as one HTML file.

    Args:
        path: The file; missing folders are made.
        report: Its report.
        plan: Its plan (:meth:`BuybackProgramme.schedule <lem_models.programmes.BuybackProgramme>`).
        decision: The decision of the next session.
        command: Command that reproduces the page.
    """
    terms = report.terms
    difference = Headline(
        "better than the mean VWAP",
        f"{number(report.difference_bps, '+.1f')} bps",
        number_text(f"{report.difference:+,.0f} in money, before fees"),
        "plain",
    )
    headlines = [
        Headline("shares bought", f"{report.bought:,}", f"for {report.spent:,.0f}; {report.state}"),
        difference,
        Headline(
            "earned after the discount",
            f"{number(report.earned_bps, '+.1f')} bps",
            number_text(f"{report.net_earned:+,.0f} in money, after fees"),
        ),
        Headline("session", f"{report.sessions}", f"complete between {report.earliest} and {report.latest}"),
    ]
    facts = {
        "symbol": terms.symbol,
        "total": terms.amount_in_words(terms.total),
        "range": f"{terms.minimum:,.0f} to {terms.maximum:,.0f}" if terms.has_greenshoe else "none",
        "first day": terms.first_day.isoformat(),
        "completion": f"{terms.earliest} to {terms.latest}",
        "daily cap": str(terms.daily_cap) if terms.daily_cap is not None else "none",
        "discount": f"{terms.discount_bps:g} bps",
        "average price": number(report.average_price, ",.4f"),
        "mean of the daily VWAPs": number(report.mean_vwap, ",.4f"),
    }
    sections = [days_table(report)] if len(report.days) else []
    return write_report(
        path,
        Report(
            title=f"Buyback of {terms.symbol}",
            subtitle=f"as of {report.as_of}",
            warnings=[
                *(f"Breach: {text}." for text in report.breaches),
                *(f"{text[:1].upper()}{text[1:]}." for text in report.notes),
            ],
            headlines=headlines,
            summary=f"Next session: {decision}." if decision is not None else "",
            definitions={
                "mean of the daily VWAPs": "plain mean over the sessions of the programme so far",
                "better": "(1 - price / mean) in bps: positive is good",
                "of average volume": "shares over the average daily volume known before the session",
            },
            has_orders=False,
            data=facts,
            sections=[*sections, *([plan_table(plan)] if plan is not None else [])],
            command=command,
        ),
    )


def _interval(mean: float, low: float, high: float) -> str:
    return interval(mean, low, high, ".1f")
