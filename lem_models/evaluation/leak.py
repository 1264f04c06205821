"""Check whether a policy looks ahead: change the future bars and compare the decisions before them.

A decision about bar ``k`` may use the bars before ``k`` and the calendar. A check replaces prices and volumes of all
bars from a random time on, and executes the same orders in both markets. Every decision about a bar up to that time
must be bit-identical: fractions and finishing probabilities, on the path that never finishes early. The bar at that
time is itself changed, so a policy that looks ahead by a single bar fails. A policy that passes is not proven causal. A
policy that fails leaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import BarsError
from lem_models.execution.execute import execute_silently
from lem_models.execution.policy import Policy, policy_of, take_settings
from lem_models.execution.records import BENCHMARKS, Decision, ExecutionState, OrderBatch
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.origins import check_history

__all__ = ["Leak", "check_leak"]

_HISTORY = 2 * MAX_LOOKBACK  # bars before the change that a check looks at
_SYMBOLS = 4  # symbols per check


@dataclass(frozen=True)
class Leak:
    """A decision that moved although its causal inputs did not.

    Attributes:
        symbol: Symbol of the order.
        start: Start of the order.
        side: ``"buy"`` or ``"sell"``.
        min_periods: Minimum duration of the order.
        period: Period decided, 0-based.
        bar: Start of the bar that the decision is for.
        changed_from: Start of the first changed bar, not before ``bar``.
        what: ``"fraction"`` or ``"finish"``.
        before: Decision with the original bars.
        after: Decision with the later bars changed.
    """

    symbol: str
    start: pd.Timestamp
    side: str
    min_periods: int
    period: int
    bar: pd.Timestamp
    changed_from: pd.Timestamp
    what: str
    before: float
    after: float

    def __str__(self) -> str:
        """One sentence."""
        return (
            f"the {self.what} decided for the bar of {self.bar:%Y-%m-%d %H:%M} (period {self.period}, {self.side} "
            f"{self.symbol} from {self.start:%Y-%m-%d %H:%M}, at least {self.min_periods} periods) moved from "
            f"{self.before:.9g} to {self.after:.9g} when bars from {self.changed_from:%Y-%m-%d %H:%M} on were changed"
        )


def check_leak(policy: Policy | str, bars: BarsLike, *, checks: int = 10, seed: int = 0) -> Leak | None:
    """Look for decisions that depend on the future.

    Args:
        policy: Any policy, a model or a user's own object with ``decide``; or the name of one.
        bars: A market (bars, a table of bars, or a file of them) with more bars per symbol than the policy's lookback
            and horizon.
        checks: Number of random times from which bars are changed.
        seed: Seed of the times and of the changes.

    Returns:
        The first decision that moved, or ``None``.

    Raises:
        BarsError: when no symbol has enough bars, or no order fits before any time.
        PolicyError: when the policy breaks its protocol.
    """
    policy, bars = policy_of(policy), Bars.of(bars)
    check_history(bars, MAX_LOOKBACK)
    rng = np.random.default_rng(seed)
    horizon = getattr(policy, "horizon", None) or 12
    orders_run = 0
    for check in range(checks):
        market, cut = _cut(bars, horizon, rng)
        # Half of the checks change only the prices: if volumes change too, clipping can hide a leak.
        changed = _changed(market, cut, rng, volumes=check % 2 == 0)
        leak, compared = _compare(policy, market, changed, cut, horizon)
        orders_run += compared
        if leak is not None:
            return leak
    if not orders_run:
        raise BarsError(
            f"no order of {horizon} periods with {MAX_LOOKBACK} bars of history fits into {bars!r}",
            rule="more bars than the lookback",
        )
    return None


def _cut(bars: Bars, horizon: int, rng: np.random.Generator) -> tuple[Bars, int]:
    """Bars of a few symbols around a random time, and this time in nanoseconds."""
    number = int(rng.choice(np.flatnonzero(np.diff(bars.offsets) > MAX_LOOKBACK)))
    first, end = bars.offsets[number : number + 2].tolist()
    row = int(rng.integers(first + MAX_LOOKBACK, end))
    low, high = max(row - _HISTORY, first), min(row + 2 * horizon, end - 1)
    symbol = bars.symbols[number]
    others = [name for name in bars.symbols if name != symbol]
    chosen = [symbol, *rng.permutation(np.array(others, dtype=object))[: _SYMBOLS - 1]]
    span = bars.timestamp[[low, high]]
    last = pd.Timestamp(int(max(span)), unit="ns", tz="UTC") + bars.frequency
    few = bars.select([name for name in bars.symbols if name in chosen])
    return few.between(pd.Timestamp(int(min(span)), unit="ns", tz="UTC"), last), int(bars.timestamp[row])


def _changed(bars: Bars, cut: int, rng: np.random.Generator, *, volumes: bool) -> Bars:
    """The same bars with other prices, and perhaps volumes, from a time on."""
    later = bars.timestamp >= cut
    price = np.where(later, np.exp(rng.normal(0.0, 0.05, len(bars))), 1.0)
    volume = np.where(later & volumes, np.exp(rng.normal(0.0, 1.5, len(bars))), 1.0)
    # The grid stays: the calendar of a table that begins inside a session would be another one.
    moved = {name: getattr(bars, name) * price for name in ("open", "high", "low", "close")}
    return replace(bars, **moved, volume=bars.volume * volume, notional=bars.notional * price * volume)


def _compare(policy: Policy, bars: Bars, changed: Bars, cut: int, horizon: int) -> tuple[Leak | None, int]:
    """The first decision that differs for a bar up to the cut, and the number of orders compared."""
    orders = _orders(bars, cut, horizon, getattr(policy, "benchmarks", None) or BENCHMARKS)
    if orders.empty:
        return None, 0
    recorders = _Recorder(policy), _Recorder(policy)
    for recorder, market in zip(recorders, (bars, changed), strict=True):
        result = execute_silently(recorder, Market(market), orders)
    tables = [recorder.decisions() for recorder in recorders]
    if tables[0].shape != tables[1].shape or not len(tables[0]):
        return None, 0  # other orders run on the changed bars, so decisions cannot be compared one by one
    executed = result.orders
    start = executed["start"].astype("int64").to_numpy()
    symbols = executed["symbol"].to_numpy(dtype=object)
    row = np.empty(len(executed), dtype=np.int64)
    for symbol in set(symbols):
        row[symbols == symbol] = changed.locate(str(symbol), start[symbols == symbol])
    periods = np.arange(tables[0].shape[1])
    bar = changed.timestamp[np.minimum(row[:, None] + periods, len(changed) - 1)]
    known = (bar <= cut) & (periods < executed["max_periods"].to_numpy()[:, None])
    moved = known[:, :, None] & (tables[0].view(np.int64) != tables[1].view(np.int64))
    if not moved.any():
        return None, len(executed)
    # Report the earliest bar: later decisions follow from it.
    places = np.argwhere(moved)
    order, period, what = places[np.argmin(bar[places[:, 0], places[:, 1]])]
    return Leak(
        symbol=str(symbols[order]),
        start=executed["start"].iloc[order],
        side=str(executed["side"].iloc[order]),
        min_periods=int(executed["min_periods"].iloc[order]),
        period=int(period),
        bar=pd.Timestamp(int(bar[order, period]), unit="ns", tz="UTC"),
        changed_from=pd.Timestamp(cut, unit="ns", tz="UTC"),
        what=("fraction", "finish")[what],
        before=float(tables[0][order, period, what]),
        after=float(tables[1][order, period, what]),
    ), len(executed)


def _orders(bars: Bars, cut: int, horizon: int, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Orders of every kind that are running at the cut or start there, sorted by symbol and start."""
    before = [cut - i * bars.frequency.value for i in range(horizon)]
    settings = {"benchmark": list(benchmarks), "target": ["quantity", "notional"], "side": ["buy", "sell"]}
    rows = []
    for number, symbol in enumerate(bars.symbols):
        rows_before = bars.locate(symbol, np.array(sorted(before)))
        starts = bars.timestamp[rows_before[rows_before >= 0]]
        for kind, minimum in enumerate(dict.fromkeys((1, max(1, horizon // 2), horizon))):
            rows.append(
                pd.DataFrame(
                    {
                        "symbol": symbol,
                        "start": pd.DatetimeIndex(starts, tz="UTC"),
                        "min_periods": minimum,
                        "max_periods": horizon,
                        **{
                            name: values[(kind + number) % len(values)]
                            for name, values in settings.items()
                            if name != "side"
                        },
                    }
                )
            )
    table = pd.concat(rows, ignore_index=True)
    both = pd.concat([table.assign(side=side) for side in settings["side"]], ignore_index=True)
    position = both["symbol"].map({symbol: number for number, symbol in enumerate(bars.symbols)})
    # Sorted as execute() sorts them, so that the recorded decisions have the order of the result.
    return both.assign(position=position).sort_values(["position", "start"], kind="stable").drop(columns="position")


class _Recorder(Policy):
    """Passes the calls to a policy and keeps its decisions."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        take_settings(self, policy)
        self._passes: list[list[npt.NDArray[np.float64]]] = []

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor | None:
        """Contexts of the policy."""
        encode: Any = getattr(self._policy, "encode", None)
        return None if encode is None else encode(market, rows, side)

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decision of the policy, kept."""
        decision = self._policy.decide(context, orders, state)
        if isinstance(decision, tuple):
            decision = Decision(*decision)
        if state.period == 0:
            self._passes.append([])
        answers = (torch.as_tensor(answer, dtype=torch.float64) for answer in (decision.fraction, decision.finish))
        self._passes[-1].append(np.stack([a.expand(len(orders)).detach().cpu().numpy() for a in answers], -1))
        return decision

    def decisions(self) -> npt.NDArray[np.float64]:
        """Fraction and finish of every order and period, [orders, periods, 2]; all orders have the same horizon."""
        return np.ascontiguousarray(np.concatenate([np.stack(answers, 1) for answers in self._passes]))
