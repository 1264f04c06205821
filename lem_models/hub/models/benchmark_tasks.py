"""Tasks of a market's benchmark: one for each duration of the orders that the models of the zoo were measured on.

The same names stand in ``eval.yaml`` of a benchmark data set, in ``.eval_results/`` of a model, and in the file of
results of all policies, ``benchmarks/results/leaderboard.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lem_models.errors import UnknownNameError
from lem_models.hub.models.registry import registry
from lem_models.hub.models.zoo import list_models

__all__ = ["benchmark_tasks", "improvement_task", "tracking_task"]


def improvement_task(minimum: int, longest: int) -> str:
    """Mean improvement over the order's own benchmark in bar volatilities; higher is better.

    Args:
        minimum: Minimum duration of the orders in periods.
        longest: Maximum duration.

    Example:
        >>> improvement_task(1, 12)
        'improvement_min1_of_12'
    """
    return f"improvement_min{minimum}_of_{longest}"


def tracking_task(longest: int) -> str:
    """Standard deviation of the slippage over TWAP's for orders of a fixed duration; lower is better.

    Args:
        longest: Duration of the orders in periods.

    Example:
        >>> tracking_task(12)
        'tracking_12'
    """
    return f"tracking_{longest}"


def benchmark_tasks(market: str) -> list[str]:
    """Names of the tasks of a market.

    Raises:
        UnknownNameError: No market of the zoo has this name, or no bundled model was measured on it.
    """
    measured = {evaluation["market"]: evaluation for evaluation in _evaluations()}
    if market not in measured:
        known = [name for name in registry().markets if name in measured]
        raise UnknownNameError.among("market with measured models", market, known)
    tasks = []
    for run in measured[market]["runs"]:
        longest = run["max_periods"]
        tasks += [improvement_task(row["min_periods"], longest) for row in run["rows"]]
        tasks.append(tracking_task(longest))
    return tasks


def _evaluations() -> Iterator[dict[str, Any]]:
    for model in list_models():
        yield from model.metrics.get("evaluations", ())
