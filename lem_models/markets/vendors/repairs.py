"""Repairs of bars that vendors write, each asked for by name, counted and listed.

``drop_repeats``
    A row that repeats another one, every column the same, is dropped. Files that overlap have such rows.
``clip_vwap``
    A VWAP outside [low, high] by at most 5 % is clipped to the range: vendors count trades in the VWAP that do not
    update high and low. The notional of such a bar is an estimate from then on.
``round_prices``
    Low and high are widened to hold open and close, if they contradict by at most 0.1 %.
``fill_idle``
    A row of a bar in which nothing traded, without prices, or without volume, gets volume and notional 0 and the close
    before it as prices.
``drop_open``
    The last bar of a symbol is dropped if it had not ended when the table was written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import UnknownNameError
from lem_models.markets.quality.plausibility import time_until_final
from lem_models.markets.validation import PRICES, ROUNDING, VWAP_TOLERANCE

__all__ = ["REPAIRS", "REPAIR_COLUMNS", "common_step", "read_repairs", "repaired"]

REPAIRS = ("drop_repeats", "clip_vwap", "round_prices", "fill_idle", "drop_open")
"""Names for ``repair=``."""

REPAIR_COLUMNS = ("repair", "symbol", "timestamp", "column", "before", "after")

_EXACT = "notional_exact"
_FURTHEST_VWAP = 0.05
_FURTHEST_PRICE = 1e-3

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def read_repairs(repair: str | Sequence[str] | None) -> tuple[str, ...]:
    """The repairs that are asked for, in the order in which they are made.

    Args:
        repair: ``None`` or ``"none"``, ``"all"``, names separated by commas, or several names.

    Raises:
        UnknownNameError: There is no such repair.
    """
    if repair is None or repair in ("none", ""):
        return ()
    if repair == "all":
        return REPAIRS
    names = repair.split(",") if isinstance(repair, str) else list(repair)
    names = [str(name).strip() for name in names]
    for name in names:
        if name not in REPAIRS:
            raise UnknownNameError.among("repair", name, ("all", *REPAIRS))
    return tuple(name for name in REPAIRS if name in names)


def repaired(frame: pd.DataFrame, repairs: Sequence[str], *, as_of: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Repair a table of bars.

    Args:
        frame: A table with the columns of bars, of numbers; not changed.
        repairs: Names, see the module.
        as_of: When the table was written, nanoseconds UTC.

    Returns:
        The table, and its changes: columns :data:`REPAIR_COLUMNS`, a row per value that changed.
    """
    changes: list[pd.DataFrame] = []
    frame = frame.copy(deep=False)
    if "drop_repeats" in repairs:
        frame = _drop_repeats(frame, changes)
    if "fill_idle" in repairs:
        _fill_idle(frame, changes)
    if "round_prices" in repairs:
        _round_prices(frame, changes)
    if "clip_vwap" in repairs:
        _clip_vwap(frame, changes)
    if "drop_open" in repairs:
        frame = _drop_open(frame, changes, as_of)
    listed = pd.concat(changes, ignore_index=True) if changes else pd.DataFrame(columns=list(REPAIR_COLUMNS))
    return frame, listed


def _column(frame: pd.DataFrame, name: str) -> Floats:
    return np.array(frame[name].to_numpy(dtype=np.float64, na_value=np.nan))


def _change(frame: pd.DataFrame, changes: list[pd.DataFrame], repair: str, column: str, after: Floats) -> None:
    """Replace a column, and list the rows that differ."""
    before = _column(frame, column)
    rows = np.flatnonzero((before != after) & ~(np.isnan(before) & np.isnan(after)))
    if not len(rows):
        return
    changes.append(
        pd.DataFrame(
            {
                "repair": repair,
                "symbol": frame["symbol"].to_numpy()[rows],
                "timestamp": frame["timestamp"].to_numpy()[rows],
                "column": column,
                "before": before[rows],
                "after": after[rows],
            }
        )
    )
    frame[column] = after


def _drop_repeats(frame: pd.DataFrame, changes: list[pd.DataFrame]) -> pd.DataFrame:
    # Only bars that come again are compared in all columns: there are few of them.
    again = np.flatnonzero(frame.duplicated(["symbol", "timestamp"], keep=False))
    repeats = again[frame.iloc[again].duplicated().to_numpy()]
    return _dropped(frame, changes, "drop_repeats", repeats)


def _dropped(frame: pd.DataFrame, changes: list[pd.DataFrame], repair: str, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Drop rows, and list them."""
    if not len(rows):
        return frame
    gone = frame.iloc[rows]
    changes.append(
        pd.DataFrame(
            {
                "repair": repair,
                "symbol": gone["symbol"].to_numpy(),
                "timestamp": gone["timestamp"].to_numpy(),
                "column": "volume",
                "before": gone["volume"].to_numpy(dtype=np.float64),
                "after": np.nan,
            }
        )
    )
    return frame.drop(index=frame.index[rows]).reset_index(drop=True)


def _fill_idle(frame: pd.DataFrame, changes: list[pd.DataFrame]) -> None:
    prices = {name: _column(frame, name) for name in PRICES}
    volume = _column(frame, "volume")
    has_none = np.all([np.isnan(prices[name]) | (prices[name] == 0.0) for name in PRICES], axis=0)
    idle = (np.nan_to_num(volume) == 0.0) & (has_none | np.isnan(volume))
    unpriced = idle & has_none
    if not idle.any():
        return
    close = pd.Series(np.where(unpriced, np.nan, prices["close"]), index=frame.index)
    before = close.groupby(frame["symbol"].to_numpy(), sort=False).ffill().to_numpy()
    for name in PRICES:
        _change(frame, changes, "fill_idle", name, np.where(unpriced, before, prices[name]))
    _change(frame, changes, "fill_idle", "volume", np.where(idle, 0.0, volume))
    _change(frame, changes, "fill_idle", "notional", np.where(idle, 0.0, _column(frame, "notional")))


def _round_prices(frame: pd.DataFrame, changes: list[pd.DataFrame]) -> None:
    prices = {name: _column(frame, name) for name in PRICES}
    top = np.max([prices[name] for name in PRICES], axis=0)
    bottom = np.min([prices[name] for name in PRICES], axis=0)
    for name, edge, sign in (("high", top, 1.0), ("low", bottom, -1.0)):
        excess = sign * (edge - prices[name])
        near = (excess > ROUNDING * prices[name]) & (excess <= _FURTHEST_PRICE * prices[name])
        _change(frame, changes, "round_prices", name, np.where(near, edge, prices[name]))


def _clip_vwap(frame: pd.DataFrame, changes: list[pd.DataFrame]) -> None:
    low, high = _column(frame, "low"), _column(frame, "high")
    volume, notional = _column(frame, "volume"), _column(frame, "notional")
    inside = np.clip(notional, low * volume, high * volume)
    moved = np.abs(inside - notional)
    clipped = (volume > 0.0) & (moved > VWAP_TOLERANCE * inside) & (moved <= _FURTHEST_VWAP * inside)
    if not clipped.any():
        return
    _change(frame, changes, "clip_vwap", "notional", np.where(clipped, inside, notional))
    exact = frame[_EXACT].to_numpy(dtype=bool) if _EXACT in frame else np.ones(len(frame), dtype=bool)
    frame[_EXACT] = exact & ~clipped


def _drop_open(frame: pd.DataFrame, changes: list[pd.DataFrame], as_of: int) -> pd.DataFrame:
    stamps = pd.DatetimeIndex(frame["timestamp"]).as_unit("ns").asi8
    codes, _ = pd.factorize(frame["symbol"])
    length = common_step(stamps, codes)
    is_open = (stamps <= as_of) & (stamps + time_until_final(stamps, length) > as_of) & (length > 0)
    return _dropped(frame, changes, "drop_open", np.flatnonzero(is_open))


def common_step(stamps: npt.NDArray[np.int64], codes: npt.NDArray[np.intp]) -> int:
    """The most common step between bars of a symbol, nanoseconds; 0 if no symbol has two bars."""
    order = np.lexsort([stamps, codes])
    steps = np.diff(stamps[order])[np.diff(codes[order]) == 0]
    values, counts = np.unique(steps[steps > 0], return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else 0
