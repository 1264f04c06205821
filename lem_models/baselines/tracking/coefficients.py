"""Numbers of the tracking policies by duration and share of it elapsed, and the JSON file that holds them.

Both are corrections of a schedule. They are stored for some durations at the shares ``j / knots`` of each, and
interpolated: linearly in the share elapsed, and in the log of the duration. The correction fades to 0 at both ends.
"""

from __future__ import annotations

import math
import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from lem_models.baselines.tracking.features import NAMES
from lem_models.baselines.tracking.kinds import KINDS
from lem_models.errors import ConfigError
from lem_models.guard.output import check_folder, to_json
from lem_models.guard.settings import Settings
from lem_models.guard.text import read_json

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "FILE",
    "SHIPPED",
    "Coefficients",
    "DurationTable",
    "check_target",
    "knot_count",
    "knot_weights",
    "rounded",
    "shipped_coefficients",
]

FILE = "convex.json"
"""Name of the file in its folder."""

SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the shipped numbers, one folder for each of the kinds of bars."""

_MODEL = "config.json"
_MOST_KNOTS = 12
_MOST_BYTES = 1 << 22
_LARGEST = 1e3  # a fraction of the order per unit of a feature; real ones are below 1
_DIGITS = 6

Floats = npt.NDArray[np.float64]


def knot_count(periods: int) -> int:
    """Intervals between knots of a duration: one for each period, at most 12."""
    return min(periods, _MOST_KNOTS)


def knot_weights(elapsed: float, knots: int) -> Floats:
    """Weights of linear interpolation between the coefficients at ``1/knots, ..., (knots - 1)/knots``, [knots - 1].

    At both ends the coefficients are 0: nothing and everything has been traded.

    Args:
        elapsed: Share of the duration at the end of the period, from 0 to 1.
        knots: Intervals between knots.
    """
    return np.asarray(np.maximum(1 - np.abs(elapsed * knots - np.arange(1, knots)), 0.0))


class DurationTable(Settings):
    """Coefficients of one duration."""

    periods: int = Field(ge=2, le=10_000, description="The duration.")
    ridge: float = Field(ge=0, allow_inf_nan=False, description="Strength of the penalty.")
    curve: tuple[float, ...] = Field(description="Corrections of the even pace by knot: the back-loaded curve.")
    values: tuple[tuple[float, ...], ...] = Field(description="Coefficients of the convex policy by knot and feature.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        rows = knot_count(self.periods) - 1
        if len(self.values) != rows or any(len(row) != len(NAMES) for row in self.values):
            raise ValueError(f"values must be {rows} rows of {len(NAMES)} coefficients")
        if len(self.curve) != rows:
            raise ValueError(f"curve must be {rows} numbers")
        if not all(abs(value) <= _LARGEST for row in (self.curve, *self.values) for value in row):  # False for NaN
            raise ValueError(f"a coefficient is not a number up to {_LARGEST:g}")
        return self


class Coefficients(Settings):
    """Numbers of both policies for bars of one length."""

    refusal: ClassVar[str] = "coefficients refused"

    schema_version: Literal[1] = 1
    frequency: str = Field(pattern=r"^[0-9]{0,12}(s|min|h|D)$", description="Length of the bars, e.g. 1h.")
    huber: float = Field(gt=0, allow_inf_nan=False, description="Threshold of the loss, in bar volatilities.")
    train_end: str | None = Field(None, max_length=40, description="Orders of the fit end before.")
    validation_end: str | None = Field(None, max_length=40, description="Orders that chose the ridge end before.")
    features: tuple[str, ...] = Field(NAMES, description="Names of the features, in order.")
    tables: tuple[DurationTable, ...] = Field(min_length=1, max_length=100, description="By rising duration.")

    @field_validator("features")
    @classmethod
    def _known(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        if features != NAMES:
            raise ValueError("these are not the features of this version: fit the policy again (lem fit-convex)")
        return features

    @field_validator("tables")
    @classmethod
    def _rising(cls, tables: tuple[DurationTable, ...]) -> tuple[DurationTable, ...]:
        durations = [table.periods for table in tables]
        if durations != sorted(set(durations)):
            raise ValueError(f"durations must rise; got {durations[:20]}")
        return tables

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """The coefficients in a folder.

        Raises:
            ConfigError: There is no such file, it is damaged, or a value breaks a rule.
        """
        path = Path(folder) / FILE
        try:
            content = read_json(path, _MOST_BYTES)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from None
        return cls.parse(content, f"{path} is refused")

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write them into a folder, whole or not at all; returns the file.

        Raises:
            ConfigError: The folder holds a model, or the file cannot be written.
        """
        check_target(folder)
        return to_json(self.model_dump(mode="json"), Path(folder) / FILE)

    def at(self, period: int, periods: int) -> Floats:
        """Coefficients of the convex policy in a period of orders of one duration, [features].

        Outside of the durations stored the nearest one holds.
        """
        return self._interpolated(period, periods)[1:]

    def curve_at(self, period: int, periods: int) -> float:
        """Fraction that the back-loaded curve has traded up to and including a period of orders of one duration."""
        elapsed = min((period + 1) / periods, 1.0)
        return elapsed + float(self._interpolated(period, periods)[0])

    def _interpolated(self, period: int, periods: int) -> Floats:
        """The curve and the coefficients, [1 + features]."""
        elapsed = min((period + 1) / periods, 1.0)
        durations = [math.log(table.periods) for table in self.tables]
        place = float(np.interp(math.log(periods), durations, np.arange(len(durations))))
        low, share = int(place), place - int(place)
        values = self._of_table(low, elapsed)
        return values if share == 0 else (1 - share) * values + share * self._of_table(low + 1, elapsed)

    def _of_table(self, number: int, elapsed: float) -> Floats:
        knots = knot_count(self.tables[number].periods)
        return np.asarray(knot_weights(elapsed, knots) @ self._arrays[number])

    @cached_property
    def _arrays(self) -> list[Floats]:
        """The curve and the coefficients of each table, [knots - 1, 1 + features]."""
        return [np.column_stack([table.curve, np.array(table.values)]) for table in self.tables]


def check_target(folder: str | os.PathLike[str]) -> None:
    """Refuse, before any compute, a folder that cannot be written, or whose path is already the name of a model.

    Raises:
        ConfigError: See above.
    """
    check_folder(folder)
    if (Path(folder) / _MODEL).exists():
        raise ConfigError(f"the folder {os.fspath(folder)} holds a model ({_MODEL}); name another one for {FILE}")


def rounded(values: npt.ArrayLike) -> tuple[tuple[float, ...], ...]:
    """A table of coefficients with the digits that count, for the file."""
    return tuple(tuple(float(f"{value:.{_DIGITS}g}") for value in row) for row in np.asarray(values))


@lru_cache
def shipped_coefficients() -> tuple[Coefficients, ...]:
    """The shipped numbers of every kind of bars, as :data:`~lem_models.baselines.tracking.kinds.KINDS`."""
    return tuple(Coefficients.read(SHIPPED / kind) for kind in KINDS)
