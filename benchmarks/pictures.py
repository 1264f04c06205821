"""Figures of the speed benchmark."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from lem_models.report.figure_style import dress, empty_figure, ink_of


def speed_figure(rows: list[dict[str, Any]]) -> Figure:
    """Forward and backward time of every layer as a multiple of LSTM's, one panel per size."""
    ink = ink_of("light")
    sizes = sorted({row["hidden"] for row in rows})
    figure = empty_figure(3.4 * len(sizes), 3.0)
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        own = [row for row in rows if row["hidden"] == size][::-1]
        dress(axes, ink)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=ink.grid, linewidth=0.8)
        colours = [ink.accents[0] if row["layer"] == "TKAN" else ink.muted for row in own]
        bars = axes.barh([row["layer"] for row in own], [row["times_lstm"] for row in own], color=colours, height=0.62)
        axes.bar_label(bars, [f"{row['both_ms']:.0f} ms" for row in own], padding=3, fontsize=8, color=ink.text)
        axes.axvline(1.0, color=ink.text, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.set_xlim(0, 1.2 * max(row["times_lstm"] for row in own))
        axes.set_xlabel("time, multiples of LSTM's")
        axes.set_title(f"hidden {size}", fontsize=9.5, color=ink.text, loc="left")
        if axes is not panels[0]:
            axes.set_yticklabels([])
    return figure
