"""The result of an execution: what each order traded, at which price, against which benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, OrderError, one_line
from lem_models.notebook import cells_html, facts_html
from lem_models.orders.files import read_orders_parquet
from lem_models.orders.table import COLUMNS
from lem_models.statistics.reference_prices import REFERENCE_PRICES
from lem_models.statistics.summary import summarise

if TYPE_CHECKING:
    from lem_models.execution.costs import CostModel
    from lem_models.markets.bars import Bars
    from lem_models.report.charts.draw import Backend, Drawing
    from lem_models.report.figure_style import PageFigure, Theme

__all__ = ["ExecutionResult", "ResultPart", "first_bars", "read_result", "with_ends"]

_COMPLETE = 1 - 1e-9
_NEEDED = ("order_id", "symbol", "start", "side", "slippage_bps", "volatility_bps")
_ROWS_SHOWN = 5  # of the card
_RESULT_COLUMNS = (
    "periods_used",
    "filled",
    "completed",
    "executed_price",
    "benchmark_price",
    "arrival_price",
    "volatility_bps",
    "slippage_bps",
    *(row.column for row in REFERENCE_PRICES if row.column != "arrival_price"),
    "shortfall_bps",
    "order_value",
    "cost_bps",
    "net_price",
    "net_slippage_bps",
)


def first_bars(bars: Bars, table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Flat index of the first bar of each order of a table, [orders]; -1 where there is no such bar."""
    start = np.full(len(table), -1, dtype=np.int64)
    nanoseconds = table["start"].astype("int64").to_numpy()
    for symbol, rows in table.groupby("symbol", sort=False).indices.items():
        if symbol in bars.symbol_numbers:
            start[rows] = bars.locate(str(symbol), nanoseconds[rows])
    return start


def with_ends(orders: pd.DataFrame, bars: Bars) -> pd.DataFrame:
    """Add the column ``end`` to a table of orders: when the last bar of each order's maximum duration closes."""
    last = bars.timestamp[first_bars(bars, orders) + orders["max_periods"].to_numpy() - 1]
    return orders.assign(end=pd.to_datetime(last, utc=True) + bars.frequency)


def read_result(path: Path) -> pd.DataFrame:
    """The orders of a result from a file: ``orders.csv`` of an execution, ``orders.parquet`` of a benchmark.

    Raises:
        OrderError: The file cannot be read, or lacks a column that every result has.
    """
    try:
        if path.suffix == ".parquet":
            orders = read_orders_parquet(path)
        else:
            texts = {"symbol": str, "order_id": str}
            orders = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
        for name in {"start", "end"} & set(orders):
            orders[name] = pd.to_datetime(orders[name], utc=True)
    except (OSError, ValueError, BarsError) as error:
        raise OrderError(f"cannot read the orders of {path}: {one_line(str(error))}", rule="readable file") from None
    lacking = [name for name in _NEEDED if name not in orders]
    if lacking:
        raise OrderError(
            f"{path} holds no result: it lacks {', '.join(lacking)}. Name the orders of lem execute or lem benchmark",
            field=lacking[0],
            rule="result",
        )
    return orders


class ResultPart(NamedTuple):
    """A result without its market, to send from one process to another.

    Attributes:
        orders: See :class:`ExecutionResult`.
        excluded: See :class:`ExecutionResult`.
        fills: Fills of the orders, one array [orders, periods] per pass.
        finish_period: See :class:`ExecutionResult`.
    """

    orders: pd.DataFrame
    excluded: pd.DataFrame
    fills: tuple[npt.NDArray[np.float64], ...]
    finish_period: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ExecutionResult:
    """Result of :func:`~lem_models.execution.execute.execute`.

    ``slippage_bps = side * (executed / benchmark - 1) * 1e4``, buy +1, sell -1: positive is a cost. Prices and
    slippages are gross (before costs), except the columns called net. An undefined price is NaN: the executed price
    of an order without fills, the benchmark price of a market without volume.

    Columns of ``orders``, after the order's own:

    - ``periods_used``, ``filled`` (fraction), ``completed``
    - ``executed_price``, ``benchmark_price``, ``arrival_price`` (last close before the order), ``volatility_bps`` (bar
      volatility known at the start), ``slippage_bps``
    - ``interval_vwap``, ``interval_twap``: the market over periods ``0 .. max(min_periods, periods_used) - 1``; the
      order's own benchmark is one of the two
    - ``full_vwap``: the market's VWAP over all ``max_periods``
    - ``pwp_price``: the market's VWAP until it has traded ten times the order; NaN where the order has no size or the
      volume does not suffice (:func:`~lem_models.statistics.reference_prices.participation_weighted_price`)
    - ``shortfall_bps``: implementation shortfall against the arrival price; the unfilled rest counts at the last close
      of the horizon (:func:`~lem_models.execution.measures.shortfall_bps`)
    - ``order_value``: money of the order at the arrival price. For an order without an amount: the notional expected
      over its maximum duration times the cost model's ``order_size``, or times 1 (a relative weight only)
    - ``cost_bps``: half-spread, fees and impact in bps of the executed price, never negative
    - ``net_price``, ``net_slippage_bps``: executed price with costs, and its slippage against the same benchmark

    Attributes:
        orders: One row per order that ran, in the order of the table, columns as above.
        excluded: ``order_id, symbol, start, reason`` of the orders that could not run.
        finish_period: Period in which the policy decided to finish, 0-based, [orders].
    """

    orders: pd.DataFrame
    excluded: pd.DataFrame
    _bars: Bars
    _fills: tuple[npt.NDArray[np.float64], ...]
    finish_period: npt.NDArray[np.int64]

    @classmethod
    def assemble(
        cls,
        bars: Bars,
        table: pd.DataFrame,
        excluded: pd.DataFrame,
        results: Mapping[str, npt.NDArray[Any]] | None,
    ) -> ExecutionResult:
        """Join a table of orders with their results by name (``None`` for an empty table)."""
        orders = table[[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)]].copy()
        for name in _RESULT_COLUMNS:
            if name != "completed":
                kind = np.int64 if name == "periods_used" else np.float64
                orders[name] = np.zeros(0, dtype=kind) if results is None else results[name]
        # Sums of fractions carry rounding errors of 1e-16; a complete order is 1.
        orders["completed"] = orders["filled"] > _COMPLETE
        orders["filled"] = orders["filled"].where(~orders["completed"], 1.0)
        others = [c for c in orders.columns if c not in _RESULT_COLUMNS]
        finish = np.zeros(0, dtype=np.int64) if results is None else results["finish_period"]
        fills = () if results is None else (results["fills"],)
        return cls(orders[[*others, *_RESULT_COLUMNS]], excluded, bars, fills, finish)

    @classmethod
    def join(cls, bars: Bars, parts: Sequence[ResultPart]) -> ExecutionResult:
        """Join the results of consecutive parts of one table of orders, at least one.

        Args:
            bars: The whole market. A process may have run its part on some of its symbols.
            parts: The parts, in the order of the table.
        """
        # An empty table has no texts in the column of reasons and would change the type of the joined column.
        excluded = [part.excluded for part in parts if len(part.excluded)] or [parts[0].excluded]
        return cls(
            pd.concat([part.orders for part in parts], ignore_index=True),
            pd.concat(excluded, ignore_index=True),
            bars,
            tuple(fills for part in parts for fills in part.fills),
            np.concatenate([part.finish_period for part in parts]),
        )

    @property
    def part(self) -> ResultPart:
        """The result without its market; :meth:`join` makes it whole again."""
        return ResultPart(self.orders, self.excluded, self._fills, self.finish_period)

    @property
    def bars(self) -> Bars:
        """The market."""
        return self._bars

    @cached_property
    def start(self) -> npt.NDArray[np.int64]:
        """Flat index in :attr:`bars` of the first bar of each order, int64 [orders]."""
        return first_bars(self._bars, self.orders)

    def doubts_in_words(self) -> list[str]:
        """What a reader must know of the bars that the orders trade in: estimated notionals, and repairs."""
        return self._bars.doubts_in_words(self.start, self.start + self.orders["max_periods"].to_numpy())

    @property
    def history_of_excluded(self) -> npt.NDArray[np.int64]:
        """Gapless bars before each excluded order, [excluded]; -1 where no bar starts with the order."""
        start = first_bars(self._bars, self.excluded)
        begin = self._bars.grid.gapless_start(np.maximum(start - 1, 0))
        begin = np.maximum(begin, self._bars.offsets[self._bars.grid.symbol(np.maximum(start, 0))])
        return np.asarray(np.where(start < 0, -1, start - begin))

    @cached_property
    def schedule(self) -> pd.DataFrame:
        """One row per period traded: ``order_id, period, timestamp, fraction, price`` (the bar's VWAP)."""
        rows, periods, fractions = [], [], []
        base = 0
        for fills in self._fills:
            row, period = np.nonzero(fills > 0)
            rows.append(row + base)
            periods.append(period)
            fractions.append(fills[row, period])
            base += len(fills)
        row = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        period = np.concatenate(periods) if rows else np.zeros(0, dtype=np.int64)
        bar = self.start[row] + period
        return pd.DataFrame(
            {
                "order_id": self.orders["order_id"].to_numpy()[row],
                "period": period,
                "timestamp": pd.to_datetime(self._bars.timestamp[bar], utc=True),
                "fraction": np.concatenate(fractions) if rows else np.zeros(0),
                "price": self._bars.vwap_at(bar),
            }
        )

    def periods_of(self, order_id: int | str) -> pd.DataFrame:
        """Every period of one order, traded or not: ``period, timestamp, price, volume, fraction``.

        Raises:
            KeyError: when no order that ran has this id.
        """
        rows = np.flatnonzero((self.orders["order_id"] == order_id).to_numpy())
        if not rows.size:
            raise KeyError(f"no executed order has the id {order_id!r}")
        row = int(rows[0])
        count = int(self.orders["max_periods"].iloc[row])
        bar = self.start[row] + np.arange(count)
        fills, base = next((fills, base) for fills, base in self._passes() if base <= row < base + len(fills))
        return pd.DataFrame(
            {
                "period": np.arange(count),
                "timestamp": pd.to_datetime(self._bars.timestamp[bar], utc=True),
                "price": self._bars.vwap_at(bar),
                "volume": self._bars.volume[bar],
                "fraction": fills[row - base, :count],
            }
        )

    def _passes(self) -> list[tuple[npt.NDArray[np.float64], int]]:
        """Fills of each pass, and the row of its first order."""
        bases = np.cumsum([0, *(len(fills) for fills in self._fills)])
        return [(fills, int(base)) for fills, base in zip(self._fills, bases[:-1], strict=True)]

    def summary(self, by: str | list[str] | None = "min_periods", **settings: Any) -> pd.DataFrame:
        """Improvement (minus the slippage) by group, with 95 % intervals over calendar days.

        Args:
            by: Column or columns to group by; ``None`` for one row over all orders.
            **settings: See :func:`lem_models.statistics.summary.summarise`.
        """
        return summarise(with_ends(self.orders, self._bars), by, **settings)

    @overload
    def plot(self, order: int | str, *, theme: Theme = ..., backend: Literal["matplotlib"] = ...) -> PageFigure: ...

    @overload
    def plot(
        self,
        order: int | str | None = ...,
        *,
        costs: CostModel | None = ...,
        sizes: Sequence[float] = ...,
        theme: Theme = ...,
        backend: Backend = ...,
    ) -> Drawing: ...

    def plot(
        self,
        order: int | str | None = None,
        *,
        costs: CostModel | None = None,
        sizes: Sequence[float] = (0.0, 0.001, 0.003, 0.01, 0.03),
        theme: Theme = "light",
        backend: Backend = "matplotlib",
    ) -> Drawing:
        """Plot one order bar by bar, or all orders.

        One order: bar prices, its running benchmark and executed price, the fractions traded, the market's volume, and
        when it finished. All orders: the distribution of the improvement against the own benchmark, and the capacity
        curve, which prices the same fills at several sizes of the order
        (:func:`~lem_models.evaluation.capacity.capacity_curve`).

        Args:
            order: ``order_id`` of one order; ``None`` for all.
            costs: Costs of the capacity curve; default those of the named model for the market
                (:func:`~lem_models.execution.costs.cost_model_for`).
            sizes: Sizes of the capacity curve, as fractions of the volume expected over the maximum duration. Orders
                with amounts have no curve.
            theme: ``"light"`` or ``"dark"``.
            backend: ``"matplotlib"``, or ``"plotly"`` (extra ``plotly``).

        Returns:
            A figure of the backend; a notebook shows it.

        Raises:
            ConfigError: The theme or the backend is unknown, plotly is not installed, or no order ran.
            KeyError: No order that ran has this id.
        """
        from lem_models.report.charts.results import plot_result

        return plot_result(self, order, costs=costs, sizes=sizes, theme=theme, backend=backend)

    def __len__(self) -> int:
        """Number of orders that ran."""
        return len(self.orders)

    def __bool__(self) -> bool:
        """True: also a result without orders is one."""
        return True

    def _repr_html_(self) -> str:
        """A card for a notebook: counts, slippage, and the first orders."""
        orders = self.orders
        slippage, net = orders["slippage_bps"], orders["net_slippage_bps"]

        def bps(values: pd.Series[Any]) -> str | None:
            if values.dropna().empty:
                return None
            return f"mean {values.mean():+.2f} bps, median {values.median():+.2f} bps, std {values.std(ddof=0):.2f} bps"

        facts = {
            "orders": f"{len(orders):,} ran, {int((~orders['completed']).sum()):,} of them incomplete; "
            f"{len(self.excluded):,} excluded",
            "slippage (positive = cost)": bps(slippage) or "nothing filled",
            "net of costs": None if net.equals(slippage) else bps(net),
            "periods used": f"mean {orders['periods_used'].mean():.1f} bars" if len(orders) else None,
        }
        head = ("order", "symbol", "side", "start (UTC)", "periods used", "filled, %", "price", "slippage, bps")
        rows = [
            (
                order["order_id"],
                order["symbol"],
                order["side"],
                f"{order['start']:%Y-%m-%d %H:%M}",
                f"{order['periods_used']} of {order['max_periods']}",
                f"{100 * order['filled']:.4g}",
                f"{order['executed_price']:.8g}",
                f"{order['slippage_bps']:+.2f}",
            )
            for order in orders.head(_ROWS_SHOWN).to_dict("records")
        ]
        table = cells_html(head, rows, left=4, rest=len(orders) - _ROWS_SHOWN) if rows else ""
        return facts_html("ExecutionResult", facts, table, note="; ".join(self.doubts_in_words()))

    def __repr__(self) -> str:
        """One line."""
        incomplete = int((~self.orders["completed"]).sum())
        mean = self.orders["slippage_bps"].mean()
        slippage = "nothing filled" if pd.isna(mean) else f"mean slippage {mean:+.2f} bps"
        counts = f"{len(self.orders)} orders, {incomplete} incomplete, {len(self.excluded)} excluded"
        return f"ExecutionResult({counts}, {slippage})"
