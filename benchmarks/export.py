"""Exported graphs against live orders: do they decide the same, and how long does a step take?

**Parity.** Random orders of all kinds (both sides, every benchmark of the model, both targets, rates, lots,
participation limits, sizes; bars without volume) run through the exported graph and through ``LiveOrders``, bar by bar
on the same simulated market. The largest difference of a fraction and the number of different decisions to finish are
printed.

**Time.** For 1 and for 1,000 rows, each of a symbol and a side of its own, the graph in onnxruntime and live orders in
PyTorch take turns at the same bars: a graph step beside ``LiveOrders.observe`` and ``LiveOrders.decide``. It is the CPU
time of one thread, which other programs on the machine change little.

    python benchmarks/export.py --model lem-crypto-hourly
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lem_models import LEMModel
from lem_models.execution.live import LiveOrders
from lem_models.integrations.export import export_model, layout_of
from lem_models.integrations.export.description import DESCRIPTION_KEY, output_names
from lem_models.integrations.export.orders import ORDER_INPUTS
from lem_models.integrations.export.step import LiveStep
from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars

MARKETS: dict[str, dict[str, Any]] = {
    "4h": {"volatility": 0.015},
    "1h": {"volatility": 0.0075},
    "30min": {"volatility": 0.005},
    "5min": {"volatility": 0.0015, "session": ("14:30", "21:00")},
    "1D": {"volatility": 0.015, "session": ("00:00", "24:00")},
}
"""Simulated markets by the length of a bar."""

ORDER_COLUMNS = tuple(each.name for each in ORDER_INPUTS if each.name not in ("begin", "side"))

Arrays = list[np.ndarray]


class Graph:
    """A graph with its state, for rows of symbols and sides.

    Args:
        call: From the tensors of the inputs and the state to those of the outputs.
        inputs: Name, type, shape and fill of each input, as a description has them.
        state: The same of the state.
        outputs: Names of the outputs, those of the state last.
        rows: Number of rows.
    """

    def __init__(
        self,
        call: Callable[[Arrays], Arrays],
        inputs: Sequence[Mapping[str, Any]],
        state: Sequence[Mapping[str, Any]],
        outputs: Sequence[str],
        rows: int,
    ) -> None:
        self._call, self._inputs, self._outputs = call, inputs, outputs
        self.rows = rows
        self.state = [_filled(each, rows) for each in state]

    @classmethod
    def eager(cls, step: LiveStep, rows: int) -> Graph:
        """The step in eager PyTorch."""

        def call(arrays: Arrays) -> Arrays:
            with torch.inference_mode():
                return [each.numpy() for each in step(*map(torch.from_numpy, arrays))]

        slots = [
            [{"name": s.name, "dtype": str(s.dtype)[6:], "shape": s.shape, "fill": s.fill} for s in some]
            for some in (step.inputs, step.state)
        ]
        return cls(call, *slots, output_names(step), rows)

    @classmethod
    def onnx(cls, path: Path, rows: int) -> Graph:
        """A file in onnxruntime, on one thread."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map[DESCRIPTION_KEY])
        names = [each["name"] for each in (*about["inputs"], *about["state"])]

        def call(arrays: Arrays) -> Arrays:
            return session.run(None, dict(zip(names, arrays, strict=True)))

        outputs = [each.name for each in session.get_outputs()]
        return cls(call, about["inputs"], about["state"], outputs, rows)

    @classmethod
    def program(cls, program: Callable[..., Any], step: LiveStep, rows: int) -> Graph:
        """An exported program or package of torch."""
        graph = cls.eager(step, rows)

        def call(arrays: Arrays) -> Arrays:
            with torch.inference_mode():
                return [each.numpy() for each in program(*(torch.from_numpy(each).clone() for each in arrays))]

        graph._call = call
        return graph

    def step(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Read a bar of each row; inputs that are not given have their defaults."""
        arrays = [
            np.ascontiguousarray(given[each["name"]], dtype=each["dtype"])
            if each["name"] in given
            else _filled(each, self.rows)
            for each in self._inputs
        ]
        answers = self._call([*arrays, *self.state])
        self.state = answers[len(answers) - len(self.state) :]
        return dict(zip(self._outputs, answers, strict=True))

    def take(self, rows: np.ndarray) -> None:
        """Go on with copies of some rows."""
        self.state, self.rows = [each[rows] for each in self.state], len(rows)


def _filled(slot: Mapping[str, Any], rows: int) -> np.ndarray:
    return np.full((rows, *slot["shape"]), slot["fill"] or 0, dtype=slot["dtype"])


class Replay:
    """A market bar by bar for a graph and for live orders.

    Args:
        model: The model.
        frequency: Length of a bar.
        history: Bars before the first order.
        steps: Bars after it.
        symbols: Symbols.
        seed: Seed of the market and the orders.
        silent: Share of bars without volume.
    """

    def __init__(
        self, model: LEMModel, frequency: str, history: int, steps: int, symbols: int, seed: int, silent: float = 0.0
    ) -> None:
        market = MARKETS[frequency]
        bars_a_day = pd.Timedelta("1D") / pd.Timedelta(frequency)
        if "session" in market and frequency != "1D":
            bars_a_day = 78
        share = 5 / 7 if "session" in market else 1.0
        days = float(np.ceil((history + steps + 40) / bars_a_day / share)) + 3
        bars = synthetic_bars(symbols=symbols, frequency=frequency, days=days, seed=seed, **market)
        self.rng = np.random.default_rng(seed)
        frame = bars.frame
        frame.loc[self.rng.random(len(frame)) < silent, ["volume", "notional"]] = 0.0
        self.bars, self.model, self.history, self.steps = Bars.from_frame(frame), model, history, steps
        self.layout = layout_of(model, frequency, 78 if frequency == "5min" else None)
        self.rows = self.bars.offsets[:-1]
        self.frame = self.bars.frame

    def inputs(self, bar: int, symbol: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs of the graph for one bar, of the symbol of each row."""
        at, bars = self.rows[symbol] + bar, self.bars
        columns = {name: getattr(bars, name)[at] for name in ("open", "high", "low", "close", "volume", "notional")}
        slot = bars.grid.slot(at)
        return {
            "timestamp": bars.timestamp[at],
            **columns,
            "session": bars.grid.session(at),
            "slot": slot,
            "start_slot": (slot + 1) % self.layout.slots,
        }

    def coming(self, bar: int) -> dict[str, dict[Any, Any]]:
        """The bars that close at a time, for live orders."""
        return {
            name: self.frame.iloc[int(row) + bar].to_dict()
            for name, row in zip(self.bars.symbols, self.rows, strict=True)
        }

    def warmed(self, graph: Graph, side: np.ndarray, symbol: np.ndarray) -> None:
        """Let a graph of these rows read the history but for its last bar, with which the first orders come."""
        for bar in range(self.history - 1):
            graph.step({**self.inputs(bar, symbol), "side": side})

    def before(self, bar: int) -> Bars:
        """The market before a bar."""
        return self.bars.between(end=pd.Timestamp(int(self.bars.timestamp[self.rows[0] + bar]), tz="UTC"))

    def order(self, bar: int, side: int) -> dict[str, Any]:
        """A random order that begins with a bar, as an orders table has it."""
        rng, model = self.rng, self.model
        longest = model.horizon
        if self.layout.is_session_bound:
            longest = min(longest, self.layout.slots - int(self.bars.grid.slot(np.array([self.rows[0] + bar]))[0]))
        maximum = int(rng.integers(1, min(longest, 24) + 1)) if rng.random() < 0.9 else longest
        minimum = int(rng.integers(1, maximum + 1))
        rate = max(float(rng.choice([0.15, 0.3, 1.0])), 1.2 / maximum)
        order = {
            "side": "buy" if side > 0 else "sell",
            "benchmark": str(rng.choice(model.benchmarks)),
            "target": str(rng.choice(["quantity", "notional"])),
            "min_periods": minimum,
            "max_periods": maximum,
            "min_rate": float(rng.choice([0.0, 0.02])),
            "max_rate": min(rate, 1.0),
            "risk_aversion": float(rng.choice([0.05, 0.5, 2.0])),
            "amount": np.nan,
            "lot_size": np.nan,
            "max_participation": np.nan,
        }
        kind = rng.integers(4)
        if kind:
            money = 100.0 if order["target"] == "notional" else 1.0
            lots = int(rng.integers(20, 2000))
            order["amount"] = lots * money
            if kind == 2:
                order["lot_size"] = money
            if kind == 3:
                order["max_participation"] = float(rng.choice([0.02, 0.2]))
        return order


def as_inputs(order: Mapping[str, Any], model: LEMModel) -> dict[str, float]:
    """An order of a table as inputs of a graph."""
    from lem_models.execution.records import BENCHMARKS

    numbers = ("min_periods", "max_periods", "min_rate", "max_rate", "risk_aversion")
    optional = {name: np.nan_to_num(order[name]) for name in ("amount", "lot_size", "max_participation")}
    return {
        "side": 1 if order["side"] == "buy" else -1,
        "benchmark": BENCHMARKS.index(order["benchmark"]),
        "is_notional": order["target"] == "notional",
        **{name: order[name] for name in numbers},
        **optional,
    }


def parity(
    model: LEMModel,
    frequency: str,
    make: Callable[[int], Graph],
    *,
    history: int,
    decisions: int = 10_000,
    rows: int = 64,
    symbols: int = 4,
    seed: int = 0,
) -> dict[str, Any]:
    """Decide random orders by a graph and live.

    Args:
        model: The model.
        frequency: Length of a bar.
        make: Makes a graph of so many rows.
        history: Bars before the first order.
        decisions: Decisions to compare.
        rows: Orders side by side.
        symbols: Symbols.
        seed: Seed of the market and the orders.

    Returns:
        ``decisions``, ``orders``, ``largest`` difference of a fraction, ``finish`` decisions that differ, ``remaining``
        the largest difference of what is left; ``ties``: decisions between two lots that were half a lot from both, to
        within rounding, and fell on different sides. Their orders are followed no further.
    """
    steps = -(-decisions // rows) * 2 + 40
    replay = Replay(model, frequency, history, steps, symbols, seed, silent=0.02)
    pairs = [(symbol, side) for symbol in range(symbols) for side in (1, -1)]
    symbol, side = (np.array(each) for each in zip(*pairs, strict=True))
    graph = make(len(pairs))
    replay.warmed(graph, side, symbol)
    which = np.arange(rows) % len(pairs)
    graph.take(which)
    symbol, side = symbol[which], side[which]
    rng = replay.rng
    orders: list[dict[str, float] | None] = [None] * rows
    number = np.full(rows, -1)
    live: LiveOrders | None = None
    compared, count, largest, different, left, ties = 0, 0, 0.0, 0, 0.0, 0
    lot, followed = np.zeros(rows), np.ones(rows, dtype=bool)
    for bar in range(history, history + steps):
        # The bar before `bar` has closed. Idle rows may begin an order with `bar`.
        begins = [row for row in range(rows) if orders[row] is None and rng.random() < 0.5]
        table = []
        for row in begins:
            order = replay.order(bar, int(side[row]))
            orders[row] = as_inputs(order, model)
            start = pd.Timestamp(int(replay.bars.timestamp[replay.rows[0] + bar]), tz="UTC")
            table.append({"symbol": replay.bars.symbols[symbol[row]], "start": start, **order})
            number[row], followed[row] = count, True
            lot[row] = np.nan_to_num(order["lot_size"] / order["amount"])
            count += 1
        if table:
            frame, past = pd.DataFrame(table), replay.before(bar)
            if live is None:
                live = LiveOrders(model, frame, past)
            else:
                live.add(frame, past)
        columns = {name: np.array([1 if each is None else each[name] for each in orders]) for name in ORDER_COLUMNS}
        begin = np.zeros(rows, dtype=bool)
        begin[begins] = True
        answers = graph.step({**replay.inputs(bar - 1, symbol), **columns, "side": side, "begin": begin})
        if live is None:
            continue
        decision = live.decide()
        mine = np.flatnonzero(number >= 0)
        busy = mine[~live.done[number[mine]] & followed[mine]]
        compared += len(busy)
        difference = np.abs(answers["fraction"][busy] - decision.fraction[number[busy]])
        if not np.isfinite(difference).all():
            raise RuntimeError(f"the graph gave no fraction for {int((~np.isfinite(difference)).sum())} orders")
        tied = (lot[busy] > 0) & (np.abs(difference - lot[busy]) < 1e-9)
        ties += int(tied.sum())
        followed[busy[tied]] = False
        busy, difference = busy[~tied], difference[~tied]
        largest = max(largest, float(difference.max(initial=0.0)))
        left = max(left, float(np.abs(answers["remaining"][busy] - live.remaining[number[busy]]).max(initial=0.0)))
        different += int((answers["finish"][busy] != decision.finish[number[busy]]).sum())
        live.observe(replay.coming(bar))
        over = mine[live.done[number[mine]]]
        for row in over.tolist():
            orders[row], number[row] = None, -1
        if compared >= decisions:
            break
    return {
        "decisions": compared,
        "orders": count,
        "largest": largest,
        "finish": different,
        "remaining": left,
        "ties": ties,
    }


def latency(
    model: LEMModel,
    frequency: str,
    make: Callable[[int], Graph],
    *,
    history: int,
    rows: int,
    bars: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """CPU time of a step of a graph and of live orders, in turns, on one thread.

    Args:
        model: The model.
        frequency: Length of a bar.
        make: Makes a graph of so many rows.
        history: Bars before the first order.
        rows: Orders side by side, of the longest duration; each begins again when it is done.
        bars: Bars to time; among them blocks begin.
        seed: Seed of the market.

    Returns:
        ``graph_p50_ms, graph_p99_ms, graph_max_ms`` and the same of ``live``.
    """
    symbols = -(-rows // 2)
    replay = Replay(model, frequency, history, bars + 1, symbols, seed)
    symbol = np.arange(rows) % symbols
    side = np.where(np.arange(rows) // symbols % 2 == 0, 1, -1)
    pairs, which = np.unique(np.stack([symbol, side]), axis=1, return_inverse=True)
    graph = make(pairs.shape[1])
    replay.warmed(graph, pairs[1], pairs[0])
    graph.take(which.ravel())
    longest = min(model.horizon, replay.layout.slots if replay.layout.is_session_bound else model.horizon)
    columns = {"side": side, "min_periods": np.full(rows, longest), "max_periods": np.full(rows, longest)}
    left, live = np.zeros(rows, dtype=np.int64), None
    times: dict[str, list[float]] = {"graph": [], "live": []}
    for bar in range(history, history + bars):
        # Orders begin at any time, so that they are in all their periods.
        begin = (left <= 0) & ((replay.rng.random(rows) < 3 / longest) | (bar == history))
        if replay.layout.is_session_bound:
            begin &= int(replay.bars.grid.slot(np.array([bar]))[0]) + longest <= replay.layout.slots
        given = {**replay.inputs(bar - 1, symbol), **columns, "begin": begin}
        start = time.process_time()
        graph.step(given)
        graph_seconds = time.process_time() - start
        if bar > history and live is not None:
            coming = replay.coming(bar - 1)
            start = time.process_time()
            live.observe(coming)
            live.decide()
            times["live"].append(time.process_time() - start)
            times["graph"].append(graph_seconds)
        if begin.any():
            table = pd.DataFrame(
                {
                    "symbol": np.array(replay.bars.symbols, dtype=object)[symbol[begin]],
                    "start": pd.Timestamp(int(replay.bars.timestamp[bar]), tz="UTC"),
                    "side": np.where(side[begin] > 0, "buy", "sell"),
                    "min_periods": longest,
                    "max_periods": longest,
                }
            )
            if live is None:
                live = LiveOrders(model, table, replay.before(bar))
            else:
                live.add(table, replay.before(bar))
            live.decide()
        left = np.where(begin, longest, left) - 1
    result: dict[str, Any] = {"rows": rows, "bars": len(times["graph"])}
    for name, seconds in times.items():
        milliseconds = 1e3 * np.array(seconds)
        result |= {
            f"{name}_p50_ms": float(np.median(milliseconds)),
            f"{name}_p99_ms": float(np.percentile(milliseconds, 99)),
            f"{name}_max_ms": float(milliseconds.max()),
        }
    return result


def main() -> None:
    """Print parity and times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lem-crypto-hourly", help="name of a model")
    parser.add_argument("--frequency", help="length of a bar; default the one of the model")
    parser.add_argument("--file", type=Path, help="exported ONNX file; default: export the model now")
    parser.add_argument("--decisions", type=int, default=10_000, help="decisions to compare")
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 1000], help="rows to time")
    parser.add_argument("--bars", type=int, default=200, help="bars to time")
    parser.add_argument("--seed", type=int, default=0, help="seed of the markets and the orders")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    model = LEMModel.from_pretrained(settings.model)
    frequency = settings.frequency or model.frequencies[0]
    slots = 78 if frequency == "5min" else None
    history = LiveStep(model, layout_of(model, frequency, slots)).history
    with tempfile.TemporaryDirectory() as folder:
        path = settings.file or export_model(model, Path(folder) / "model.onnx", frequency=frequency, slots=slots)

        def make(rows: int) -> Graph:
            return Graph.onnx(path, rows)

        print(f"{settings.model}, bars of {frequency}, torch {torch.__version__}, one thread", flush=True)
        result: dict[str, Any] = {"model": settings.model, "frequency": frequency, "torch": torch.__version__}
        if settings.decisions:
            facts = parity(model, frequency, make, history=history, decisions=settings.decisions, seed=settings.seed)
            print(
                f"{facts['decisions']:,} decisions of {facts['orders']:,} orders: largest difference of a fraction "
                f"{facts['largest']:.1e}, other decisions to finish {facts['finish']}, "
                f"ties between lots {facts['ties']}",
                flush=True,
            )
            result["parity"] = facts
        result["latency"] = []
        for rows in settings.rows:
            facts = latency(model, frequency, make, history=history, rows=rows, bars=settings.bars, seed=settings.seed)
            ratio = facts["graph_p50_ms"] / facts["live_p50_ms"]
            print(
                f"{rows:,} rows, {facts['bars']} bars: onnxruntime p50 {facts['graph_p50_ms']:.1f}, "
                f"p99 {facts['graph_p99_ms']:.1f} ms; live p50 {facts['live_p50_ms']:.1f}, "
                f"p99 {facts['live_p99_ms']:.1f} ms; ratio of medians {ratio:.2f}",
                flush=True,
            )
            result["latency"].append(facts)
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
