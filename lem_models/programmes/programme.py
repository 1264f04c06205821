"""A share repurchase over days: its plan, the decision of its day, its report to date, and its backtest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lem_models.execution.policy import Policy, policy_of
from lem_models.markets.bars import Bars, BarsLike
from lem_models.programmes.account import ProgrammeReport, report_to_date
from lem_models.programmes.backtest import ProgrammeBacktest, backtest
from lem_models.programmes.days import TradingDays
from lem_models.programmes.decision import DayDecision
from lem_models.programmes.fills import Fills, FillsLike
from lem_models.programmes.plan import decide_today, plan_days
from lem_models.programmes.terms import ProgrammeTerms

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

__all__ = ["BuybackProgramme"]


class BuybackProgramme(ProgrammeTerms):
    """A share repurchase over days, judged against the mean of the daily VWAPs.

    :class:`~lem_models.programmes.terms.ProgrammeTerms` lists the terms. The bars end with the last closed session, and
    the fills are what was bought since the first day. Everything follows from these two, so there is nothing to save.

    Example:
        >>> programme = BuybackProgramme(
        ...     symbol="SPX", shares=2_000_000, first_day="2018-10-01", earliest=5, latest=20, lot_size=100)
        >>> bars = Bars.sample("us-index-daily").between(end="2018-10-01T00:00Z")
        >>> print(programme.today(bars, None, "twap"))
        buy 100,000 SPX on 2018-10-01, session 1 (0.0 % of the average daily volume): the policy's choice; \
1,900,000 SPX left after it; it may not finish yet; expected cost 0.0 bps
    """

    def schedule(
        self, bars: BarsLike, policy: Policy | str, fills: FillsLike = None, *, told_size: bool = True
    ) -> pd.DataFrame:
        """The plan as of the last closed session, see :func:`~lem_models.programmes.plan.plan_days`.

        Sessions to come are planned for a market that stays where it is: prices at the last close, volumes at their
        average. The model sees its last context throughout.

        Args:
            bars: Bars up to the last closed session, daily or intraday.
            policy: Who decides: a model, the name of a policy, or your own.
            fills: What was bought: a table or a CSV file with ``timestamp``, ``quantity`` and ``price``.
            told_size: Whether a policy that reads the size of orders is told it.
        """
        return plan_days(self, policy_of(policy), self._days(bars), Fills(fills), told_size=told_size)

    def today(self, bars: BarsLike, fills: FillsLike, policy: Policy | str) -> DayDecision:
        """The decision of the session after the last closed one.

        Args:
            bars: See :meth:`schedule`.
            fills: See :meth:`schedule`.
            policy: See :meth:`schedule`.

        Raises:
            OrderError: The programme is over or starts later, its caps forbid it, or a fill is refused.
            BarsError: The history is too short for the policy or the daily cap.
        """
        return decide_today(self, policy_of(policy), self._days(bars), Fills(fills))

    def report(self, bars: BarsLike, fills: FillsLike, *, ended: bool = False) -> ProgrammeReport:
        """The report to date: what was bought, against the mean of the daily VWAPs, and the rules day by day.

        Args:
            bars: See :meth:`schedule`.
            fills: See :meth:`schedule`.
            ended: Whether a programme within its range ended with its last purchase.
        """
        return report_to_date(self, self._days(bars), Fills(fills), ended=ended)

    def backtest(
        self,
        bars: BarsLike,
        policies: Mapping[str, Policy | str] | Iterable[str],
        starts: Iterable[str | date] | str | int,
        *,
        told_size: bool = True,
    ) -> ProgrammeBacktest:
        """Run the programme from many first days.

        Args:
            bars: Bars of the whole period.
            policies: Policies by name, or names.
            starts: First days; or the step between them in sessions, from the programme's first day on.
            told_size: See :meth:`schedule`.
        """
        named = policies if isinstance(policies, Mapping) else {name: name for name in policies}
        return backtest(
            self, {name: policy_of(each) for name, each in named.items()}, self._days(bars), starts, told_size=told_size
        )

    def _days(self, bars: BarsLike) -> TradingDays:
        return TradingDays.of(Bars.of(bars), self)
