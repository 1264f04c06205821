"""The dials: orders like one order at many starts, at any risk aversion and any size, net of costs.

A point of the chosen policy is an execution of all these orders. Baselines have one point for each size; the fills of
those that do not read sizes are only priced again. Points are kept, so going back to them takes no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from lem_models.app.limits import LIMITS
from lem_models.app.market import policy_named
from lem_models.app.runs import Run
from lem_models.errors import LEMError
from lem_models.evaluation.attribution import WithContextsOf, reads_contexts
from lem_models.evaluation.repricing import repriced
from lem_models.evaluation.risk_dial import DIAL, dial_orders, dial_point
from lem_models.execution.costs import cost_model
from lem_models.execution.execute import execute_silently
from lem_models.execution.policy import Policy
from lem_models.execution.result import ExecutionResult, ResultPart
from lem_models.features.market import MAX_LOOKBACK
from lem_models.orders import Order

__all__ = ["Dials"]

_DRAWS = 300  # of the bootstrap: enough for bars in a picture


@dataclass(eq=False)
class Dials:
    """Points of the risk dial of a run.

    Attributes:
        run: The run, whose order the orders are like: symbol, side, benchmark, target, durations.
        orders: The orders, without amounts: their size is that of the dial.
    """

    run: Run
    orders: pd.DataFrame
    _points: dict[tuple[str, float | None, float], pd.DataFrame] = field(default_factory=dict)
    _results: dict[str, ExecutionResult] = field(default_factory=dict)
    _policies: dict[str, Policy] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Dials:
        """Draw the orders.

        Raises:
            OrderError: No order fits into the bars.
        """
        order = run.order
        orders = Order.sample(
            run.market.bars.select([order.symbol]),
            every=1,
            side=order.side.value,
            min_periods=order.min_periods,
            max_periods=int(order.max_periods or 1),
            lookback=MAX_LOOKBACK,
            start=run.market.orders_since,
            limit=LIMITS.orders,
            benchmark=order.benchmark.value,
            target=order.target.value,
        )
        return cls(run, orders)

    def points(self, risk_aversion: float, size: float) -> Iterator[tuple[pd.DataFrame, int, int]]:
        """Points at a size: the chosen one first, then the baselines and the rest of the curve.

        Args:
            risk_aversion: Risk aversion that is chosen on the dial.
            size: Size of the orders, a part of the volume expected over their duration.

        Yields:
            All points so far (:func:`~lem_models.evaluation.risk_dial.dial_point`), their number, and how many there
            will be.
        """
        tested = self.run.tested
        wanted: list[tuple[str, float | None]] = [(tested, risk_aversion)]
        wanted += [(name, None) for name in self.run.results if name != tested]
        if reads_contexts(policy_named(tested)):  # models read the risk aversion of an order
            wanted += [(tested, risk) for risk in DIAL if risk != risk_aversion]
        made: list[pd.DataFrame] = []
        for done, (name, risk) in enumerate(wanted, 1):
            try:
                made.append(self._point(name, risk, size))
            except LEMError:  # a baseline that cannot run these orders has no point; the run has said why
                if name == tested:
                    raise
            if made:
                ordered = sorted(made, key=lambda point: str(point["policy"].iloc[0]) != tested)
                yield pd.concat(ordered, ignore_index=True), done, len(wanted)

    def _point(self, name: str, risk_aversion: float | None, size: float) -> pd.DataFrame:
        key = (name, risk_aversion, size)
        if key not in self._points:
            orders = self._executed(name, risk_aversion, size)
            self._points[key] = dial_point(orders, name, risk_aversion, draws=_DRAWS)
        return self._points[key]

    def _executed(self, name: str, risk_aversion: float | None, size: float) -> pd.DataFrame:
        """Orders of a policy, net of costs."""
        policy, market = policy_named(name), self.run.market.market
        costs = cost_model(self.run.costs).at(size)
        if risk_aversion is None and not getattr(policy, "reads_size", False):
            if name not in self._results:
                self._results[name] = execute_silently(policy, market, self.orders, costs=costs)
            (priced,) = repriced(self._results[name], [costs], market)
            part = self._results[name].part
            kept = ResultPart(priced, part.excluded, part.fills, part.finish_period)
            return dial_orders(ExecutionResult.join(self.run.market.bars, [kept]), net=True)
        if name not in self._policies:
            # The bars are encoded once for all points.
            self._policies[name] = WithContextsOf(policy, market) if reads_contexts(policy) else policy
        table = self.orders if risk_aversion is None else self.orders.assign(risk_aversion=risk_aversion)
        return dial_orders(execute_silently(self._policies[name], market, table, costs=costs), net=True)
