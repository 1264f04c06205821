"""What trading costs: the cost model, named ones, and half-spreads estimated from bars."""

from lem_models.execution.costs.model import CostModel, order_impacts, relative_sizes
from lem_models.execution.costs.named import (
    COST_MODELS,
    NamedCostModel,
    cost_model,
    cost_model_for,
    cost_model_name,
    cost_model_of,
)
from lem_models.execution.costs.spreads import SPREAD_ESTIMATORS, half_spreads_bps

__all__ = [
    "COST_MODELS",
    "SPREAD_ESTIMATORS",
    "CostModel",
    "NamedCostModel",
    "cost_model",
    "cost_model_for",
    "cost_model_name",
    "cost_model_of",
    "half_spreads_bps",
    "order_impacts",
    "relative_sizes",
]
