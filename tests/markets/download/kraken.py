"""Kraken as it answers, in recorded shapes: the pair BTC/USD, its candles and the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from tests.markets.download.web import Answer, Asked, Route

_PAIR = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "aclass_base": "currency",
    "base": "XXBT",
    "aclass_quote": "currency",
    "quote": "ZUSD",
    "lot": "unit",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "lot_multiplier": 1,
    "leverage_buy": [],
    "leverage_sell": [],
    "fees": [[0, 0.4]],
    "fees_maker": [[0, 0.25]],
    "fee_volume_currency": "ZUSD",
    "ordermin": "0.00005",
    "status": "online",
}


def kraken_route(rows: Sequence[list[Any]], now: Callable[[], pd.Timestamp], page: int) -> Route:
    """Answers of Kraken.

    Args:
        rows: Candles: time, open, high, low, close, vwap, volume, count; the last one that has begun is still open.
        now: Its clock.
        page: Most candles of an answer.
    """

    def route(asked: Asked) -> Answer:
        if asked.path.endswith("/AssetPairs"):
            return _answer({"XXBTZUSD": _PAIR})
        if asked.path.endswith("/Assets"):
            asset = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
            names = {"XXBT": "XBT", "ZUSD": "USD"}
            return _answer({key: asset | {"altname": name} for key, name in names.items()})
        if asked.path.endswith("/Time"):
            return _answer({"unixtime": int(now().timestamp()), "rfc1123": ""})
        since, begun = int(asked.query["since"]), now().timestamp()
        return _answer({"XXBTZUSD": [row for row in rows if since < row[0] <= begun][:page], "last": 0})

    return route


def _answer(result: dict[str, Any]) -> Answer:
    body = json.dumps({"error": [], "result": result}).encode()
    return Answer(200, body, {"Content-Type": "application/json"})
