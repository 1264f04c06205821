"""The capacity section of a report: how large orders may be, and headlines against three prices."""

from lem_models.report.capacity.figure import capacity_figure
from lem_models.report.capacity.prices import (
    HEADLINE_SIZE,
    difference_text,
    gross_text,
    headline_size,
    net_text,
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
    "break_even_table",
    "break_even_text",
    "capacity_figure",
    "capacity_overview",
    "capacity_table",
    "difference_text",
    "gross_text",
    "headline_size",
    "net_text",
    "price_improvements",
    "size_text",
]
