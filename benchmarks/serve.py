"""How long a served desk takes from a close's last bar to its decisions.

    python benchmarks/serve.py [--orders 1000 5000] [--symbols 200] [--policy NAME] [--closes 60] [--json FILE]
    python benchmarks/serve.py --show FILE

A real process, ``lem serve``, on a new SQLite file. Orders of 12 hourly bars come over HTTP; as many are added again as
have ended, so their number stays. Bars come over a WebSocket, one message a symbol. Every child order is filled at the
bar's VWAP, over the same WebSocket, before the bar closes. **latency** is measured by the client: from before its last
bar of a close is sent until the message with the decisions of that close has come and is parsed. The stages are
measured by the service:

- ``wait``: from the last bar's arrival until the desk's thread takes the close, which books the fills before it;
- ``policy``: contexts of the new bars, and the wishes of all orders;
- ``decide``: bars checked, child orders sized, the state folded;
- ``commit``: the log on the disk, one transaction;
- ``publish``: the rows of the decisions;
- ``cpu``: CPU time of the desk's thread for all of these but ``wait``. It depends less on what else the machine does.

The client and the service share the machine. The CPU time of the whole service for a close includes the fills before it
and the new orders after it. The market is simulated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pandas as pd
from websockets.sync.client import ClientConnection, connect

from lem_models import Bars, synthetic_bars

ROOT = Path(__file__).resolve().parents[1]
BEGIN = pd.Timestamp("2024-01-14", tz="UTC")
PERIODS = 12
BATCH = 500
STAGES = ("wait", "policy", "decide", "commit", "publish", "cpu")


@contextmanager
def served(folder: Path, market: Bars, policy: str, threads: int | None) -> Iterator[tuple[str, int]]:
    """Address and process id of a service that follows the symbols of a market."""
    market.between(end=BEGIN).write(folder / "history.parquet")
    command = [sys.executable, "-m", "lem_models.cli", "serve", "--db", str(folder / "desk.db"), "--policy", policy]
    command += ["--history", str(folder / "history.parquet"), "--port", "0", "--no-watch", "--gather", "30"]
    command += [] if threads is None else ["--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, sys.path)))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        address = None
        while address is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the service did not start")
            address = re.search(r"http://\S+", line)
        yield address[0], process.pid
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """Sends orders, bars and fills, and times the decisions."""

    def __init__(self, address: str, orders: int, symbols: tuple[str, ...], seed: int) -> None:
        self.http = httpx.Client(base_url=address, timeout=600)
        self.rng = np.random.default_rng(seed)
        self.symbols, self.wanted, self.added = symbols, orders, 0
        self.decisions: dict[str, dict[str, Any]] = {}

    def fill_up(self, stream: ClientConnection, *, spread: bool) -> float:
        """Add as many orders as are missing, and wait for their decisions; seconds an order."""
        missing, begin = self.wanted - len(self.decisions), time.perf_counter()
        for first in range(0, missing, BATCH):
            orders = [self._order(spread=spread) for _ in range(min(BATCH, missing - first))]
            reply = self.http.post("/orders/batch", json={"orders": orders})
            reply.raise_for_status()
            awaited = {each["id"] for each in orders}
            while awaited:
                awaited -= {row["order_id"] for row in self.receive(stream)["decisions"]}
        return (time.perf_counter() - begin) / max(missing, 1)

    def _order(self, *, spread: bool) -> dict[str, Any]:
        self.added += 1
        longest = int(self.rng.integers(2, PERIODS + 1)) if spread else PERIODS
        return {
            "id": f"o{self.added}",
            "symbol": self.symbols[self.added % len(self.symbols)],
            "side": "buy" if self.rng.random() < 0.5 else "sell",
            "amount": "1000",
            "lot_size": "0.01",
            "min_duration": int(self.rng.integers(1, longest + 1)),
            "max_duration": longest,
        }

    def receive(self, stream: ClientConnection) -> dict[str, Any]:
        """The next message with decisions."""
        while True:
            message = orjson.loads(stream.recv())
            if message["type"] in ("snapshot", "decisions"):
                self._keep(message)
                return message
            if message["type"] == "refused":
                raise SystemExit(f"refused: {message['problem']}")

    def fill(self, stream: ClientConnection, price: dict[str, float]) -> None:
        """Fill the child orders in force."""
        fills = [
            {"order": label, "quantity": row["quantity"], "price": price[row["symbol"]], "id": row["child"]}
            | {"child": row["child"]}
            for label, row in self.decisions.items()
            if row["quantity"] != "0"
        ]
        for first in range(0, len(fills), BATCH):
            stream.send(json.dumps({"type": "fills", "ref": first, "fills": fills[first : first + BATCH]}))
        left = -(-len(fills) // BATCH)
        while left:
            message = orjson.loads(stream.recv())
            if message["type"] == "refused":
                raise SystemExit(f"refused: {message['problem']}")
            left -= message["type"] == "logged"
            self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        """Take over the decisions of a message."""
        for row in message.get("decisions", ()):
            self.decisions[row["order_id"]] = row
        for label in message.get("over", ()):
            self.decisions.pop(label, None)

    def close(self, stream: ClientConnection, rows: list[dict[Hashable, Any]], spread: float) -> float:
        """Send the bars of a close over some seconds; seconds from the last one to the last decision."""
        messages = [json.dumps({"type": "bars", "bars": [row]}) for row in rows]
        start = (pd.Timestamp(rows[0]["timestamp"]) + pd.Timedelta(hours=1)).isoformat()
        first, gap = time.perf_counter(), spread / max(len(messages) - 1, 1)
        for place, message in enumerate(messages):
            time.sleep(max(first + place * gap - time.perf_counter(), 0))
            begin = time.perf_counter()
            stream.send(message)
        while any(row["start"] != start for row in self.decisions.values()):
            self.receive(stream)
        return time.perf_counter() - begin


def cpu_seconds(process: int) -> float:
    """CPU time of a process, all threads; NaN where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    orders: int,
    symbols: int,
    policy: str,
    closes: int,
    *,
    fills: bool = True,
    threads: int | None = None,
    spread: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Run the load.

    Args:
        orders: Active orders.
        symbols: Symbols.
        policy: Who decides.
        closes: Closes that are timed, after three that are not.
        fills: Whether child orders are filled.
        threads: Threads of torch; ``None`` for all processors.
        spread: Seconds over which the bars of a close are sent.
        seed: Seed of the market and the orders.

    Returns:
        Percentiles in milliseconds.
    """
    market = synthetic_bars(symbols=symbols, days=13 + (closes + 3) // 24 + 2, seed=seed)
    columns = ["symbol", "open", "high", "low", "close", "volume", "notional"]
    coming = [
        (rows[columns].assign(timestamp=str(at)).to_dict("records"), at)
        for at, rows in market.between(start=BEGIN).frame.groupby("timestamp")
    ][: closes + 3]
    latency, cpu, add = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), market, policy, threads) as (address, process),
    ):
        client = Client(address, orders, market.symbols, seed)
        with connect(address.replace("http", "ws") + "/stream", max_size=None, compression=None) as stream:
            client.receive(stream)
            add.append(client.fill_up(stream, spread=True))
            for rows, _ in coming:
                price = {row["symbol"]: row["notional"] / row["volume"] for row in rows}
                before = cpu_seconds(process)
                if fills:
                    client.fill(stream, price)
                latency.append(client.close(stream, rows, spread))
                cpu.append(cpu_seconds(process) - before)
                add.append(client.fill_up(stream, spread=False))
        text = client.http.get("/metrics").text
        stages = {name: _mean_of(text, name) for name in STAGES}
    milliseconds = 1e3 * np.array(latency[3:])
    return {
        "policy": policy,
        "orders": orders,
        "symbols": symbols,
        "closes": closes,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p90_ms": float(np.percentile(milliseconds, 90)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "min_ms": float(milliseconds.min()),
        "cpu_ms": 1e3 * float(np.median(cpu[3:])),
        "add_ms": 1e3 * float(np.median(add[:1])),
        "stages_ms": {name: 1e3 * value for name, value in stages.items()},
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _mean_of(metrics: str, stage: str) -> float:
    """Mean seconds of a stage."""
    found = {
        kind: float(re.search(rf'^lem_stage_seconds_{kind}{{stage="{stage}"}} (\S+)$', metrics, re.MULTILINE)[1])  # type: ignore[index]
        for kind in ("sum", "count")
    }
    return found["sum"] / max(found["count"], 1)


def shown(path: Path) -> str:
    """The table of a record of several loads."""
    loads = json.loads(path.read_text(encoding="utf-8"))
    first = loads[0]
    rows = {
        "closes": lambda load: f"{load['closes']}",
        "latency, p50 / p90 / p99 / fastest": lambda load: " / ".join(
            f"{load[name]:.0f}" for name in ("p50_ms", "p90_ms", "p99_ms", "min_ms")
        ),
        "mean of the stages wait / policy / decide / commit / publish": lambda load: " / ".join(
            f"{load['stages_ms'][name]:.1f}" for name in STAGES[:-1]
        ),
        "CPU time of the desk's thread for a close, mean": lambda load: f"{load['stages_ms']['cpu']:.0f}",
        "CPU time of the service from a close to the next, fills and new orders too": lambda load: (
            f"{load['cpu_ms']:.0f}"
        ),
    }
    return "\n".join(
        [
            f"| {first['policy']}, {first['symbols']} symbols, ms | "
            + " | ".join(f"{load['orders']:,} orders" for load in loads)
            + " |",
            "|---|" + "---|" * len(loads),
            *(f"| {name} | " + " | ".join(map(cell, loads)) + " |" for name, cell in rows.items()),
        ]
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, nargs="+", default=[1000], help="active orders, one or more loads")
    parser.add_argument("--symbols", type=int, default=200, help="symbols")
    parser.add_argument("--policy", default="lem-crypto-hourly", help="name of a policy or a model")
    parser.add_argument("--closes", type=int, default=60, help="closes that are timed")
    parser.add_argument("--no-fills", action="store_true", help="send no fills")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which the bars of a close are sent")
    parser.add_argument("--seed", type=int, default=0, help="seed of the market and the orders")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--show", type=Path, help="only print the table of such a file")
    settings = parser.parse_args()
    if settings.show:
        print(shown(settings.show))
        return
    results = []
    for orders in settings.orders:
        result = measure(
            orders,
            settings.symbols,
            settings.policy,
            settings.closes,
            fills=not settings.no_fills,
            threads=settings.threads,
            spread=settings.spread,
            seed=settings.seed,
        )
        results.append(result)
        print(
            f"{result['policy']}: {result['orders']:,} orders on {result['symbols']} symbols, {result['closes']} closes"
        )
        print(
            f"  latency ms: p50 {result['p50_ms']:.1f}, p90 {result['p90_ms']:.1f}, p99 {result['p99_ms']:.1f}, "
            f"fastest {result['min_ms']:.1f}"
        )
        print("  stages ms, mean: " + ", ".join(f"{name} {value:.1f}" for name, value in result["stages_ms"].items()))
        print(f"  cpu of the service {result['cpu_ms']:.0f} ms a close; to add an order {result['add_ms']:.1f} ms")
        print(f"  {result['processors']} processors, load {result['load']:.1f}", flush=True)
    if settings.json:
        settings.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
