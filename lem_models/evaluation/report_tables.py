"""Tables of the statistics, as a report prints them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lem_models.evaluation.report import Column, ReportTable

__all__ = ["comparison_table", "difference_table", "null_table"]

_KEY_LABELS = {
    "min_periods": "minimum",
    "max_periods": "maximum",
    "benchmark": "benchmark",
    "risk_aversion": "risk av.",
}


def comparison_table(
    comparison: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str,
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    collapsed: bool = False,
) -> ReportTable:
    """Table of ``statistics.compare``: the policies beneath each other, group after group (one policy: row after row).

    Args:
        comparison: The long table.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        collapsed: Whether the table is folded away until it is opened.

    Returns:
        The table.
    """
    keys = _keys(by)
    frame = comparison.sort_values(keys, kind="stable", ignore_index=True) if keys else comparison
    several = comparison["policy"].nunique() > 1
    columns = [Column("policy", "policy")] if several or not keys else _key_columns(keys)
    columns.append(Column("orders", "orders", "{:,.0f}"))
    for unit, group, shape in (
        ("vol", "improvement, bar volatilities", "{:+.3f}"),
        ("bps", "improvement, bps", "{:+.1f}"),
    ):
        spread = shape.replace("+", "")
        columns += _interval_columns(("mean", "low", "high"), unit, group, shape, level)
        columns.append(Column(f"std_{unit}", "std", spread, group))
    columns += [
        Column("median_bps", "median", "{:+.1f}", "improvement, bps"),
        Column("q05_bps", "5 %", "{:+.0f}", "improvement, bps"),
        Column("q95_bps", "95 %", "{:+.0f}", "improvement, bps"),
        Column("better_percent", "better", "{:.1f} %", "improvement, bps"),
        Column("periods_used", "periods", "{:.1f}", "execution"),
        Column("completed_percent", "complete", "{:.4g} %", "execution"),
    ]
    highlight = ("policy", model) if model is not None and several else None
    return ReportTable(title, frame, note, columns, highlight, _key_columns(keys) if several else (), collapsed)


def null_table(
    split: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str = "Option value and forecast value",
    note: str = "",
    level: float = 0.95,
) -> ReportTable:
    """Table of ``statistics.null_split``.

    Args:
        split: The split; a column ``policy`` in front is printed when there is one.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        level: Level of the intervals, for the heading.

    Returns:
        The table.
    """
    columns = [Column("policy", "policy")] if "policy" in split.columns else []
    columns += [*_key_columns(_keys(by)), Column("orders", "orders", "{:,.0f}")]
    groups = {
        "real": "real bars",
        "option": "null: option value",
        "forecast": "real minus null: forecast value",
    }
    for part, group in groups.items():
        for unit, shape, heading in (("vol", "{:+.3f}", "bar vol."), ("bps", "{:+.1f}", "bps")):
            columns.append(Column(f"{part}_{unit}", heading, shape, group))
            if unit == "vol" or part == "forecast":
                ends = (f"{part}_low_{unit}", f"{part}_high_{unit}")
                columns.append(Column(ends, f"{100 * level:.4g} % interval", f"{shape} to {shape}", group))
    return ReportTable(title, split, note, columns)


def difference_table(
    differences: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str,
    note: str = "",
    level: float = 0.95,
    collapsed: bool = False,
) -> ReportTable:
    """Table of ``statistics.paired_difference``.

    Args:
        differences: The differences; a column ``policy`` (the policy that was subtracted) is printed when there is one.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        level: Level of the intervals, for the heading.
        collapsed: Whether the table is folded away until it is opened.

    Returns:
        The table.
    """
    columns = [Column("policy", "against")] if "policy" in differences.columns else []
    columns += [*_key_columns(_keys(by)), Column("orders", "orders", "{:,.0f}")]
    for unit, group, shape in (
        ("vol", "difference, bar volatilities", "{:+.3f}"),
        ("bps", "difference, bps", "{:+.1f}"),
    ):
        columns += _interval_columns(("mean", "low", "high"), unit, group, shape, level)
    columns.append(Column("better_percent", "ahead", "{:.1f} %"))
    return ReportTable(title, differences, note, columns, collapsed=collapsed)


def _keys(by: Sequence[str] | str | None) -> list[str]:
    """Columns grouped by, as a list."""
    return [] if by is None else [by] if isinstance(by, str) else list(by)


def _key_columns(keys: Sequence[str]) -> list[Column]:
    """Printed columns of the keys."""
    return [Column(key, _KEY_LABELS.get(key, key.replace("_", " "))) for key in keys]


def _interval_columns(parts: tuple[str, str, str], unit: str, group: str, shape: str, level: float) -> list[Column]:
    """Printed columns of a mean and its interval."""
    mean, low, high = (f"{part}_{unit}" for part in parts)
    interval = Column((low, high), f"{100 * level:.4g} % interval", f"{shape} to {shape}", group)
    return [Column(mean, "mean", shape, group), interval]
