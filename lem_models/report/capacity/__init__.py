"""The capacity section of a report: how large orders may be, and headlines against three prices."""

from lem_models.report.capacity.figure import capacity_figure
from lem_models.report.capacity.prices import (
    HEADLINE_SIZE,
    PriceImprovement,
    headline_size,
    price_improvements,
)
from lem_models.report.capacity.table import (
    AGAINST_LABELS,
    break_even_table,
    break_even_text,
    capacity_overview,
    capacity_table,
    size_text,
)

__all__ = [
    "AGAINST_LABELS",
    "HEADLINE_SIZE",
    "PriceImprovement",
    "break_even_table",
    "break_even_text",
    "capacity_figure",
    "capacity_overview",
    "capacity_table",
    "headline_size",
    "price_improvements",
    "size_text",
]
