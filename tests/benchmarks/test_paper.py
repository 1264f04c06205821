"""The paper's tables: two alignments of one head on the same orders, and the parts of the gain."""

import json
import sys
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import paper
from benchmarks.looks import joined, read_looks
from benchmarks.paper import (
    CAUSAL,
    HORIZON,
    PUBLISHED,
    PaperMarket,
    PublishedAlignment,
    PublishedBound,
    Sizes,
    execute_published,
    main,
    paper_metrics,
    with_same_orders,
)
from benchmarks.paper_table import TABLES, printed, shares
from lem_models import LEMModel, Order, execute, load_policy, synthetic_bars
from lem_models.errors import LookAheadError, OrderError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.leak import check_leak
from lem_models.execution.execute import complete_for, traded_market
from lem_models.execution.result import first_bars
from lem_models.features.market import Market
from lem_models.modeling.paper.loss import with_branches
from lem_models.modeling.paper.published_metrics import PAPER_METRICS, PaperMetrics

SMALL = Sizes(
    hidden_size=8,
    mlp_hidden_size=4,
    attention_heads=2,
    embedding_dim=2,
    warmup=16,
    stretch=32,
    stretches=4,
    orders_per_stretch=8,
)
TINY = PaperMarket(
    "crypto-90min", "tiny.parquet", "90min", date(2024, 2, 15), date(2024, 3, 20), "lem-base", allow_frequency=True
)


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=2, days=40, seed=3)


@pytest.fixture(scope="module")
def orders(bars):
    kinds = {"benchmark": ["vwap", "twap"], "target": ["quantity", "notional"]}
    table = Order.sample(bars, every=41, side="both", min_periods=range(1, HORIZON + 1), max_periods=HORIZON, **kinds)
    return table.assign(order_id=np.arange(len(table)))


def untrained(kind=PublishedAlignment, seed=0):
    """A model with random weights that may predict."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(SMALL.config())
    with torch.no_grad():
        for step in model.head.steps:
            step.kernels[-1].mul_(8.0)  # so that decisions differ
    model.is_trained = True
    return model.eval()


# --- the published alignment -----------------------------------------------------------------------------------------


def test_the_package_refuses_the_model_that_looks_ahead(bars, orders, tmp_path):
    model = untrained()
    settings = BenchmarkSettings(null=0, information=0, placebos=())
    for refused in (
        lambda: execute(model, bars, orders),
        lambda: check_leak(model, bars),
        lambda: run_benchmark({"model": model}, bars, settings),
        lambda: PublishedBound(model, Market(bars), orders).decide(None, None, None),
    ):
        with pytest.raises(LookAheadError, match="PublishedAlignment looks ahead"):
            refused()


def test_a_decision_reads_the_bar_that_it_trades_and_none_after_it(bars, orders):
    model, some = untrained(), orders[orders["min_periods"] == HORIZON].reset_index(drop=True)
    period = 4
    start = first_bars(bars, some)
    some, start = some.iloc[[0, len(some) // 2, len(some) - 1]].reset_index(drop=True), start[[0, len(some) // 2, -1]]

    def fills(changed):
        market = Market(changed)
        batch, window, _ = paper_window(market, some)
        return PublishedBound(model, market, some).fills(batch, window)

    before = fills(bars)
    for row in start:
        factor = np.ones(len(bars))
        factor[row + period :] = 1.05
        moved = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")}
        changed = replace(bars, **moved, notional=bars.notional * factor)
        order = int(np.flatnonzero(start == row)[0])
        after = fills(changed)
        assert torch.equal(after[order, :period], before[order, :period])
        assert not torch.isclose(after[order, period], before[order, period], rtol=1e-6)


def paper_window(market, table):
    """The orders and their market as tensors."""
    complete = complete_for(untrained(LEMModel), table)
    return traded_market(market, complete, first_bars(market.bars, complete), None)


def test_training_and_the_bound_read_the_same_contexts():
    """One bar later than the causal model with the same weights, in both."""
    market = replace(TINY, frequency="1h", train_end=date(2024, 2, 10), test_start=date(2024, 3, 10))
    bars = synthetic_bars(symbols=2, days=90, seed=3)
    batch = SMALL.batches(bars, market, seed=0).batch(0, training=True)
    ahead, causal = untrained(), untrained(LEMModel)
    later, known = (model.order_contexts(batch).dense() for model in (ahead, causal))
    assert torch.equal(later[:, :-1], known[:, 1:])
    assert not torch.isclose(later, known).all(-1).any()

    table = Order.sample(bars, every=97, side="both", max_periods=HORIZON, limit=20)
    bound = PublishedBound(ahead, Market(bars), table)
    side = np.where(table["side"] == "buy", 1, -1)
    for period in (0, HORIZON - 1):
        traded = causal.encode(Market(bars), first_bars(bars, table) + period, side)
        torch.testing.assert_close(bound._contexts.dense()[:, period], traded)


def test_the_bound_of_passes_is_that_of_all_orders(bars, orders, monkeypatch):
    model = untrained()
    whole = execute_published(model, bars, orders)
    monkeypatch.setattr(paper, "_PASS", 100)
    passes = execute_published(model, bars, orders)
    assert passes["order_id"].tolist() == whole["order_id"].tolist()
    np.testing.assert_allclose(passes["slippage_bps"], whole["slippage_bps"], atol=0.01)  # contexts in single precision
    executed = run_benchmark(
        {"twap": load_policy("twap")}, bars, BenchmarkSettings(null=0, information=0, placebos=()), orders=orders
    ).orders["twap"]
    assert (with_same_orders(whole, executed)["end"] > whole["start"]).all()
    with pytest.raises(OrderError, match="different orders"):
        with_same_orders(whole.iloc[::-1], executed)


# --- bars and metrics ------------------------------------------------------------------------------------------------


def test_bars_are_joined_on_the_grid_and_a_part_that_is_missing_leaves_out_the_whole():
    short = synthetic_bars(symbols=2, days=3, seed=2, frequency="30min")
    frame = short.frame
    long = joined(short, "90min")
    assert len(long) == len(short) / 3
    first = frame.iloc[:3]
    assert long.frame.loc[0, ["open", "close"]].tolist() == [first["open"].iloc[0], first["close"].iloc[2]]
    assert long.frame.loc[0, ["high", "low"]].tolist() == [first["high"].max(), first["low"].min()]
    assert long.volume.sum() == pytest.approx(short.volume.sum())
    assert long.notional[0] == pytest.approx(first["notional"].sum())
    gap = type(short).from_frame(frame.drop(index=4), calendar="24/7", frequency="30min")
    assert len(joined(gap, "90min")) == len(long) - 1
    assert joined(short, "30min") is short


def test_the_ten_metrics_are_those_of_the_package(bars, orders):
    """For TWAP, whose allocation is the same for every kind of order."""
    table = execute(load_policy("twap"), bars, orders).orders
    start = np.unique(first_bars(bars, orders))[:, None] + np.arange(HORIZON)
    price = bars.vwap[start] / bars.vwap[start[:, :1]]  # the metrics add 1e-7 to sums of 1 / price
    market = torch.from_numpy(np.stack([bars.volume[start], price], -1))
    metrics = PaperMetrics()
    metrics.update(
        with_branches(market), torch.full((len(start), HORIZON, HORIZON + 1, 4, 2), 1 / HORIZON, dtype=torch.float64)
    )
    own = paper_metrics(table, table)
    assert set(own) == set(PAPER_METRICS)
    # The metrics of the paper add 1e-7 to sums and means of about 1 and 1e-3, and count in per cent or in bps.
    rounding = {"avg_imp": 1e-4, "twap_avg_risk": 2e-3, "vwap_avg_risk": 0.02}
    for name, value in metrics.compute().items():
        (most,) = [each for ending, each in rounding.items() if name.endswith(ending)]
        assert own[name] == pytest.approx(value.item(), rel=1e-4, abs=most), name


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("paper")
    synthetic_bars(symbols=2, days=110, seed=1, frequency="30min").write(path / TINY.file)
    return path


@pytest.mark.usefixtures("quick_regressions")
def test_the_command_trains_executes_logs_and_decomposes(folder, tmp_path, log, monkeypatch, capsys):
    monkeypatch.setattr(paper, "MARKETS", {"crypto": TINY})
    monkeypatch.setattr(paper, "Sizes", lambda: SMALL)
    out = tmp_path / "paper.json"
    settings = ["--data", folder, "--market", "crypto", "--steps", 3, "--limit", 960, "--null", 2, "--information", 1]
    settings += ["--work", tmp_path / "weights"]

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["paper.py", *map(str, (*settings, *more))])
        main()
        return capsys.readouterr().out

    with monkeypatch.context() as patch:
        patch.setattr(paper, "RIVALS", ("stopping_rule", "twap"))
        run("--split", "validation", "--limit", 480, "--null", 1)
    assert not log.exists()  # choices are no look
    assert len(list((tmp_path / "weights").iterdir())) == 2
    monkeypatch.setattr(PublishedAlignment, "training_step", None)  # nothing is trained twice
    text = run("--out", out)
    record = json.loads(out.read_text())
    assert str(folder) not in out.read_text()
    assert printed(record) in text

    content = record["markets"]["crypto-90min"]
    (look,) = read_looks()
    assert (look["market"], look["command"], look["orders"]) == ("crypto-90min", record["command"], content["orders"])
    assert look["weights"] == {name: value[:12] for name, value in content["weights"].items()}
    assert set(content["weights"]) == {PUBLISHED, CAUSAL, "lem-base"}
    assert record["split"] == "test"
    assert content["period"]["start"][:10] == "2024-03-20"

    policies = {PUBLISHED, CAUSAL, "lem-base", "longstaff_schwartz", "stopping_rule", "twap"}
    counts = pd.DataFrame(content["comparison"]).groupby("policy")["orders"].sum()
    assert counts.to_dict() == dict.fromkeys(policies, content["orders"])
    means = pd.DataFrame(content["comparison"]).set_index(["policy", "min_periods"])["mean_bps"]
    for row in content["decomposition"]:
        minimum = row["min_periods"]
        assert row["published_bps"] == pytest.approx(means[PUBLISHED, minimum], rel=1e-4)
        assert row["causal_bps"] == pytest.approx(means[CAUSAL, minimum], rel=1e-4)
        parts = [row[f"{part}_bps"] for part in ("lookahead", "option", "above")]
        assert sum(parts) == pytest.approx(row["published_bps"], abs=1e-3)
        assert row["lookahead_low_bps"] <= row["lookahead_bps"] <= row["lookahead_high_bps"]
    assert [row["min_periods"] for row in content["decomposition"]] == list(range(1, HORIZON + 1))
    assert sum(shares(content, 1).values()) == pytest.approx(100, abs=0.01)
    assert {row["policy"] for row in content["metrics"]} == {PUBLISHED, CAUSAL}


def test_published_figures_stand_beside_those_of_the_same_market_only():
    row = {"policy": PUBLISHED, "min_periods": 1, "mean_bps": 4.0, "std_bps": 80.0}
    content = {"comparison": [row, row | {"min_periods": 2}]}
    lines = TABLES["gains"](content, "dow-daily").splitlines()
    assert lines[2] == "| 1 | 32.9 ± 87.0 | +4.0 ± 80.0 |"
    assert lines[3] == "| 2 | – | +4.0 ± 80.0 |"
    assert "32.9" not in TABLES["gains"](content, "crypto-90min")
