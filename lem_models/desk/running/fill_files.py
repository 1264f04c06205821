"""Fills in a file that grows: CSV or JSON lines.

The columns, or keys, are ``order``, ``quantity``, ``price`` and ``id``; ``child`` and ``time`` may be there too. Only
whole lines are read, so who writes the file may be in the middle of one. A file that was replaced, or became shorter,
is read from its start again: the desk knows fills by their ``id`` and books none twice.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from lem_models.desk.market_data.feed import Fill
from lem_models.desk.orders.amounts import decimal_of
from lem_models.errors import ConfigError, LEMError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.calendar.frequency import moment

__all__ = ["FillFile", "FillRow"]

_WORDS = {
    "order": "order",
    "order_id": "order",
    "quantity": "quantity",
    "qty": "quantity",
    "price": "price",
    "id": "id",
    "fill_id": "id",
    "child": "child",
    "time": "time",
    "timestamp": "time",
}
_NEEDED = ("quantity", "price", "id")


@dataclass(frozen=True)
class FillRow:
    """A line of a file of fills.

    Attributes:
        order: Label of the order; ``None`` where the file names none.
        quantity: Units.
        price: Price.
        id: Label of the fill.
        child: Label of the child order; ``None`` where the file names none.
        at: When it filled, nanoseconds UTC; ``None`` where the file does not say.
    """

    order: str | None
    quantity: Decimal
    price: Decimal
    id: str
    child: str | None
    at: int | None

    def of(self, order: str) -> Fill:
        """The fill, of an order where the line names none."""
        return Fill(
            self.order or order,
            self.quantity,
            self.price,
            self.id,
            self.child,
            None if self.at is None else moment(self.at),
        )


class FillFile:
    """Reads the new lines of a file of fills.

    Args:
        path: A ``.csv``, ``.jsonl`` or ``.ndjson`` file; it may not be there yet.

    Raises:
        ConfigError: The file has another suffix, or its folder is not there.
    """

    def __init__(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if suffix not in (".csv", ".jsonl", ".ndjson"):
            raise ConfigError(f"{path} is neither a .csv nor a .jsonl file of fills")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"there is no folder {path.parent} for the fills {path.name}; make it, or mend the path")
        self.path, self._is_csv = path, suffix == ".csv"
        self._restart()
        self._file: tuple[int, int] | None = None

    def _restart(self) -> None:
        self._offset, self._line = 0, 0
        self._header: list[str] | None = None

    def poll(self, *, to_end: bool = False) -> tuple[list[FillRow], list[str]]:
        """Read what is new.

        Args:
            to_end: Whether the last line counts although nothing ends it: the file does not grow any more.

        Returns:
            The fills, and messages about lines that cannot be read; those are passed over.

        Raises:
            ConfigError: The header of a CSV lacks a column.
        """
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                same = (about.st_dev, about.st_ino)
                if self._file not in (None, same) or about.st_size < self._offset:
                    self._restart()
                self._file = same
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return [], []
        whole = len(data) if to_end else data.rfind(b"\n") + 1
        self._offset += whole
        rows: list[FillRow] = []
        messages: list[str] = []
        for line in data[:whole].decode("utf-8", "replace").splitlines():
            self._line += 1
            text = line.lstrip("\ufeff").strip()
            if not text:
                continue
            if self._is_csv and self._header is None:
                self._header = self._read_header(text)
                continue
            try:
                rows.append(self._row(text))
            except (LEMError, MomentError, ValueError) as error:
                reason = error.reason if isinstance(error, MomentError) else getattr(error, "message", str(error))
                messages.append(f"{self.path}, line {self._line}: {reason}; the line is passed over")
        return rows, messages

    def _read_header(self, text: str) -> list[str]:
        names = [_WORDS.get(name.strip().lower(), "") for name in next(csv.reader([text]))]
        lacking = [name for name in _NEEDED if name not in names]
        if lacking:
            raise ConfigError(
                f"{self.path} lacks the column {lacking[0]!r}: fills have order, quantity, price, id, and may have "
                "child and time"
            )
        return names

    def _row(self, text: str) -> FillRow:
        values: Mapping[str, object]
        if self._is_csv:
            cells = next(csv.reader([text], skipinitialspace=True))
            names = self._header or []
            if len(cells) != len(names):
                raise ValueError(f"it has {len(cells)} cells, and the header {len(names)}")
            values = {name: cell.strip() for name, cell in zip(names, cells, strict=True) if name and cell.strip()}
        else:
            content = json.loads(text, parse_float=Decimal)
            if not isinstance(content, dict):
                raise ValueError(f"a line is an object, not {shown(content)}")
            values = {_WORDS[key]: each for key, each in content.items() if key in _WORDS and each is not None}
        lacking = [name for name in _NEEDED if name not in values]
        if lacking:
            raise ValueError(f"the {lacking[0]} is missing")
        at = values.get("time")
        return FillRow(
            None if "order" not in values else str(values["order"]),
            decimal_of(values["quantity"], "quantity"),
            decimal_of(values["price"], "price"),
            str(values["id"]),
            None if "child" not in values else str(values["child"]),
            None if at is None else read_moment(at, needs_zone=True),
        )
