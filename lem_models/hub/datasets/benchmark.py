"""``eval.yaml``: what makes a data set a benchmark of the Hub, with a leaderboard over the models that name it.

The Hub reads from it the name of the benchmark and its tasks; results of models name a task
(:mod:`lem_models.hub.models.eval_results`). It adds a data set to its list of benchmarks on request. No framework is
named: the Hub's list has none that executes orders, and ``lem benchmark`` measures.
"""

from __future__ import annotations

import yaml

from lem_models.hub.models.benchmark_tasks import benchmark_tasks
from lem_models.hub.models.registry import zoo_market

__all__ = ["EVAL_NAME", "eval_file"]

EVAL_NAME = "eval.yaml"


def eval_file(market: str, split: str) -> bytes:
    """The file for a market of the zoo.

    Args:
        market: Name of the market.
        split: Split that is measured on.

    Raises:
        UnknownNameError: No market of the zoo has this name, or no bundled model was measured on it.
    """
    tasks = benchmark_tasks(market)
    content = {
        "name": f"Order execution: {zoo_market(market).title}",
        "description": (
            "Orders executed bar by bar. improvement_minM_of_N: orders of M to N bars, mean improvement over the VWAP "
            "of the bars taken, in bar volatilities, higher is better; it includes the value of the option to end. "
            "tracking_N: orders of N bars, standard deviation of the slippage over TWAP's, lower is better. "
            "Measured by `lem benchmark` of the package lem_models."
        ),
        "tasks": [{"id": task, "config": "default", "split": split} for task in tasks],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100).encode()
