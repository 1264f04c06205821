"""The policy protocol: the input of a policy before each period, and its answer.

Before period ``s`` of its orders a policy sees the orders, what has happened in their periods ``0 .. s-1``, and, if it
encodes the market, the context of the last closed bar. It gets nothing else, so it cannot look ahead.
All orders of a batch are in the same period; prices are multiples of each order's arrival price (the last close before
it starts) and volumes multiples of its expected volume per period, so that nothing depends on units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.errors import LookAheadError, PolicyError
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.profile import MAX_LOOKBACK, MAX_SESSIONS
from lem_models.guard.text import shown
from lem_models.orders.rules import MAX_PERIODS, Benchmark

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.desk.orders.order import DeskOrder
    from lem_models.desk.session import DeskSession
    from lem_models.execution.costs import CostModel
    from lem_models.execution.session import LiveSession
    from lem_models.features.market import Market
    from lem_models.markets.bars import BarsLike
    from lem_models.markets.live_bars import ClosedBar
    from lem_models.orders import Order
    from lem_models.orders.table import OrdersLike

Integers = npt.NDArray[np.int64]

__all__ = [
    "ContextStream",
    "Policy",
    "PolicySettings",
    "checked_contexts",
    "lookback_of",
    "policy_faults",
    "policy_of",
    "rows_not_finite",
    "sessions_of",
    "take_settings",
]


class ContextStream(Protocol):
    """Contexts of many symbols and sides, bar after bar, for live orders."""

    def add(self, market: Market, rows: Integers, side: Integers) -> Integers | None:
        """Follow symbols from their last bars on, by the arguments of :meth:`Policy.encode`.

        Args:
            market: The closed bars so far, the last :attr:`Policy.lookback` of each symbol gapless.
            rows: Flat index of the last bar of a symbol, int64 [pairs].
            side: +1 or -1, the side of the orders that read the context, int64 [pairs].

        Returns:
            Row of each pair's context, int64 [pairs]. A pair that is already followed keeps its row. ``None`` if the
            policy reads no contexts.
        """
        ...

    def push(self, bars: Mapping[str, ClosedBar]) -> None:
        """Take in the next closed bar of some symbols, checked and placed. Symbols not followed are ignored."""
        ...

    def drop(self, symbols: Sequence[str]) -> None:
        """Stop following symbols: their bars were missed. They may be added again."""
        ...

    def contexts(self, rows: Integers) -> Tensor:
        """Contexts of the last closed bars, float [rows, width]."""
        ...

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide from such contexts: what :meth:`Policy.decide` decides, up to rounding."""
        ...


class Policy(ABC):
    """Base class of policies. Only :meth:`decide` must be written.

    Attributes:
        lookback: Bars of gapless history needed before an order, at least 1 (the arrival price), at most 256.
        sessions: Sessions before an order that its expected volumes average, at most 60. They need not be complete, and
            missing ones are skipped. 0 for those that fit into the longest lookback.
        horizon: Longest order in periods, ``None`` for any.
        risk_aversion: Default for orders that name none.
        fixed_risk_aversion: The same for orders of a fixed duration; ``None`` for no difference.
        benchmarks: Benchmarks of the orders that the policy can serve, ``None`` for any.
        frequencies: Lengths of the bars that the policy is made for (``("1h",)``), ``None`` for any; empty where they
            are not known.
        reads_size: Whether decisions depend on the size of an order and the costs of trading
            (:attr:`OrderBatch.impact <lem_models.execution.records.OrderBatch>`).
        assumed_costs: Costs by which the policy decides where an execution names none; ``None`` for none.

    Example:
        A policy that trades twice the TWAP's pace:

        >>> class Hasty(Policy):
        ...     def decide(self, context, orders, state):
        ...         return Decision(fraction=2.0 / orders.max_periods, finish=False)
    """

    lookback: int = 1
    sessions: int = 0
    horizon: int | None = None
    risk_aversion: float = 0.0
    fixed_risk_aversion: float | None = None
    benchmarks: tuple[str, ...] | None = None
    frequencies: tuple[str, ...] | None = None
    reads_size: bool = False
    assumed_costs: CostModel | None = None

    @staticmethod
    def by_name(name: str) -> Policy:
        """A policy by name; see :func:`~lem_models.baselines.registry.load_policy`.

        Raises:
            UnknownNameError: There is no policy and no model of this name; names the closest ones.
        """
        from lem_models.baselines import load_policy

        return load_policy(name)

    @abstractmethod
    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period of a batch of orders.

        Args:
            context: Context of the last closed bar, [orders, width]; ``None`` for a policy that encodes nothing.
            orders: The orders.
            state: What has happened so far.

        Returns:
            The fraction to trade now and the probability of finishing now.
        """

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor | None:
        """Context of bars: row ``i`` may depend on the bars up to and including ``rows[i]`` and on nothing later.

        Args:
            market: The bars and their features.
            rows: Flat bar indices, [rows].
            side: +1 or -1, the side of the order that will read the context, [rows].

        Returns:
            Finite floats [rows, width], or ``None`` (the default) when the policy needs no context.
        """
        return None

    def stream(self) -> ContextStream | None:
        """The contexts of :meth:`encode`, one bar at a time: the fast way for live orders.

        Returns:
            A stream that follows no symbol yet; ``None`` (the default) when the policy has none. Then :meth:`encode`
            is called after every bar, with the last bars of each symbol as the market.
        """
        return None

    def session(
        self,
        order: Order | Mapping[str, Any],
        history: BarsLike,
        *,
        costs: CostModel | None = None,
        allow_frequency: bool = False,
        fills: Literal["assumed", "reported"] = "assumed",
        cap_ahead: bool = False,
    ) -> LiveSession:
        """Decide one order live, bar by bar.

        Args:
            order: The order; it starts with the first bar after the history.
            history: Closed bars before the order.
            costs: See :class:`~lem_models.execution.session.LiveSession`, also for the following.
            allow_frequency: Whether a model may decide on bars of another length than it was trained on.
            fills: ``"assumed"``, or ``"reported"``: nothing fills but what ``observe`` is told.
            cap_ahead: Whether ``max_participation`` also caps decisions.
        """
        from lem_models.execution.session import LiveSession

        return LiveSession(
            self, order, history, costs=costs, allow_frequency=allow_frequency, fills=fills, cap_ahead=cap_ahead
        )

    def execute_df(
        self,
        bars: BarsLike,
        orders: OrdersLike,
        *,
        table: Literal["orders", "schedule"] = "orders",
        **settings: Any,
    ) -> pd.DataFrame:
        """Execute orders, data frames in and out.

        Args:
            bars: A table of bars, or whatever :func:`~lem_models.execute` takes.
            orders: A table of orders, or whatever :func:`~lem_models.execute` takes.
            table: ``"orders"``: the table of orders with the results of each, in its sequence; the column ``excluded``
                has the reason of an order that could not run, and its results are missing. ``"schedule"``: a row per
                order and period traded.
            **settings: Other arguments of :func:`~lem_models.execute`: ``costs``, ``allow_frequency`` ...

        Returns:
            A new data frame; the columns are those of :class:`~lem_models.execution.result.ExecutionResult`.

        Raises:
            ConfigError: There is no such table.
            LEMError: See :func:`~lem_models.execute`.
        """
        from lem_models.execution.execute import executed_frame

        return executed_frame(self, bars, orders, table=table, **settings)

    def desk(
        self, order: DeskOrder | Mapping[str, Any], history: BarsLike, *, allow_frequency: bool = False
    ) -> DeskSession:
        """Decide one order in units and money by its fills; see :class:`~lem_models.desk.session.DeskSession`."""
        from lem_models.desk.session import DeskSession

        return DeskSession(self, order, history, allow_frequency=allow_frequency)


@dataclass(frozen=True)
class PolicySettings:
    """Attributes of a policy, checked; see :class:`Policy`."""

    lookback: int
    sessions: int
    horizon: int | None
    risk_aversion: float
    fixed_risk_aversion: float | None
    benchmarks: tuple[str, ...] | None

    @classmethod
    def of(cls, policy: Policy) -> PolicySettings:
        """Read and check the attributes of a policy.

        Raises:
            LookAheadError: when it says that it looks ahead.
            PolicyError: when it is not a policy, or one of its attributes is not as :class:`Policy` describes it.
        """
        if getattr(policy, "looks_ahead", False):
            raise LookAheadError.of(policy)
        if isinstance(policy, type):
            raise PolicyError(f"{policy.__name__} is a class; pass an instance, {policy.__name__}()")
        if not callable(getattr(policy, "decide", None)):
            raise PolicyError(
                f"{type(policy).__name__} is not a policy: it has no method decide(context, orders, state)"
            )
        lookback = getattr(policy, "lookback", 1)
        if not _is_whole(lookback) or not 0 <= lookback <= MAX_LOOKBACK:
            raise PolicyError(
                f"lookback is {shown(lookback)}; it is a whole number, from 1 to {MAX_LOOKBACK} bars of history at most"
            )
        sessions = getattr(policy, "sessions", 0)
        if not _is_whole(sessions) or not 0 <= sessions <= MAX_SESSIONS:
            raise PolicyError(f"sessions is {shown(sessions)}; it is a whole number from 0 to {MAX_SESSIONS}")
        horizon = getattr(policy, "horizon", None)
        if horizon is not None and not (_is_whole(horizon) and 1 <= horizon <= MAX_PERIODS):
            raise PolicyError(
                f"horizon is {shown(horizon)}; it is a whole number of periods from 1 to {MAX_PERIODS}, or None"
            )
        benchmarks = getattr(policy, "benchmarks", None)
        known = [benchmark.value for benchmark in Benchmark]
        if benchmarks is not None and not (
            isinstance(benchmarks, tuple | list) and benchmarks and all(name in known for name in benchmarks)
        ):
            raise PolicyError(f"benchmarks is {shown(benchmarks)}; it is a tuple of {', '.join(known)}, or None")
        return cls(
            max(int(lookback), 1),
            int(sessions),
            None if horizon is None else int(horizon),
            _risk_aversion(policy, "risk_aversion", 0.0),
            None if getattr(policy, _FIXED, None) is None else _risk_aversion(policy, _FIXED, 0.0),
            None if benchmarks is None else tuple(benchmarks),
        )


_SETTINGS = (
    *("lookback", "sessions", "horizon", "risk_aversion", "fixed_risk_aversion", "benchmarks", "frequencies"),
    *("reads_size", "assumed_costs"),
)
_FIXED = "fixed_risk_aversion"
_LABELS = ("order_id", "symbol", "start")


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def _risk_aversion(policy: Policy, name: str, default: float) -> float:
    value = getattr(policy, name, default)
    if not (_is_whole(value) or isinstance(value, float | np.floating)) or not 0 <= value < np.inf:
        raise PolicyError(f"{name} is {shown(value)}; it is a finite number, at least 0")
    return float(value)


def take_settings(policy: Policy, other: Policy) -> None:
    """Take over what another policy says of itself (memory, horizon and the like): for one that passes it on."""
    for name in _SETTINGS:
        setattr(policy, name, getattr(other, name, getattr(Policy, name)))


def lookback_of(policy: Policy) -> int:
    """Bars of history that a policy needs, at least 1 (the arrival price).

    Raises:
        LookAheadError: when it says that it looks ahead.
        PolicyError: when it is not a policy, or one of its attributes is wrong; names the policy.
    """
    with policy_faults(policy):
        return PolicySettings.of(policy).lookback


def sessions_of(policy: Policy) -> int:
    """Sessions that the expected volumes of a policy average, see :attr:`Policy.sessions`.

    Raises:
        LookAheadError: when it says that it looks ahead.
        PolicyError: when it is not a policy, or one of its attributes is wrong; names the policy.
    """
    with policy_faults(policy):
        return PolicySettings.of(policy).sessions


def policy_of(policy: Policy | str) -> Policy:
    """A policy, or the policy of a name (:meth:`Policy.by_name`)."""
    return Policy.by_name(policy) if isinstance(policy, str) else policy


@contextmanager
def policy_faults(policy: Policy, orders: pd.DataFrame | None = None) -> Iterator[None]:
    """Name the policy and the first order concerned in every :class:`PolicyError` that is raised inside.

    Args:
        policy: The policy.
        orders: Table of the orders that it decides; its index gives their sequence.
    """
    try:
        yield
    except PolicyError as error:
        if error.policy is not None:
            raise
        kind = policy if isinstance(policy, type) else type(policy)
        name = getattr(policy, "name", None)
        label = f"{kind.__name__} {name}" if isinstance(name, str) else kind.__name__
        order: dict[str, Any] = {}
        if orders is not None and len(orders):
            concerned = orders.iloc[list(error.positions)] if error.positions else orders
            first = int(concerned.index.argmin())  # a pass sorts its orders by their bars
            order = {field: concerned[field].iloc[first] for field in _LABELS if field in concerned}
            order.setdefault("order_id", concerned.index[first])
        raise error.named(label, **order) from error


def checked_contexts(contexts: object, count: int) -> Tensor | None:
    """Check what ``encode`` gave for some bars against :meth:`Policy.encode`.

    Raises:
        PolicyError: when it breaks the protocol.
    """
    if contexts is None:
        return None
    if not isinstance(contexts, Tensor):
        raise PolicyError(f"encode() gave {_a(contexts)}, not a tensor [rows, width] or None")
    if contexts.ndim != 2 or len(contexts) != count:
        raise PolicyError(f"encode() gave a tensor {list(contexts.shape)} for {count} rows, not [{count}, width]")
    if not contexts.is_floating_point():
        raise PolicyError(f"encode() gave a tensor of {contexts.dtype}, not of floats")
    return contexts


def rows_not_finite(values: Tensor) -> tuple[int, ...]:
    """Rows of a tensor that hold something that is not finite."""
    # One sum is cheap and usually finite. If it is not, look at each number.
    known = values.detach()
    if not len(known) or torch.isfinite(known.sum()):
        return ()
    finite = torch.isfinite(known).reshape(len(known), -1).all(1)
    return tuple(torch.nonzero(~finite)[:, 0].tolist())


def _a(value: object) -> str:
    return f"something of the type {type(value).__name__}"
