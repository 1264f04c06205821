"""What a benchmark run comes to: the headline numbers and one paragraph."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lem_models.report.benchmark_tables import BOUND, BenchmarkTables
from lem_models.report.parts import Headline
from lem_models.report.text import number_text, p_text

__all__ = ["headlines", "strongest_rival", "summary"]


def headlines(tables: BenchmarkTables) -> list[Headline]:
    """Gross improvement, what of it is forecast, net of costs, and the lead over the strongest rival.

    All are of the first benchmark and target, at the shortest minimum duration.
    """
    run, settings = tables.run, tables.run.settings
    shortest = min(settings.min_periods)
    row = _row(tables.first(tables.comparison), shortest, run.model)
    if row is None:
        return []
    against = f"against the {settings.benchmark[0].upper()}, minimum {shortest} of {settings.max_periods} periods"
    vol = number_text(f"{row['mean_vol']:+.3f} ± {row['std_vol']:.2f} bar volatilities")
    found = [
        Headline.interval(
            f"Gross improvement {against}", row["mean_bps"], row["low_bps"], row["high_bps"], unit="bps", more=vol
        )
    ]
    if tables.split is not None and (part := _row(tables.first(tables.split), shortest)) is not None:
        found.append(
            Headline.interval(
                "of which forecast value: real bars minus martingale null",
                part["forecast_bps"],
                part["forecast_low_bps"],
                part["forecast_high_bps"],
                unit="bps",
                more=number_text(f"option value {part['option_bps']:+.1f} bps"),
            )
        )
    if tables.costs is not None:
        cost = f"costs {row['cost_bps']:.1f} bps"
        found.append(
            Headline.interval(
                f"Net improvement {against}",
                row["net_bps"],
                row["net_low_bps"],
                row["net_high_bps"],
                unit="bps",
                more=cost,
            )
        )
    rival = strongest_rival(tables)
    if rival is not None and (ahead := _row(tables.first(tables.differences), shortest, rival)) is not None:
        found.append(
            Headline.interval(
                f"ahead of {rival}, the strongest rival, on the same orders",
                ahead["mean_bps"],
                ahead["low_bps"],
                ahead["high_bps"],
                unit="bps",
                more=f"p {p_text(ahead['p_value'])}, Holm {p_text(ahead['p_holm'])}",
            )
        )
    return found


def strongest_rival(tables: BenchmarkTables) -> str | None:
    """The other policy with the best mean improvement at the shortest minimum duration; bounds are no rivals."""
    comparison = tables.first(tables.comparison)
    rows = comparison[comparison["min_periods"] == min(tables.run.settings.min_periods)]
    rows = rows[(rows["policy"] != tables.run.model) & ~rows["policy"].str.endswith(BOUND)].dropna(subset="mean_bps")
    return None if rows.empty else str(rows["policy"].iloc[int(rows["mean_bps"].argmax())])


def summary(tables: BenchmarkTables) -> str:
    """One paragraph: improvement, what of it is option and forecast, costs, tracking at a fixed duration."""
    run, settings = tables.run, tables.run.settings
    shortest, longest = min(settings.min_periods), max(settings.min_periods)
    comparison = tables.first(tables.comparison)
    row, fixed = _row(comparison, shortest, run.model), _row(comparison, longest, run.model)
    if row is None or fixed is None:
        return ""
    name = settings.benchmark[0].upper()
    text = (
        f"Free to end after {shortest} of {settings.max_periods} periods, {run.model} improves on the {name} of the "
        f"periods it used by {row['mean_bps']:+.1f} bps on average (standard deviation {row['std_bps']:.0f} bps; "
        f"one bar moves {row['volatility_bps']:.0f} bps)."
    )
    if tables.split is not None and (part := _row(tables.first(tables.split), shortest)) is not None:
        text += (
            " On the martingale null, where nothing can be forecast, the same orders gain "
            f"{part['option_bps']:+.1f} bps: the value of choosing when to end. The difference, "
            f"{part['forecast_bps']:+.1f} bps, is what forecasting adds."
        )
    if tables.costs is not None:
        text += f" Costs take {row['cost_bps']:.1f} bps and leave {row['net_bps']:+.1f} bps."
    twap = _row(comparison, longest, "twap")
    if longest == settings.max_periods and twap is not None and twap["std_vol"] > 0:
        ratio = fixed["std_vol"] / twap["std_vol"]
        text += f" At a fixed duration of {longest} periods its tracking error is {ratio:.2f} times TWAP's."
    return number_text(text)


def _row(table: pd.DataFrame, minimum: int, policy: str | None = None) -> pd.Series[Any] | None:
    """Row of a minimum duration (and policy), if there is one."""
    rows = table[table["min_periods"] == minimum]
    if policy is not None:
        rows = rows[rows["policy"] == policy]
    return None if rows.empty else rows.iloc[0]
