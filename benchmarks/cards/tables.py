"""Tables of a recorded run, for model cards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from benchmarks.records import RecordedRun, Row
from lem_models.guard.output import is_missing
from lem_models.report.numbers import MISSING, interval, number
from lem_models.report.policy_tables import means_by_minimum
from lem_models.report.quality.tables import tracking_ratio_table
from lem_models.report.tables import Column, Emphasis, Table, pivot

_READ = [f"{value}{end}_vol" for value in ("information", "beyond_control") for end in ("", "_low", "_high")]


def improvement_table(run: RecordedRun, model: str) -> Table:
    """One model by minimum duration: both units, and option value and what is above the null."""
    frame = pd.DataFrame(run.rows("comparison", policy=model, assets="all"))
    columns = [
        Column("min_periods", "minimum"),
        Column("orders", "orders"),
        Column(("mean_vol", "low_vol", "high_vol"), "bar volatilities: mean [95 %]", _strong_interval),
        Column("std_vol", "std", "{:.3f}"),
        Column(("mean_bps", "low_bps", "high_bps"), "bps: mean [95 %]", lambda *ends: interval(*ends, ".1f")),
        Column("std_bps", "std", "{:.1f}"),
    ]
    null = run.rows("null", policy=model, assets="all")
    if null:
        above = ("above_vol", "above_low_vol", "above_high_vol")
        split = pd.DataFrame(null)[["min_periods", "option_vol", *above]]
        frame = frame.merge(split, on="min_periods", how="left")
        columns += [Column("option_vol", "option value", "{:.3f}"), Column(above, "above the null [95 %]", interval)]
    read = [row for row in run.content.get("information", ()) if row["policy"] == model and row["assets"] == "all"]
    if read:
        frame = frame.merge(pd.DataFrame(read)[["min_periods", *_READ]], on="min_periods", how="left")
        columns += _read_columns()
    return Table(frame, columns)


def attribution_table(run: RecordedRun, model: str, market: str, policies: Collection[str]) -> Table | None:
    """Option value, above the null and information of some policies by minimum; ``None`` without a null."""
    null = [row for row in run.rows("null", assets="all") if row["policy"] in policies]
    if not null:
        return None
    read = pd.DataFrame(run.rows("information", assets="all"), columns=["policy", "min_periods", *_READ])
    frame = pd.DataFrame(null).merge(read, on=["policy", "min_periods"], how="left")
    columns = [
        Column("min_periods", f"{market}, minimum"),
        Column("policy", "policy"),
        Column("real_vol", "improvement", "{:.3f}"),
        Column("option_vol", "option value", "{:.3f}"),
        Column(("above_vol", "above_low_vol", "above_high_vol"), "above the null [95 %]", _known_interval),
        *_read_columns(),
    ]
    return Table(
        frame.sort_values("min_periods", kind="stable", ignore_index=True), columns, emphasis={model: "strong"}
    )


def _read_columns() -> list[Column]:
    """Columns of the ablation."""
    return [
        Column(tuple(_READ[3 * place : 3 * place + 3]), f"{label} [95 %]", _known_interval)
        for place, label in enumerate(("information", "beyond its control"))
    ]


def _known_interval(mean: float, low: float, high: float) -> str:
    return MISSING if is_missing(mean) else interval(mean, low, high)


def placebos_table(run: RecordedRun, model: str) -> Table | None:
    """The model minus placebos at its risk; ``None`` if that was not measured."""
    rows = [row for row in run.content.get("placebos", ()) if row["model"] == model and row["assets"] == "all"]
    if not rows:
        return None
    columns = [
        Column("min_periods", "minimum"),
        Column("placebo", "placebo"),
        Column("risk_aversion", "its risk aversion", "{:g}"),
        Column(("std_vol", "placebo_std_vol"), "std: model, placebo", "{:.3f}, {:.3f}"),
        Column(("mean_vol", "low_vol", "high_vol"), "difference [95 %]", interval),
        Column(("above_vol", "above_low_vol", "above_high_vol"), "difference above the null [95 %]", interval),
    ]
    return Table(pd.DataFrame(sorted(rows, key=lambda row: int(row["min_periods"]))), columns)


def policies_table(run: RecordedRun, model: str, models: Iterable[str]) -> Table:
    """Every policy by minimum duration, mean ± standard deviation in bar volatilities; the model first."""
    rows = sorted(run.rows("comparison", assets="all"), key=lambda row: row["policy"] != model)
    emphasis: dict[str, Emphasis] = {**dict.fromkeys(models, "light"), model: "strong"}
    return means_by_minimum(pd.DataFrame(rows), models=emphasis)


def differences_table(run: RecordedRun, model: str, alpha: float) -> Table:
    """The model minus every other policy, order by order; an asterisk where Holm's p is below ``alpha``."""

    def cell(row: Row) -> str:
        star = "\\*" if row["p_holm_vol"] is not None and row["p_holm_vol"] < alpha else ""
        return interval(row["mean_vol"], row["low_vol"], row["high_vol"], "+.3f") + star

    rows = run.rows("differences", model=model, assets="all")
    return pivot(pd.DataFrame(rows), "policy", "min_periods", cell, corner="minus", label="min {}")


def tracking_table(run: RecordedRun, model: str) -> Table | None:
    """Ratios of standard deviations at the fixed duration; ``None`` if they were not measured."""
    rows = run.rows("tracking", model=model)
    if not rows:
        return None

    def cell(row: Row) -> str:
        return interval(row["std_ratio_vol"], row["low"], row["high"])

    return pivot(pd.DataFrame(rows), "policy", "assets", cell, corner="std over that of", label="{} assets")


def tracking_errors_table(run: RecordedRun, model: str) -> Table | None:
    """Every measure of the model's errors at the fixed duration over that of a rival; ``None`` without one."""
    rows = run.rows("tracking_errors", policy=model, assets="all")
    return tracking_ratio_table(pd.DataFrame(rows)) if rows else None


def unseen_table(run: RecordedRun, model: str) -> Table | None:
    """Seen and unseen assets side by side; ``None`` if they were not told apart."""
    sets = {assets: run.rows("comparison", policy=model, assets=assets) for assets in ("seen", "unseen")}
    if not all(sets.values()):
        return None
    seen, unseen = (pd.DataFrame(rows) for rows in sets.values())
    columns = [Column("min_periods", "minimum")]
    for assets in sets:
        sources = tuple(f"{name}_{assets}" for name in ("mean_vol", "low_vol", "high_vol", "std_vol"))
        columns.append(Column(f"orders_{assets}", f"orders, {assets}"))
        columns.append(Column(sources, f"{assets}: mean [95 %] ± std", _interval_std))
    return Table(seen.merge(unseen, on="min_periods", suffixes=("_seen", "_unseen")), columns)


def seeds_table(rows: list[Row]) -> Table:
    """Spread between training seeds by minimum duration, in bar volatilities."""
    columns = [
        Column("min_periods", "minimum"),
        Column(("mean_vol", "low_vol", "high_vol"), "mean [95 %, days and seeds]", interval),
        Column("between_vol", "std between seeds", "{:.3f}"),
        Column("worst_vol", "worst seed", "{:.3f}"),
        Column("best_vol", "best seed", "{:.3f}"),
    ]
    return Table(pd.DataFrame(rows), columns)


def dial_table(points: Iterable[Mapping[str, object]]) -> Table:
    """One model at several risk aversions by minimum duration."""
    frame = pd.DataFrame(points).sort_values("risk_aversion", kind="stable")

    def cell(row: Row) -> str:
        return _interval_std(row["mean_vol"], row["low_vol"], row["high_vol"], row["std_vol"])

    label = "min {}: mean [95 %] ± std"
    return pivot(frame, "risk_aversion", "min_periods", cell, corner="risk aversion", label=label)


def _strong_interval(mean: float, low: float, high: float) -> str:
    value, ends = interval(mean, low, high).split(" ", 1)
    return f"**{value}** {ends}"


def _interval_std(mean: float, low: float, high: float, std: float) -> str:
    return f"{interval(mean, low, high)} ± {number(std)}"
