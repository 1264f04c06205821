"""What a user should know about bars before trusting them: gaps, halts, outliers, splits, estimates, doubtful times.

Nothing is changed. A *halt* is a run of bars without volume. An *outlier* is a bar whose return from the close before,
or whose range, is many times the usual one of its symbol; if the next bar takes most of the jump back, it may be a bad
print.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.bars import Bars, doubts_of
from lem_models.markets.calendar.frequency import clock, moment
from lem_models.markets.gaps import gap_advice, starts_lost
from lem_models.markets.quality.plausibility import Doubt
from lem_models.markets.stock_splits import Split, find_splits

__all__ = ["DataCheck", "check_bars", "coverage"]

Floats = npt.NDArray[np.float64]

_USUAL = 25.0  # typical sizes from which a return or a range is an outlier
_BACK = 0.5  # share of a jump that the next bar takes back if it may be a bad print


@dataclass(frozen=True)
class DataCheck:
    """The result of a check.

    Attributes:
        bars: The bars.
        symbols: A row per symbol: symbol, calendar, bars, first, last, missing, gaps, idle, outliers, splits,
            estimated (share of its notionals).
        gaps: A row per gap: symbol, before, after, missing.
        halts: A row per run of bars without volume: symbol, start, end (start of its last bar), bars.
        outliers: A row per outlier: symbol, timestamp, kind, size (as a multiple of the usual one), reverts.
        splits: Splits for which the prices are not adjusted.
        doubts: What is doubtful about the timestamps.
        starts_lost: Starts of orders that gaps exclude, with the lookback of a model.
        starts: Possible starts of orders.
        licence: Terms of use, as stated by the user; empty if they are not stated.
    """

    bars: Bars
    symbols: pd.DataFrame
    gaps: pd.DataFrame
    halts: pd.DataFrame
    outliers: pd.DataFrame
    splits: tuple[Split, ...]
    doubts: tuple[Doubt, ...]
    starts_lost: int
    starts: int
    licence: str = ""

    def facts(self) -> dict[str, object]:
        """Facts of the whole table by name."""
        bars, reading = self.bars, self.bars.reading
        counts = self.symbols[["missing", "gaps", "idle", "outliers"]].sum()
        calendars = self.symbols["calendar"].value_counts(sort=False)
        return {
            "format": "table of bars" if reading is None else f"{reading.format}: {reading.title}",
            "how it was read": "as it is" if reading is None else reading.in_words(),
            "symbols": len(bars.symbols),
            "bars": len(bars),
            "first bar": self.symbols["first"].min(),
            "last bar": self.symbols["last"].max(),
            "frequency": clock(bars.frequency),
            "calendar": ", ".join(f"{name} ({count})" for name, count in calendars.items()),
            "gaps": int(counts["gaps"]),
            "missing bars": int(counts["missing"]),
            "starts of orders lost to gaps": f"{self.starts_lost:,} of {self.starts:,}",
            "bars without volume": int(counts["idle"]),
            "outliers": int(counts["outliers"]),
            "unadjusted splits": len(self.splits),
            "bars with an estimated notional": f"{100 * bars.estimated_share:.1f} %",
            "repairs": "none" if reading is None or bars.repairs.empty else reading.repairs_in_words(),
            "licence": self.licence or "not stated",
            "content hash": bars.content_hash,
        }

    def warnings(self) -> list[str]:
        """What needs the attention of the user, one sentence each."""
        texts = [doubt.message for doubt in self.doubts]
        if self.starts_lost > 0.25 * self.starts > 0:
            share = f"{self.starts_lost:,} of {self.starts:,}"
            texts.append(f"gaps exclude {share} possible starts of orders: {gap_advice(self.bars)}")
        if self.splits:
            named = ", ".join(f"{split.symbol} {split.timestamp:%Y-%m-%d}" for split in self.splits[:5])
            texts.append(f"prices are not adjusted for {len(self.splits):,} splits: {named}: adjust prices and volumes")
        estimated = self.bars.estimated_share
        if estimated:
            texts.append(
                f"{100 * estimated:.1f} % of the bars have an estimated notional: results are judged against an "
                "estimated VWAP"
            )
        if not self.licence:
            texts.append("no licence is stated: look up the terms of the data before you publish anything made of them")
        return texts

    def as_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {
            "facts": self.facts(),
            "warnings": self.warnings(),
            "symbols": self.symbols,
            "gaps": self.gaps,
            "halts": self.halts,
            "outliers": self.outliers,
            "splits": [
                {"symbol": split.symbol, "timestamp": split.timestamp, "ratio": split.ratio} for split in self.splits
            ],
            "repairs": self.bars.repairs,
        }


def check_bars(bars: Bars, *, as_of: int | None = None, licence: str = "") -> DataCheck:
    """Check bars.

    Args:
        bars: The bars.
        as_of: When their file was written, nanoseconds UTC, if it is known; then bars that had not ended are found.
        licence: Terms of use, as the user states them.

    Returns:
        What was found.
    """
    splits = find_splits(bars, bars.offsets[:-1], bars.offsets[1:], 0)
    halts, outliers = _halts(bars), _outliers(bars)
    lost, possible = starts_lost(bars)
    exact = bars.notional_exact
    by_symbol = {name: frame.groupby("symbol") for name, frame in (("gaps", bars.gaps), ("halts", halts))}
    jumps = outliers["symbol"].value_counts()
    first, last = bars.offsets[:-1], bars.offsets[1:]
    symbols = pd.DataFrame(
        {
            "symbol": list(bars.symbols),
            "calendar": [bars.calendar_names[name] for name in bars.symbols],
            "bars": np.diff(bars.offsets),
            "first": [moment(bars.timestamp[row]) for row in first],
            "last": [moment(bars.timestamp[row - 1]) for row in last],
            "missing": [_of(by_symbol["gaps"]["missing"].sum(), name) for name in bars.symbols],
            "gaps": [_of(by_symbol["gaps"].size(), name) for name in bars.symbols],
            "idle": [_of(by_symbol["halts"]["bars"].sum(), name) for name in bars.symbols],
            "outliers": [_of(jumps, name) for name in bars.symbols],
            "splits": [sum(split.symbol == name for split in splits) for name in bars.symbols],
            "estimated": [float(1.0 - exact[a:b].mean()) for a, b in zip(first, last, strict=True)],
        }
    )
    doubts = tuple(doubts_of(bars, as_of))
    return DataCheck(bars, symbols, bars.gaps, halts, outliers, tuple(splits), doubts, lost, possible, licence)


def coverage(bars: Bars, cells: int = 240) -> tuple[npt.NDArray[np.int64], Floats]:
    """Share of the bars of the market's grid that each symbol has, over time.

    Args:
        bars: The bars.
        cells: Number of periods.

    Returns:
        Edges of the periods, int64 [cells + 1], nanoseconds UTC; and shares, float64 [symbols, cells], NaN where the
        market was closed.
    """
    begin, end = int(bars.timestamp.min()), int(bars.timestamp.max()) + bars.frequency.as_unit("ns").value
    edges = np.linspace(begin, end, cells + 1).astype(np.int64)
    calendars = bars.grid.calendars
    expected = []
    for kind, calendar in enumerate(calendars.kinds):
        members = np.flatnonzero(calendars.which == kind)
        rows = np.concatenate([bars.offsets[members], bars.offsets[members + 1] - 1])
        ordinals = bars.grid.ordinal(rows)
        starts = calendar.start_of(np.arange(int(ordinals.min()), int(ordinals.max()) + 1))
        expected.append(np.histogram(starts, edges)[0])
    shares = np.full((len(bars.symbols), cells), np.nan)
    for number, kind in enumerate(calendars.which.tolist()):
        stamps = bars.timestamp[bars.offsets[number] : bars.offsets[number + 1]]
        present = np.histogram(stamps, edges)[0]
        np.divide(present, expected[kind], out=shares[number], where=expected[kind] > 0)
    return edges, np.minimum(shares, 1.0)


def _of(counts: pd.Series, name: str) -> int:
    return int(counts.get(name, 0))


def _halts(bars: Bars) -> pd.DataFrame:
    """Runs of bars without volume."""
    idle = bars.grid.idle
    begins = np.diff(idle, prepend=-2) != 1
    begins |= np.isin(idle, bars.offsets)
    first = idle[begins]
    count = np.diff(np.append(np.flatnonzero(begins), len(idle)))
    return pd.DataFrame(
        {
            "symbol": [bars.symbols[number] for number in bars.grid.symbol(first)],
            "start": pd.DatetimeIndex(bars.timestamp[first], tz="UTC"),
            "end": pd.DatetimeIndex(bars.timestamp[first + count - 1], tz="UTC"),
            "bars": count,
        }
    )


def _outliers(bars: Bars) -> pd.DataFrame:
    pieces = []
    for symbol, first, last in zip(bars.symbols, bars.offsets[:-1], bars.offsets[1:], strict=True):
        close = np.log(bars.close[first:last])
        returns = np.diff(close, prepend=close[0])
        following = np.append(returns[1:], 0.0)
        ranges = np.log(bars.high[first:last] / bars.low[first:last])
        for kind, size in (("return", np.abs(returns)), ("range", ranges)):
            moved = size[size > 0.0]
            if not len(moved):
                continue
            multiple = size / np.median(moved)
            rows = np.flatnonzero(multiple > _USUAL)
            reverts = -returns[rows] * following[rows] > _BACK * returns[rows] ** 2
            pieces.append(
                pd.DataFrame(
                    {
                        "symbol": symbol,
                        "timestamp": pd.DatetimeIndex(bars.timestamp[first + rows], tz="UTC"),
                        "kind": kind,
                        "size": multiple[rows],
                        "reverts": reverts if kind == "return" else np.zeros(len(rows), dtype=bool),
                    }
                )
            )
    pieces = [piece for piece in pieces if len(piece)]
    if not pieces:
        return pd.DataFrame({"symbol": [], "timestamp": [], "kind": [], "size": [], "reverts": []})
    return pd.concat(pieces, ignore_index=True)
