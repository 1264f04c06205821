"""Tables of an evaluation in Markdown, for model cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lem_models.hub.results import Assets, Row, Run

__all__ = [
    "difference_table",
    "improvement_table",
    "interval",
    "markdown_table",
    "number",
    "policy_table",
    "tracking_table",
    "unseen_table",
]

MISSING = "–"


def number(value: float | None, shape: str) -> str:
    """A number with a proper minus sign; a dash where there is none."""
    return MISSING if value is None else format(float(value), shape).replace("-", "−")


def interval(row: Row, mean: str, low: str, high: str, shape: str) -> str:
    """A mean and its interval from three columns of a row, ``0.361 [0.349, 0.374]``."""
    return f"{number(row[mean], shape)} [{number(row[low], shape)}, {number(row[high], shape)}]"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def improvement_table(run: Run, model: str) -> str:
    """One model by minimum duration: both units, and option and forecast value where they were measured."""
    split = any(run.null(model, minimum) for minimum in run.minima)
    header = ["minimum", "orders", "bar volatilities: mean [95 %]", "std", "bps: mean [95 %]", "std"]
    rows = []
    for minimum in run.minima:
        row = run.row(model, minimum)
        if row is None:
            continue
        cells = [
            str(minimum),
            f"{row['orders']:,}",
            f"**{number(row['mean_vol'], '.3f')}** [{number(row['low_vol'], '.3f')}, {number(row['high_vol'], '.3f')}]",
            number(row["std_vol"], ".3f"),
            interval(row, "mean_bps", "low_bps", "high_bps", ".1f"),
            number(row["std_bps"], ".1f"),
        ]
        null = run.null(model, minimum)
        if null is not None:
            forecast = interval(null, "forecast_vol", "forecast_low_vol", "forecast_high_vol", ".3f")
            cells += [number(null["option_vol"], ".3f"), forecast]
        elif split:
            cells += [MISSING, MISSING]
        rows.append(cells)
    return markdown_table([*header, *(["null (option)", "forecast [95 %]"] if split else [])], rows)


def policy_table(run: Run, model: str, models: Iterable[str], assets: Assets = "all") -> str:
    """Every policy by minimum duration, mean ± standard deviation in bar volatilities; the model first."""
    known = set(models)
    names = [model, *(name for name in run.policies if name != model)]
    rows = []
    for name in names:
        found = [run.row(name, minimum, assets) for minimum in run.minima]
        shown = f"**{name}**" if name == model else f"*{name}*" if name in known else name
        cells = [
            MISSING if r is None else f"{number(r['mean_vol'], '.3f')} ± {number(r['std_vol'], '.3f')}" for r in found
        ]
        rows.append([shown, *cells])
    return markdown_table(["policy", *(f"min {minimum}" for minimum in run.minima)], rows)


def difference_table(run: Run, model: str, significant: float) -> str:
    """The model minus every other policy, order by order; an asterisk where Holm's p is below ``significant``."""
    rows = []
    for name in run.policies:
        found = [run.difference(model, name, minimum) for minimum in run.minima]
        if name == model or not any(found):
            continue
        cells = [name]
        for row in found:
            if row is None:
                cells.append(MISSING)
                continue
            star = "\\*" if row["p_holm"] is not None and row["p_holm"] < significant else ""
            cells.append(interval(row, "mean_vol", "low_vol", "high_vol", "+.3f") + star)
        rows.append(cells)
    return markdown_table(["minus", *(f"min {minimum}" for minimum in run.minima)], rows)


def tracking_table(run: Run, model: str) -> str | None:
    """Ratios of standard deviations at the fixed duration; ``None`` if they were not measured."""
    sets: tuple[Assets, ...] = ("all", "seen", "unseen")
    shown = [a for a in sets if any(run.tracking(model, name, a) for name in run.policies)]
    rows = []
    for name in run.policies:
        found = [run.tracking(model, name, assets) for assets in shown]
        if any(found):
            cells = [MISSING if r is None else interval(r, "std_ratio_vol", "low", "high", ".3f") for r in found]
            rows.append([name, *cells])
    return markdown_table(["std over that of", *(f"{assets} assets" for assets in shown)], rows) if rows else None


def unseen_table(run: Run, model: str) -> str | None:
    """Seen and unseen assets side by side; ``None`` if they were not told apart."""
    rows = []
    for minimum in run.minima:
        seen, unseen = run.row(model, minimum, "seen"), run.row(model, minimum, "unseen")
        if seen is not None and unseen is not None:
            cells = [str(minimum)]
            for row in (seen, unseen):
                mean = interval(row, "mean_vol", "low_vol", "high_vol", ".3f")
                cells += [f"{row['orders']:,}", f"{mean} ± {number(row['std_vol'], '.3f')}"]
            rows.append(cells)
    header = ["minimum", "orders, seen", "seen: mean [95 %] ± std", "orders, unseen", "unseen: mean [95 %] ± std"]
    return markdown_table(header, rows) if rows else None
