"""Check a table of bars in pieces: the rules of a whole table hold in each piece and between pieces.

A piece is a table of any kind: a data frame of any library, an Arrow table or record batch, a mapping of columns.
Together the pieces are one table, symbol by symbol, each symbol in time order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError
from lem_models.guard.frames import as_pandas
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.epochs import check_unit
from lem_models.markets.validation import Columns, validate_frame

__all__ = ["Piece", "PieceCheck"]

Piece: TypeAlias = "pd.DataFrame | pa.Table | pa.RecordBatch | Mapping[str, Any]"
"""Rows of a long table of bars; or a table of another library (:func:`~lem_models.guard.frames.as_pandas`)."""


class PieceCheck:
    """Checks piece after piece.

    Args:
        unit: Unit of timestamps that are numbers; with ``"auto"`` the first piece decides for all.

    Attributes:
        symbols: Bars of each symbol so far, in order of appearance.
        rows: Bars so far.
        widened: Bars so far whose range was widened because of a rounding error.
        first_widened: Symbol and timestamp of the first of them.

    Raises:
        UnknownNameError: There is no such unit.
    """

    def __init__(self, unit: str | None = None) -> None:
        check_unit(unit)
        self.symbols: dict[str, int] = {}
        self.rows = 0
        self.widened = 0
        self.first_widened: tuple[str, pd.Timestamp] | None = None
        self._unit = unit
        self._last = 0  # start of the last bar

    def add(self, piece: Piece) -> Columns | None:
        """Check the next rows.

        Args:
            piece: More bars of the last symbol, or other symbols. It may be empty.

        Returns:
            The checked columns; ``None`` if there are no rows.

        Raises:
            BarsError: A bar breaks a rule.
        """
        frame = as_pandas(piece, "bars", BarsError)
        if frame.empty and len(frame.columns):
            return None
        try:
            columns = validate_frame(frame, unit=self._unit)
            _check_sorted(frame["symbol"], columns.symbols)
            self._check_border(columns)
        except BarsError as error:
            if not self.rows:
                raise
            raise BarsError(
                f"in the piece after {self.rows:,} rows: {error.message}",
                symbol=error.symbol,
                timestamp=error.timestamp,
                column=error.column,
                rule=error.rule,
            ) from error
        for name, count in zip(columns.symbols, np.diff(columns.offsets).tolist(), strict=True):
            self.symbols[name] = self.symbols.get(name, 0) + count
        self._unit = columns.unit
        self.first_widened = self.first_widened or columns.first_widened
        self.widened += len(columns.widened)
        self._last = int(columns.timestamp[-1])
        self.rows += len(columns.timestamp)
        return columns

    def _check_border(self, columns: Columns) -> None:
        """Check that the piece continues where the last one ended."""
        newest = next(reversed(self.symbols), None)
        for name in columns.symbols:
            if name in self.symbols and not (name == newest and name == columns.symbols[0]):
                raise BarsError(
                    "the rows of the symbol are not contiguous; sort the rows by symbol and timestamp",
                    symbol=name,
                    column="symbol",
                    rule="symbol by symbol",
                )
        if columns.symbols[0] != newest:
            return
        first = int(columns.timestamp[0])
        if first <= self._last:
            same = first == self._last
            raise BarsError(
                "the symbol has two bars with this timestamp: drop the wrong one"
                if same
                else "the bar starts before the bar in the row above it; sort by timestamp",
                symbol=newest,
                timestamp=moment(first),
                column="timestamp",
                rule="one bar per timestamp" if same else "ascending timestamps",
            )


def _check_sorted(symbol: pd.Series[Any], symbols: tuple[str, ...]) -> None:
    """Check that the rows of each symbol of a piece are contiguous."""
    codes = pd.factorize(symbol)[0]
    back = np.flatnonzero(np.diff(codes) < 0)
    if len(back):
        raise BarsError(
            "the rows of the symbol are not contiguous; sort the rows by symbol and timestamp",
            symbol=symbols[codes[back[0] + 1]],
            column="symbol",
            rule="symbol by symbol",
        )
