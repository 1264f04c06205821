"""Bars that are published in tests, and repositories of them."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars

NAME = "desk/bars"
LICENCE = "cc-by-4.0"


@lru_cache
def market() -> Bars:
    """Three symbols by the hour with gaps, an idle bar, and other columns of several types."""
    frame = synthetic_bars(symbols=3, days=20, seed=5).frame
    frame["exact"] = np.arange(len(frame)) % 3 == 0
    frame["trades"] = np.arange(len(frame), dtype=np.int32)
    frame["spread"] = np.where(frame["exact"], np.nan, 0.1 + np.arange(len(frame)) / 7)
    frame["venue"] = pd.Series(["north", "south"] * (len(frame) // 2), dtype="str")
    frame["seen"] = frame["timestamp"].dt.tz_convert("America/New_York").dt.as_unit("s")
    frame.loc[7, ["volume", "notional"]] = 0.0
    return Bars.from_frame(frame.drop(index=[100, 101, 102, 700]), calendar="24/7")


def plain_frame(rows: int = 48) -> pd.DataFrame:
    """Bars of one symbol without other columns."""
    return synthetic_bars(symbols=1, days=max(2, rows // 24), seed=2).frame.iloc[:rows]


def parquet(frame: pd.DataFrame | pa.Table, **settings: Any) -> bytes:
    """A table as the content of a parquet file, as anybody writes it."""
    sink = io.BytesIO()
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, sink, **settings)
    return sink.getvalue()
