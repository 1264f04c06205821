"""The tables of a check of bars."""

from __future__ import annotations

import pandas as pd

from lem_models.markets.quality.report import DataCheck
from lem_models.report.tables import Column, Table

__all__ = ["finding_tables", "symbols_table"]

_SHOWN = 20


def symbols_table(check: DataCheck) -> Table:
    """A row per symbol."""
    columns = [
        Column("symbol", "symbol"),
        Column("calendar", "calendar", dropped=1),
        Column("bars", "bars", "{:,}"),
        Column("first", "first"),
        Column("last", "last"),
        Column("missing", "missing", "{:,}"),
        Column("gaps", "gaps", "{:,}"),
        Column("idle", "no volume", "{:,}"),
        Column("outliers", "outliers", "{:,}"),
        Column("splits", "splits", "{:,}"),
        Column("estimated", "estimated", "{:.1%}", dropped=2),
    ]
    note = "Missing: bars of the market's grid that the symbol lacks. Estimated: share of its notionals."
    return Table(check.symbols, columns, title="Symbols", note=note)


def finding_tables(check: DataCheck) -> list[Table]:
    """The longest gaps and halts, the largest outliers, the splits and the repairs; empty tables are left out."""
    splits = pd.DataFrame(
        [(split.symbol, split.timestamp, split.ratio) for split in check.splits],
        columns=["symbol", "timestamp", "ratio"],
    )
    who = Column("symbol", "symbol")
    tables = [
        _largest(
            check.gaps,
            "missing",
            [who, Column("before", "bar before"), Column("after", "bar after"), Column("missing", "missing", "{:,}")],
            "Longest gaps",
        ),
        _largest(
            check.halts,
            "bars",
            [who, Column("start", "first"), Column("end", "last"), Column("bars", "bars", "{:,}")],
            "Longest runs without volume",
        ),
        _largest(
            check.outliers,
            "size",
            [
                who,
                Column("timestamp", "bar"),
                Column("kind", "of its"),
                Column("size", "times the usual one", "{:.0f}"),
                Column("reverts", "taken back by the next bar"),
            ],
            "Largest outliers",
        ),
        Table(splits, [who, Column("timestamp", "bar after"), Column("ratio", "ratio", "{:.4g}")], title="Splits"),
        Table(
            check.bars.repairs.head(_SHOWN),
            [
                Column("repair", "repair"),
                who,
                Column("timestamp", "bar"),
                Column("column", "column"),
                Column("before", "before"),
                Column("after", "after"),
            ],
            title="Repairs",
            note=f"The first {_SHOWN} of {len(check.bars.repairs):,} values; the JSON has all."
            if len(check.bars.repairs) > _SHOWN
            else "",
        ),
    ]
    return [table for table in tables if len(table.frame)]


def _largest(frame: pd.DataFrame, by: str, columns: list[Column], title: str) -> Table:
    note = f"{_SHOWN} of {len(frame):,}." if len(frame) > _SHOWN else ""
    return Table(frame.sort_values(by, ascending=False, kind="stable").head(_SHOWN), columns, title=title, note=note)
