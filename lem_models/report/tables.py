"""Tables of the statistics, as a report prints them; none is wider than a page of 1,280 pixels."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lem_models.report.parts import Column, ReportTable
from lem_models.report.text import p_text
from lem_models.statistics.reference_prices import REFERENCE_PRICES

__all__ = [
    "benchmark_table",
    "breakdown_table",
    "comparison_table",
    "cost_table",
    "difference_table",
    "main_table",
    "null_table",
]

_KEY_LABELS = {
    "min_periods": "minimum duration",
    "max_periods": "maximum duration",
    "risk_aversion": "risk aversion",
    "hour": "hour (UTC)",
    "volatility": "volatility tercile",
}
_MOST_RIVALS = 3  # side by side in a breakdown: more would not fit on the page
_VOL, _BPS = "{:+.3f}", "{:+.1f}"


def main_table(
    comparison: pd.DataFrame,
    by_side: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str,
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    more: Sequence[ReportTable] = (),
) -> ReportTable:
    """The table that a reader sees first: every policy, both sides pooled and each side beside it.

    Args:
        comparison: Table of ``statistics.compare``.
        by_side: The same, grouped by ``side`` too.
        by: Columns that ``comparison`` was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        more: Tables folded below.

    Returns:
        The table; with one side only, there is nothing to tell apart.
    """
    sides = _sides(by_side)
    bps, vol = f"{_pooled(sides)}, bps", f"{_pooled(sides)}, bar volatilities"
    columns = [
        Column("policy", "policy"),
        Column("orders", "orders", "{:,.0f}"),
        *_mean_columns("bps", bps, _BPS, level),
        Column("std_bps", "std", "{:.1f}", bps),
        Column("better_percent", "better", "{:.1f} %", bps),
    ]
    frame = comparison
    for side in sides if len(sides) > 1 else []:
        frame = _beside(frame, by_side, side, by, ("mean_bps", "low_bps", "high_bps"))
        columns += _mean_columns("bps", f"{side}, bps", _BPS, level, prefix=f"{side}_")
    columns += [*_mean_columns("vol", vol, _VOL, level), Column("std_vol", "std", "{:.3f}", vol)]
    return _by_policy(title, frame, note, columns, by, model, more=more)


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
    """Every statistic of ``statistics.compare``: the policies beneath each other, group after group.

    Args:
        comparison: The long table.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        collapsed: Whether the table is folded away until it is opened.

    Returns:
        The table; of one policy alone, row after row.
    """
    vol, bps = "improvement, bar volatilities", "improvement, bps"
    columns = [
        Column("policy", "policy"),
        Column("orders", "orders", "{:,.0f}"),
        *_mean_columns("vol", vol, _VOL, level),
        Column("std_vol", "std", "{:.3f}", vol),
        *_mean_columns("bps", bps, _BPS, level),
        Column("std_bps", "std", "{:.1f}", bps),
        Column("median_bps", "median", "{:+.1f}", bps),
        Column("q05_bps", "5 %", "{:+.0f}", bps),
        Column("q95_bps", "95 %", "{:+.0f}", bps),
        Column("better_percent", "better", "{:.1f} %", bps),
        Column("periods_used", "periods", "{:.1f}", "execution"),
        Column("completed_percent", "complete", "{:.4g} %", "execution"),
    ]
    return _by_policy(title, comparison, note, columns, by, model, collapsed=collapsed)


def cost_table(
    comparison: pd.DataFrame,
    by_side: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str = "Costs: gross and net",
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    more: Sequence[ReportTable] = (),
) -> ReportTable:
    """Improvement before and after costs, and the costs.

    Args:
        comparison: Table of ``statistics.compare``.
        by_side: The same, grouped by ``side`` too.
        by: Columns that ``comparison`` was grouped by.
        title: Heading.
        note: Sentence below the heading: the parameters of the cost model.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        more: Tables folded below.

    Returns:
        The table.
    """
    sides = _sides(by_side)
    columns = [
        Column("policy", "policy"),
        Column("orders", "orders", "{:,.0f}"),
        *_mean_columns("bps", f"gross, {_pooled(sides)}, bps", _BPS, level),
        Column("cost_bps", "mean", "{:.1f}", "cost, bps"),
        *_mean_columns("bps", f"net, {_pooled(sides)}, bps", _BPS, level, mean="net"),
    ]
    frame = comparison
    for side in sides if len(sides) > 1 else []:
        frame = _beside(frame, by_side, side, by, ("net_bps", "net_low_bps", "net_high_bps"))
        columns += _mean_columns("bps", f"net, {side}, bps", _BPS, level, prefix=f"{side}_", mean="net")
    return _by_policy(title, frame, note, columns, by, model, more=more)


def benchmark_table(
    comparison: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str = "The same fills against other benchmarks",
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    more: Sequence[ReportTable] = (),
) -> ReportTable:
    """Mean improvement against each benchmark, and the own one weighted by the value of the orders.

    Args:
        comparison: Table of ``statistics.compare``.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        more: Tables folded below.

    Returns:
        The table; benchmarks that no order has are left out.
    """
    own, other = "the order's own benchmark, bps", "other benchmarks, mean, bps"
    columns = [
        Column("policy", "policy"),
        Column("orders", "orders", "{:,.0f}"),
        Column("mean_bps", "equal weights", _BPS, own),
        Column("weighted_bps", "by value", _BPS, own),
        _interval_column("weighted_low_bps", "weighted_high_bps", own, _BPS, level),
        *(
            Column(row.improvement, row.label, _BPS, other)
            for row in REFERENCE_PRICES
            if comparison[row.improvement].notna().any()
        ),
    ]
    return _by_policy(title, comparison, note, columns, by, model, more=more)


def difference_table(
    differences: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str,
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    more: Sequence[ReportTable] = (),
) -> ReportTable:
    """Table of ``statistics.paired_difference``.

    Args:
        differences: The differences; a column ``policy`` (the policy that was subtracted) is printed when there is one.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy that the others were subtracted from; it has no row.
        level: Level of the intervals, for the heading.
        more: Tables folded below.

    Returns:
        The table.
    """
    test = "Diebold-Mariano test"
    columns = [
        Column("orders", "orders", "{:,.0f}"),
        *_mean_columns("bps", "difference, bps", _BPS, level),
        *_mean_columns("vol", "difference, bar volatilities", _VOL, level),
        Column("better_percent", "ahead", "{:.1f} %"),
    ]
    tests = [
        Column("dm", "statistic", "{:+.2f}", test),
        Column("p_value", "p", p_text, test),
        Column("p_holm", "p, Holm", p_text, test),
    ]
    columns += [column for column in tests if column.source in differences.columns]
    if "policy" in differences.columns:
        return _by_policy(title, differences, note, [Column("policy", "against"), *columns], by, None, more=more)
    return ReportTable(title, differences, note, [*_key_columns(_keys(by)), *columns], more=more)


def null_table(
    split: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str = "Option value and forecast value",
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    more: Sequence[ReportTable] = (),
) -> ReportTable:
    """Table of ``statistics.null_split``.

    Args:
        split: The split; a column ``policy`` in front is printed when there is one.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        more: Tables folded below.

    Returns:
        The table.
    """
    columns = [Column("orders", "orders", "{:,.0f}")]
    for unit, shape, name in (("bps", _BPS, "bps"), ("vol", _VOL, "bar volatilities")):
        columns.append(Column(f"real_{unit}", "real", shape, name))
        for part in ("option", "forecast"):
            columns.append(Column(f"{part}_{unit}", part, shape, name))
            columns.append(_interval_column(f"{part}_low_{unit}", f"{part}_high_{unit}", name, shape, level))
    if "policy" in split.columns:
        return _by_policy(title, split, note, [Column("policy", "policy"), *columns], by, model, more=more)
    return ReportTable(title, split, note, [*_key_columns(_keys(by)), *columns], more=more)


def breakdown_table(
    comparison: pd.DataFrame, key: str, *, title: str, note: str = "", model: str | None = None, level: float = 0.95
) -> ReportTable:
    """Table of ``statistics.compare`` by a key and by side, folded: a row per value of the key.

    Args:
        comparison: The long table, grouped by the key and ``side``.
        key: The key.
        title: Heading.
        note: Sentence below the heading.
        model: Policy under test, shown with intervals; of the others only the means are, and only the first three.
        level: Level of the intervals, for the heading.

    Returns:
        The table.
    """
    policies = [str(policy) for policy in comparison["policy"].unique()]
    model = policies[0] if model is None else model
    sides = [str(side) for side in comparison["side"].unique()]
    frame = comparison[[key]].drop_duplicates().sort_values(key, ignore_index=True)
    columns = _key_columns([key])

    def add(policy: str, side: str, parts: tuple[str, ...]) -> dict[str, str]:
        nonlocal frame
        names = {part: f"{policies.index(policy)}_{side}_{part}" for part in parts}
        rows = comparison[(comparison["policy"] == policy) & (comparison["side"].astype(str) == side)]
        frame = frame.merge(rows[[key, *parts]].rename(columns=names), on=key, how="left")
        return names

    for side in sides:
        parts = ("orders", "mean_bps", "low_bps", "high_bps", "mean_vol", "better_percent")
        names, group = add(model, side, parts), f"{model}, {side}"
        columns += [
            Column(names["orders"], "orders", "{:,.0f}", group),
            Column(names["mean_bps"], "mean, bps", _BPS, group),
            _interval_column(names["low_bps"], names["high_bps"], group, _BPS, level),
            Column(names["mean_vol"], "bar vol.", "{:+.2f}", group),
            Column(names["better_percent"], "better", "{:.0f} %", group),
        ]
    for policy in [policy for policy in policies if policy != model][:_MOST_RIVALS]:
        means = tuple(add(policy, side, ("mean_bps",))["mean_bps"] for side in sides)
        label = policy.replace("_", " ")
        columns.append(Column(means, label, " / ".join([_BPS] * len(sides)), f"others, {' / '.join(sides)}, bps"))
    return ReportTable(title, frame, note, columns, collapsed=True)


def _by_policy(
    title: str,
    frame: pd.DataFrame,
    note: str,
    columns: list[Column],
    by: Sequence[str] | str | None,
    model: str | None,
    *,
    collapsed: bool = False,
    more: Sequence[ReportTable] = (),
) -> ReportTable:
    """Table whose groups are headings and whose rows are policies; of one policy alone, the groups are its rows."""
    keys = _keys(by)
    ordered = frame.sort_values(keys, kind="stable", ignore_index=True) if keys else frame
    if keys and frame["policy"].nunique() <= 1:
        return ReportTable(title, ordered, note, [*_key_columns(keys), *columns[1:]], collapsed=collapsed, more=more)
    highlight = None if model is None else ("policy", model)
    return ReportTable(title, ordered, note, columns, highlight, _key_columns(keys), collapsed, more)


def _sides(by_side: pd.DataFrame) -> list[str]:
    """Sides that occur."""
    return [str(side) for side in by_side["side"].unique()]


def _pooled(sides: Sequence[str]) -> str:
    """What a number over all orders is a number of."""
    return "both sides" if len(sides) > 1 else f"{sides[0]} orders" if sides else "no orders"


def _beside(
    frame: pd.DataFrame, by_side: pd.DataFrame, side: str, by: Sequence[str] | str | None, parts: tuple[str, ...]
) -> pd.DataFrame:
    """The table with some numbers of one side as further columns, e.g. ``buy_mean_bps``."""
    keys = ["policy", *_keys(by)]
    rows = by_side[by_side["side"].astype(str) == side]
    return frame.merge(
        rows[[*keys, *parts]].rename(columns={part: f"{side}_{part}" for part in parts}), on=keys, how="left"
    )


def _keys(by: Sequence[str] | str | None) -> list[str]:
    """Columns grouped by, as a list."""
    return [] if by is None else [by] if isinstance(by, str) else list(by)


def _key_columns(keys: Sequence[str]) -> list[Column]:
    """Printed columns of the keys."""
    return [Column(key, _KEY_LABELS.get(key, key.replace("_", " "))) for key in keys]


def _mean_columns(
    unit: str, group: str, shape: str, level: float, *, prefix: str = "", mean: str = "mean"
) -> list[Column]:
    """Printed columns of a mean and its interval: ``mean_bps, low_bps, high_bps``, or ``net_bps, net_low_bps, ...``."""
    ends = "" if mean == "mean" else f"{mean}_"
    interval = _interval_column(f"{prefix}{ends}low_{unit}", f"{prefix}{ends}high_{unit}", group, shape, level)
    return [Column(f"{prefix}{mean}_{unit}", "mean", shape, group), interval]


def _interval_column(low: str, high: str, group: str, shape: str, level: float) -> Column:
    """Printed column of an interval."""
    return Column((low, high), f"{100 * level:.4g} % interval", f"{shape} to {shape}", group)
