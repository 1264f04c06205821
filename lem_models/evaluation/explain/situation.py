"""An order before one of its decisions, made again from closed bars: what the model knew, and what it decides.

The market of a situation ends with the last closed bar. In place of the bars to come stand bars at their times (the
calendar is known in advance) that repeat the last close, so nothing later can be read. The fills so far are those of
the result. They are booked by :class:`~lem_models.execution.roll.Roll`, as in an execution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.baselines.volume_curve import VolumeCurve
from lem_models.errors import ConfigError
from lem_models.execution.costs import CostModel
from lem_models.execution.execute import complete_for, traded_market
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch
from lem_models.execution.result import ExecutionResult
from lem_models.execution.roll import Roll
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.live_bars import followed_by
from lem_models.markets.validation import VALUES
from lem_models.modeling.model import LEMModel
from lem_models.orders.rules import SIZE_SESSIONS
from lem_models.orders.table import COLUMNS

__all__ = ["CHANGEABLE", "Answer", "Situation", "situation_of"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_TOLERANCE = 1e-3  # of the order: kernels and batches differ by rounding
CHANGEABLE = ("benchmark", "min_periods", "min_rate", "max_rate", "risk_aversion", "amount")
"""Fields of an order that a counterfactual may change."""


class _Silent(Policy):
    """Trades nothing: it stands where fills are known."""

    def decide(self, context: torch.Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        return Decision(fraction=0.0, finish=False)


_SILENT = _Silent()


@dataclass(frozen=True)
class Answer:
    """What the model decides.

    Attributes:
        fraction: Fraction of the order for this bar, held inside the feasible interval.
        finish: Probability of finishing now; 0 before the minimum duration, 1 in the last bar.
        lower: Smallest feasible fraction.
        upper: Largest feasible fraction.
    """

    fraction: float
    finish: float
    lower: float
    upper: float

    @property
    def finishes(self) -> bool:
        """Whether it finishes: it then trades the rest at once, or at the cap until done."""
        return self.finish > 0.5

    @property
    def traded(self) -> float:
        """Fraction of the order that it sends."""
        return self.upper if self.finishes else self.fraction


@dataclass(frozen=True)
class Situation:
    """An order before the decision for a period.

    Attributes:
        model: Who decides.
        past: Closed bars of its symbol, as many as the model may read.
        coming: Starts of the bars to come up to the order's maximum, nanoseconds UTC, int64 [periods to come].
        table: The order, complete, one row.
        period: Period to decide, 0-based.
        fills: Fractions that filled in the periods so far, [period].
        costs: Costs by which it was decided.
        cap_ahead: See :func:`~lem_models.execute`.
    """

    model: LEMModel
    past: Bars
    coming: Integers
    table: pd.DataFrame
    period: int
    fills: Floats
    costs: CostModel | None = None
    cap_ahead: bool = False

    @cached_property
    def market(self) -> Market:
        """The closed bars, and stand-ins for those to come."""
        close = float(self.past.close[-1])
        stand_ins = [(int(at), close, close, close, close, 1.0, close) for at in self.coming]
        return Market(followed_by(self.past, self.past.grid.calendar, [stand_ins]))

    @property
    def last(self) -> int:
        """Row of the last closed bar in the market."""
        return len(self.past) - 1

    @property
    def start(self) -> int:
        """Row of the order's first bar."""
        return len(self.past) - self.period

    @property
    def side(self) -> int:
        """+1 buy, -1 sell."""
        return 1 if self.table["side"].iloc[0] == "buy" else -1

    @cached_property
    def traded(self) -> tuple[OrderBatch, MarketWindow, torch.Tensor]:
        """The order as tensors, its market (stand-ins for the bars to come), and its size."""
        return traded_market(self.market, self.table, np.array([self.start]), self.costs, self.model)

    @cached_property
    def contexts(self) -> torch.Tensor:
        """Contexts of the bars before the order and before this period, as its execution reads them, [2, width]."""
        rows = np.array([self.start - 1, self.last])
        return self.model.encode(self.market, rows, np.full(2, self.side))

    def roll(self, fills: Floats | None = None) -> Roll:
        """The order after its fills so far.

        Args:
            fills: Other fills, [period].
        """
        orders, window, _ = self.traded
        roll = Roll.of(orders, window, cap_ahead=self.cap_ahead)
        for period, fill in enumerate(self.fills if fills is None else fills):
            if not period:  # the context before the order goes with its state
                roll.decide(_SILENT, self.contexts[:1])
            price = window.price[:, period]
            filled = torch.full_like(price, float(fill))
            roll.book(price, window.close[:, period], window.volume[:, period], filled, price)
        return roll

    def state(self, fills: Floats | None = None) -> ExecutionState:
        """What a policy is told."""
        state = self.roll(fills).state()
        return state if self.period else replace(state, start_context=self.contexts[:1])

    def answer(self, fills: Floats | None = None) -> Answer:
        """What the model decides, by the rules of the simulator."""
        return _answer(self, self.roll(fills))

    @cached_property
    def neutral(self) -> Situation:
        """The same order on its expected volume curve, in a market that stood still and traded as expected since.

        It is where attributions to the path of the order begin. It equals this situation before the first period.
        """
        orders, window, _ = self.traded
        one = torch.ones_like(window.price)
        still = replace(window, price=one, close=one, volume=window.expected_volume)
        curve, roll = VolumeCurve(), Roll.of(orders, still, cap_ahead=self.cap_ahead)
        for period in range(self.period):
            roll.decide(curve)
            roll.book(one[:, period], one[:, period], still.volume[:, period])
        fills = np.array([float(fill[0]) for fill in roll.fills])
        made = replace(self, fills=fills)
        made.__dict__["traded"] = (orders, still, self.traded[2])
        made.__dict__["contexts"] = self.contexts
        return made

    def changed(self, *, volume: float, move: float, bars: int, order: Mapping[str, Any]) -> Situation:
        """This situation, had the last bars and the order been others.

        Args:
            volume: Factor of the volumes of the last bars.
            move: Bar volatilities by which all their prices are higher.
            bars: How many they are.
            order: Other fields of the order.

        Raises:
            ConfigError: The order has no such field, or it cannot be changed while the order runs.
            OrderError: The order breaks a rule then.
        """
        past = self.past
        if volume != 1.0 or move != 0.0:
            cut = len(past) - bars
            before = past.between(end=pd.Timestamp(int(past.timestamp[cut]), tz="UTC"))
            sigma = float(self.market.volatility_at(np.array([cut - 1]))[0])
            factor = float(np.exp(move * sigma))
            scale = {name: factor for name in VALUES} | {"volume": volume, "notional": volume * factor}
            columns = [past.timestamp[cut:].tolist(), *(_column(past, name, cut, scale[name]) for name in VALUES)]
            past = followed_by(before, past.grid.calendar, [list(zip(*columns, strict=True))])
        table = self.table
        if order:
            wrong = [name for name in order if name not in CHANGEABLE]
            if wrong:
                raise ConfigError(
                    f"a counterfactual changes {', '.join(CHANGEABLE)} of the order; got {shown(wrong[0])}"
                )
            row = {str(name): value for name, value in table.iloc[0].items() if not pd.isna(value)}
            table = complete_for(self.model, row | dict(order))
        return replace(self, past=past, table=table)


def _column(past: Bars, name: str, cut: int, factor: float) -> list[float]:
    """A column of the bars from a row on, times a factor."""
    return (getattr(past, name)[cut:] * factor).tolist()  # type: ignore[no-any-return]


def situation_of(
    model: LEMModel,
    result: ExecutionResult,
    order: int | str,
    period: int | None,
    *,
    costs: CostModel | None = None,
    cap_ahead: bool = False,
) -> Situation:
    """The situation of an order of a result.

    Args:
        model: The model that decided it.
        result: The result.
        order: Its ``order_id``.
        period: Period, 0-based; ``None``: that in which the model chose to finish early, else that whose fraction
            differs most from the even pace of what was left.
        costs: Costs of the execution.
        cap_ahead: See :func:`~lem_models.execute`.

    Raises:
        KeyError: No order that ran has this id.
        ConfigError: The period is not one that the model decided; or the model decides otherwise than the result.
    """
    rows = np.flatnonzero((result.orders["order_id"] == order).to_numpy())
    if not rows.size:
        raise KeyError(f"no executed order has the id {order!r}")
    row = int(rows[0])
    table = result.orders.iloc[[row]][list(COLUMNS)].reset_index(drop=True)
    periods, finished = int(table["max_periods"].iloc[0]), int(result.finish_period[row])
    fills = result.periods_of(order)["fraction"].to_numpy(dtype=float)
    last = min(finished, periods - 1)
    chosen = _most_telling(fills, periods, finished) if period is None else period
    if isinstance(chosen, bool) or not 0 <= chosen <= last:
        raise ConfigError(
            f"period is {shown(period)}: order {order!r} was decided in the periods 0 to {last}; from then on it "
            "only completes"
        )
    if chosen == periods - 1 and periods > 1:
        raise ConfigError(
            f"period {chosen} is the last of the order: it trades all that is left, and nothing is decided; explain "
            f"one of 0 to {periods - 2}"
        )
    own = result.bars.select([str(table["symbol"].iloc[0])])
    start = int(own.locate(str(table["symbol"].iloc[0]), table["start"].astype("int64").to_numpy())[0])
    past = _before(own, start + chosen, model, chosen)
    coming = own.timestamp[start + chosen : start + periods].copy()
    situation = Situation(model, past, coming, table, chosen, fills[:chosen].copy(), costs, cap_ahead)
    _check_decided(situation, fills[chosen], order)
    return situation


def _before(own: Bars, end: int, model: LEMModel, period: int) -> Bars:
    """The bars that the model may read before a bar."""
    slots = own.grid.calendar.slots_per_session
    needed = (max(model.sessions, SIZE_SESSIONS) + 2) * slots + MAX_LOOKBACK + model.lookback + period
    if end < len(own):
        own = own.between(end=pd.Timestamp(int(own.timestamp[end]), tz="UTC"))
    return own.last(needed)


def _most_telling(fills: Floats, periods: int, finished: int) -> int:
    """See :func:`situation_of`; only decisions up to the finish count."""
    if finished < periods - 1:
        return finished
    left = 1.0 - np.concatenate([[0.0], np.cumsum(fills)[:-1]])
    pace = left / (periods - np.arange(len(fills)))
    free = max(periods - 1, 1)
    return int(np.argmax(np.abs(fills - pace)[:free]))


def _check_decided(situation: Situation, fill: float, order: int | str) -> None:
    """Refuse a result of another policy, or of other costs.

    Raises:
        ConfigError: The model decides otherwise.
    """
    table = situation.table
    if not fill or table[["lot_size", "max_participation"]].notna().any(axis=None):
        return  # what filled need not be what was decided
    answer = situation.answer()
    if abs(answer.traded - fill) > _TOLERANCE:
        raise ConfigError(
            f"order {order!r} traded {fill:.4g} of itself in period {situation.period}, and this model decides "
            f"{answer.traded:.4g}: the result is of another policy, or of other costs; give the model, and the costs "
            "and cap_ahead of its execution"
        )


def _answer(situation: Situation, roll: Roll) -> Answer:
    state = roll.state()
    with torch.no_grad():
        roll.decide(situation.model, situation.contexts[1:])
    fraction, finish = float(roll.fraction[0]), float(roll.finish[0])
    return Answer(fraction, finish, float(state.lower[0]), float(state.upper[0]))
