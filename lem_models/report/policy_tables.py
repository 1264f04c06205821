"""Tables of policies by minimum duration and other keys, from the statistics of their orders.

Each function takes tables of :mod:`lem_models.statistics.summary` and returns the table to print. Those of a report fit
a page of 1,280 pixels. Intervals are at 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from lem_models.guard.output import is_missing
from lem_models.report.capacity.table import size_text
from lem_models.report.numbers import MISSING, interval, mean_std, p_text
from lem_models.report.tables import Column, Emphasis, Table, pivot
from lem_models.statistics.reference_prices import REFERENCE_PRICES

__all__ = [
    "CHANGE",
    "above_null_by_minimum",
    "attribution_table",
    "before_after_prices_table",
    "before_after_table",
    "breakdown_table",
    "cost_table",
    "difference_table",
    "information_table",
    "main_table",
    "means_by_minimum",
    "overview_table",
    "placebo_table",
    "reference_price_table",
    "statistics_table",
    "tracking_ratio_table",
]

_KEY_LABELS = {
    "min_periods": "minimum duration",
    "max_periods": "maximum duration",
    "risk_aversion": "risk aversion",
    "hour": "hour (UTC)",
    "volatility": "volatility tercile",
}
CHANGE = "after \u2212 before"
"""Row of the difference of a model after and before fine-tuning."""

_MOST_RIVALS = 3  # side by side in a breakdown: more would not fit on the page
_VOL, _BPS = "{:+.3f}", "{:+.1f}"
_POLICY = Column("policy", "policy")
_ORDERS = Column("orders", "orders", "{:,.0f}")


def main_table(
    comparison: pd.DataFrame, by_side: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None
) -> Table:
    """The main table: every policy, both sides together and then each side.

    Args:
        comparison: Table of ``statistics.compare``.
        by_side: The same, grouped by ``side`` too.
        by: Columns that ``comparison`` is grouped by.
        model: Policy whose rows stand out.

    Returns:
        The table. If all orders have one side, it has no columns by side.
    """
    sides = _sides(by_side)
    bps, vol = f"{_pooled(sides)}, bps", f"{_pooled(sides)}, bar volatilities"
    columns = [
        _POLICY,
        _ORDERS,
        *_mean_columns("bps", bps, _BPS),
        Column("std_bps", "std", "{:.1f}", bps),
        Column("better_percent", "better", "{:.1f} %", bps),
    ]
    frame = comparison
    for side in sides if len(sides) > 1 else []:
        frame = _beside(frame, by_side, side, by, ("mean_bps", "low_bps", "high_bps"))
        columns += _mean_columns("bps", f"{side}, bps", _BPS, prefix=f"{side}_")
    columns += [*_mean_columns("vol", vol, _VOL), Column("std_vol", "std", "{:.3f}", vol)]
    return _by_policy(frame, columns, by, model)


def statistics_table(comparison: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """Every statistic of ``statistics.compare``.

    Args:
        comparison: The table.
        by: Columns that it is grouped by.
        model: Policy whose rows stand out.
    """
    vol, bps = "improvement, bar volatilities", "improvement, bps"
    columns = [
        _POLICY,
        _ORDERS,
        *_mean_columns("vol", vol, _VOL),
        Column("std_vol", "std", "{:.3f}", vol),
        *_mean_columns("bps", bps, _BPS),
        Column("std_bps", "std", "{:.1f}", bps),
        Column("median_bps", "median", "{:+.1f}", bps),
        Column("q05_bps", "5 %", "{:+.0f}", bps),
        Column("q95_bps", "95 %", "{:+.0f}", bps),
        Column("better_percent", "better", "{:.1f} %", bps),
        Column("periods_used", "periods", "{:.1f}", "execution"),
        Column("completed_percent", "complete", "{:.4g} %", "execution"),
    ]
    return _by_policy(comparison, columns, by, model)


def cost_table(
    comparison: pd.DataFrame, by_side: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None
) -> Table:
    """Improvement before and after costs, and the costs.

    Args:
        comparison: Table of ``statistics.compare``.
        by_side: The same, grouped by ``side`` too.
        by: Columns that ``comparison`` is grouped by.
        model: Policy whose rows stand out.
    """
    sides = _sides(by_side)
    columns = [
        _POLICY,
        _ORDERS,
        *_mean_columns("bps", f"gross, {_pooled(sides)}, bps", _BPS),
        Column("cost_bps", "mean", "{:.1f}", "cost, bps"),
        *_mean_columns("bps", f"net, {_pooled(sides)}, bps", _BPS, mean="net"),
    ]
    frame = comparison
    for side in sides if len(sides) > 1 else []:
        frame = _beside(frame, by_side, side, by, ("net_bps", "net_low_bps", "net_high_bps"))
        columns += _mean_columns("bps", f"net, {side}, bps", _BPS, prefix=f"{side}_", mean="net")
    return _by_policy(frame, columns, by, model)


def tracking_ratio_table(ratios: pd.DataFrame, by: Sequence[str] = ()) -> Table:
    """Errors over fixed durations as ratios to TWAP.

    Args:
        ratios: Tables of :func:`~lem_models.evaluation.tracking.tracking_ratios`.
        by: Further columns that stand before those of the policy.
    """
    labels = {"std": "std", "clipped_std": "std clipped at 2", "median_abs": "median |error|"}
    columns = [*(Column(name, name) for name in by), _POLICY, _ORDERS]
    for name, label in labels.items():
        columns += [Column(name, label, "{:.2f}"), Column((f"{name}_low", f"{name}_high"), "95 %", "{:.2f} {:.2f}")]
    return Table(ratios, columns, title="Errors on validation as ratios to TWAP")


def reference_price_table(comparison: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """Mean improvement against each reference price, and against the order's own benchmark weighted by order value.

    Args:
        comparison: Table of ``statistics.compare``.
        by: Columns that it is grouped by.
        model: Policy whose rows stand out.

    Returns:
        The table, without the reference prices that no order has.
    """
    own, other = "the order's own benchmark, bps", "other benchmarks, mean, bps"
    prices = [price for price in REFERENCE_PRICES if comparison[price.improvement].notna().any()]
    columns = [
        _POLICY,
        _ORDERS,
        Column("mean_bps", "equal weights", _BPS, own),
        Column("weighted_bps", "by value", _BPS, own),
        _interval_column("weighted_low_bps", "weighted_high_bps", own, _BPS),
        *(Column(price.improvement, price.label, _BPS, other) for price in prices),
    ]
    return _by_policy(comparison, columns, by, model)


def difference_table(differences: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """The policy under test minus each other policy, order by order.

    Args:
        differences: Table of ``statistics.paired_difference``; the column ``policy`` is the policy that is subtracted.
        by: Columns that it is grouped by.
        model: Policy under test; it has no row.
    """
    columns = [Column("policy", "against"), _ORDERS]
    for unit, form, group in (("bps", _BPS, "difference, bps"), ("vol", _VOL, "difference, bar volatilities")):
        columns += _mean_columns(unit, group, form)
        columns += [Column(f"p_value_{unit}", "p", p_text, group), Column(f"p_holm_{unit}", "Holm", p_text, group)]
    columns.append(Column("better_percent", "ahead", "{:.1f} %"))
    return _by_policy(differences, columns, by, model)


def attribution_table(
    splits: pd.DataFrame,
    information: pd.DataFrame | None = None,
    by: Sequence[str] = (),
    *,
    model: str | None = None,
    for_terminal: bool = False,
) -> Table:
    """Improvement, option value, what is above the null, and information (in bar volatilities), of every policy.

    Args:
        splits: Table of ``statistics.null_split`` with a column ``policy``.
        information: Table of ``attribution.information_split`` with a column ``policy``; ``None`` without the ablation.
        by: Columns that both are grouped by.
        model: Policy whose rows stand out.
        for_terminal: Bar volatilities only, in few columns.

    Returns:
        The table; a dash where a policy has no information in the table.
    """
    columns, frame, values = [_POLICY, _ORDERS], splits, [("above", "above the null")]
    if information is not None:
        keys, values = ["policy", *by], [*values, ("information", "information")]
        measured = [name for value in ("information", "control", "beyond_control") for name in _of(value)]
        frame = frame.merge(information[[*keys, *measured]], on=keys, how="left")
    if for_terminal:
        columns = [_POLICY, Column("option_vol", "option", _VOL, dropped=3)]
        columns += [_cell(value, label, dropped=5 if value == "above" else 4) for value, label in values]
        if information is not None:
            columns += [_cell("control", "control", dropped=1), _cell("beyond_control", "beyond control", dropped=2)]
        return replace(_by_policy(frame, columns, by, model), grouped=[Column("min_periods", "min")] if by else ())
    for unit, form, group in (("bps", _BPS, "bps"), ("vol", _VOL, "bar volatilities")):
        columns.append(Column(f"real_{unit}", "improvement", form, group))
        columns.append(Column(f"option_{unit}", "option value", form, group))
        if unit == "bps":  # more would not fit on the page
            columns.append(Column("above_bps", "above the null", form, group))
            columns.append(_interval_column("above_low_bps", "above_high_bps", group, form))
    if information is not None:
        values = [*values, ("control", "control"), ("beyond_control", "beyond control")]
    columns += [_cell(value, label, group="bar volatilities") for value, label in values]
    return _by_policy(frame, columns, by, model)


def _cell(value: str, label: str, *, group: str = "", dropped: int = 0) -> Column:
    """A mean and its interval in bar volatilities in one cell."""
    sources = tuple(f"{value}{end}_vol" for end in ("", "_low", "_high"))
    return Column(sources, label, lambda *ends: MISSING if is_missing(ends[0]) else interval(*ends), group, dropped)


def information_table(
    information: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None, for_terminal: bool = False
) -> Table:
    """Improvement with contexts of real bars and of null bars, and the difference.

    Args:
        information: Table of ``attribution.information_split`` with a column ``policy``.
        by: Columns that it is grouped by.
        model: Policy whose rows stand out.
        for_terminal: Bar volatilities only, in few columns.
    """
    columns = [_POLICY, _ORDERS]
    if for_terminal:
        return _by_policy(information, [_POLICY, _cell("information", "information")], by, model)
    for unit, form, group in (("bps", _BPS, "bps"), ("vol", _VOL, "bar volatilities")):
        columns.append(Column(f"real_{unit}", "contexts of real bars", form, group))
        columns.append(Column(f"ablated_{unit}", "of null bars", form, group))
        columns.append(Column(f"information_{unit}", "information", form, group))
        columns.append(_interval_column(f"information_low_{unit}", f"information_high_{unit}", group, form))
    return _by_policy(information, columns, by, model)


def placebo_table(differences: pd.DataFrame, by: Sequence[str] = (), *, for_terminal: bool = False) -> Table:
    """The policy under test minus placebos at its risk, order by order.

    Args:
        differences: Table of ``attribution.placebo_difference``.
        by: Columns that it is grouped by.
        for_terminal: Bar volatilities only, in few columns.
    """
    std, test = "std, bar volatilities", "Diebold-Mariano test, bar volatilities"
    columns = [
        Column("placebo", "placebo"),
        _ORDERS,
        Column("risk_aversion", "its risk aversion", "{:g}"),
        Column("placebo_std_vol", "placebo", "{:.3f}", std),
        Column("std_vol", "tested", "{:.3f}", std),
        *_mean_columns("bps", "difference, bps", _BPS),
        *_mean_columns("vol", "difference, bar volatilities", _VOL),
        Column("above_vol", "mean", _VOL, "difference above the null"),
        _interval_column("above_low_vol", "above_high_vol", "difference above the null", _VOL),
        Column("p_value_vol", "p", p_text, test),
        Column("p_holm_vol", "p, Holm", p_text, test),
    ]
    if for_terminal:
        columns = [
            Column("placebo", "placebo"),
            Column(("std_vol", "placebo_std_vol"), "std, its std", "{:.2f}, {:.2f}", dropped=2),
            Column("mean_vol", "ahead", _VOL),
            Column(("low_vol", "high_vol"), "95 %", "{:+.3f} {:+.3f}", dropped=3),
            _cell("above", "above the null", dropped=1),
        ]
    frame = differences.sort_values(list(by), kind="stable", ignore_index=True) if by else differences
    return Table(frame, columns, grouped=[Column("min_periods", "min")] if for_terminal else _key_columns(by))


def _of(value: str) -> list[str]:
    """Columns of a mean and its interval in both units."""
    return [f"{value}{end}_{unit}" for unit in ("bps", "vol") for end in ("", "_low", "_high")]


def breakdown_table(comparison: pd.DataFrame, key: str, *, model: str) -> Table:
    """A row per value of a key: statistics of the policy under test by side, and means of its first three rivals.

    Args:
        comparison: Table of ``statistics.compare``, grouped by the key and ``side``.
        key: The key.
        model: Policy under test.

    Returns:
        The table, folded away.
    """
    policies = [str(policy) for policy in comparison["policy"].unique()]
    sides = _sides(comparison)
    frame = comparison[[key]].drop_duplicates().sort_values(key, ignore_index=True)
    columns = _key_columns([key])

    def add(policy: str, side: str, statistics: tuple[str, ...]) -> dict[str, str]:
        nonlocal frame
        names = {name: f"{policies.index(policy)}_{side}_{name}" for name in statistics}
        rows = comparison[(comparison["policy"] == policy) & (comparison["side"].astype(str) == side)]
        frame = frame.merge(rows[[key, *statistics]].rename(columns=names), on=key, how="left")
        return names

    for side in sides:
        statistics = ("orders", "mean_bps", "low_bps", "high_bps", "mean_vol", "better_percent")
        names, group = add(model, side, statistics), f"{model}, {side}"
        columns += [
            Column(names["orders"], "orders", "{:,.0f}", group),
            Column(names["mean_bps"], "mean, bps", _BPS, group),
            _interval_column(names["low_bps"], names["high_bps"], group, _BPS),
            Column(names["mean_vol"], "bar vol.", "{:+.2f}", group),
            Column(names["better_percent"], "better", "{:.0f} %", group),
        ]
    for policy in [policy for policy in policies if policy != model][:_MOST_RIVALS]:
        means = tuple(add(policy, side, ("mean_bps",))["mean_bps"] for side in sides)
        label = policy.replace("_", " ")
        columns.append(Column(means, label, " / ".join([_BPS] * len(sides)), f"others, {' / '.join(sides)}, bps"))
    return Table(frame, columns, collapsed=True)


def overview_table(
    comparison: pd.DataFrame,
    differences: pd.DataFrame | None,
    split: pd.DataFrame | None,
    *,
    model: str,
    with_costs: bool,
) -> Table:
    """One scenario in one table, for the terminal: every policy, and the split of the policy under test.

    Args:
        comparison: Table of ``statistics.compare`` by ``min_periods``.
        differences: The policy under test minus each other policy by ``min_periods``, with ``p_holm_bps``.
        split: Table of ``statistics.null_split`` of the policy under test by ``min_periods``.
        model: The policy under test; its rows stand out.
        with_costs: Whether improvements net of costs are shown.
    """
    keys = ["min_periods", "policy"]
    frame = comparison
    columns = [
        _POLICY,
        Column("orders", "orders", "{:,.0f}", dropped=4),
        Column("mean_vol", "bar vol.", _VOL, dropped=10),
        Column("std_vol", "± std", "{:.3f}", dropped=8),
        Column("mean_bps", "bps", _BPS),
        Column(("low_bps", "high_bps"), "95 %", f"{_BPS} {_BPS}", dropped=9),
        Column("std_bps", "std", "{:.1f}", dropped=6),
    ]
    if with_costs:
        columns.append(Column("net_bps", "net bps", _BPS))
        columns.append(Column(("net_low_bps", "net_high_bps"), "net 95 %", f"{_BPS} {_BPS}", dropped=5))
    if differences is not None:
        frame = frame.merge(differences[[*keys, "p_holm_bps"]], on=keys, how="left")
        columns.append(Column("p_holm_bps", "p", p_text, dropped=7))
    columns += [
        Column("better_percent", "better", "{:.1f} %", dropped=3),
        Column("periods_used", "periods", "{:.1f}", dropped=2),
        Column("completed_percent", "complete", "{:.4g} %", dropped=1),
    ]
    emphasis: dict[str, Emphasis] = {model: "strong"}
    if split is not None:
        for value, name in (("option", "  option value"), ("above", "  above the null")):
            emphasis[name] = "light"
            frame = pd.concat([frame, _as_comparison(split, value).assign(policy=name)], ignore_index=True)
    frame = frame.sort_values("min_periods", kind="stable", ignore_index=True)
    return Table(frame, columns, grouped=[Column("min_periods", "min")], emphasis=emphasis)


def means_by_minimum(
    comparison: pd.DataFrame,
    *,
    corner: str = "policy",
    label: str = "min {}",
    models: Mapping[str, Emphasis] | None = None,
) -> Table:
    """A row per policy, a column per minimum duration: mean ± standard deviation in bar volatilities.

    Args:
        comparison: Table of ``statistics.compare`` by ``min_periods``.
        corner: Heading of the policies.
        label: Heading of a minimum duration.
        models: How the rows of some policies stand out.
    """

    def cell(values: Mapping[Any, Any]) -> str:
        return mean_std(values["mean_vol"], values["std_vol"])

    return pivot(comparison, "policy", "min_periods", cell, corner=corner, label=label, emphasis=models)


def above_null_by_minimum(splits: pd.DataFrame, *, corner: str = "policy", label: str = "min {}") -> Table:
    """A row per policy, a column per minimum duration: improvement above the null and its interval, bar vol..

    Args:
        splits: Table of ``statistics.null_split`` by ``min_periods`` with a column ``policy``.
        corner: Heading of the policies.
        label: Heading of a minimum duration.
    """

    def cell(values: Mapping[Any, Any]) -> str:
        return interval(values["above_vol"], values["above_low_vol"], values["above_high_vol"])

    return pivot(splits, "policy", "min_periods", cell, corner=corner, label=label)


def before_after_table(policies: pd.DataFrame, differences: pd.DataFrame | None = None) -> Table:
    """A model before and after fine-tuning beside its rivals, by minimum duration.

    Args:
        policies: Table of ``statistics.compare`` by ``min_periods``, ``after`` being the new model.
        differences: After minus before by ``min_periods``; ``None`` leaves out these rows.
    """
    change = f"  {CHANGE}"
    frame = policies
    if differences is not None:
        columns = ["min_periods", "orders", "mean_bps", "mean_vol", "low_vol", "high_vol"]
        frame = pd.concat([policies, differences[columns].assign(policy=change)], ignore_index=True)
    frame = frame.sort_values("min_periods", kind="stable", ignore_index=True)
    columns_shown = [
        _POLICY,
        Column("orders", "orders", "{:,.0f}", dropped=1),
        Column("mean_bps", "bps", "{:.2f}"),
        Column("std_bps", "std bps", "{:.1f}", dropped=2),
        Column(("mean_vol", "low_vol", "high_vol"), "bar vol. [95 %]", _fine_interval),
        Column("std_vol", "std", "{:.4f}", dropped=3),
    ]
    emphasis: dict[str, Emphasis] = {"after": "strong", "before = after": "strong", change: "light"}
    return Table(frame, columns_shown, grouped=[Column("min_periods", "minimum")], emphasis=emphasis)


def before_after_prices_table(improvements: pd.DataFrame, size: float) -> Table:
    """The same policies against their own benchmark, the full-horizon VWAP and arrival, gross and net, in bps.

    Args:
        improvements: Rows of one group of the ``by_price`` of a comparison: ``policy, costs, against`` and ``mean_bps,
            low_bps, high_bps``.
        size: Size of the orders of the net rows, a fraction of the expected volume.
    """
    columns, frame = [_POLICY], improvements[["costs", "policy"]].drop_duplicates()
    labels = {"own": ("own", 3), "full_vwap": ("full VWAP", 2), "arrival": ("arrival", 1)}
    for price, (label, dropped) in labels.items():
        rows = improvements[improvements["against"] == price]
        names = {f"{end}_bps": f"{price}_{end}_bps" for end in ("mean", "low", "high")}
        frame = frame.merge(rows[["costs", "policy", *names]].rename(columns=names), on=["costs", "policy"])
        mean, low, high = names.values()
        columns += [Column(mean, label, "{:+.2f}"), Column((low, high), "95 %", f"{_BPS} {_BPS}", dropped=dropped)]
    frame = frame.assign(
        costs=frame["costs"].replace({"net": f"net, {size_text(size)}"}),
        policy=frame["policy"].replace({CHANGE: f"  {CHANGE}"}),
    )
    emphasis: dict[str, Emphasis] = {"after": "strong", "before = after": "strong", f"  {CHANGE}": "light"}
    return Table(frame, columns, grouped=[Column("costs", "costs")], emphasis=emphasis)


def _as_comparison(split: pd.DataFrame, value: str) -> pd.DataFrame:
    """One value of the split, ``option`` or ``above``, in the columns of a comparison."""
    names = {value: "mean", f"{value}_low": "low", f"{value}_high": "high"}
    columns = {f"{old}_{unit}": f"{new}_{unit}" for old, new in names.items() for unit in ("bps", "vol")}
    renamed: pd.DataFrame = split[["min_periods", "orders", *columns]].rename(columns=columns)
    return renamed


def _by_policy(frame: pd.DataFrame, columns: list[Column], by: Sequence[str], model: str | None) -> Table:
    """A table with groups as headings and policies as rows. For a single policy the groups are the rows."""
    keys = _key_columns(by)
    if by:
        frame = frame.sort_values(list(by), kind="stable", ignore_index=True)
    if by and frame["policy"].nunique() <= 1:
        return Table(frame, [*keys, *columns[1:]])
    emphasis: dict[str, Emphasis] = {} if model is None else {model: "strong"}
    return Table(frame, columns, grouped=keys, emphasis=emphasis)


def _sides(by_side: pd.DataFrame) -> list[str]:
    """Sides that occur."""
    return [str(side) for side in by_side["side"].unique()]


def _pooled(sides: Sequence[str]) -> str:
    """Heading of a number over all orders."""
    return "both sides" if len(sides) > 1 else f"{sides[0]} orders" if sides else "no orders"


def _beside(
    frame: pd.DataFrame, by_side: pd.DataFrame, side: str, by: Sequence[str], statistics: tuple[str, ...]
) -> pd.DataFrame:
    """The table with numbers of one side as further columns, e.g. ``buy_mean_bps``."""
    keys = ["policy", *by]
    rows = by_side[by_side["side"].astype(str) == side]
    names: dict[Any, str] = {name: f"{side}_{name}" for name in statistics}
    return frame.merge(rows[[*keys, *statistics]].rename(columns=names), on=keys, how="left")


def _key_columns(keys: Sequence[str]) -> list[Column]:
    """Printed columns of the keys."""
    return [Column(key, _KEY_LABELS.get(key, key.replace("_", " "))) for key in keys]


def _mean_columns(unit: str, group: str, form: str, *, prefix: str = "", mean: str = "mean") -> list[Column]:
    """Printed columns of a mean and its interval: ``mean_bps, low_bps, high_bps``, or ``net_bps, net_low_bps, ...``."""
    ends = "" if mean == "mean" else f"{mean}_"
    ends_column = _interval_column(f"{prefix}{ends}low_{unit}", f"{prefix}{ends}high_{unit}", group, form)
    return [Column(f"{prefix}{mean}_{unit}", "mean", form, group), ends_column]


def _interval_column(low: str, high: str, group: str, form: str) -> Column:
    """Printed column of an interval."""
    return Column((low, high), "95 % interval", f"{form} to {form}", group)


def _fine_interval(mean: float, low: float, high: float) -> str:
    return interval(mean, low, high, ".4f")
