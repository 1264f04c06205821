"""What several tests share: small markets, policies that do as they are told, and the detector of look-ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.baselines import list_policies, load_policy
from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz
from lem_models.execution.execute import execute
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch
from lem_models.execution.result import ExecutionResult
from lem_models.features.market import Market
from lem_models.hub.models.zoo import list_models
from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.heads import list_heads
from lem_models.modeling.model import LEMModel
from lem_models.orders.table import complete_orders

# --- markets ---------------------------------------------------------------------------------------------------------


@lru_cache
def hourly(days: int = 16, symbols: int = 2, seed: int = 0) -> Bars:
    """A round-the-clock market with hourly bars."""
    return synthetic_bars(symbols=symbols, days=days, seed=seed)


@lru_cache
def sessions(days: int = 12, frequency: str = "5min", seed: int = 0) -> Bars:
    """A market that is open from 14:30 to 21:00 on weekdays: 78 five-minute bars a day."""
    return synthetic_bars(symbols=1, days=days, frequency=frequency, session=("14:30", "21:00"), seed=seed)


def flat_bars(prices: Sequence[float], volumes: Sequence[float] | None = None, *, start: str = "2024-01-01") -> Bars:
    """Hourly bars of the symbol ``X`` in which every trade has the bar's one price."""
    price = np.asarray(prices, dtype=np.float64)
    volume = np.ones(len(price)) if volumes is None else np.asarray(volumes, dtype=np.float64)
    frame = pd.DataFrame({"timestamp": pd.date_range(start, periods=len(price), freq="h", tz="UTC"), "symbol": "X"})
    for name in ("open", "high", "low", "close"):
        frame[name] = price
    return Bars.from_frame(frame.assign(volume=volume, notional=price * volume), calendar="24/7", frequency="1h")


def rebuilt(bars: Bars, frame: pd.DataFrame) -> Bars:
    """Bars from a changed copy of ``bars.frame``, on the same kind of calendar."""
    return Bars.from_frame(frame, calendar=bars.calendar.name, frequency=bars.frequency)


def scaled(bars: Bars, *, prices: npt.ArrayLike = 1.0, volumes: npt.ArrayLike = 1.0) -> Bars:
    """The same market in other units, one factor for all bars or one for each."""
    frame = bars.frame
    for name in ("open", "high", "low", "close"):
        frame[name] *= prices
    frame["volume"] *= volumes
    frame["notional"] *= prices * volumes
    return rebuilt(bars, frame)


def reflected(bars: Bars) -> Bars:
    """The market mirrored in log price: ``p`` becomes ``1e4 / p``; high and low swap."""
    frame = bars.frame
    frame["open"], frame["close"] = 1e4 / bars.open, 1e4 / bars.close
    frame["high"], frame["low"] = 1e4 / bars.low, 1e4 / bars.high
    frame["notional"] = 1e4 / bars.vwap * bars.volume
    return rebuilt(bars, frame)


def perturbed(bars: Bars, rows: np.ndarray, *, seed: int = 0, silent: float = 0.0) -> Bars:
    """Other prices and volumes on some rows; a share of them is silenced (no volume)."""
    rng = np.random.default_rng(seed)
    price, volume = np.ones(len(bars)), np.ones(len(bars))
    price[rows] = np.exp(rng.normal(0.0, 0.05, len(bars)))[rows]
    volume[rows] = np.exp(rng.normal(0.0, 2.0, len(bars)))[rows]
    volume[rows] *= (rng.random(len(bars)) >= silent)[rows]
    frame = bars.frame
    for name in ("open", "high", "low", "close"):
        frame[name] *= price
    frame["volume"] *= volume
    frame["notional"] *= price * volume
    return rebuilt(bars, frame)


def from_bar(bars: Bars, row: int, symbols: Sequence[str] | None = None) -> np.ndarray:
    """Rows at or after the time of one row, of some symbols (default: its own)."""
    names = [bars.symbols[bars.symbol_index[row]]] if symbols is None else symbols
    chosen = np.isin(bars.symbol_index, [bars.symbols.index(name) for name in names])
    return np.flatnonzero(chosen & (bars.timestamp >= bars.timestamp[row]))


# --- orders and windows ----------------------------------------------------------------------------------------------


def order_table(bars: Bars, row: int | Sequence[int], **columns: Any) -> pd.DataFrame:
    """Orders that start at flat rows of the bars."""
    rows = np.atleast_1d(row)
    table = {
        "symbol": [bars.symbols[i] for i in bars.symbol_index[rows]],
        "start": pd.to_datetime(bars.timestamp[rows], utc=True),
        "side": "buy",
    }
    return pd.DataFrame(table).assign(**columns)


def order_batch(count: int = 1, dtype: torch.dtype = torch.float64, **columns: Any) -> OrderBatch:
    """Orders without a market."""
    table = pd.DataFrame({"symbol": ["X"] * count, "start": pd.Timestamp("2024-01-01", tz="UTC"), "side": "buy"})
    return OrderBatch.from_frame(complete_orders(table.assign(**columns), horizon=None, risk_aversion=0.0), dtype)


def random_orders(rng: np.random.Generator, count: int, horizon: int, *, sized: bool = True) -> pd.DataFrame:
    """Feasible orders of every kind; ``sized`` ones may have lots and participation limits."""
    maximum = rng.integers(1, horizon + 1, count)
    lots = rng.integers(maximum, 40 + maximum)
    # In lots: between the fewest per period that can complete and everything at once.
    per_period = rng.integers(-(-lots // maximum), lots + 1)
    has_lots = sized & (rng.random(count) < 0.3)
    cap = np.where(has_lots, per_period / lots, maximum ** -rng.random(count))
    cap = np.where(rng.random(count) < 0.3, 1.0, np.minimum(cap, 1.0))
    size = 0.25 * rng.integers(1, 9, count)
    table = pd.DataFrame(
        {
            "symbol": "X",
            "start": pd.Timestamp("2024-01-01", tz="UTC"),
            "side": rng.choice(["buy", "sell"], count),
            "benchmark": rng.choice(["vwap", "twap"], count),
            "target": rng.choice(["quantity", "notional"], count),
            "min_periods": rng.integers(1, maximum + 1),
            "max_periods": maximum,
            "max_rate": cap,
            "min_rate": np.where(rng.random(count) < 0.3, cap * rng.random(count), 0.0),
            "amount": lots * size if sized else np.nan,
            "lot_size": np.where(has_lots, size, np.nan),
            "max_participation": np.where(sized & (rng.random(count) < 0.3), rng.uniform(0.05, 1.0, count), np.nan),
        }
    )
    return complete_orders(table, horizon=None, risk_aversion=0.5)


def random_window(rng: np.random.Generator, count: int, periods: int, *, silent: float = 0.0) -> MarketWindow:
    """A market for orders: random walks, random volumes, a share of bars without volume."""
    price = np.exp(np.cumsum(rng.normal(0, 0.01, (count, periods)), axis=1))
    volume = np.exp(rng.normal(0, 0.5, (count, periods))) * (rng.random((count, periods)) >= silent)
    expected = np.exp(rng.normal(0, 0.3, (count, periods)))
    arrays = {
        "price": price,
        "close": price * np.exp(rng.normal(0, 0.002, price.shape)),
        "volume": volume,
        "expected_volume": expected / expected.mean(axis=1, keepdims=True),
        "volatility": np.full(count, 0.01),
        "arrival_price": rng.uniform(0.5, 200.0, count),
        "volume_unit": rng.uniform(1.0, 50.0, count),
    }
    return MarketWindow(**{name: torch.from_numpy(values) for name, values in arrays.items()})


# --- policies --------------------------------------------------------------------------------------------------------


class Scripted(Policy):
    """Answers from a table: ``fraction`` and ``finish``, [periods] or [orders, periods]."""

    def __init__(self, fraction: Any, finish: Any = 0.0) -> None:
        as_table = [torch.as_tensor(value, dtype=torch.float64) for value in (fraction, finish)]
        self.fraction, self.finish = (value if value.ndim else value[None].expand(512) for value in as_table)

    def decide(self, context: Any, orders: OrderBatch, state: ExecutionState) -> Decision:
        return Decision(self.fraction[..., state.period], self.finish[..., state.period])


class Erratic(Policy):
    """Fractions anywhere, negative and huge ones too; finishes at random."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def decide(self, context: Any, orders: OrderBatch, state: ExecutionState) -> Decision:
        size = 10.0 ** self.rng.uniform(-4, 4, len(orders))
        fraction = np.where(self.rng.random(len(orders)) < 0.6, self.rng.random(len(orders)) / 3, size)
        return Decision(fraction * self.rng.choice([-1, 1, 1], len(orders)), self.rng.random(len(orders)))


class Recorder(Policy):
    """Passes another policy's decisions on, and keeps them."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        for name in ("lookback", "horizon", "risk_aversion"):
            setattr(self, name, getattr(policy, name, getattr(Policy, name)))
        self.passes: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.states: list[ExecutionState] = []

    def encode(self, market: Market, rows: np.ndarray, side: np.ndarray) -> torch.Tensor | None:
        encode = getattr(self.policy, "encode", None)
        return None if encode is None else encode(market, rows, side)

    def decide(self, context: Any, orders: OrderBatch, state: ExecutionState) -> Decision:
        decision = self.policy.decide(context, orders, state)
        if state.period == 0:
            self.passes.append([])
        answers = (torch.as_tensor(a, dtype=torch.float64) for a in (decision.fraction, decision.finish))
        self.passes[-1].append(tuple(a.expand(len(orders)).detach().numpy().copy() for a in answers))
        self.states.append(state)
        return decision

    def decisions(self) -> np.ndarray:
        """Fractions and finish probabilities decided, [orders, periods, 2]; NaN where a pass was shorter."""
        tables = [np.stack([np.stack(answers, -1) for answers in part], 1) for part in self.passes]
        longest = max(table.shape[1] for table in tables)
        pad = [((0, 0), (0, longest - table.shape[1]), (0, 0)) for table in tables]
        return np.concatenate([np.pad(t, p, constant_values=np.nan) for t, p in zip(tables, pad, strict=True)])


def tiny_config(**settings: Any) -> LEMConfig:
    """A model of a few thousand weights."""
    small = {
        "horizon": 6,
        "warmup": 16,
        "block": 16,
        "hidden_size": 8,
        "tkan_layers": 1,
        "attention_heads": 2,
        "attention_window": 8,
        "head_config": {"hidden_size": 8, "layers": 2},
    }
    return LEMConfig(**{**small, **settings})


def random_model(config: LEMConfig | None = None, seed: int = 0) -> LEMModel:
    """A model with random weights, large in its last layer so that decisions differ, that may predict."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LEMModel(config)
    with torch.no_grad():
        if hasattr(model.head, "output"):
            model.head.output.weight.mul_(30.0)
            model.head.output.bias.zero_()
    model.is_trained = True
    return model.eval()


_RANDOM = {
    "random weights": {},
    **{
        f"random weights, {name}": {"head": name, "head_config": {"hidden_size": 8}, "hidden_size": 8}
        for name in list_heads()
        if name != "flexible"
    },
    "random weights, gru": {"encoder": "gru", "hidden_size": 8},
}

POLICIES: tuple[str, ...] = (*list_policies(), *_RANDOM, *list_models())
"""Every policy there is: the classical ones, models with random weights, and whatever the zoo holds."""


@lru_cache
def policy_named(name: str) -> Any:
    """One of :data:`POLICIES`; the laws hold on bars of every length, so none of them refuses any."""
    if name == "longstaff_schwartz":
        return LongstaffSchwartz(paths=1024)  # learns in a tenth of the time
    policy = random_model(LEMConfig(**_RANDOM[name])) if name in _RANDOM else load_policy(name)
    if isinstance(policy, LEMModel):
        policy.config = policy.config.model_copy(update={"frequencies": ()})
    return policy


# --- look-ahead ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moved:
    """A decision that moved although nothing it may know did."""

    order_id: Any
    period: int
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Decided:
    """What a policy decided for orders, and what came of it."""

    decisions: np.ndarray
    result: ExecutionResult


def decided(policy: Any, bars: Bars, orders: pd.DataFrame) -> Decided:
    """Execute orders and keep the decisions of the continuing path."""
    recorder = Recorder(policy)
    result = execute(recorder, bars, orders)
    return Decided(recorder.decisions(), result)


def first_moved(
    policy: Any, bars: Bars, changed: Bars, orders: pd.DataFrame, *, before: Decided | None = None
) -> Moved | None:
    """The first decision about a bar at or before the first changed one that is not bit-identical, or None.

    Compares the decisions of the continuing path (fraction and finish probability), and then what was traded before the
    first changed bar. ``before`` are the decisions on the unchanged bars, where they are known.
    """
    first_changed = _first_change(bars, changed)
    both = [before or decided(policy, bars, orders), decided(policy, changed, orders)]
    # A bar silenced just before an order may exclude it: compare the orders that ran in both.
    ids = [each.result.orders["order_id"].to_numpy() for each in both]
    _, *rows = np.intersect1d(*ids, return_indices=True)
    executed = both[0].result.orders.iloc[rows[0]]
    start = executed["start"].astype("int64").to_numpy()
    limit = np.array([first_changed.get(symbol, np.iinfo(np.int64).max) for symbol in executed["symbol"]])
    decisions = [each.decisions[chosen] for each, chosen in zip(both, rows, strict=True)]
    periods = np.arange(decisions[0].shape[1])
    at = np.stack([_bar_times(bars, s, t, len(periods)) for s, t in zip(executed["symbol"], start, strict=True)])
    known = (at <= limit[:, None]) & (periods < executed["max_periods"].to_numpy()[:, None])
    old, new = decisions
    moved = np.argwhere(known & (old.view(np.int64) != new.view(np.int64)).any(-1))
    if len(moved):
        order, period = moved[0]
        return Moved(
            executed["order_id"].iloc[order], int(period), tuple(old[order, period]), tuple(new[order, period])
        )
    traded = [_traded_before(each.result, first_changed, set(executed["order_id"])) for each in both]
    if not traded[0].equals(traded[1]):
        return Moved(None, -1, (len(traded[0]), 0.0), (len(traded[1]), 0.0))
    return None


def _first_change(bars: Bars, changed: Bars) -> dict[str, int]:
    differs = np.zeros(len(bars), dtype=bool)
    for name in ("open", "high", "low", "close", "volume", "notional"):
        differs |= getattr(bars, name) != getattr(changed, name)
    rows = np.flatnonzero(differs)[::-1]
    return {bars.symbols[bars.symbol_index[row]]: int(bars.timestamp[row]) for row in rows}


def _bar_times(bars: Bars, symbol: str, start: int, periods: int) -> np.ndarray:
    first = int(bars.locate(symbol, [start])[0])
    last = int(bars.offsets[bars.symbols.index(symbol) + 1]) - 1
    return bars.timestamp[np.minimum(first + np.arange(periods), last)]


def _traded_before(result: ExecutionResult, first_changed: dict[str, int], ids: set[Any]) -> pd.DataFrame:
    schedule = result.schedule.merge(result.orders[["order_id", "symbol"]], on="order_id")
    limit = schedule["symbol"].map(first_changed).fillna(np.iinfo(np.int64).max)
    early = (schedule["timestamp"].astype("int64") < limit) & schedule["order_id"].isin(ids)
    return schedule.loc[early, ["order_id", "period", "fraction"]].reset_index(drop=True)


def first_moved_row(compute: Any, bars: Bars, changed: Bars) -> int | None:
    """The first row before its symbol's first changed bar where an array per bar is not bit-identical, or None."""
    first_changed = _first_change(bars, changed)
    names = np.array(bars.symbols, dtype=object)[bars.symbol_index]
    limit = np.array([first_changed.get(name, np.iinfo(np.int64).max) for name in names])
    before, after = (np.asarray(compute(market)).reshape(len(bars), -1) for market in (bars, changed))
    moved = (before != after) & ~(np.isnan(before) & np.isnan(after))
    rows = np.flatnonzero(moved.any(1) & (bars.timestamp < limit))
    return int(rows[0]) if len(rows) else None
