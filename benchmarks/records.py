"""Records: what a benchmark measured, as a JSON file.

Numbers have few digits, and a table has one line per row, so that files stay small and diffs legible. The record that
``benchmarks/zoo.py`` writes for one market has a head (market, data, period, unseen assets, command) and ``runs``, one
per maximum duration, each with four tables: ``comparison`` (every policy), ``differences`` (models minus policies,
order by order), ``null`` (option value, and what is above the null) and ``tracking`` (ratios of standard deviations at
the fixed duration). Newer records also have ``tracking_errors`` (every measure of the errors at the fixed duration) and
a test in each unit: in older ones ``p_value`` and ``p_holm`` are of the differences in bps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.evaluation.prices import PriceImprovement
from lem_models.guard.output import Json, is_missing, write_text
from lem_models.guard.text import read_json
from lem_models.report.capacity import HEADLINE_SIZE

Row: TypeAlias = Mapping[str, Any]
"""A row of a table: numbers by the name of the column."""

Assets: TypeAlias = Literal["all", "seen", "unseen"]
"""All assets of a market, those that a model may have been trained on, or those withheld from it."""

DIGITS = 6
_HEAD = ("command", "market", "data", "period", "unseen_assets", "split", "runs")
_TABLES = (
    *("comparison", "differences", "tracking"),
    *("null", "information", "placebos", "tracking_errors", "capacity"),
)
_RUN = ("max_periods", "settings", "orders", "volatility_bps", *_TABLES)


# --- writing ---------------------------------------------------------------------------------------------------------


def plain(value: object) -> Json:
    """Content in the types that JSON knows: tables as rows, floats with six digits, what is missing as null."""
    if is_missing(value):
        return None
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}")
    return str(value)


def record_text(content: Mapping[str, Any]) -> str:
    """JSON text: what holds no table is on one line, a table has a line per row."""
    return _indented(plain(content), "") + "\n"


def write_record(content: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a record, complete or not at all."""
    return write_text(path, record_text(content))


def _indented(value: Json, margin: str) -> str:
    inner = margin + " "
    if isinstance(value, dict) and any(_is_table(item) or isinstance(item, dict) for item in value.values()):
        items = [f"{json.dumps(key)}: {_indented(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + f"\n{margin}}}"
    if _is_table(value):
        return "[\n" + ",\n".join(inner + _indented(item, inner) for item in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _is_table(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordedRun:
    """The orders of one maximum duration.

    Attributes:
        content: The run as recorded.
    """

    content: Mapping[str, Any]

    @property
    def max_periods(self) -> int:
        """Maximum duration of the orders."""
        return int(self.content["max_periods"])

    @property
    def minima(self) -> tuple[int, ...]:
        """Minimum durations, ascending."""
        return tuple(sorted({int(row["min_periods"]) for row in self.content["comparison"]}))

    @property
    def flexible(self) -> tuple[int, ...]:
        """Minimum durations that leave the end free."""
        return tuple(minimum for minimum in self.minima if minimum < self.max_periods)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of every policy, in the order of the record."""
        return tuple(dict.fromkeys(str(row["policy"]) for row in self.content["comparison"]))

    def row(self, policy: str, minimum: int, assets: Assets = "all") -> Row | None:
        """What a policy earned; ``None`` if that is not recorded."""
        return self._row("comparison", policy=policy, min_periods=minimum, assets=assets)

    def difference(self, model: str, policy: str, minimum: int, assets: Assets = "all") -> Row | None:
        """A model minus another policy, order by order."""
        return self._row("differences", model=model, policy=policy, min_periods=minimum, assets=assets)

    def null(self, model: str, minimum: int, assets: Assets = "all") -> Row | None:
        """Option value of a policy, and what it earns above the null."""
        return self._row("null", policy=model, min_periods=minimum, assets=assets)

    def tracking(self, model: str, policy: str, assets: Assets = "all") -> Row | None:
        """Standard deviation of a model over that of a policy at the fixed duration."""
        return self._row("tracking", model=model, policy=policy, assets=assets)

    def tracking_errors(self, model: str, policy: str, assets: Assets = "all") -> list[Row]:
        """Every measure of the errors of a model beside those of a policy."""
        return self.rows("tracking_errors", policy=model, against=policy, assets=assets)

    def capacity_rows(self, policy: str, minimum: int) -> list[Row]:
        """Rows of the capacity curve at 1 %, one per price; empty at minima without a curve."""
        return self.rows("capacity", policy=policy, min_periods=minimum, size=HEADLINE_SIZE)

    def prices(self, policy: str, minimum: int) -> list[PriceImprovement]:
        """Improvement of a policy against each price, gross and net at 1 %; empty at minima without a curve."""
        return [PriceImprovement.of(row) for row in self.capacity_rows(policy, minimum)]

    def rows(self, table: str, **keys: object) -> list[Row]:
        """Rows of a table with some values, by minimum duration; none of a table that the run lacks."""
        chosen = [
            row for row in self.content.get(table, ()) if all(row.get(key) == value for key, value in keys.items())
        ]
        return sorted(chosen, key=lambda row: int(row["min_periods"]))

    def _row(self, table: str, **keys: object) -> Row | None:
        return next(iter(self.rows(table, **keys)), None)


@dataclass(frozen=True)
class MarketRecord:
    """A record of ``benchmarks/zoo.py``: several models and every baseline in one market.

    Attributes:
        content: The record as read.
        file: Name of its file.
    """

    content: Mapping[str, Any]
    file: str

    @property
    def market(self) -> str:
        """Key of the market in the zoo."""
        return str(self.content["market"])

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """Its runs: headlines are of the first one."""
        return tuple(RecordedRun(run) for run in self.content["runs"])

    @property
    def is_test(self) -> bool:
        """Whether its period was used neither in training nor in any choice."""
        return bool(self.content["split"] == "test")

    @property
    def is_reduced(self) -> bool:
        """Whether it has fewer orders or draws than by default."""
        return bool(self.content.get("reduced"))

    def check_weights(self, model: str, sha256: str) -> None:
        """See :func:`check_weights`."""
        check_weights(self.content, self.file, model, sha256)


def check_weights(record: Mapping[str, Any], file: str, model: str, sha256: str) -> None:
    """Refuse a record, of whatever kind, that was measured with other weights.

    Args:
        record: The record, with its ``command``, and where it names them its ``weights`` by model.
        file: Name of its file.
        model: Name of the model.
        sha256: Hash of the bundled weights.

    Raises:
        ConfigError: If the record names the weights that it measured and these are others.
    """
    measured = record.get("weights", {}).get(model, sha256)
    if measured != sha256:
        raise ConfigError(
            f"{file} was measured with other weights of {model} (SHA-256 {str(measured)[:12]}..., "
            f"bundled are {sha256[:12]}...); run it again: {record['command']}"
        )


def read_market_record(path: Path) -> MarketRecord:
    """Read a record of ``benchmarks/zoo.py``.

    Raises:
        ConfigError: If the file cannot be read, or a field is missing; the message names file and field.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the record {path.name}: {error}") from None
    _require(content, _HEAD, path.name)
    if not content["runs"]:
        raise ConfigError(f"the record {path.name} has no runs")
    for number, run in enumerate(content["runs"]):
        _require(run, _RUN, f"{path.name}, run {number}")
    return MarketRecord(content, path.name)


def _require(content: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in content]
    if missing:
        raise ConfigError(f"the record {where} lacks {', '.join(missing)}")
