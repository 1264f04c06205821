"""What may become of an order: bands of its remaining schedule, its end and its slippage, over simulated paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lem_models.markets.calendar.frequency import moment

__all__ = ["QUANTILES", "Band", "Forecast", "finish_band"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of a band."""

_WHOLE = 1 - 1e-9  # of an order: a float sum of exact fills is whole to so much


@dataclass(frozen=True)
class Band:
    """Quantiles of a number, those of :data:`QUANTILES`.

    Attributes:
        low: 10 %.
        middle: 50 %.
        high: 90 %.
    """

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Band:
        """The band of a sample."""
        low, middle, high = np.quantile(values, QUANTILES).tolist()
        return cls(low, middle, high)

    def as_dict(self) -> dict[str, float]:
        """The band for JSON."""
        return {"p10": self.low, "p50": self.middle, "p90": self.high}


@dataclass(frozen=True)
class Forecast:
    """Bands of the rest of an order.

    Attributes:
        paths: Number of paths.
        blocks: Blocks of the past that could be drawn.
        start: Start of each bar to come, nanoseconds UTC, [periods].
        traded: Part of the order that trades in each of them.
        filled: Part of the order that is filled at the end of each.
        finish: End of the bar with the last fill, nanoseconds UTC: quantiles of the paths on which the order completes;
            ``None`` if it does on none.
        complete: Part of the paths on which it completes.
        slippage_bps: Final slippage against the order's own benchmark, gross, with the fills so far; positive = cost.
        benchmark: Name of the benchmark.
    """

    paths: int
    blocks: int
    start: Integers
    traded: tuple[Band, ...]
    filled: tuple[Band, ...]
    finish: tuple[int, int, int] | None
    complete: float
    slippage_bps: Band
    benchmark: str

    def as_dict(self) -> dict[str, Any]:
        """The forecast for JSON; times in ISO 8601."""
        finish = None
        if self.finish is not None:
            names = ("p10", "p50", "p90")
            finish = {name: moment(at).isoformat() for name, at in zip(names, self.finish, strict=True)}
        return {
            "paths": self.paths,
            "blocks": self.blocks,
            "schedule": [
                {"start": moment(int(at)).isoformat(), "traded": traded.as_dict(), "filled": filled.as_dict()}
                for at, traded, filled in zip(self.start, self.traded, self.filled, strict=True)
            ],
            "finish": finish,
            "complete": self.complete,
            "slippage_bps": self.slippage_bps.as_dict(),
            "benchmark": self.benchmark,
        }

    def __str__(self) -> str:
        """A table, and a sentence on the end and the slippage."""
        by_day = len(self.start) > 1 and int(self.start[1] - self.start[0]) >= 86_400 * 10**9
        form = "%Y-%m-%d" if by_day else "%Y-%m-%d %H:%M"
        lines = [
            f"forecast: 10 / 50 / 90 % of {self.paths} simulated paths",
            "  bar from (UTC)     trades, %          filled, %",
        ]
        for at, traded, filled in zip(self.start, self.traded, self.filled, strict=True):
            lines.append(f"  {moment(int(at)):{form}}".ljust(21) + f"{_percents(traded)}   {_percents(filled)}")
            if filled.low >= _WHOLE:
                break
        if self.finish is None:
            lines.append("done: on no path within its time")
        else:
            ends = " / ".join(f"{moment(at):{form}}" for at in self.finish)
            rest = "" if self.complete == 1 else f"; on {1 - self.complete:.0%} of the paths something is left"
            lines.append(f"done by: {ends} UTC{rest}")
        band = self.slippage_bps
        lines.append(
            f"slippage against {self.benchmark}: {band.low:+.1f} / {band.middle:+.1f} / {band.high:+.1f} bps "
            "(positive = cost; before costs)"
        )
        return "\n".join(lines)


def _percents(band: Band) -> str:
    return " /".join(f"{100 * each:5.1f}" for each in (band.low, band.middle, band.high))


def finish_band(ends: Integers) -> tuple[int, int, int] | None:
    """Quantiles of the times at which paths completed, nanoseconds UTC; ``None`` if none did."""
    if not len(ends):
        return None
    low, middle, high = (int(each) for each in np.quantile(ends, QUANTILES, method="inverted_cdf"))
    return low, middle, high
