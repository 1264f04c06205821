"""Kline files of Binance's archive: a zip of one CSV file with twelve columns, with or without a header.

    open time, open, high, low, close, volume, close time, quote volume, trades, taker buy volume, taker buy quote
    volume, ignored

Times are in milliseconds; in spot files from 2025 on in microseconds. Spot and USD-M futures count the volume in coins
and the quote volume in money: both exact. COIN-M futures are inverse: their volume counts contracts of 100 USD
(Bitcoin) or 10 USD (all others), and the "quote volume" is in coins. So the money is ``contracts * size``, as exact.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from lem_models.errors import DownloadError
from lem_models.markets.download.periods import Period
from lem_models.markets.download.source import Fetched, count_repair, plain_table
from lem_models.markets.epochs import UNITS, epoch_unit

__all__ = ["contract_size", "read_klines"]

_COLUMNS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("trades", "taker_volume", "taker_quote_volume", "ignored"),
)
_USED = ("open_time", "open", "high", "low", "close", "volume", "quote_volume")
_FREE = 1 << 28
_RATIO = 100
_SIZE_TOLERANCE = 0.02  # of the money of a contract; the VWAP of a bar differs from its close by less at the median


def contract_size(symbol: str) -> float:
    """Money of one COIN-M contract, in USD.

    Example:
        >>> contract_size("BTCUSD_PERP"), contract_size("ETHUSD_240329")
        (100.0, 10.0)
    """
    return 100.0 if symbol.startswith("BTCUSD") else 10.0


def read_klines(path: Path, symbol: str, period: Period, interval: pd.Timedelta, *, is_inverse: bool) -> Fetched:
    """Read the bars of one file.

    Args:
        path: The zip.
        symbol: Its symbol.
        period: The month or day that it should hold.
        interval: Length of a bar.
        is_inverse: Whether it is of an inverse contract.

    Raises:
        DownloadError: It is not a zip of one CSV file of this kind, or it holds bars of another period.
    """
    try:
        table = _read_csv(path)
        opened, unit = _times(table)
    except (zipfile.BadZipFile, pa.ArrowException, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise DownloadError(f"{path.name} of Binance's archive cannot be read: {error}") from None
    nanoseconds = opened * UNITS[unit]
    # After an outage some bars of 2018 are stamped when trading began again. They are the bars of their interval.
    late = nanoseconds % interval.value
    timestamp = pd.DatetimeIndex(nanoseconds - late, tz="UTC")
    first, last = timestamp.min(), timestamp.max()
    if not (period.start <= first and last < period.end):
        raise DownloadError(f"{path.name} of Binance's archive holds bars from {first} to {last}, outside of its name")
    values = {name: table[name].to_numpy() for name in _USED}
    values["notional"] = values["quote_volume"]
    if is_inverse:
        size = contract_size(symbol)
        values["notional"], values["volume"] = values["volume"] * size, values["quote_volume"]
        _check_size(path, symbol, values)
    fetched = Fetched(plain_table(symbol, timestamp, values, exact=True))
    count_repair(fetched, "bars stamped late, moved to the start of their interval", int(np.sum(late != 0)))
    twice = fetched.table.duplicated().to_numpy()
    count_repair(fetched, "bars that occurred twice, left out once", int(np.sum(twice)))
    fetched.table = fetched.table[~twice].reset_index(drop=True)
    return fetched


def _read_csv(path: Path) -> pa.Table:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) != 1 or not members[0].filename.endswith(".csv"):
            raise ValueError(f"it holds {len(members)} files, not one CSV file")
        limit = max(_FREE, _RATIO * path.stat().st_size)
        with archive.open(members[0]) as member:
            content = member.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it would expand to more than {limit:,} bytes, too many for its size")
    has_header = not content[:1].isdigit()
    kinds = {name: pa.float64() for name in _USED} | {"open_time": pa.int64()}
    return pyarrow.csv.read_csv(
        io.BytesIO(content),
        read_options=pyarrow.csv.ReadOptions(column_names=list(_COLUMNS), skip_rows=int(has_header)),
        convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, include_columns=list(_USED), null_values=[]),
    )


def _times(table: pa.Table) -> tuple[np.ndarray, str]:
    """Open times as numbers, and their unit, which the first one shows and all others must fit."""
    opened: np.ndarray = table["open_time"].to_numpy()
    if not len(opened):
        raise ValueError("it holds no bars")
    units = {epoch_unit(int(edge)) for edge in (opened.min(), opened.max())}
    unit = units.pop()
    if units or unit not in ("ms", "us"):
        raise ValueError("its open times are neither all in milliseconds nor all in microseconds")
    return opened, unit


def _check_size(path: Path, symbol: str, values: dict[str, np.ndarray]) -> None:
    """Check the money of a contract against the prices, because a wrong one would be a wrong VWAP in every bar."""
    traded = values["volume"] > 0
    if not traded.any():
        return
    ratio = float(np.median(values["notional"][traded] / (values["volume"] * values["close"])[traded]))
    if abs(ratio - 1.0) > _SIZE_TOLERANCE:
        raise DownloadError(
            f"{path.name}: contracts of {symbol} are not worth {contract_size(symbol):.0f} USD, rather "
            f"{contract_size(symbol) / ratio:.4g}"
        )
