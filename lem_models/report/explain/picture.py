"""An explained decision in one picture: what moved it, what would change it, what was weighed, what may come.

Orange is a contribution that raises the fraction or the probability of finishing, blue one that lowers it.
"""

from __future__ import annotations

import html
from typing import cast

import numpy as np
import numpy.typing as npt

from lem_models.evaluation.explain.explanation import Explanation
from lem_models.evaluation.explain.words import input_label
from lem_models.report.charts.chart import (
    Bands,
    Chart,
    Columns,
    Drawn,
    HeatMap,
    HorizontalBars,
    Level,
    Line,
    Mark,
    Panel,
    Points,
    Stairs,
)
from lem_models.report.charts.draw import Backend, Drawing, draw_chart
from lem_models.report.figure_style import Theme, figure_to_data_uris, ink_of, policy_styles
from lem_models.report.numbers import number_text

__all__ = ["explanation_chart", "explanation_html", "plot_explanation"]

_MOST_INPUTS = 9
_MOST_FEATURES = 8
_BARS_SHOWN = 48


def plot_explanation(explanation: Explanation, *, theme: Theme = "light", backend: Backend = "matplotlib") -> Drawing:
    """Plot an explanation; see :meth:`Explanation.plot`."""
    return draw_chart(explanation_chart(explanation), theme=theme, backend=backend)


def explanation_html(explanation: Explanation) -> str:
    """The picture and the paragraph as HTML, for light and dark pages."""
    from matplotlib.figure import Figure

    figure = cast(Figure, plot_explanation(explanation))
    light, dark = figure_to_data_uris(figure)
    words = html.escape(str(explanation))
    return (
        f'<div style="max-width:1100px"><picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="Explanation of a decision" style="width:100%"></picture><p>{words}</p></div>'
    )


def explanation_chart(explanation: Explanation) -> Chart:
    """The picture: contributions and counterfactuals, selection and attention, the schedule ahead and the slippage."""
    answer, order = explanation.answer, explanation.order
    what = f"finishes, {100 * answer.traded:.1f} %" if answer.finishes else f"trades {100 * answer.fraction:.1f} %"
    title = (
        f"{explanation.model}: {order['side']} {order['symbol']}, order {order['order_id']}, bar "
        f"{explanation.period + 1} of {order['max_periods']} ({explanation.bar:%Y-%m-%d %H:%M} UTC): {what}"
    )
    rows: list[list[Panel | None]] = [
        [_contributions(explanation), _counterfactuals(explanation)],
        [_selection(explanation), _attention(explanation)],
    ]
    if explanation.futures is not None:
        rows.append([_schedule(explanation), _slippage(explanation)])
    return Chart(
        rows,
        11.0,
        3.3 * len(rows) + 0.4,
        heights=(1.1, 1.0, 1.0)[: len(rows)],
        title=title,
        has_legend=False,
    )


def _what(explanation: Explanation) -> str:
    return "fraction of the order" if explanation.target == "fraction" else "probability of finishing"


def _contributions(explanation: Explanation) -> Panel:
    """The largest contributions, the rest together, and where they start and end."""
    table = explanation.attributions
    ranked = table.iloc[np.argsort(-table[explanation.target].abs().to_numpy(), kind="stable")]
    shown, rest = ranked.head(_MOST_INPUTS), ranked.iloc[_MOST_INPUTS:]
    names = [input_label(name) for name in shown["name"]]
    values = 100.0 * shown[explanation.target].to_numpy(dtype=float)
    if len(rest):
        names.append(f"the other {len(rest)}")
        values = np.append(values, 100.0 * float(rest[explanation.target].sum()))
    begin = explanation.reference[0 if explanation.target == "fraction" else 1]
    end = begin + float(table[explanation.target].sum())
    return Panel(
        [HorizontalBars(names, values, _signed_colours(values), [_points(value) for value in values])],
        title=f"What moved the {_what(explanation)}: from {100 * begin:.1f} % to {100 * end:.1f} %",
        x_label="contribution, percentage points (integrated gradients)",
        x_limits=_room(values, [_points(value) for value in values]),
    )


def _counterfactuals(explanation: Explanation) -> Panel:
    """Changes of the target."""
    table = explanation.counterfactuals
    values = 100.0 * table[f"{explanation.target}_change"].to_numpy(dtype=float)
    turns = (table["finish"].to_numpy(dtype=float) > 0.5) != explanation.answer.finishes
    other = "goes on" if explanation.answer.finishes else "finishes"
    texts = [_points(value) + (f", {other}" if turn else "") for value, turn in zip(values, turns, strict=True)]
    return Panel(
        [HorizontalBars([_wrapped(label) for label in table["label"]], values, _signed_colours(values), texts)],
        title=f"The {_what(explanation)}, if ...",
        x_label="change, percentage points",
        x_limits=_room(values, texts),
    )


def _selection(explanation: Explanation) -> Panel:
    """Selection weights of the features with the largest ones, bar by bar."""
    recent = explanation.selection.tail(_BARS_SHOWN)
    chosen = recent.mean().sort_values(ascending=False).index[:_MOST_FEATURES].tolist()
    ago = -np.arange(len(recent), dtype=np.float64)[::-1]
    names = [input_label(str(name)) for name in chosen]
    drawn: list[Drawn] = [HeatMap(ago, names, recent[chosen].to_numpy(dtype=float).T, "#7a5195", "weight")]
    if 0 < explanation.period < len(recent):
        drawn.append(Mark(0.5 - explanation.period))
    largest = float(recent[chosen].to_numpy().max())
    return Panel(
        drawn,
        title=f"Where the network looks: features (strongest: {largest:.2f})",
        x_label="closed bars before the decision" + ("; dashed: the order begins" if len(drawn) > 1 else ""),
        x_ticks=_ago_ticks(ago),
    )


def _attention(explanation: Explanation) -> Panel:
    """Mean weight of past bars over the heads, and each head as a line."""
    table, ink = explanation.attention, ink_of("light")
    heads = [name for name in table.columns if str(name).startswith("head_")]
    ago = -table["bars_ago"].to_numpy(dtype=float)
    mean = table[heads].mean(axis=1).to_numpy(dtype=float)
    drawn: list[Drawn] = [Columns(ago, mean, "#7a5195", 0.8, 0.55)]
    drawn += [Line(ago, table[head], ink.muted, width=0.7) for head in heads]
    drawn += [Mark(0.5 - explanation.period)] if 0 < explanation.period < len(table) else []
    return Panel(
        drawn,
        title="... and at which past bars (no explanation)",
        y_label="weight",
        y_format="percent",
        x_ticks=_ago_ticks(ago),
        x_label="closed bars before the decision; lines: heads",
        y_limits=(0.0, 1.1 * float(table[heads].to_numpy().max())),
    )


def _schedule(explanation: Explanation) -> Panel:
    """What is filled so far, and its bands ahead."""
    assert explanation.futures is not None
    forecast, ink = explanation.futures.forecast, ink_of("light")
    colour = policy_styles(["model"])["model"].colour
    period, past = explanation.period, np.cumsum(explanation.schedule)
    now = float(explanation.schedule.sum())
    # The end of bar p is at p + 1.
    behind, ahead = np.arange(period + 1), np.arange(period, period + len(forecast.filled) + 1)
    low, middle, high = (
        np.array([now, *(getattr(band, name) for band in forecast.filled)]) for name in ("low", "middle", "high")
    )
    length = period + len(forecast.filled)
    ticks = np.arange(0, length + 1, -(-length // 12))
    minimum = int(explanation.order["min_periods"])
    return Panel(
        [
            Line([0, length], [0.0, 1.0], ink.muted, "even pace", width=1.0, dash=(0, (1, 1.2))),
            Bands(ahead, low, high, colour, 0.22),
            Line(ahead, middle, colour, width=1.6, dash=(0, (5, 1.5))),
            Line(behind, np.array([0.0, *past]), colour, width=2.2),
            *([Mark(float(minimum), "minimum", low=True, left=minimum > length / 2)] if minimum < length else []),
            Mark(float(period), "now", left=period > length / 2),
        ],
        title=f"Filled, and 10 / 50 / 90 % of {forecast.paths} simulated paths",
        y_label="of the order",
        y_format="percent",
        y_limits=(-0.02, 1.08),
        x_limits=(-0.2, length + 0.2),
        x_ticks=(ticks, [str(tick) for tick in ticks]),
        x_label="bars of the order that have closed; dotted: even pace",
    )


def _slippage(explanation: Explanation) -> Panel:
    """Final slippage on the paths."""
    assert explanation.futures is not None
    values = explanation.futures.slippage_bps
    known, band = values[np.isfinite(values)], explanation.futures.forecast.slippage_bps
    colour = policy_styles(["model"])["model"].colour
    if not len(known):
        return Panel([Level(0.0)], title="Final slippage: nothing fills on any path")
    spread = max(float(np.ptp(known)), 1e-6)
    edges = np.linspace(known.min() - 0.02 * spread, known.max() + 0.02 * spread, 25)
    heights, _ = np.histogram(known, edges)
    share = heights / len(known)
    top = float(share.max())
    return Panel(
        [
            Bands([band.low, band.high], [0.0, 0.0], [1.15 * top, 1.15 * top], colour, 0.10),
            Stairs(share, edges, colour, fill=0.3),
            Points([band.middle], [0.0], [64.0], colour, opacity=1.0, marker="^"),
            Mark(0.0),
        ],
        title=f"Final slippage: {' / '.join(map(_points, (band.low, band.middle, band.high)))} bps",
        x_label=f"bps against {explanation.futures.forecast.benchmark}, positive = cost; shaded: 80 %",
        y_label="of the paths",
        y_format="percent",
        y_limits=(0.0, 1.15 * top),
    )


def _signed_colours(values: npt.NDArray[np.float64]) -> list[str]:
    """Orange raises, blue lowers: told apart by those who see few colours, and by the side of zero."""
    ink = ink_of("light")
    return [ink.baselines["volume_curve"] if value >= 0 else ink.accents[0] for value in values]


def _points(value: float) -> str:
    return number_text(f"{value:+.1f}")


def _room(values: npt.NDArray[np.float64], texts: list[str]) -> tuple[float, float]:
    """Ends of an axis with room for the texts at the ends of the bars; about 0.02 of the axis for a letter."""
    low, high = min(float(values.min(initial=0.0)), 0.0), max(float(values.max(initial=0.0)), 0.0)
    span = max(high - low, 0.1)

    def letters(side: float) -> int:
        return max((len(text) for value, text in zip(values, texts, strict=True) if value * side > 0), default=2)

    return low - span * (0.03 + 0.03 * letters(-1.0)), high + span * (0.03 + 0.03 * letters(1.0))


def _wrapped(text: str) -> str:
    """A clause on two lines."""
    words = text.split()
    cut = next((n for n in range(1, len(words)) if 2 * len(" ".join(words[:n])) >= len(text)), len(words))
    return "\n".join(part for part in (" ".join(words[:cut]), " ".join(words[cut:])) if part)


def _ago_ticks(ago: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Places and labels of "bars ago": 0 is the last closed bar."""
    every = max(1, round(len(ago) / 6))
    places = np.sort(ago)[::-1][::every][::-1]
    return places, ["last" if place == 0 else f"{place:.0f}".replace("-", "\u2212") for place in places]
