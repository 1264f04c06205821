"""Chart of bars: prices above, traded volume below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock
from lem_models.report.charts.chart import Chart, Columns, Drawn, Line, Panel
from lem_models.report.charts.draw import Backend, Drawing, draw_chart
from lem_models.report.figure_style import Theme, ink_of, policy_styles

if TYPE_CHECKING:
    from lem_models.markets.calendar.frequency import Moment

__all__ = ["bars_chart", "plot_bars"]

_MOST_SYMBOLS = 8
_MOST_POINTS = 600  # of a line: more than a page has room for
_MOST_COLUMNS = 150
_TICKS = 6
_SCALES = ((1e12, ",\ntrillions"), (1e9, ",\nbillions"), (1e6, ",\nmillions"), (1e4, ",\nthousands"), (0.0, ""))


def plot_bars(
    bars: Bars,
    symbols: str | Sequence[str] | None = None,
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    theme: Theme = "light",
    backend: Backend = "matplotlib",
) -> Drawing:
    """Plot bars; see :meth:`Bars.plot <lem_models.markets.bars.Bars.plot>`."""
    chosen = bars if symbols is None else bars.select(symbols)
    chosen = chosen if start is None and end is None else chosen.between(start, end)
    return draw_chart(bars_chart(chosen), theme=theme, backend=backend)


def bars_chart(bars: Bars) -> Chart:
    """Prices and volumes of the first eight symbols.

    Prices of one symbol are in its own unit. Those of several begin at 100, and their traded money is added up, because
    units of different symbols have no sum.
    """
    ink = ink_of("light")
    names = bars.symbols[:_MOST_SYMBOLS]
    own = [slice(int(bars.offsets[n]), int(bars.offsets[n + 1])) for n in range(len(names))]
    # One axis of bars for all symbols: nights and weekends take no room.
    times = np.unique(np.concatenate([bars.timestamp[rows] for rows in own]))
    is_single = len(names) == 1
    upper: list[Drawn] = []
    total = np.zeros(len(times))
    styles = policy_styles([f"symbol {name}" for name in names])
    for (name, style), rows in zip(zip(names, styles.values(), strict=True), own, strict=True):
        place = np.searchsorted(times, bars.timestamp[rows])
        price = bars.close[rows] if is_single else 100.0 * bars.close[rows] / bars.close[rows.start]
        total[place] += bars.volume[rows] if is_single else bars.notional[rows]
        x, y = _thinned(place, price)
        dash = "-" if len(upper) < 5 else (0, (5, 1.5))
        upper.append(Line(x, y, style.colour, "" if is_single else name, width=1.3, dash=dash))
    group = -(-len(times) // _MOST_COLUMNS)
    starts = np.arange(0, len(times), group)
    volume = np.add.reduceat(total, starts)
    what = "volume" if is_single else "traded money"
    scale, word = next((s, w) for s, w in _SCALES if volume.max() >= s)
    per = what + (" per bar" if group == 1 else f" per {group} bars") + word
    ticks = np.unique(np.linspace(0, len(times) - 1, _TICKS).astype(int))
    stamps = pd.to_datetime(times[ticks], utc=True)
    form = "%Y-%m-%d" if bars.frequency >= pd.Timedelta(hours=6) or len(times) > 500 else "%m-%d %H:%M"
    ends = (-0.01 * len(times) - 0.5, 1.01 * len(times))
    lower = Panel(
        [Columns(starts + (group - 1) / 2, volume / (scale or 1.0), ink.muted, float(group), 0.55)],
        y_label=per,
        y_ticks=3,
        x_limits=ends,
        x_ticks=(ticks, [f"{stamp:{form}}" for stamp in stamps]),
        x_label=f"bars of {clock(bars.frequency)}, start (UTC)",
    )
    hidden = len(bars.symbols) - len(names)
    title = names[0] if is_single else f"{len(names)} of {len(bars.symbols)} symbols" if hidden else ""
    price_panel = Panel(upper, y_label="close" if is_single else "close, first = 100", x_limits=ends)
    return Chart([[price_panel], [lower]], 7.2, 4.6, heights=(2.2, 1.0), share_x=True, title=title)


def _thinned(
    place: npt.NDArray[np.int64], price: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """At most so many points of a line that its lows and highs stay: the least and the largest of each group."""
    if len(place) <= _MOST_POINTS:
        return place, price
    groups = np.array_split(np.arange(len(place)), _MOST_POINTS // 2)
    rows = np.unique([row for group in groups for row in (group[price[group].argmin()], group[price[group].argmax()])])
    rows = np.unique(np.concatenate([[0], rows, [len(place) - 1]]))
    return place[rows], price[rows]
