"""What two processes of torchrun do in the tests.

Starting processes takes longer than anything they do here, so one start serves every test. Before each job the
processes leave the process group of the last one: a job finds what newly started processes would find.
"""

import os
import socket
import sys

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import lem_models.training.run
from lem_models import CostModel, Order, synthetic_bars
from lem_models.baselines import load_policy
from lem_models.cli.app import app
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.metrics import execution_metrics
from lem_models.execution.execute import execute_silently
from lem_models.execution.sharding import Ranks, SharedOrders, join_ranks
from tests.pictures import blank_pictures
from tests.regressions import few_paths
from tests.training.gradients import trained_gradients
from tests.training.tiny import BARS, Watched, tiny_recipe, trained

# The last weights: two checkpoints whose validation differs by rounding are no test of resuming.
RESUMED = tiny_recipe(trainer={"steps": 6, "steps_per_epoch": 2, "averaging": 0.9, "keep": "last"})


# --- commands --------------------------------------------------------------------------------------------------------


def benchmark_command(bars, out):
    """Arguments of ``lem benchmark``."""
    arguments = ["benchmark", "--data", bars, "--baselines", "stopping_rule", "--null", "1", "--limit", "500"]
    arguments += ["--min-periods", "1,6", "--max-periods", "6", "--benchmark", "vwap", "--out", out]
    return [str(argument) for argument in arguments]


def train_command(recipe, bars, out):
    """Arguments of ``lem train``."""
    arguments = ["train", "--config", recipe, "--data", bars, "--out", out, "--accelerator", "cpu", "--no-progress"]
    return [str(argument) for argument in arguments]


def run_command(arguments):
    """What a command prints on the standard output; its pictures are blank, and its placebos have few paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lem", *arguments])
        blank_pictures(patch)
        few_paths(patch)
        done = CliRunner().invoke(app, arguments)
    if done.exception is not None:
        raise done.exception
    return done.stdout


# --- a benchmark and metrics in a process group that is there --------------------------------------------------------


def benchmark():
    """A benchmark in the process group that is there; ``None`` on every rank but the first."""
    settings = BenchmarkSettings(min_periods=(1, 6), max_periods=6, limit=101, null=1, information=2)
    return run_benchmark({"stopping_rule": load_policy("stopping_rule")}, BARS, settings)


METRIC_BARS = synthetic_bars(symbols=2, days=30, seed=9)
METRIC_ORDERS = Order.sample(METRIC_BARS, every=7, min_periods=[1, 6], max_periods=6, side="both", limit=302)[:301]
COSTS = CostModel(half_spread_bps=1, impact=1, order_size=0.01)


def executed_share(ranks: Ranks):
    """The result of the share of one process."""
    shared = SharedOrders(METRIC_ORDERS, ranks)
    policy = load_policy("stopping_rule")
    return execute_silently(policy, shared.market(METRIC_BARS), shared.mine, costs=COSTS, whole=METRIC_BARS)


# --- the jobs --------------------------------------------------------------------------------------------------------


def command_jobs(folder, rank):
    """The commands, on two processes as on one."""
    printed = run_command(benchmark_command(folder / "gap.parquet", folder / "benchmark"))
    (folder / f"benchmark-{rank}.txt").write_text(printed)
    _leave_group()
    printed = run_command(train_command(folder / "recipe.yaml", folder / "bars.parquet", folder / "train"))
    (folder / f"train-{rank}.txt").write_text(printed)


def training_job(folder, rank):
    """Gradients of a Lightning run, then a benchmark in its process group."""
    torch.save(trained_gradients(2), folder / f"gradients-{rank}.pt")
    result = benchmark()
    assert (result is None) == (rank > 0)
    if result is not None:
        result.results["stopping_rule"].orders.to_pickle(folder / "orders.pkl")
        pd.to_pickle(result.nulls["stopping_rule"], folder / "null.pkl")


def resuming_job(folder, rank):
    """The rest of a run that one process began."""
    out = folder / "broken"
    lem_models.training.run.MarketBatches = Watched
    last = out / "checkpoints" / "last.ckpt"
    data = folder / "bars.parquet"
    model = trained(RESUMED, out=out, data=data, resume=last)
    assert Watched.seen == [2, 3, 4, 5]
    torch.save(model.state_dict(), folder / f"resumed-{rank}.pt")


def metrics_job(folder, rank):
    """Metrics over the shares of both processes."""
    ranks = join_ranks()
    assert ranks.size == 2
    metrics = execution_metrics()
    result = executed_share(ranks)
    third = len(result.orders) // 3
    metrics.update(result.orders[:third])
    metrics.update(result.orders[third:])
    local = {name: metric.total.clone() for name, metric in metrics.items()}
    values = metrics.compute()
    # What was synchronised for the value is undone: the process goes on with sums of its own.
    assert all(torch.equal(metric.total, local[name]) for name, metric in metrics.items())
    shared = SharedOrders(METRIC_ORDERS, ranks)
    whole = shared.execute(load_policy("stopping_rule"), shared.market(METRIC_BARS), METRIC_BARS, costs=COSTS)
    gathered = ranks.gather(values)
    if rank == 0:
        torch.save({"values": gathered, "own": local}, folder / "metrics.pt")
        whole.orders.to_pickle(folder / "metrics.pkl")


def _leave_group():
    """Leave the process group; the next one meets at another port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = [server.getsockname()[1]]
    torch.distributed.broadcast_object_list(port)
    torch.distributed.destroy_process_group()
    os.environ.update(MASTER_PORT=str(port[0]), TORCHELASTIC_USE_AGENT_STORE="False")


def run_jobs(folder):
    """Run every job."""
    rank = int(os.environ["RANK"])
    for job in (command_jobs, training_job, resuming_job, metrics_job):
        job(folder, rank)
        _leave_group()
