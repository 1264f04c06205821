"""The tables of the LEM paper (arXiv 2509.25211) as far as two CPU cores allow, and what its gain consists of.

    python benchmarks/paper.py --data FOLDER --market all --steps 1200 --out benchmarks/results/paper.json
    python benchmarks/paper.py --data FOLDER --market dow --steps 600 --split validation
    python benchmarks/paper_table.py benchmarks/results/paper.json

The ``paper`` head is trained with the paper's loss on daily bars of the Dow Jones stocks and on 90-minute bars of
crypto perpetuals, twice on the same batches. In the *published alignment* a decision reads the context of the very bar
that it trades; *causally* it reads that of the last closed bar. Both, the bundled model, Longstaff-Schwartz, the
stopping rule and TWAP execute the same orders: minima 1 to 12 of 12, both sides, VWAP and TWAP, quantity and notional.

With ``x`` the improvement over the order's own benchmark, the mean of the published alignment is a sum, order by order:

    x(published) = [x(published) - x(causal)]  +  x(causal, null)  +  [x(causal) - x(causal, null)]
                          look-ahead                  option                  above the null

where ``null`` is the martingale null (:mod:`lem_models.evaluation.null`). Information is measured apart, by contexts of
null bars (:mod:`lem_models.evaluation.attribution`). Intervals are from the bootstrap over days.

Nothing executes the model that looks ahead: its class says ``looks_ahead``, so the package refuses it. Here its fills
are a bound. Weights are kept in ``--work`` and not trained again. ``--split validation`` is for choices; the test
period is a logged look (:mod:`benchmarks.looks`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from benchmarks.looks import joined, open_bars, utc
from benchmarks.paper_table import printed
from benchmarks.records import plain, write_record
from benchmarks.zoo import period_of
from lem_models import Bars, LEMModel, load_policy
from lem_models.errors import LEMError, LookAheadError, OrderError
from lem_models.evaluation.benchmark import Benchmark, BenchmarkSettings, run_benchmark, sample_orders
from lem_models.evaluation.bound import execute_bound
from lem_models.evaluation.null import martingale_null
from lem_models.execution.policy import Policy, take_settings
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, OrderContexts
from lem_models.execution.result import first_bars
from lem_models.execution.simulator import chosen_period, finishing_fills, simulate
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.guard.output import write_bytes
from lem_models.hub.models.registry import bundled_folder, weights_hash
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.batch import TrainingBatch
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.optimizer import OptimizerConfig
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.statistics.null_draws import NullDraws
from lem_models.statistics.summary import compare, improvement, null_split, paired_difference
from lem_models.training.batches import MarketBatches
from lem_models.training.recipe import DataConfig
from lem_models.training.sampling import OrderSampling

_BEGAN = time.perf_counter()
PUBLISHED, CAUSAL = "paper, published alignment", "paper, causal"
RIVALS = ("longstaff_schwartz", "stopping_rule", "twap")
HORIZON = 12
BY = ["min_periods"]
CELL = ["min_periods", "benchmark", "target", "side"]
_PASS = 20_000  # orders of the bound at a time: more take much memory


@dataclass(frozen=True)
class PaperMarket:
    """Bars and splits of one table.

    Attributes:
        name: Name in the log of looks.
        file: File of the bars.
        frequency: Length of the bars of the orders; those of the file are joined to it.
        train_end: First day after training.
        test_start: First day of the test period, the end of validation.
        model: Bundled model that executes the same orders. It has read no bar of the test period.
        allow_frequency: Whether it was trained on bars of other lengths.
        share: Part of the steps that the trainings take: the loss on validation turns sooner on a short history.
    """

    name: str
    file: str
    frequency: str
    train_end: date
    test_start: date
    model: str
    allow_frequency: bool = False
    share: float = 1.0


MARKETS = {
    "dow": PaperMarket("dow-daily", "dow_daily.parquet", "1d", date(2017, 1, 1), date(2019, 1, 1), "lem-dow-daily"),
    "crypto": PaperMarket(
        "crypto-90min",
        "crypto_perp_30min.parquet",
        "90min",
        date(2023, 7, 1),
        date(2024, 1, 1),
        "lem-base",
        allow_frequency=True,
        share=1 / 3,  # half a year of training
    ),
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network and of its batches."""

    hidden_size: int = 32
    mlp_hidden_size: int = 16
    attention_heads: int = 4
    tkan_layers: int = 1
    embedding_dim: int = 4
    warmup: int = 48
    stretch: int = 64
    stretches: int = 16
    orders_per_stretch: int = 96
    learning_rate: float = 6e-3

    def config(self) -> LEMConfig:
        """The architecture; the paper's loss has no risk aversion."""
        return LEMConfig(
            horizon=HORIZON,
            warmup=self.warmup,
            block=64,
            hidden_size=self.hidden_size,
            embedding_dim=self.embedding_dim,
            tkan_layers=self.tkan_layers,
            attention_heads=self.attention_heads,
            attention_window=self.warmup,
            head="paper",
            head_config={"hidden_size": self.mlp_hidden_size, "loss": "soft_mask"},
        )

    def batches(self, bars: Bars, market: PaperMarket, seed: int) -> MarketBatches:
        """Training batches: minima 1 to 12 of 12, every kind of order alike, no caps."""
        data = DataConfig(
            train_end=market.train_end,
            validation_end=market.test_start,
            stretches=self.stretches,
            orders_per_stretch=self.orders_per_stretch,
            stretch=self.stretch,
        )
        orders = OrderSampling(twap=0.5, notional=0.5, full_horizon=1.0, fixed_duration=0.0, capped=0.0, floored=0.0)
        return MarketBatches(bars, data, self.config(), orders, seed=seed)


# --- the published alignment -----------------------------------------------------------------------------------------


class PublishedAlignment(LEMModel):
    """The model in the published alignment: the context of a decision is that of the bar that it trades.

    Attributes:
        looks_ahead: Tells ``execute``, sessions, benchmarks and the Hub to refuse it.
    """

    looks_ahead = True

    def order_contexts(self, batch: TrainingBatch) -> OrderContexts:
        """Contexts one bar later than those of the last closed bar."""
        return super().order_contexts(replace(batch, position=batch.position + 1))

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> NoReturn:
        """Refuse, so that no wrapper of a policy executes it.

        Raises:
            LookAheadError: always.
        """
        raise LookAheadError.of(self)


class PublishedBound(Policy):
    """Fills of a :class:`PublishedAlignment` as a bound.

    Args:
        model: The model.
        market: The market.
        orders: The orders that :meth:`fills` will be asked for, all of which can run.

    Attributes:
        executable: ``False``, as of every bound.
    """

    executable = False

    def __init__(self, model: PublishedAlignment, market: Market, orders: pd.DataFrame) -> None:
        self._model = model
        take_settings(self, model)
        traded = first_bars(market.bars, orders)[:, None] + np.arange(HORIZON)
        side = np.where(orders["side"] == "buy", 1, -1)[:, None] * np.ones(HORIZON, dtype=np.int64)
        size = len(market.bars)
        keys, rows = np.unique(np.where(side > 0, traded + size, traded), return_inverse=True)
        contexts = LEMModel.encode(model, market, keys % size, np.where(keys >= size, 1, -1))
        self._contexts = OrderContexts(contexts, torch.from_numpy(rows.reshape(traded.shape)))

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Refuse.

        Raises:
            LookAheadError: always.
        """
        raise LookAheadError.of(self._model)

    def fills(self, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Fills as the model decides them, [orders, periods]."""
        paths = simulate(self._model, orders, window, self._contexts, to_finish=True)
        return finishing_fills(paths, chosen_period(paths)[:, None])[:, 0]


def execute_published(model: PublishedAlignment, bars: Bars, orders: pd.DataFrame) -> pd.DataFrame:
    """Orders table of the bound, in the order of ``orders``."""
    market = Market(bars)
    passes = []
    for first in range(0, len(orders), _PASS):
        some = orders.iloc[first : first + _PASS].reset_index(drop=True)
        passes.append(execute_bound(PublishedBound(model, market, some), market, some).orders)
    return pd.concat(passes, ignore_index=True)


# --- training --------------------------------------------------------------------------------------------------------


def trained(
    kind: type[LEMModel], batches: MarketBatches, sizes: Sizes, steps: int, seed: int, kept: Path | None
) -> LEMModel:
    """A model after some steps of training; read from the folder ``kept`` where it holds these weights already.

    Args:
        kind: :class:`PublishedAlignment`, or :class:`LEMModel` for closed bars.
        batches: Training batches.
        sizes: Sizes.
        steps: Optimiser steps.
        seed: Seed of the weights; that of the batches is theirs.
        kept: Folder; ``None`` to keep nothing.
    """
    import lightning as L

    L.seed_everything(seed, verbose=False)
    optimizer = OptimizerConfig(learning_rate=sizes.learning_rate, auxiliary_weight=0.0)
    model = kind(sizes.config(), optimizer=optimizer)
    facts = [kind.__name__, repr(sizes), steps, seed, batches.market.bars.content_hash, str(batches.data.train_end)]
    file = None if kept is None else kept / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.safetensors"
    if file is not None and file.is_file():
        model.load_state_dict(load_file(file), strict=True)
        model.is_trained = True
        return model.eval()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    drawn = torch.utils.data.DataLoader(_Batches(batches, steps), batch_size=None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*(does not have many workers|`val_dataloader`|`IterableDataset`).*")
        trainer.fit(model, drawn)
    model.require_trained()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, save(model.state_dict()))
    return model.eval()


class _Batches(torch.utils.data.Dataset[TrainingBatch]):
    """The first training batches."""

    def __init__(self, batches: MarketBatches, count: int) -> None:
        self._batches, self._count = batches, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> TrainingBatch:
        return self._batches.batch(number, training=True)


# --- tables ----------------------------------------------------------------------------------------------------------


def paper_metrics(orders: pd.DataFrame, twap: pd.DataFrame) -> dict[str, float]:
    """The ten metrics of the paper (:mod:`lem_models.modeling.paper.published_metrics`), from orders tables.

    Args:
        orders: Orders of every kind, minima 1 to 12 of 12.
        twap: The same orders executed by TWAP: its VWAP orders of 12 periods are the base.
    """
    signed = -improvement(orders) / 1e4 * np.where(orders["side"] == "buy", 1.0, -1.0)
    base = twap[(twap["min_periods"] == HORIZON) & (twap["benchmark"] == "vwap") & (twap["target"] == "quantity")]
    base = -improvement(base) / 1e4 * np.where(base["side"] == "buy", 1.0, -1.0)
    early = orders["min_periods"] < HORIZON
    values = {}
    for side, sign in (("buy", 1.0), ("sell", -1.0)):
        for benchmark in ("vwap", "twap"):
            own = signed[early & (orders["side"] == side) & (orders["benchmark"] == benchmark)]
            values[f"{side}_{benchmark}_avg_imp"] = -100 * sign * own.mean()
            if benchmark == "vwap":
                risk = 100 * ((sign * own).clip(lower=0).mean() / (sign * base).clip(lower=0).mean() - 1)
            else:
                risk = 1e4 * own.abs().mean()
            values[f"{side}_{benchmark}_avg_risk"] = risk
    fixed = signed[~early & (orders["benchmark"] == "vwap")]
    values["unsigned_vwap_avg_risk"] = 100 * (fixed.abs().mean() / base.abs().mean() - 1)
    values["unsigned_twap_avg_risk"] = 1e4 * signed[early & (orders["benchmark"] == "twap")].abs().mean()
    return values


def comparison(benchmark: Benchmark, published: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Every policy by group; the published alignment first."""
    settings = benchmark.settings
    table = compare({PUBLISHED: published, **benchmark.orders}, by, draws=settings.bootstrap, seed=settings.seed)
    kept = ("orders", "mean_bps", "low_bps", "high_bps", "std_bps", "mean_vol", "full_vwap_bps", "periods_used")
    return table[["policy", *by, *kept]]


def decomposition(benchmark: Benchmark, published: pd.DataFrame, nulls: NullDraws) -> pd.DataFrame:
    """By minimum: the published gain and its parts, each with its interval, in bps and bar volatilities.

    Columns ``published``, ``lookahead``, ``causal``, ``option``, ``above``, ``information`` (improvement minus that
    with contexts of null bars), ``beyond_control`` and ``published_null`` (the published alignment on the null), each
    with ``_bps``, ``_low_bps`` ... ``_high_vol``.
    """
    causal = benchmark.orders[CAUSAL]
    bootstrap = {"draws": benchmark.settings.bootstrap, "seed": benchmark.settings.seed}
    split, information = benchmark.splits(BY), benchmark.information(BY)
    assert split is not None
    assert information is not None
    tables = [
        (null_split(published, nulls, BY, **bootstrap), {"real": "published", "option": "published_null"}),
        (paired_difference(published, causal, BY, **bootstrap), {"mean": "lookahead"}),
        (split[split["policy"] == CAUSAL], {"real": "causal", "option": "option", "above": "above"}),
        (
            information[information["policy"] == CAUSAL],
            {"information": "information", "beyond_control": "beyond_control"},
        ),
    ]
    columns: dict[str, Any] = {"min_periods": tables[0][0]["min_periods"].to_numpy()}
    for table, names in tables:
        assert table["min_periods"].tolist() == columns["min_periods"].tolist()
        for old, new in names.items():
            for unit in ("bps", "vol"):
                ends = ("mean", "low", "high") if old == "mean" else (old, f"{old}_low", f"{old}_high")
                for source, end in zip(ends, ("", "_low", "_high"), strict=True):
                    columns[f"{new}{end}_{unit}"] = table[f"{source}_{unit}"].to_numpy()
    return pd.DataFrame(columns)


# --- the command -----------------------------------------------------------------------------------------------------


def measure(market: PaperMarket, given: argparse.Namespace, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train, execute and decompose in one market."""
    file, sizes, steps = given.data / market.file, given.sizes, max(round(given.steps * market.share), 1)
    at = (market.name, file, market.test_start)
    early = open_bars(*at, market.train_end, market.test_start, weights={}, command=command(given))
    known = joined(early.whole.between(None, market.test_start), market.frequency)
    batches = sizes.batches(known, market, given.seed)
    models = {}
    for name, kind in ((PUBLISHED, PublishedAlignment), (CAUSAL, LEMModel)):
        began = time.process_time()
        models[name] = trained(kind, batches, sizes, steps, given.seed, given.work)
        models[name].name = name
        progress(f"{market.name}: {name}, {steps} steps, {time.process_time() - began:.0f} CPU seconds")
    weights = {name: hashlib.sha256(save(model.state_dict())).hexdigest() for name, model in models.items()}
    bundled = {market.model: LEMModel.from_pretrained(market.model)}
    weights |= {name: weights_hash(bundled_folder(name)) for name in bundled}

    is_test = given.split == "test"
    start, end = (market.test_start, None) if is_test else (market.train_end, market.test_start)
    opened = open_bars(*at, start, end, weights=weights, command=command(given))
    whole = joined(opened.whole.between(None, end), market.frequency)
    bars = _with_history(whole, start)
    settings = BenchmarkSettings(
        every=given.every,
        min_periods=tuple(range(1, HORIZON + 1)),
        max_periods=HORIZON,
        benchmark=("vwap", "twap"),
        target=("quantity", "notional"),
        start=str(start),
        end=None if end is None else str(end),
        limit=given.limit,
        null=given.null,
        information=given.information,
        placebos=(),
        seed=given.seed,
        allow_frequency=market.allow_frequency,
    )
    policies: dict[str, Policy] = {
        CAUSAL: models[CAUSAL],
        **bundled,
        **{name: load_policy(name) for name in RIVALS},
    }
    table = sample_orders(bars, settings)
    benchmark = run_benchmark(policies, bars, settings, progress=lambda text, *_: progress(f"{market.name}: {text}"))
    assert benchmark is not None
    ours: PublishedAlignment = models[PUBLISHED]  # type: ignore[assignment]
    table = table.assign(order_id=np.arange(len(table)))
    progress(f"{market.name}: {PUBLISHED}, as a bound")
    published = with_same_orders(execute_published(ours, bars, table), benchmark.orders[CAUSAL])
    draws = []
    for draw in range(given.null):
        progress(f"{market.name}: {PUBLISHED} on the martingale null, draw {draw + 1} of {given.null}")
        null = martingale_null(bars, seed=given.seed + 1000 + draw)  # the draws of run_benchmark
        draws.append(NullDraws.of(execute_published(ours, null, table)))
    by_minimum = comparison(benchmark, published, BY)
    cells = comparison(benchmark, published, CELL)
    content = {
        "market": market.name,
        "model": market.model,
        "data": {
            "file": market.file,
            "content_hash": opened.whole.content_hash,
            "symbols": list(bars.symbols),
            "frequency": clock(bars.frequency),
        },
        "period": period_of(whole, start, None if end is None else str(end)),
        "train_end": str(market.train_end),
        "steps": steps,
        "weights": weights,
        "parameters": sum(weight.numel() for weight in ours.parameters()),
        "settings": settings.model_dump(
            mode="json", include={"every", "min_periods", "limit", "null", "information", "seed", "bootstrap"}
        ),
        "orders": len(published),
        "volatility_bps": published["volatility_bps"].mean(),
        "comparison": by_minimum,
        "cells": cells[cells["policy"].isin([PUBLISHED, CAUSAL])],
        "decomposition": decomposition(benchmark, published, NullDraws.join(draws)),
        "option": _option(benchmark),
        "metrics": [
            {"policy": name, **paper_metrics(orders, benchmark.orders["twap"])}
            for name, orders in ((PUBLISHED, published), (CAUSAL, benchmark.orders[CAUSAL]))
        ],
    }
    first = content["decomposition"].iloc[0]
    opened.report(
        len(published),
        f"minimum 1: published alignment {first['published_bps']:.1f} bps, causal {first['causal_bps']:.1f} bps",
    )
    return content


def _option(benchmark: Benchmark) -> pd.DataFrame:
    """Option value, and what is above the null, of every policy by minimum."""
    split = benchmark.splits(BY)
    assert split is not None
    names = [f"{part}{end}_bps" for part in ("option", "above") for end in ("", "_low", "_high")]
    return split[["policy", *BY, *names]]


def _with_history(bars: Bars, start: date) -> Bars:
    """The bars from a day on, and the history that the first orders ask for."""
    times = pd.DatetimeIndex(pd.unique(bars.timestamp)).sort_values().tz_localize("UTC")
    first = max(int(times.searchsorted(utc(start))) - 2 * MAX_LOOKBACK, 0)
    return bars.between(times[first])


def with_same_orders(published: pd.DataFrame, executed: pd.DataFrame) -> pd.DataFrame:
    """The bound's table with the ends of orders that a benchmark's tables have.

    Raises:
        OrderError: If the tables hold different orders.
    """
    keys = ["order_id", "symbol", "start", *CELL]
    if not published[keys].astype(str).equals(executed[keys].astype(str).set_axis(published.index)):
        raise OrderError("the bound and the policies have executed different orders")
    return published.assign(end=executed["end"].to_numpy())


def command(given: argparse.Namespace) -> str:
    """The command as anybody can run it: folders of this machine left out."""
    words = [f"python benchmarks/paper.py --data FOLDER --market {given.market} --steps {given.steps}"]
    for name, default in DEFAULTS.items():
        if (value := getattr(given, name)) != default:
            words.append(f"--{name} {value}")
    return " ".join(words)


DEFAULTS: Mapping[str, Any] = {"split": "test", "limit": 36_000, "every": 1, "null": 10, "information": 5, "seed": 0}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True, help="folder of the bars")
    made.add_argument("--market", choices=[*MARKETS, "all"], default="all", help="which table")
    made.add_argument("--steps", type=int, default=1200, help="optimiser steps of each training; crypto takes a third")
    made.add_argument("--split", choices=["test", "validation"], default=DEFAULTS["split"], help="where orders run")
    made.add_argument("--limit", type=int, default=DEFAULTS["limit"], help="orders at most")
    made.add_argument("--every", type=int, default=DEFAULTS["every"], help="bars between starts that are drawn from")
    made.add_argument("--null", type=int, default=DEFAULTS["null"], help="draws of the martingale null")
    made.add_argument("--information", type=int, default=DEFAULTS["information"], help="draws of the ablation")
    made.add_argument("--seed", type=int, default=DEFAULTS["seed"], help="of weights, batches, orders and draws")
    made.add_argument("--work", type=Path, help="folder that keeps the trained weights")
    made.add_argument("--out", type=Path, help="JSON file")
    made.set_defaults(sizes=Sizes())
    return made


def stamped(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.perf_counter() - _BEGAN:6.0f} s  {text}", flush=True)


def main() -> None:
    """Measure, print the tables, write the record."""
    arguments = parser()
    given = arguments.parse_args()
    chosen = list(MARKETS) if given.market == "all" else [given.market]
    try:
        markets = {MARKETS[name].name: measure(MARKETS[name], given, stamped) for name in chosen}
    except LEMError as error:
        arguments.error(str(error))
    record = {
        "command": command(given),
        "sign": SIGN_CONVENTION,
        "split": given.split,
        "sizes": vars(given.sizes),
        "markets": markets,
    }
    print(printed(plain(record)))
    if given.out:
        print(f"{write_record(record, given.out)}: {given.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
