"""Orders with a size: net differences are those of executions at each size, and a record prints its table again."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.sizes import BENCHMARKS, compared, drawn_orders, shown, sizes_table
from lem_models import CostModel, LEMConfig, execute, load_policy, synthetic_bars
from lem_models.report.markdown import markdown_table
from tests.benchmarks.script import run_script
from tests.helpers import random_model

COSTS = CostModel(half_spread_bps=1, fee_bps=2, impact=0.8)


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=2, days=50, seed=4, start="2023-08-01")


@pytest.fixture(scope="module")
def orders(bars):
    return drawn_orders(bars, 7, 12, 0.05, limit=720, seed=0)


@pytest.fixture(scope="module")
def model():
    settings = {"hidden_size": 8, "layers": 2, "sized": True}
    return random_model(LEMConfig(hidden_size=8, head_config=settings, benchmarks=BENCHMARKS, impact=0.8))


@pytest.fixture(scope="module")
def tables(bars, orders, model):
    rivals = {name: load_policy(name) for name in ("twap", "almgren_chriss")}
    return compared({"ours": model}, rivals, bars, orders, COSTS, sizes=(0.001, 0.1), bootstrap=200)


def test_orders_have_every_benchmark_and_minimum(orders):
    kinds = orders.groupby(["benchmark", "min_periods"]).size()
    assert set(kinds.index) == {(name, minimum) for name in BENCHMARKS for minimum in (1, 6, 12)}
    assert kinds.min() > 0.5 * kinds.max()
    own = orders["risk_aversion"].isna()
    assert np.array_equal(own, (orders["min_periods"] < 12) & (orders["benchmark"] != "arrival"))
    assert (orders.loc[~own, "risk_aversion"] == 0.05).all()


@pytest.mark.parametrize("size", [0.001, 0.1])
def test_differences_are_those_of_executions_at_the_size(tables, bars, orders, model, size):
    ours, even = (
        execute(policy, bars, orders, costs=COSTS.at(size)).orders.set_index("order_id") for policy in (model, "twap")
    )
    rows = tables["differences"].query("size == @size and policy == 'twap'").set_index(["benchmark", "min_periods"])
    assert len(rows) == 9
    for (benchmark, minimum), row in rows.iterrows():
        some = (ours["benchmark"] == benchmark) & (ours["min_periods"] == minimum)
        gain = even["net_slippage_bps"][some] - ours["net_slippage_bps"][some]
        assert row["mean_bps"] == pytest.approx(gain.mean())
        assert row["low_bps"] <= row["mean_bps"] <= row["high_bps"]
        assert row["orders"] == some.sum()
    net = tables["net"].query("size == @size and policy == 'ours'").set_index(["benchmark", "min_periods"])["net_bps"]
    assert net["vwap", 6] == pytest.approx(
        -ours[lambda o: (o.benchmark == "vwap") & (o.min_periods == 6)].net_slippage_bps.mean()
    )


def test_a_policy_that_reads_sizes_decides_for_each(tables):
    net = (
        tables["net"]
        .query("policy == 'ours'")
        .pivot_table(index=["benchmark", "min_periods"], columns="size", values="net_bps")
    )
    assert (net[0.1] < net[0.001]).all()


def test_the_table_has_a_row_for_every_kind_and_rival(tables):
    text = markdown_table(sizes_table(tables["differences"]))
    assert text.count("\n") == 1 + 18
    assert text.startswith("| benchmark | minimum | minus | 0.1 % | 10 % |")


def test_a_record_is_shown_again(tmp_path, bars, model):
    model.save_pretrained(tmp_path / "ours")
    bars.write(tmp_path / "crypto_hourly.parquet")
    out = tmp_path / "record.json"
    first, end = (pd.Timestamp(int(bars.timestamp[k]), tz="UTC") for k in (0, -1))
    done = run_script(
        *(
            "sizes.py",
            "--market",
            "crypto-hourly",
            "--data",
            tmp_path,
            "--models",
            tmp_path / "ours",
            "--rivals",
            "twap",
            "pov",
        ),
        *("--sizes", 0.01, "--limit", 300, "--start", first.date(), "--end", end.date(), "--out", out),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["command"].endswith(
        f"--rivals twap pov --sizes 0.01 --start {first.date()} --end {end.date()} --limit 300"
    )
    again = run_script("sizes.py", "--show", out)
    assert again.stdout.strip() == shown(out).strip()
    assert again.stdout.splitlines()[2] in done.stdout


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    done = run_script("sizes.py", "--show", tmp_path / "other.json")
    assert done.returncode
    assert "is no record of benchmarks/sizes.py" in done.stderr
    assert "name a --market and the --data" in run_script("sizes.py").stderr
