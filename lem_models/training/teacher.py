"""Schedules of a teacher, which a model imitates for orders of a fixed duration.

:func:`~lem_models.execution.objective.imitation_loss` says why. A teacher is any policy. Its decisions are computed in
training alone: the trained model does not need it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.baselines import load_policy
from lem_models.errors import ConfigError
from lem_models.execution.context_table import OrderBars
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import PolicySettings, policy_faults
from lem_models.execution.records import BENCHMARKS, MarketWindow, OrderBatch, OrderContexts
from lem_models.execution.simulator import simulate
from lem_models.features.market import Market
from lem_models.markets.bars import Bars

__all__ = ["Teacher"]


class Teacher:
    """A policy whose schedules are imitated.

    It teaches orders of a fixed duration and no size, against the VWAP and, if it knows it, the TWAP. For a fixed
    duration the VWAP over the full horizon is the VWAP.

    Args:
        name: Name or folder of the policy, as :func:`~lem_models.baselines.load_policy` takes it.

    Raises:
        UnknownNameError: There is no such policy.
        LookAheadError: The policy sees what no order can know.
        PolicyError: One of its attributes is wrong.
        ConfigError: It is a bound, or knows neither orders against the VWAP nor against the TWAP.
    """

    def __init__(self, name: str) -> None:
        self.name, self.policy = name, load_policy(name)
        if not getattr(self.policy, "executable", True):
            raise ConfigError(f"{name} cannot teach: it is a bound, which no order can reach; take a policy")
        with policy_faults(self.policy):
            self._settings = PolicySettings.of(self.policy)
        known = self._settings.benchmarks
        self._benchmarks = tuple(each for each in ("vwap", "twap") if known is None or each in known)
        if not self._benchmarks:
            raise ConfigError(f"the teacher {name} knows neither orders against the VWAP nor against the TWAP")

    def check(self, bars: Bars, *, lookback: int, horizon: int) -> None:
        """Refuse a training that has too few bars before its orders, or orders too long for the teacher.

        Raises:
            ConfigError: It does.
            BarsError: The teacher was fitted to bars of another length.
        """
        check_frequency(self.policy, bars, name=f"the teacher {self.name}")
        needed, longest = self._settings.lookback, self._settings.horizon
        if needed > lookback:
            raise ConfigError(
                f"the teacher {self.name} needs {needed} bars before an order, and training orders have {lookback}: "
                "raise model.warmup, or take another teacher"
            )
        if longest is not None and longest < horizon:
            raise ConfigError(f"the teacher {self.name} knows orders of up to {longest} periods, not of {horizon}")

    @torch.no_grad()
    def schedules(self, market: Market, start: npt.NDArray[np.int64], orders: OrderBatch, dtype: torch.dtype) -> Tensor:
        """Fractions that the teacher has traded up to and including each period.

        Args:
            market: The market.
            start: Flat index of each order's first bar, int64 [orders].
            orders: The orders.
            dtype: Type of their tensors.

        Returns:
            [orders, longest maximum], NaN for orders that it does not teach and after an order's maximum.
        """
        periods = int(orders.max_periods.max())
        result = torch.full((len(orders), periods), torch.nan, dtype=dtype)
        vwap = torch.full_like(orders.benchmark, BENCHMARKS.index("vwap"))
        orders = replace(orders, benchmark=torch.where(orders.has_benchmark("full_vwap"), vwap, orders.benchmark))
        is_taught = orders.has_benchmark(*self._benchmarks) & (orders.impact == 0)
        rows = torch.nonzero(is_taught & (orders.min_periods == orders.max_periods))[:, 0]
        if not len(rows):
            return result
        own, first = orders[rows], start[rows.numpy()]
        longest = own.max_periods.numpy()
        window = MarketWindow.of(
            market, first, longest, int(longest.max()), dtype, sessions=self._settings.sessions, sized=False
        )
        is_buy = own.side.numpy() > 0
        bars = OrderBars(self.policy, market, first, longest, is_buy)
        contexts = bars.of(first, is_buy, window.price.shape[1])
        if contexts is not None:
            contexts = OrderContexts(contexts.values.to(dtype), contexts.rows)
        with policy_faults(self.policy):
            paths = simulate(self.policy, own, window, contexts)
        traded = torch.cumsum(paths.fills, 1)
        over = torch.arange(traded.shape[1]) >= own.max_periods[:, None]
        result[rows, : traded.shape[1]] = traded.masked_fill(over, torch.nan)
        return result
