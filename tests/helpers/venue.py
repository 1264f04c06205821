"""A venue in a file: bars of a market, and child orders that fill over their bar, in parts, late and reported twice.

Its file outlives the process that trades at it. It knows a child order by its label and takes it once.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd

from lem_models.desk import ChildDone, Decision, Fill

_REPORTED = 6  # bars for which the venue repeats what it has reported


class FakeVenue:
    """A :class:`~lem_models.desk.BarFeed` on bars of the past.

    Args:
        path: The venue's file.
        bars: Bars to come.
        late: Share of the fills that are reported a bar late.
        partial: Share of the child orders of which a part does not fill.
    """

    def __init__(self, path: Path, bars: pd.DataFrame, *, late: float = 0.0, partial: float = 0.0) -> None:
        columns = [name for name in bars.columns if name != "symbol"]
        values = zip(bars["symbol"], bars[columns].itertuples(index=False, name=None), strict=True)
        closes: dict[pd.Timestamp, dict[str, dict[str, object]]] = {}
        for symbol, row in values:
            closes.setdefault(row[0], {})[symbol] = dict(zip(columns, row, strict=True))
        self.closes = [closes[moment] for moment in sorted(closes)]
        self.late, self.partial = late, partial
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.sent = {line["child"]: line for line in lines if "child" in line}
        self.clock = sum("clock" in line for line in lines)  # bars that have closed

    def _write(self, line: dict[str, object]) -> None:
        os.write(self.file, (json.dumps(line) + "\n").encode())  # one call: a kill leaves the whole line or none

    def bars(self) -> Iterator[dict[str, dict[str, object]]]:
        if self.clock:  # the last one again: whoever was killed may not have seen it
            yield self.closes[self.clock - 1]
        while self.clock < len(self.closes):
            self._write({"clock": self.clock})
            self.clock += 1
            yield self.closes[self.clock - 1]

    def send(self, decision: Decision) -> None:
        if decision.child not in self.sent:
            lot = decision.lot_size or Decimal(1)
            line = {"child": decision.child, "order": decision.order_id, "symbol": decision.symbol, "bar": self.clock}
            line |= {"quantity": str(decision.quantity), "lot": str(lot)}
            self._write(line)
            self.sent[decision.child] = line

    def fills(self) -> Iterator[Fill | ChildDone]:
        recent = [line for line in self.sent.values() if line["bar"] + _REPORTED >= self.clock]
        for line in recent:
            # A bar closes as its child orders fill: what is in flight is seen after the next one.
            parts = self._parts(line)
            seen = [fill for fill, delay in parts if line["bar"] + delay < self.clock]
            yield from seen
            yield from seen[:1]
            if len(seen) == len(parts) and line["bar"] + 1 < self.clock:
                yield ChildDone(line["order"], line["child"])

    def _parts(self, line: dict[str, str]) -> list[tuple[Fill, int]]:
        """Fills of a child order, always the same, and bars by which each is reported late."""
        draw = random.Random(line["child"])
        quantity, lot = Decimal(line["quantity"]), Decimal(line["lot"])
        if draw.random() < self.partial:
            quantity = (quantity * 2 / 3) // lot * lot
        rows = self.closes[min(int(line["bar"]), len(self.closes) - 1)]
        price = Decimal(repr(rows[line["symbol"]]["close"]))
        first = (quantity / 2) // lot * lot
        late = int(draw.random() < self.late)
        sizes = [(first, 0), (quantity - first, late)]
        return [
            (Fill(line["order"], size, price, f"{line['child']}:{number}", line["child"]), delay)
            for number, (size, delay) in enumerate(sizes)
            if size
        ]

    def filled(self) -> dict[str, Decimal]:
        """Units of each order that the venue has filled or will fill."""
        total: dict[str, Decimal] = {}
        for line in self.sent.values():
            for fill, _ in self._parts(line):
                total[fill.order] = total.get(fill.order, Decimal(0)) + fill.quantity
        return total
