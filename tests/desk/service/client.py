"""A service in this process, on a free port, and the bars that are sent to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from tests.helpers.markets import hourly

BEGIN = pd.Timestamp("2024-01-15", tz="UTC")
HISTORY = hourly().between(end=BEGIN)
COMING = hourly().between(start=BEGIN)
SYMBOLS = hourly().symbols


@contextmanager
def served(db, policy="twap", **settings) -> Iterator[str]:
    """The address of a service."""
    from lem_models.desk.service import Server, ServiceSettings

    server = Server(str(db), policy, ServiceSettings(**{"port": 0, "watch": False, **settings}), history=HISTORY)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(lambda address: ready.set(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield server.address
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


def bars(hour: int, symbols=SYMBOLS) -> list[dict]:
    """Bars of the hour after the history, as JSON."""
    at = BEGIN + pd.Timedelta(hours=hour)
    frame = COMING.between(start=at, end=at + pd.Timedelta(hours=1)).frame
    rows = frame[frame["symbol"].isin(symbols)].assign(timestamp=at.isoformat()).to_dict("records")
    return [{name: row[name] for name in (*ROW, "symbol", "timestamp")} for row in rows]


ROW = ("open", "high", "low", "close", "volume", "notional")


def order(label: str, **changes) -> dict:
    wanted = {"id": label, "symbol": SYMBOLS[0], "side": "buy", "amount": "12", "max_duration": 12, "lot_size": "0.5"}
    return {**wanted, **changes}
