"""What the page shows, as HTML: messages, facts, tables, figures. Every text from outside is escaped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from html import escape

from matplotlib.figure import Figure

from lem_models.report.figure_style import figure_to_data_uris
from lem_models.report.html import table_html
from lem_models.report.numbers import fact_text
from lem_models.report.tables import Table

__all__ = ["CSS", "facts", "figure", "message", "notes", "table"]

_DRAWING = threading.Lock()


def message(text: str, tone: str = "plain") -> str:
    """A message; ``tone`` is ``"plain"``, ``"good"`` or ``"bad"``."""
    role = "alert" if tone == "bad" else "status"
    return f'<div class="lem-message {escape(tone)}" role="{role}">{escape(text)}</div>' if text else ""


def notes(sentences: Iterable[str]) -> str:
    """What a reader must know, folded if it is much."""
    items = [sentence if sentence.endswith(".") else f"{sentence}." for sentence in sentences]
    if not items:
        return ""
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<details class="lem-notes" open><summary>What to know</summary><ul>{listed}</ul></details>'


def facts(values: Mapping[str, object]) -> str:
    """Facts by name."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(fact_text(value))}</dd></div>" for name, value in values.items()
    )
    return f'<dl class="lem-facts">{rows}</dl>'


def table(content: Table, policies: Iterable[str] = ()) -> str:
    """A table with its title and note."""
    note = f'<p class="lem-note">{escape(content.note)}</p>' if content.note else ""
    return f'<div class="lem-table"><h4>{escape(content.title)}</h4>{note}{table_html(content, tuple(policies))}</div>'


def figure(draw: Callable[[], Figure], text: str) -> str:
    """A figure made for a light page, for light and dark pages; one is drawn at a time, because matplotlib asks for it.

    Args:
        draw: Makes the figure.
        text: What it shows, for readers who do not see it.
    """
    with _DRAWING:
        light, dark = figure_to_data_uris(draw())
    alt = escape(text)
    return (
        f'<figure class="lem-figure"><img class="lem-by-day" src="{light}" alt="{alt}">'
        f'<img class="lem-by-night" src="{dark}" alt="{alt}"></figure>'
    )


CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.lem-head h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; }
.lem-head p { margin: 0; font-size: 14px; color: var(--body-text-color-subdued); }
.lem-message { padding: 10px 14px; border-left: 3px solid #0b62a8; background: #0b62a814; border-radius: 0 6px 6px 0;
  overflow-wrap: anywhere; font-size: 14px; }
.lem-message.good { border-color: #00806a; background: #00806a14; }
.lem-message.bad { border-color: #b3261e; background: #b3261e14; font-weight: 600; }
.lem-notes { font-size: 13px; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.lem-notes ul { margin: 4px 0 0 18px; }
.lem-notes summary { cursor: pointer; font-weight: 600; }
.lem-facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 6px 18px; margin: 10px 0;
  font-size: 13px; }
.lem-facts dt { color: var(--body-text-color-subdued); font-size: 12px; }
.lem-facts dd { margin: 0; overflow-wrap: anywhere; }
.lem-figure { margin: 0; }
.lem-figure img { width: 100%; max-width: 680px; height: auto; display: block; }
.lem-figure img.lem-by-night { display: none; }
.dark .lem-figure img.lem-by-day { display: none; }
.dark .lem-figure img.lem-by-night { display: block; }
.lem-table h4 { margin: 4px 0; font-size: 14px; }
.lem-table .lem-note { margin: 0 0 6px; font-size: 12px; color: var(--body-text-color-subdued); }
.lem-table .scroll { overflow-x: auto; width: 0; min-width: 100%; }
.lem-table table { border: 0 !important; border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; }
.lem-table th, .lem-table td { padding: 4px 7px; text-align: left; white-space: nowrap; border: 0;
  border-bottom: 1px solid var(--border-color-primary); }
.lem-table th { font-size: 12px; color: var(--body-text-color-subdued); font-weight: 600; }
.lem-table tr, .lem-table thead, .lem-table tbody { border: 0 !important; }
.lem-table .num { text-align: right; }
.lem-table tr.highlight td { font-weight: 650; background: #0b62a814; }
.lem-table td:first-child, .lem-table th:first-child { position: sticky; left: 0;
  background: var(--body-background-fill); }
.lem-table tr.highlight td:first-child { background: color-mix(in srgb, #0b62a8 8%, var(--body-background-fill)); }
.lem-table .swatch { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 6px;
  background: var(--light); }
.dark .lem-table .swatch { background: var(--dark); }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  .lem-head h1 { font-size: 20px; }
  .lem-table th, .lem-table td { padding: 4px 5px; }
}
"""
"""Styles of the page. Fonts are those of the system: nothing is fetched from elsewhere."""
