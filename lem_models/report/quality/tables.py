"""Tables of execution quality, from the statistics of orders: each function takes a data frame and returns a table.

Those of a report fit a page of 1,280 pixels. Intervals are at 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lem_models.report.numbers import interval, number_text
from lem_models.report.tables import Column, Emphasis, Table, pivot
from lem_models.statistics.tracking import MEASURES, tracking_verdict

__all__ = [
    "dominance_table",
    "reversion_table",
    "tracking_ratio_table",
    "tracking_sentences",
    "tracking_value_table",
    "trajectory_table",
]

_LABELS = {
    "std": "std",
    "clipped_std": "clipped std",
    "mean_abs": "mean",
    "median_abs": "median",
    "q95_abs": "95 %",
    "q99_abs": "99 %",
    "closer_percent": "closer",
}
_POLICY = Column("policy", "policy")
_HUGE = 100


def dominance_table(differences: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """What the comparisons of the policy under test allow to say, in bar volatilities.

    Args:
        differences: Table of ``statistics.dominance.paired_comparison``.
        by: Columns that it is grouped by.
        model: Policy under test; it has no row.
    """
    del model
    columns = [
        Column("policy", "against"),
        Column(("mean_vol", "low_vol", "high_vol"), "difference of the means", _signed),
        Column(("std_ratio_vol", "std_ratio_low_vol", "std_ratio_high_vol"), "ratio of the stds", _fine),
        Column("verdict", "verdict"),
    ]
    keys = [Column(key, "minimum duration" if key == "min_periods" else key) for key in by]
    frame = differences.sort_values(list(by), kind="stable", ignore_index=True) if by else differences
    emphasis: dict[str, Emphasis] = {}
    return Table(frame, columns, grouped=keys, emphasis=emphasis)


def tracking_ratio_table(errors: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """Each measure of a policy's errors as a multiple of another policy's, and the share of orders closer than it.

    Args:
        errors: Table of ``statistics.tracking.tracking_errors``.
        by: Further columns that it is grouped by.
        model: Policy whose rows stand out.
    """

    def cell(row: Mapping[Any, Any]) -> str:
        if row["measure"] == "closer_percent":
            return interval(row["value"], row["value_low"], row["value_high"], ".0f") + " %"
        return _fine(row["ratio"], row["ratio_low"], row["ratio_high"])

    return _by_measure(errors, [*by, "policy", "against"], cell, model)


def tracking_value_table(errors: pd.DataFrame, by: Sequence[str] = (), *, model: str | None = None) -> Table:
    """Each measure of a policy's errors, in bar volatilities.

    Args:
        errors: Table of ``statistics.tracking.tracking_errors``.
        by: Further columns that it is grouped by.
        model: Policy whose rows stand out.
    """

    def cell(row: Mapping[Any, Any]) -> str:
        return interval(row["value"], row["value_low"], row["value_high"])

    keys = [*by, "policy", "measure"]
    values = errors[errors["measure"] != "closer_percent"].drop_duplicates(keys)
    return _by_measure(values, [*by, "policy"], cell, model)


def tracking_sentences(errors: pd.DataFrame, model: str) -> list[str]:
    """One sentence for each other policy: whether one policy tracks closer than it.

    Args:
        errors: Rows of ``statistics.tracking.tracking_errors`` of one group.
        model: The policy.
    """
    own = errors[errors["policy"] == model] if len(errors) else errors
    return [
        f"{model} {tracking_verdict(own[own['against'] == other])}."
        for other in (own["against"].unique() if len(own) else ())
    ]


def reversion_table(reversion: pd.DataFrame, *, model: str | None = None) -> Table:
    """Post-trade reversion of each policy, in bps.

    Args:
        reversion: Table of ``evaluation.post_trade.post_trade_reversion`` over all orders.
        model: Policy whose rows stand out.
    """
    names = {"last_fill": "from the last fill", "executed": "from the executed price"}
    frame = reversion[["policy"]].drop_duplicates().reset_index(drop=True)
    columns = [_POLICY]
    for (reference, ahead), rows in reversion.groupby(["reference", "bars_after"], sort=False):
        key = f"{reference}_{ahead}"
        kept = rows.set_index("policy")[["mean_bps", "low_bps", "high_bps"]].add_prefix(key)
        frame = frame.join(kept, on="policy")
        label = f"{ahead} bar{'s'[: ahead != 1]} later"
        columns.append(Column(tuple(map(str, kept)), label, _bps, f"{names[str(reference)]}, bps"))
    return Table(frame, columns, emphasis=_strong(model))


def trajectory_table(trajectory: pd.DataFrame, *, model: str, heading: str) -> Table:
    """Where in the order the slippage arose: a row per part, the policy under test with intervals, others' means.

    Args:
        trajectory: Table of ``evaluation.trajectory.trajectory_shortfall`` over all orders.
        model: Policy under test.
        heading: What a part is: ``"period"`` or ``"tenth"``.
    """
    own = trajectory[trajectory["policy"] == model].reset_index(drop=True)
    frame = own
    columns = [
        Column("part", heading, "{:.0f}"),
        Column("filled_percent", "filled", "{:.1f} %", model),
        Column(("mean_bps", "low_bps", "high_bps"), "slippage, bps", _bps, model),
    ]
    for other in (name for name in trajectory["policy"].unique() if name != model):
        rows = trajectory[trajectory["policy"] == other]
        frame = frame.merge(rows[["part", "mean_bps"]].rename(columns={"mean_bps": f"of {other}"}), on="part")
        columns.append(Column(f"of {other}", str(other).replace("_", " "), "{:+.2f}", "others, slippage, bps"))
    return Table(frame, columns)


def _by_measure(errors: pd.DataFrame, keys: list[str], cell: Any, model: str | None) -> Table:  # noqa: ANN401
    """A row per combination of keys, a column per measure."""
    frame = errors.assign(_row=errors[keys].astype(str).agg("\n".join, axis=1), _column=errors["measure"].map(_PLACES))
    made = pivot(frame, "_row", "_column", cell)
    labels = frame.drop_duplicates("_row").set_index("_row").loc[made.frame["_row"], keys].reset_index(drop=True)
    there = [name for name in MEASURES if str(_PLACES[name]) in made.frame]
    columns = [Column(key, key) for key in keys]
    columns += [Column(str(_PLACES[name]), _LABELS[name]) for name in there]
    return Table(pd.concat([labels, made.frame.drop(columns="_row")], axis=1), columns, emphasis=_strong(model))


_PLACES = {name: place for place, name in enumerate(MEASURES)}


def _strong(model: str | None) -> dict[str, Emphasis]:
    return {} if model is None else {model: "strong"}


def _signed(mean: float, low: float, high: float) -> str:
    return interval(mean, low, high, "+.3f")


def _fine(ratio: float, low: float, high: float) -> str:
    if ratio >= _HUGE:  # beside a bound that hardly errs
        return f"above {_HUGE}"
    return interval(ratio, low, high, ".2f")


def _bps(mean: float, low: float, high: float) -> str:
    return number_text(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]") if mean == mean else interval(None, None, None)
