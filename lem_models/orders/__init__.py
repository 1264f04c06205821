"""Orders: what is to be traded, by when, and against which benchmark."""

from lem_models.orders.order import Order
from lem_models.orders.rules import Benchmark, Side, Target

__all__ = ["Benchmark", "Order", "Side", "Target"]
