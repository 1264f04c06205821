"""A small copy of Binance's archive: zips, checksums and the listing of a bucket, in the recorded shapes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd

from tests.markets.download.web import Answer, Asked

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
FOLDERS = {"spot": "data/spot", "usdm": "data/futures/um", "coinm": "data/futures/cm"}
STEPS = {"1h": pd.Timedelta("1h"), "1d": pd.Timedelta("1D")}


def klines(symbol: str, start: str, end: str, *, market: str = "spot", interval: str = "1h") -> pd.DataFrame:
    """Klines of a made-up market; a bar is the same in every file that holds it."""
    opened = pd.date_range(start, end, freq=STEPS[interval], inclusive="left", tz="UTC")
    number = (opened.as_unit("ns").asi8 // STEPS[interval].value + len(symbol)) % 97
    price = 100.0 + number
    coins = np.round(1.0 + number / 10.0, 8)
    vwap = price + 0.25
    frame = pd.DataFrame({"opened": opened, "open": price, "high": price + 1.0, "low": price - 1.0})
    frame["close"] = price + 0.5
    frame["volume"], frame["quote"] = coins, np.round(coins * vwap, 8)
    if market == "coinm":
        size = 100.0 if symbol.startswith("BTCUSD") else 10.0
        contracts = np.round(frame["quote"] / size).clip(1)
        frame["volume"], frame["quote"] = contracts, np.round(contracts * size / vwap, 8)
    return frame


def csv_of(frame: pd.DataFrame, *, unit: str, header: bool, interval: str = "1h") -> bytes:
    """The CSV of a file of klines, with times in milliseconds or microseconds."""
    opened = pd.DatetimeIndex(frame["opened"]).as_unit(unit).asi8
    last = opened + int(STEPS[interval] / pd.Timedelta(1, unit)) - 1
    lines = [HEADER] if header else []
    for row, begin, end in zip(frame.itertuples(index=False), opened, last, strict=True):
        numbers = (f"{value:.8f}" for value in (row.open, row.high, row.low, row.close, row.volume))
        lines.append(
            f"{begin},{','.join(numbers)},{end},{row.quote:.8f},100,{row.volume / 2:.8f},{row.quote / 2:.8f},0"
        )
    return ("\n".join(lines) + "\n").encode()


def zipped(name: str, content: bytes) -> bytes:
    """A zip of one file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return target.getvalue()


class KlineArchive:
    """The archive; it is a route of a web server.

    Attributes:
        objects: Content by key.
        page: Keys on a page of the listing.
    """

    def __init__(self, page: int = 1000) -> None:
        self.objects: dict[str, bytes] = {}
        self.page = page

    def add(
        self,
        symbol: str,
        labels: Sequence[str],
        *,
        market: str = "spot",
        interval: str = "1h",
        frame: pd.DataFrame | None = None,
        header: bool | None = None,
    ) -> list[str]:
        """Publish months or days; their keys."""
        keys = []
        for label in labels:
            period = pd.Period(label)
            kind = "monthly" if len(label) == 7 else "daily"
            bars = frame
            if bars is None:
                begin, end = str(period.start_time.date()), str((period + 1).start_time.date())
                bars = klines(symbol, begin, end, market=market, interval=interval)
            unit = "us" if market == "spot" and period.year >= 2025 else "ms"
            has_header = market != "spot" if header is None else header
            name = f"{symbol}-{interval}-{label}"
            key = f"{FOLDERS[market]}/{kind}/klines/{symbol}/{interval}/{name}.zip"
            self.put(key, zipped(f"{name}.csv", csv_of(bars, unit=unit, header=has_header, interval=interval)))
            keys.append(key)
        return keys

    def put(self, key: str, content: bytes) -> None:
        """Publish a file with its checksum."""
        self.objects[key] = content
        digest = hashlib.sha256(content).hexdigest()
        self.objects[f"{key}.CHECKSUM"] = f"{digest}  {key.rpartition('/')[2]}\n".encode()

    def __call__(self, asked: Asked) -> Answer:
        """Answer as the bucket does."""
        if asked.path == "/":
            return Answer(body=self._listing(asked), headers={"Content-Type": "application/xml"})
        content = self.objects.get(asked.path.lstrip("/"))
        return Answer(404, b"NoSuchKey") if content is None else Answer(body=content)

    def _listing(self, asked: Asked) -> bytes:
        prefix, marker = asked.query["prefix"], asked.query.get("marker", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > marker)
        shown = keys[: self.page]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
            f"<Size>{len(self.objects[key])}</Size></Contents>"
            for key in shown
        )
        truncated = str(len(keys) > len(shown)).lower()
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>data.binance.vision</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><IsTruncated>{truncated}</IsTruncated>{contents}</ListBucketResult>"
        ).encode()
