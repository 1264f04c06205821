"""Allocation heads: from the market's context and the order's state to a fraction and a probability of finishing."""

from lem_models.modeling.heads.base import (
    AllocationHead,
    HeadConfig,
    LiveHead,
    build_head,
    list_heads,
    register_head,
)
from lem_models.modeling.heads.fixed_duration import FixedDurationHead
from lem_models.modeling.heads.flexible import FlexibleHead
from lem_models.modeling.heads.paper import PaperHead
from lem_models.modeling.heads.static_curve import StaticCurveHead

__all__ = [
    "AllocationHead",
    "FixedDurationHead",
    "FlexibleHead",
    "HeadConfig",
    "LiveHead",
    "PaperHead",
    "StaticCurveHead",
    "build_head",
    "list_heads",
    "register_head",
]
