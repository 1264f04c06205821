"""Tables of the capacity curve: the numbers at each size, and the sizes at which an improvement is used up."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lem_models.evaluation.capacity import break_even_sizes
from lem_models.evaluation.prices import AGAINST
from lem_models.report.numbers import MISSING
from lem_models.report.tables import Column, Emphasis, Table

__all__ = ["break_even_table", "break_even_text", "capacity_overview", "capacity_table", "size_text"]

AGAINST_LABELS = {"own": "own benchmark", "full_vwap": "full-horizon VWAP", "arrival": "arrival"}
"""Headings of the prices of :data:`~lem_models.evaluation.prices.AGAINST`."""

_KEY_LABELS = {"min_periods": "minimum duration"}
_BPS = "{:+.1f}"
_LEAST_SHOWN = 1e-4  # of a break-even size
_INTERVAL = f"{_BPS} to {_BPS}"
_BREAK_EVEN = ["break_even", "largest_size", "starts_positive", "break_even_low", "break_even_high"]
_BY_PRICE = (
    *("gross_bps", "net_bps", "low_bps", "high_bps"),
    *("difference_bps", "difference_low_bps", "difference_high_bps"),
)


def size_text(size: float) -> str:
    """A size in per cent of the expected volume; the amounts of the orders where there is none.

    Example:
        >>> size_text(0.001), size_text(float("nan"))
        ('0.1 %', 'as ordered')
    """
    return "as ordered" if pd.isna(size) else f"{100 * size:.3g} %"


def capacity_table(curve: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """Net improvement of every policy at each size.

    Args:
        curve: Table of :func:`~lem_models.evaluation.capacity.capacity_curve`.
        by: Columns that it is grouped by.
        model: Policy whose rows stand out.
    """
    frame = _by_size(curve, by)
    columns = [Column("policy", "policy"), Column("orders", "orders", "{:,.0f}")]
    for price in AGAINST:
        group = f"net, {AGAINST_LABELS[price]}, bps"
        columns.append(Column(f"{price}_net_bps", "mean", _BPS, group))
        if price != "arrival":  # its interval is that of the market's moves and as wide as the page
            ends = (f"{price}_low_bps", f"{price}_high_bps")
            columns.append(Column(ends, "95 % interval", _INTERVAL, group))
        if price == "full_vwap":
            ends = (f"{price}_difference_low_bps", f"{price}_difference_high_bps")
            columns.append(Column(f"{price}_difference_bps", "minus twap", _BPS, group))
            columns.append(Column(ends, "95 % interval", _INTERVAL, group))
    columns += [
        Column("cost_bps", "cost, bps", "{:.1f}"),
        Column("participation_percent", "mean", "{:.2g} %", "participation"),
        Column("largest_participation_percent", "largest", "{:,.0f} %", "participation"),
        Column("over_volume_percent", "above a bar", "{:.2g} %", "participation"),
    ]
    emphasis: dict[str, Emphasis] = {} if model is None else {model: "strong"}
    grouped = [*_key_columns(by), Column("size_label", "size")]
    return Table(frame, columns, grouped=grouped, emphasis=emphasis)


def capacity_overview(curve: pd.DataFrame, *, model: str | None = None) -> Table:
    """The same in few columns, for the terminal: means in bps against the own benchmark, full-horizon VWAP and arrival.

    Args:
        curve: One group of the table of :func:`~lem_models.evaluation.capacity.capacity_curve`.
        model: Policy whose rows stand out.
    """
    columns = [
        Column("policy", "policy"),
        Column("own_net_bps", "own", _BPS),
        Column("full_vwap_net_bps", "full", _BPS),
        Column(("full_vwap_low_bps", "full_vwap_high_bps"), "full 95 %", f"{_BPS} {_BPS}", dropped=3),
        Column("full_vwap_difference_bps", "-twap", _BPS, dropped=5),
        Column(
            ("full_vwap_difference_low_bps", "full_vwap_difference_high_bps"),
            *("-twap 95 %", f"{_BPS} {_BPS}"),
            dropped=2,
        ),
        Column("arrival_net_bps", "arrival", _BPS, dropped=6),
        Column("cost_bps", "cost", "{:.1f}", dropped=4),
        Column("largest_participation_percent", "largest part.", "{:,.0f} %", dropped=1),
    ]
    emphasis: dict[str, Emphasis] = {} if model is None else {model: "strong"}
    return Table(_by_size(curve), columns, grouped=[Column("size_label", "size")], emphasis=emphasis)


def _by_size(curve: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """A row per policy, group and size; the numbers against each price side by side: ``own_net_bps``."""
    frame = curve[curve["against"] == AGAINST[0]].drop(columns=["against", *_BY_PRICE]).reset_index(drop=True)
    for price in AGAINST:
        rows = curve[curve["against"] == price][list(_BY_PRICE)].reset_index(drop=True)
        frame = frame.join(rows.add_prefix(f"{price}_"))
    frame["size_label"] = frame["size"].map(size_text)
    return frame.sort_values([*by, "size"], kind="stable", ignore_index=True)


def break_even_text(
    size: float | None,
    largest: float,
    starts_positive: bool | None,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """A break-even size in words.

    Args:
        size: The size, a fraction; NaN if there is none.
        largest: Largest size that was looked at.
        starts_positive: Whether the improvement is above 0 at the smallest size; ``None`` if it is not known.
        low: Lower end of its interval; missing if it is not known.
        high: Upper end; infinite if it lies above the largest size.

    Returns:
        The size, and its interval in per cent. Without a break-even the interval says where it may lie; none if it lies
        at no size that was looked at.

    Example:
        >>> break_even_text(0.0123, 0.1, True), break_even_text(0.0123, 0.1, True, 0.004, float("inf"))
        ('1.2 %', '1.2 % [0.4, ≥ 10]')
        >>> break_even_text(0.02, 0.1, False), break_even_text(float("nan"), 0.1, False)
        ('above 0 from 2 %', 'none: below 0')
        >>> break_even_text(float("nan"), 0.1, True, 0.08, float("inf"))
        'none: above 0 [8, ≥ 10]'
    """
    if starts_positive is None or pd.isna(starts_positive) or pd.isna(largest):
        return MISSING
    ends = ""
    known = [end for end in (low, high) if end is not None and not pd.isna(end)]
    if len(set(known)) == 2 and known[1] >= _LEAST_SHOWN:  # else the text without it says as much
        ends = f" [{', '.join(_end_text(end, largest) for end in known)}]"
    if size is None or pd.isna(size):
        return f"none: {'above' if starts_positive else 'below'} 0{ends}"
    text = f"{100 * size:.2g} %" if size >= _LEAST_SHOWN else f"< {size_text(_LEAST_SHOWN)}"
    return (text if starts_positive else f"above 0 from {text}") + ends


def _end_text(size: float, largest: float) -> str:
    """An end of the interval of a break-even, in per cent."""
    if size == float("inf"):
        return f"\u2265 {100 * largest:.3g}"
    return f"{100 * max(size, _LEAST_SHOWN if size else 0.0):.2g}"


def break_even_table(curve: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """Size at which each policy's net improvement, and its lead over the reference, are used up, and its interval.

    Args:
        curve: Table of :func:`~lem_models.evaluation.capacity.capacity_curve`.
        by: Columns that it is grouped by.
        model: Policy whose rows stand out.
    """
    keys = ["policy", *by]
    frame = curve[keys].drop_duplicates().reset_index(drop=True)
    columns = [Column("policy", "policy")]
    for column, group in (("net_bps", "net improvement"), ("difference_bps", "net improvement over twap")):
        sizes = break_even_sizes(curve, column)
        # Two policies are as far apart against arrival as against the full-horizon VWAP: both prices are the order's.
        for price in AGAINST if column == "net_bps" else AGAINST[:2]:
            rows = sizes[sizes["against"] == price]
            texts = [break_even_text(*values) for values in rows[_BREAK_EVEN].itertuples(index=False)]
            name = f"{column}_{price}"
            frame = frame.merge(rows[keys].assign(**{name: texts}), on=keys, how="left")
            columns.append(Column(name, f"{AGAINST_LABELS[price]}", "{}", group))
    if by:
        frame = frame.sort_values(list(by), kind="stable", ignore_index=True)
    emphasis: dict[str, Emphasis] = {} if model is None else {model: "strong"}
    return Table(frame, columns, grouped=_key_columns(by), emphasis=emphasis)


def _key_columns(keys: Sequence[str]) -> list[Column]:
    """Printed columns of the keys."""
    return [Column(key, _KEY_LABELS.get(key, key.replace("_", " "))) for key in keys]
