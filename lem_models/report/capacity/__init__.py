"""The capacity section of a report: how large orders may be."""

from lem_models.report.capacity.figure import capacity_figure
from lem_models.report.capacity.table import (
    break_even_table,
    break_even_text,
    capacity_overview,
    capacity_table,
    size_text,
)

__all__ = ["break_even_table", "break_even_text", "capacity_figure", "capacity_overview", "capacity_table", "size_text"]
