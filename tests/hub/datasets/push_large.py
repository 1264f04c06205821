"""Push a large file of bars and stream it back; print by how many megabytes the memory of the process grew.

Pages of mapped files do not count: the system takes them back when it needs them.
"""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lem_models.markets.bars import Bars
from lem_models.markets.storage.writer import store_bars

folder, name = Path(sys.argv[1]), sys.argv[2]
SYMBOLS, BARS = 8, 500_000


def resident() -> float:
    """Megabytes of memory that are the process's own."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


class Peak:
    """Growth of the memory while the context is open."""

    def __enter__(self):
        self.start = self.most = resident()
        self.open = True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while self.open:
            self.most = max(self.most, resident())
            time.sleep(0.002)

    def __exit__(self, *exception):
        self.open = False
        self.thread.join()

    @property
    def growth(self):
        return round(self.most - self.start)


def pieces():
    for symbol in range(SYMBOLS):
        rng = np.random.default_rng(symbol)
        close = 100.0 * np.exp(np.cumsum(rng.normal(0, 1e-3, BARS)))
        volume = rng.lognormal(0, 1, BARS)
        times = pd.date_range("2010-01-01", periods=BARS, freq="min", tz="UTC")
        frame = pd.DataFrame({"timestamp": times, "symbol": f"S{symbol}"})
        for column in ("open", "high", "low", "close"):
            frame[column] = close
        yield frame.assign(volume=volume, notional=close * volume)


store_bars(pieces(), folder / "bars.arrow")
bars = Bars.read(folder / "bars.arrow")
small = bars.select("S0").between("2010-01-01", "2010-01-03")
small.push_to_hub(name + "-first", licence="mit")  # libraries are loaded
started = time.perf_counter()
with Peak() as push:
    bars.push_to_hub(name, licence="mit", max_shard_size="32MB")
pushed = time.perf_counter()
with Peak() as stream:
    back = Bars.from_hub(name, streaming=True).write(folder / "back.arrow")
read = time.perf_counter()
found = {"same": back.content_hash == bars.content_hash, "push_mb": push.growth, "stream_mb": stream.growth}
print(json.dumps(found | {"push_s": round(pushed - started, 1), "stream_s": round(read - pushed, 1)}))
