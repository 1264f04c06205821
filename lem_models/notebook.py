"""How objects show themselves in a notebook: a heading, facts and a table, as HTML without scripts and colours.

Every text is escaped: names of symbols, policies and orders come from outside. The page's own colours are used, so a
card is readable on light and dark pages.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = ["cells_html", "describe", "facts_html"]

_CELL = "text-align:left;padding:1px 14px 1px 0;border:0;vertical-align:top"
_HEAD = f"{_CELL};opacity:.65;font-weight:normal"
_NUMBER = "text-align:right;padding:1px 14px 1px 0;border:0;font-variant-numeric:tabular-nums"
_ROW = '<tr style="background:none">'
_MOST_LETTERS = 400  # of one text: a name from a file may have a million


def facts_html(title: str, facts: Mapping[str, object], *more: str, note: str = "") -> str:
    """A card: a heading, a row per fact, and further pieces of HTML.

    Args:
        title: Heading.
        facts: Values by name, units included; ``None`` is left out.
        *more: HTML that stands below, from :func:`cells_html` or the like; not escaped.
        note: A sentence at the end.

    Example:
        >>> card = facts_html("Bars", {"symbols": "<b>"})
        >>> "<b>Bars</b>" in card, "&lt;b&gt;" in card
        (True, True)
    """
    rows = "".join(
        f'{_ROW}<th style="{_HEAD}">{_text(name)}</th><td style="{_CELL}">{_text(value)}</td></tr>'
        for name, value in facts.items()
        if value is not None
    )
    end = f'<div style="opacity:.65">{_text(note)}</div>' if note else ""
    table = f'<table style="border-collapse:collapse;border:0">{rows}</table>' if rows else ""
    return f"<div><div><b>{_text(title)}</b></div>{table}{''.join(more)}{end}</div>"


def cells_html(head: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1, rest: int = 0) -> str:
    """A table; the first ``left`` columns are texts, the others numbers.

    Args:
        head: Headings, with units.
        rows: Texts or values of the cells.
        left: Columns aligned left.
        rest: Rows that are not shown; their number is.
    """

    def cells(values: Sequence[object], tag: str, style: str) -> str:
        return "".join(
            f'<{tag} style="{_CELL if place < left else _NUMBER}{style}">{_text(value)}</{tag}>'
            for place, value in enumerate(values)
        )

    body = "".join(f"{_ROW}{cells(row, 'td', '')}</tr>" for row in rows)
    more = f'<div style="opacity:.65">{rest:,} more</div>' if rest > 0 else ""
    header = f"{_ROW}{cells(head, 'th', ';opacity:.65;font-weight:normal')}</tr>"
    return f'<table style="border-collapse:collapse;border:0;margin-top:6px">{header}{body}</table>{more}'


def describe(title: str, facts: Mapping[str, object]) -> str:
    """The facts of a card on one line, for ``repr``: ``Bars(2 symbols, 100 bars)``.

    Example:
        >>> describe("Model", {"name": "lem-base", "weights": 3, "none": None})
        'Model(name=lem-base, weights=3)'
    """
    return f"{title}({', '.join(f'{name}={_plain(value)}' for name, value in facts.items() if value is not None)})"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, os.PathLike):
        return os.fspath(value)  # type: ignore[no-any-return]
    text = str(value)
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + "…"


def _text(value: Any) -> str:  # noqa: ANN401
    return html.escape(_plain(value))
