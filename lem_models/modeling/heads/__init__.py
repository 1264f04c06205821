"""Allocation heads: from the market's context and the order's state to a fraction and a probability of finishing."""

from lem_models.modeling.heads.base import AllocationHead, HeadConfig, build_head, head_names, register_head
from lem_models.modeling.heads.flexible import FlexibleHead

__all__ = ["AllocationHead", "FlexibleHead", "HeadConfig", "build_head", "head_names", "register_head"]
