"""Evaluation results in the Hub's format, ``.eval_results/<market>.yaml``.

Such a file names a data set on the Hub that is a registered benchmark, and a task that this data set defines. The
markets of the zoo have no such data set. So the files are made only for markets for which the publisher names one. The
card's ``model-index`` always has the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lem_models.errors import ConfigError
from lem_models.guard.text import read_json, shown
from lem_models.hub.models.benchmark_tasks import improvement_task, tracking_task
from lem_models.hub.names import METRICS_NAME

__all__ = ["eval_results", "parse_eval_data"]

_TARGET = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[0-9a-f]{40}))?")


def parse_eval_data(given: list[str]) -> dict[str, str]:
    """Parse ``MARKET=org/data`` or ``MARKET=org/data@commit`` from the command line.

    Raises:
        ConfigError: when a text has another form.
    """
    parsed = {}
    for text in given:
        market, _, target = text.partition("=")
        if not market or not _TARGET.fullmatch(target):
            raise ConfigError(f"--eval-data takes MARKET=org/data or MARKET=org/data@commit; got {text!r}")
        parsed[market] = target
    return parsed


def eval_results(folder: Path, weights: str, eval_data: Mapping[str, str]) -> tuple[dict[str, bytes], list[str]]:
    """The result files of a model folder.

    Args:
        folder: Folder with ``metrics.json``.
        weights: SHA-256 of the weights that are published.
        eval_data: Benchmark data set by market: ``org/data``, or ``org/data@commit``. Its tasks are those of
            :mod:`~lem_models.hub.models.benchmark_tasks`.

    Returns:
        Content by path in the repository, and notes on what was left out and why.

    Raises:
        ConfigError: when the model was not measured on a named market, or the numbers are of other weights.
    """
    path = folder / METRICS_NAME
    if not path.is_file():
        if eval_data:
            raise ConfigError(f"{folder} has no {METRICS_NAME}, so there are no results for {', '.join(eval_data)}")
        return {}, ["no .eval_results: the folder has no measured results"]
    try:
        metrics = read_json(path)
        if metrics["weights_sha256"] != weights:
            raise ConfigError(f"{path} was measured with other weights than those to be published: measure again")
        measured: dict[str, Mapping[str, Any]] = {each["market"]: each for each in metrics["evaluations"]}
        unknown = sorted(set(eval_data) - set(measured))
        if unknown:
            raise ConfigError(
                f"the model was not measured on {', '.join(unknown)}; measured: {', '.join(map(shown, measured))}"
            )
        files = {
            f".eval_results/{market}.yaml": yaml.safe_dump(
                _entries(measured[market], target, weights), sort_keys=False, allow_unicode=True
            ).encode()
            for market, target in sorted(eval_data.items())
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    without = [market for market in measured if market not in eval_data]
    notes = [
        f"no .eval_results for {market}: no benchmark data set on the Hub is named for it "
        f"(--eval-data {market}=org/data)"
        for market in without
    ]
    return files, notes


def _entries(evaluation: Mapping[str, Any], target: str, weights: str) -> list[dict[str, Any]]:
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    match = _TARGET.fullmatch(target)
    if match is None:
        raise ConfigError(f"a benchmark data set is named as org/data or org/data@commit; got {target!r}")
    about = f"{evaluation['split']} {evaluation['start']} to {evaluation['end']}; weights {weights[:12]}"
    entries = []

    def add(task: str, value: float, notes: str) -> None:
        entries.append(
            EvalResultEntry(
                dataset_id=match["id"],
                dataset_revision=match["revision"],
                task_id=task,
                value=value,
                notes=f"{notes}; {about}",
            )
        )

    for orders in evaluation["runs"]:  # one entry per longest duration
        longest = orders["max_periods"]
        for row in orders["rows"]:
            interval = (
                f"95 % interval {row['low_vol']} to {row['high_vol']}, std {row['std_vol']}, {row['orders']} orders"
            )
            add(improvement_task(row["min_periods"], longest), row["mean_vol"], interval)
        for row in orders["tracking"]:
            if row["policy"] == "twap":
                add(tracking_task(longest), row["std_ratio_vol"], f"95 % interval {row['low']} to {row['high']}")
    return eval_result_entries_to_yaml(entries)
