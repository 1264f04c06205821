"""Evaluation records of the zoo: the JSON that ``benchmarks/zoo.py`` writes for one market, and how to read it.

A record has a head (market, data, period, unseen assets, command) and ``runs``, one per longest duration, each with
four tables: ``comparison`` (every policy), ``differences`` (models minus policies, order by order), ``null`` (option
and forecast value of the models) and ``tracking`` (ratios of standard deviations at the fixed duration).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lem_models.errors import ConfigError
from lem_models.guard.text import read_json

__all__ = ["Assets", "Evaluation", "Row", "Run", "check_weights", "read_evaluation"]

Row: TypeAlias = "Mapping[str, Any]"
"""A row of a table: numbers by the name of the column."""

Assets: TypeAlias = Literal["all", "seen", "unseen"]
"""All assets of a market, those a model may have been trained on, or those withheld from it."""

_HEAD = ("command", "market", "data", "period", "unseen_assets", "split", "runs")
_TABLES = ("comparison", "differences", "null", "tracking")
_RUN = ("max_periods", "settings", "orders", "volatility_bps", *_TABLES)


@dataclass(frozen=True)
class Run:
    """Orders of one longest duration.

    Attributes:
        content: The run as recorded.
    """

    content: Mapping[str, Any]

    @property
    def max_periods(self) -> int:
        """Longest duration of the orders."""
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
        return self._find("comparison", policy=policy, min_periods=minimum, assets=assets)

    def difference(self, model: str, policy: str, minimum: int, assets: Assets = "all") -> Row | None:
        """A model minus another policy, order by order."""
        return self._find("differences", model=model, policy=policy, min_periods=minimum, assets=assets)

    def null(self, model: str, minimum: int, assets: Assets = "all") -> Row | None:
        """Option and forecast value of a model."""
        return self._find("null", model=model, min_periods=minimum, assets=assets)

    def tracking(self, model: str, policy: str, assets: Assets = "all") -> Row | None:
        """Standard deviation of a model over that of a policy at the fixed duration."""
        return self._find("tracking", model=model, policy=policy, assets=assets)

    def _find(self, table: str, **keys: object) -> Row | None:
        return next((row for row in self.content[table] if all(row.get(k) == v for k, v in keys.items())), None)


@dataclass(frozen=True)
class Evaluation:
    """A record: several models and every baseline on one market.

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
    def runs(self) -> tuple[Run, ...]:
        """Its runs, as recorded: the first is the one that headlines are taken from."""
        return tuple(Run(run) for run in self.content["runs"])

    @property
    def is_test(self) -> bool:
        """Whether its period was used neither in training nor in any choice."""
        return bool(self.content["split"] == "test")

    def check_weights(self, model: str, sha256: str) -> None:
        """Refuse results of other weights.

        Raises:
            ConfigError: When the record names the weights that it measured and these are others.
        """
        check_weights(self.content, self.file, model, sha256)


def check_weights(record: Mapping[str, Any], file: str, model: str, sha256: str) -> None:
    """Refuse a record, of whatever kind, that was measured with other weights.

    Args:
        record: The record, with its ``command``, and where it names them its ``weights`` by model.
        file: Name of its file.
        model: Name of the model.
        sha256: Hash of the bundled weights.

    Raises:
        ConfigError: When the record names the weights that it measured and these are others.
    """
    measured = record.get("weights", {}).get(model, sha256)
    if measured != sha256:
        raise ConfigError(
            f"{file} was measured with other weights of {model} (SHA-256 {str(measured)[:12]}..., "
            f"bundled are {sha256[:12]}...); run it again: {record['command']}"
        )


def read_evaluation(path: Path) -> Evaluation:
    """Read a record.

    Raises:
        ConfigError: When the file cannot be read, or lacks a part; the message names file and part.
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
    return Evaluation(content, path.name)


def _require(content: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in content]
    if missing:
        raise ConfigError(f"the record {where} lacks {', '.join(missing)}")
