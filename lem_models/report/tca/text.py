"""A transaction cost analysis as text, for the terminal and for ``print``."""

from __future__ import annotations

import io

from rich.console import Console

from lem_models.evaluation.tca.analysis import TransactionCosts
from lem_models.report.console import fitting_table
from lem_models.report.tca.tables import (
    causes_table,
    comparison_table,
    issues_table,
    liquidity_table,
    orders_table,
    reversion_table,
    totals_table,
)

__all__ = ["analysis_text", "print_analysis"]

_WIDTH = 120
_FEW = 12  # orders that are listed one by one


def print_analysis(console: Console, analysis: TransactionCosts) -> None:
    """Print the tables, and what a reader must know."""
    console.print(repr(analysis), markup=False, highlight=False, soft_wrap=True)
    tables = [totals_table(analysis)]
    if len(analysis.orders):
        tables.append(causes_table(analysis))
    others = [comparison_table(analysis), reversion_table(analysis), liquidity_table(analysis), issues_table(analysis)]
    if 1 < len(analysis.orders) <= _FEW:
        others.insert(0, orders_table(analysis))
    for table in (*tables, *others):
        if table is not None:
            console.print(fitting_table(console, table))
    for note in analysis.notes:
        console.print(f"! {note}", markup=False, highlight=False, soft_wrap=True)
    for reason, count in analysis.excluded["reason"].value_counts().items():
        console.print(f"! {count:,} orders are not measured: {reason}", markup=False, highlight=False, soft_wrap=True)
    if analysis.comparison is not None:
        for row in analysis.comparison.left_out.to_dict("records"):
            text = f"! {row['orders']:,} orders are not compared with {row['policy']}: {row['reason']}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        if analysis.comparison.remark:
            console.print(f"! {analysis.comparison.remark}", markup=False, highlight=False, soft_wrap=True)


def analysis_text(analysis: TransactionCosts) -> str:
    """The tables as text of at most 120 characters a line."""
    file = io.StringIO()
    print_analysis(Console(file=file, width=_WIDTH, color_system=None), analysis)
    return file.getvalue().rstrip("\n")
