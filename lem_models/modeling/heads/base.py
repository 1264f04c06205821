"""The head protocol and the closed registry of heads.

A configuration names a head; only registered classes can be named. Adding a head is one class and one decorator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor, nn

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.execution.objective import expected_utility
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, OrderContexts, Paths
from lem_models.guard.settings import Settings

__all__ = ["AllocationHead", "HeadConfig", "LiveHead", "build_head", "list_heads", "register_head"]


class HeadConfig(Settings):
    """Base class of a head's settings; unknown settings are refused."""


class LiveHead(NamedTuple):
    """A head for live orders: no gradients, contexts in the type of the weights, orders in double precision.

    Attributes:
        project: :meth:`AllocationHead.project`.
        decide: :meth:`AllocationHead.decide`.
    """

    project: Callable[[Tensor], Tensor]
    decide: Callable[[Tensor, OrderBatch, ExecutionState], Decision]


class AllocationHead(nn.Module, ABC):
    """Decides period by period.

    Args:
        context_size: Width of the context.
        horizon: Longest order in periods.
        config: Settings, an instance of the class's ``Config``.

    Attributes:
        per_period: Names of the weights with a row for each period ahead, if nothing else depends on the horizon; None
            otherwise: another horizon then needs a fresh head.
        benchmarks: Benchmarks of orders that the head knows.
        reads_size: Whether it reads :attr:`OrderBatch.impact <lem_models.execution.records.OrderBatch>`.
        neutral: Names of weights that some settings add and that change no decision until they are trained.
    """

    Config: ClassVar[type[HeadConfig]] = HeadConfig
    per_period: ClassVar[tuple[str, ...] | None] = None
    benchmarks: ClassVar[tuple[str, ...]] = ("vwap", "twap")
    reads_size: ClassVar[bool] = False
    neutral: ClassVar[tuple[str, ...]] = ()

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__()
        self.context_size, self.horizon, self.config = context_size, horizon, config

    def project(self, contexts: Tensor) -> Tensor:
        """Compute once per bar what needs the context alone; by default, return the context.

        Args:
            contexts: Contexts for the side of their orders, [..., context_size].

        Returns:
            [..., any width], handed to :meth:`decide` and :meth:`auxiliary_loss` as the context.
        """
        return contexts

    @abstractmethod
    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period, see :meth:`lem_models.execution.policy.Policy.decide`.

        Args:
            context: :meth:`project` of the context of the last closed bar, [orders, width].
            orders: The orders.
            state: State of the orders.
        """

    def roll_out(
        self, contexts: OrderContexts, orders: OrderBatch, window: MarketWindow, *, to_finish: bool = False
    ) -> Paths | None:
        """All periods of some orders at once, where that is quicker than period by period.

        Args:
            contexts: :meth:`project` of the context of the last closed bar before each period.
            orders: The orders.
            window: Their market. A decision may depend on the bars before its period alone, as in :meth:`decide`.
            to_finish: See :func:`~lem_models.execution.simulator.simulate`.

        Returns:
            What :func:`~lem_models.execution.simulator.simulate` gives for :meth:`decide`, up to rounding; ``None``
            (the default) where it must go period by period.
        """
        return None

    def live(self) -> LiveHead:
        """What serves live orders: :meth:`project` and :meth:`decide`, or the same up to rounding and quicker.

        It may keep the weights as they are now.
        """
        return LiveHead(self.project, self.decide)

    def objective(self, paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """The objective of training; by default the exact expected utility over the finishing period.

        Args:
            paths: Paths of the head's decisions.
            orders: The orders.
            window: Their market.

        Returns:
            One value per order, [orders].
        """
        return expected_utility(paths, orders, window)

    def auxiliary_loss(self, contexts: OrderContexts, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """A second loss beside the objective; 0 by default.

        It is a mean over the pairs (period, this or a later period) within ``max_periods``. Processes that share a
        batch weigh their means by their number of pairs.

        Args:
            contexts: :meth:`project` of the context of the last closed bar before each period.
            orders: The orders.
            window: Their market.

        Returns:
            Scalar.
        """
        return contexts.values.new_zeros(())


HeadType = TypeVar("HeadType", bound=type[AllocationHead])
_HEADS: dict[str, type[AllocationHead]] = {}


def register_head(name: str) -> Callable[[HeadType], HeadType]:
    """Class decorator that registers a head under a name.

    Raises:
        ConfigError: when another class has the name.
    """

    def register(cls: HeadType) -> HeadType:
        if _HEADS.setdefault(name, cls) is not cls:
            raise ConfigError(f"head {name!r} is already registered as {_HEADS[name].__name__}")
        return cls

    return register


def list_heads() -> list[str]:
    """Names of the registered heads, sorted."""
    return sorted(_HEADS)


def build_head(name: str, context_size: int, horizon: int, settings: dict[str, Any]) -> AllocationHead:
    """A fresh head.

    Raises:
        UnknownNameError: when the name is not registered.
        ConfigError: when the head refuses the settings.
    """
    if name not in _HEADS:
        raise UnknownNameError.among("head", name, list_heads())
    cls = _HEADS[name]
    return cls(context_size, horizon, cls.Config.parse(settings, f"head_config of {name!r}"))
