"""Reference prices are one table: what is in it is computed, summarised, measured and reported."""

import torch

from lem_models.execution.result import ExecutionResult
from lem_models.orders import Benchmark
from lem_models.statistics.reference_prices import REFERENCE_PRICES, OrderMarket
from lem_models.statistics.summary import SUMMARY_COLUMNS
from tests.helpers.copies import in_a_copy, without_this_package

PRICE = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
VOLUME = torch.tensor([[1.0, 0.0, 3.0, 4.0]])


def test_each_price_by_hand():
    market = OrderMarket(
        PRICE, VOLUME, torch.tensor([[0, 2]]), torch.tensor([[3]]), torch.tensor([False]), torch.tensor([0.2])
    )
    assert {row.name: row.price(market).tolist() for row in REFERENCE_PRICES} == {
        "arrival": [[1.0]],
        "interval_vwap": [[1.0, 13 / 4]],
        "interval_twap": [[1.0, 5 / 2]],
        "full_vwap": [[45 / 8]],
        "pwp": [[5 / 2]],  # a tenth of the volume: one unit of the first bar, one of the third
    }


def test_without_sizes_there_is_no_participation():
    market = OrderMarket(PRICE, VOLUME, torch.tensor([[0]]), torch.tensor([[3]]), torch.tensor([False]))
    assert {row.name for row in REFERENCE_PRICES if row.price(market).isnan().any()} == {"pwp"}


def test_every_benchmark_of_an_order_is_one_of_them():
    assert {row.benchmark for row in REFERENCE_PRICES} - {None} == {choice.value for choice in Benchmark}


def test_names_and_columns_are_unique_and_described():
    for attribute in ("name", "column", "label"):
        assert len({getattr(row, attribute) for row in REFERENCE_PRICES}) == len(REFERENCE_PRICES)
    for row in REFERENCE_PRICES:
        assert row.improvement in SUMMARY_COLUMNS
        assert f"``{row.column}``" in ExecutionResult.__doc__
        assert row.note.endswith(".")


A_NEW_ROW = """
import pytest, torch
from tests.pictures import blank_pictures
from lem_models.statistics import reference_prices as prices

row = prices.ReferencePrice("last", "last_price", lambda m: m.price.gather(1, m.last), "last price", "Last: a test.")
prices.REFERENCE_PRICES += (row,)

from lem_models import execute, load_policy, synthetic_bars
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.metrics import execution_metrics
from lem_models.orders import Order
from lem_models.report.benchmark_report import write_benchmark

bars = synthetic_bars(symbols=1, days=15, seed=1)
result = execute("twap", bars, Order.sample(bars, every=10, max_periods=4))
last = [result.periods_of(order)["price"].iloc[-1] for order in result.orders["order_id"]]
assert abs(result.orders["last_price"] / last - 1).max() < 1e-12
assert result.summary()["last_bps"].notna().all()
metrics = execution_metrics()
metrics["last"].update(result)
blank_pictures(pytest.MonkeyPatch())
settings = BenchmarkSettings(null=0, information=0, placebos=(), bootstrap=100, by=("symbol",))
run = run_benchmark({"twap": load_policy("twap")}, bars, settings)
page = write_benchmark(run, OUT, command="").read_text(encoding="utf-8")
assert "last price" in page and "Last: a test." in page
"""


def test_a_new_row_is_computed_summarised_measured_and_reported(tmp_path):
    def with_a_new_row():
        without_this_package()  # modules read the table when they are imported
        exec(A_NEW_ROW, {"OUT": tmp_path / "report"})

    status, _, errors = in_a_copy(with_a_new_row)
    assert status == 0, errors
    assert (tmp_path / "report").is_dir()
