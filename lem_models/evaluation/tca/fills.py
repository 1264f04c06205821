"""Tables of fills and of decisions, read and checked on their own, before bars and orders are looked at.

A fill is a trade of a parent order: its time, quantity and price, and as far as they are known its order, symbol, side,
fee, id and liquidity flag. What cannot be read without a guess is refused with its row (:class:`FillError`):

- Times need a zone, numbers a unit; both can be given for the whole table.
- Quantities and prices are finite numbers. A negative quantity is a sale; a side, if there is one, must agree. A fill
  that takes back another one exactly is refused without a side, because it may be a busted one.
- A fee is money, positive for a cost and negative for a rebate, in the money of the prices.
- An id that comes again with the same fill is a duplicate, and is dropped and counted. With another fill it is refused.

Sides are ``buy`` and ``sell``, and the codes of brokers and of FIX (tag 54): ``B``, ``S``, ``BOT``, ``SLD``, 1, 2, 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, FillError
from lem_models.evaluation.tca.cells import read_numbers, split_units, with_column, without_groups
from lem_models.evaluation.tca.files import read_rows
from lem_models.evaluation.tca.names import DECISION_COLUMNS, FILL_COLUMNS, find_columns
from lem_models.guard.text import shown
from lem_models.markets.epochs import check_unit
from lem_models.markets.vendors.times import read_stamps
from lem_models.orders.fields import is_missing, plain_name

__all__ = ["Decisions", "Fills", "read_decisions", "read_fills"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_COMMA = re.compile(r"(\d{4}-\d\d-\d\d), +(?=\d)", re.ASCII)  # 2024-01-31, 09:30:00, as Interactive Brokers writes
_BUY = frozenset({"buy", "b", "bot", "bought", "1"})
_SELL = frozenset({"sell", "s", "sld", "sold", "2", "5", "sellshort", "ss"})
_FEE_UNIT = "unit of the fee"
_MOST_FLAGS = 12  # kinds of liquidity; a column with more of them is something else


@dataclass(frozen=True)
class Fills:
    """Checked fills, in the order of their table.

    Attributes:
        frame: A row per fill: ``row`` (of the table), ``order_id`` and ``symbol`` (texts, or None), ``side`` (+1, -1,
            or 0 if unknown), ``nanoseconds`` (UTC), ``quantity`` (positive), ``price``, ``fee``, ``fill_id`` and
            ``liquidity`` (texts, or None).
        rows: Rows of the table.
        duplicates: Rows that were dropped, because their id had been there with the same fill.
        notes: What a reader must know of the table, one sentence each.
    """

    frame: pd.DataFrame
    rows: int
    duplicates: Integers
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of fills."""
        return len(self.frame)

    def has(self, column: str) -> bool:
        """Whether every fill has an order, a symbol or a side."""
        values = self.frame[column]
        return bool((values != 0).all() if column == "side" else values.notna().all())


@dataclass(frozen=True)
class Decisions:
    """What was wanted: a row per order and window.

    Attributes:
        frame: ``order_id`` (text), ``start`` and ``end`` (nanoseconds UTC; ``end`` is 0 for one bar), ``quantity``.
    """

    frame: pd.DataFrame


def read_fills(
    table: object, *, columns: Mapping[str, str] | None = None, tz: str | None = None, unit: str | None = None
) -> Fills:
    """Read and check fills.

    Args:
        table: A ``.csv``, ``.parquet`` or ``.json`` file, or a table. Columns ``time``, ``quantity`` and ``price``;
            optional ``order_id``, ``symbol``, ``side``, ``fee``, ``fee_currency``, ``fill_id`` and ``liquidity``;
            :data:`~lem_models.evaluation.tca.names.FILL_COLUMNS` has the other words for each.
        columns: The table's columns by ours: ``{"time": "Date/Time"}``. A minus before the column of the fees turns
            their sign, for brokers who write what was paid as a negative number: ``{"fee": "-Comm/Fee"}``.
        tz: Zone of times without one, such as ``"America/New_York"``.
        unit: Unit of times that are numbers since 1970: ``"s"``, ``"ms"``, ``"us"``, ``"ns"`` or ``"auto"``.

    Raises:
        FillError: The file, a column or a value cannot be read, or an id has two different fills.
        UnknownNameError: There is no such unit.

    Example:
        >>> fills = read_fills([{"time": "2024-01-01T10:02Z", "qty": -3, "price": 101.5, "symbol": "KO"}])
        >>> fills.frame[["symbol", "side", "quantity", "price"]].to_dict("records")
        [{'symbol': 'KO', 'side': -1, 'quantity': 3.0, 'price': 101.5}]
    """
    check_unit(unit)
    frame = read_rows(table, "fills")
    columns, pays = _turned(list(frame.columns), columns)
    found = find_columns(
        list(frame.columns), FILL_COLUMNS, columns, required=("time", "quantity", "price"), what="fills"
    )
    size = len(frame)
    frame, found, notes = _plain_numbers(frame, found)
    quantity = read_numbers(frame, found["quantity"], "quantity")
    price = read_numbers(frame, found["price"], "price")
    fee = pays * read_numbers(frame, found["fee"], "fee", empty=0.0) if "fee" in found else np.zeros(size)
    _refuse(quantity == 0, lambda row: "the quantity is 0", "quantity", "not zero")
    _refuse(~(price > 0), lambda row: f"the price is {price[row]:g}", "price", "positive price")
    side = np.zeros(size, dtype=np.int64)
    if "side" in found:
        side = _sides(frame, found["side"])
        against = (quantity < 0) & (side > 0)
        _refuse(
            against,
            lambda row: (
                f"the quantity is {quantity[row]:g} and the side is buy: if the fill was busted, leave out this "
                "row and the one that it takes back"
            ),
            "side",
            "one side",
        )
    elif (quantity < 0).any():
        side = np.sign(quantity).astype(np.int64)
    texts = {name: _texts(frame, found.get(name)) for name in ("order_id", "symbol", "fill_id")}
    if "side" not in found:
        _refuse_busts(quantity, price, texts["symbol"], texts["order_id"])
    notes += _fee_notes(frame, found, fee, texts["symbol"])
    liquidity, note = _liquidity(frame, found.get("liquidity"))
    checked = pd.DataFrame(
        {
            "row": np.arange(size),
            "order_id": texts["order_id"],
            "symbol": texts["symbol"],
            "side": side,
            "nanoseconds": _times(frame, found["time"], "time", tz, unit),
            "quantity": np.abs(quantity),
            "price": price,
            "fee": fee,
            "fill_id": texts["fill_id"],
            "liquidity": liquidity,
        }
    )
    kept, duplicates = _without_duplicates(checked)
    notes += [note] if note else []
    alike = kept.drop(columns=["row"]).duplicated() & kept["fill_id"].isna()
    if alike.any():
        notes.append(f"{int(alike.sum()):,} fills equal another one in everything and have no id: they are kept")
    return Fills(kept, size, duplicates, tuple(notes))


def read_decisions(
    table: object, *, columns: Mapping[str, str] | None = None, tz: str | None = None, unit: str | None = None
) -> Decisions:
    """Read and check decisions: how much of an order was wanted in which window.

    Args:
        table: A file or a table, as for :func:`read_fills`, with the columns ``start`` and ``quantity``, and optional
            ``order_id`` and ``end``. A window without an end is the bar that holds its start.
        columns: See :func:`read_fills`.
        tz: See :func:`read_fills`.
        unit: See :func:`read_fills`.

    Raises:
        FillError: The file, a column or a value cannot be read, or a window ends before it starts.
        UnknownNameError: There is no such unit.
    """
    check_unit(unit)
    frame = read_rows(table, "decisions")
    found = find_columns(
        list(frame.columns), DECISION_COLUMNS, columns, required=("start", "quantity"), what="decisions"
    )
    quantity = read_numbers(frame, found["quantity"], "quantity")
    _refuse(quantity < 0, lambda row: f"the quantity is {quantity[row]:g}", "quantity", "not negative")
    start = _times(frame, found["start"], "start", tz, unit)
    end = _times(frame, found["end"], "end", tz, unit) if "end" in found else np.zeros(len(frame), dtype=np.int64)
    _refuse((end != 0) & (end <= start), lambda row: "the window ends before it starts", "end", "after the start")
    order_id = _texts(frame, found.get("order_id"))
    return Decisions(pd.DataFrame({"order_id": order_id, "start": start, "end": end, "quantity": quantity}))


def _turned(names: Sequence[object], columns: Mapping[str, str] | None) -> tuple[Mapping[str, str] | None, float]:
    """The columns that the user names, and the sign of the fees: -1 if a minus stands before their column."""
    fee = None if columns is None else columns.get("fee")
    if columns is None or fee is None or fee in names or not fee.startswith("-"):
        return columns, 1.0
    return {**columns, "fee": fee[1:]}, -1.0


def _plain_numbers(
    frame: pd.DataFrame, found: Mapping[str, object]
) -> tuple[pd.DataFrame, dict[str, object], list[str]]:
    """The table without units and commas in its numbers, its columns, and what a reader must know of that."""
    found = dict(found)
    if (units := split_units(frame[found["quantity"]].tolist()))[0] is not None:
        frame = with_column(frame, found["quantity"], units[0])
        _check_units(units[1], _texts(frame, found.get("symbol")))
    if "fee" in found and (units := split_units(frame[found["fee"]].tolist()))[0] is not None:
        frame = with_column(frame, found["fee"], units[0])
        if "fee_currency" not in found:
            frame, found["fee_currency"] = with_column(frame, _FEE_UNIT, list(units[1])), _FEE_UNIT
    columns = [found[name] for name in ("quantity", "price", "fee") if name in found]
    frame, has_groups = without_groups(frame, columns)
    said = "commas in numbers are read as separators of thousands, because the table has decimal points"
    return frame, found, [said] if has_groups else []


def _check_units(units: npt.NDArray[np.object_], symbols: npt.NDArray[np.object_]) -> None:
    """Refuse quantities in another unit than the first letters of their symbol: 2.6BTC is one of BTCUSDT."""
    pairs = zip(units, symbols, strict=True)
    wrong = [unit is not None and not str(symbol or "").upper().startswith(unit.upper()) for unit, symbol in pairs]
    _refuse(
        np.array(wrong),
        lambda row: (
            f"the quantity is in {shown(units[row])}, which is no unit of the symbol {shown(symbols[row])}: name "
            "the column of the units, columns={'quantity': ...} (--fills-columns quantity=...)"
        ),
        "quantity",
        "units of the symbol",
    )


def _refuse_busts(
    quantity: Floats, price: Floats, symbols: npt.NDArray[np.object_], orders: npt.NDArray[np.object_]
) -> None:
    """Refuse a fill that takes back one before it: without a side it may be a sale, or a fill that was busted."""
    open_fills: dict[tuple[object, ...], list[int]] = {}
    for row in range(len(quantity)):
        key = (symbols[row], orders[row], price[row])
        before = open_fills.get((*key, -quantity[row]))
        if quantity[row] < 0 and before:
            raise FillError(
                f"the quantity is {quantity[row]:g}, and row {before[-1]} has {-quantity[row]:g} at the same price: if "
                "the fill was busted, leave out both rows; if this is a sale, add a column side",
                field="quantity",
                rule="a sale or a busted fill",
                row=row,
                order_id=orders[row],
            )
        open_fills.setdefault((*key, quantity[row]), []).append(row)


def _refuse(wrong: npt.NDArray[np.bool_], message: Callable[[int], str], field: str, rule: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        more = f" (and {rows.size - 1} more rows)" if rows.size > 1 else ""
        raise FillError(message(int(rows[0])) + more, field=field, rule=rule, row=int(rows[0]))


def _texts(frame: pd.DataFrame, column: object | None) -> npt.NDArray[np.object_]:
    """A column of labels as texts, object [rows]; None where there is none. A float 7.0 is the label 7."""
    values = np.full(len(frame), None, dtype=object)
    if column is None:
        return values
    for row, cell in enumerate(frame[column].tolist()):
        if is_missing(cell):
            continue
        whole = isinstance(cell, float) and cell.is_integer()
        text = str(int(cell) if whole else cell).strip()
        values[row] = text or None
    return values


def _times(frame: pd.DataFrame, column: object, field: str, tz: str | None, unit: str | None) -> Integers:
    cells = frame[column]
    if tz is None and plain_name(column).endswith("utc"):  # Date(UTC)
        tz = "UTC"
    if not pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_datetime64_any_dtype(cells):
        texts = cells.map(lambda cell: _COMMA.sub(r"\1 ", cell.strip(), count=1) if isinstance(cell, str) else cell)
        empty = (texts.isna() | (texts == "")).to_numpy()
        _refuse(empty, lambda row: f"the {field} is missing", field, "required")
        cells = texts
    try:
        return read_stamps(cells.rename(field), unit=unit, zone=tz, has_named_zone=False).nanoseconds
    except BarsError as error:
        message = error.message.replace("--tz", "--fills-tz").replace("--unit", "--fills-unit")
        raise FillError(message, field=field, rule=error.rule) from None


def _sides(frame: pd.DataFrame, column: object) -> Integers:
    sides = np.zeros(len(frame), dtype=np.int64)
    says_buyer = plain_name(column) in ("isbuyer", "isbuy")
    for row, cell in enumerate(frame[column].tolist()):
        word = plain_name(getattr(cell, "value", cell))
        if says_buyer and word in ("true", "false"):
            sides[row] = 1 if word == "true" else -1
        elif word in _BUY and not isinstance(cell, bool):
            sides[row] = 1
        elif word in _SELL:
            sides[row] = -1
        else:
            raise FillError(f"the side is {shown(cell)}; write buy or sell", field="side", rule="known value", row=row)
    return sides


def _liquidity(frame: pd.DataFrame, column: object | None) -> tuple[npt.NDArray[np.object_], str]:
    """The liquidity flags, object [rows], and a note if the column holds none."""
    flags = _texts(frame, column)
    if column is None:
        return flags, ""
    names = {"true": "maker", "false": "taker"} if plain_name(column) == "ismaker" else {}
    flags = np.array([None if flag is None else names.get(flag.lower(), flag.lower()) for flag in flags], dtype=object)
    if len(set(flags) - {None}) > _MOST_FLAGS:
        return np.full(len(frame), None, dtype=object), (
            f"the column {shown(column)} has more than {_MOST_FLAGS} kinds of liquidity and is not read"
        )
    return flags, ""


def _fee_notes(
    frame: pd.DataFrame, found: Mapping[str, object], fee: Floats, symbols: npt.NDArray[np.object_]
) -> list[str]:
    """Refuse fees in several currencies, or in the asset that is traded; say what else may be wrong with fees."""
    notes = []
    charged = fee != 0
    if "fee_currency" in found:
        currencies = _texts(frame, found["fee_currency"])
        distinct = sorted({str(each) for each in currencies[charged] if each is not None})
        if len(distinct) > 1:
            raise FillError(
                f"the fees are in {', '.join(map(shown, distinct[:5]))}: convert them to the money of the prices, or "
                "leave the column of the fees out",
                field="fee_currency",
                rule="one currency",
            )
        for row in np.flatnonzero(charged):
            base, currency = symbols[row], currencies[row]
            if base is not None and currency is not None and base.upper().startswith(currency.upper()):
                raise FillError(
                    f"the fee is in {shown(currency)}, the asset that is traded: convert it to the money of the prices",
                    field="fee_currency",
                    rule="money of the prices",
                    row=int(row),
                )
        if distinct and not all(str(each).upper().endswith(distinct[0].upper()) for each in symbols[charged]):
            notes.append(f"the fees are in {distinct[0]}, which is taken for the money of the prices")
    if charged.any() and (fee <= 0).all():
        notes.append(
            f"no fee is positive: they are read as rebates; if they were paid, columns={{'fee': '-{found['fee']}'}} "
            f"(--fills-columns 'fee=-{found['fee']}') turns their sign"
        )
    return notes


def _without_duplicates(fills: pd.DataFrame) -> tuple[pd.DataFrame, Integers]:
    """The fills without those whose id was there before, and the rows that were dropped."""
    key, what = ["symbol", "order_id", "fill_id"], ["side", "nanoseconds", "quantity", "price"]
    has_id = fills["fill_id"].notna()
    again = fills.duplicated(key) & has_id
    if not again.any():
        return fills, np.zeros(0, dtype=np.int64)
    same = fills.duplicated([*key, *what]) & has_id
    differs = (again & ~same).to_numpy()
    if differs.any():
        row = int(np.argmax(differs))
        raise FillError(
            f"the id {shown(fills['fill_id'][row])} has two different fills: leave out the one that was "
            "corrected or cancelled",
            field="fill_id",
            rule="unique",
            row=row,
            order_id=fills["order_id"][row],
        )
    return fills[~again].reset_index(drop=True), fills["row"].to_numpy()[again.to_numpy()]
