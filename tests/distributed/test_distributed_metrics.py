"""Metrics over two processes are those of one."""

import pandas as pd
import pytest
import torch

from lem_models.evaluation.metrics import execution_metrics
from lem_models.execution.sharding import Ranks
from tests.distributed.job import executed_share


@pytest.mark.xdist_group("two processes")
def test_two_processes_give_what_one_gives(two_processes):
    saved = torch.load(two_processes / "metrics.pt")
    whole = executed_share(Ranks())
    alone = execution_metrics()
    alone.update(whole)
    expected = {name: value.item() for name, value in alone.compute().items()}
    for values in saved["values"]:  # of either process
        assert {name: value.item() for name, value in values.items()} == pytest.approx(expected, rel=1e-12)
    assert expected["slippage_orders"] == 301
    # Neither process had all of it.
    assert saved["own"]["slippage"].item() != pytest.approx(alone["slippage"].total.item(), rel=1e-3)
    pd.testing.assert_frame_equal(pd.read_pickle(two_processes / "metrics.pkl"), whole.orders, check_exact=True)
