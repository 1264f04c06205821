"""Configuration of a Large Execution Model: everything that its architecture needs, and nothing else.

A configuration is a JSON file with a ``schema_version``. It names heads and features from a registry and imports
nothing. Sizes are bounded, so a hostile file cannot ask for much memory.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from lem_models.errors import ConfigError
from lem_models.features.causal import FEATURES, SUPPORT
from lem_models.features.market import MAX_LOOKBACK
from lem_models.guard.settings import Settings
from lem_models.guard.text import parse_json, read_text, shown
from lem_models.guard.timestamps import Day
from lem_models.markets.calendar.frequency import clock, read_frequency
from lem_models.modeling.heads import list_heads
from lem_models.orders.rules import MAX_SESSIONS, Benchmark

__all__ = ["MAX_CONFIG_BYTES", "MAX_WEIGHTS", "ConfigFile", "LEMConfig"]

SCHEMA_VERSION: Literal[1] = 1
MAX_WEIGHTS = 1 << 28
"""Most weights of a model that is loaded; 1 GiB."""
MAX_CONFIG_BYTES = 1 << 18
"""Most bytes of a configuration file."""
_WEIGHTS_KEY = "weights_sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_HEAD_SETTINGS = 64
_MAX_HEAD_NUMBER = 1_000_000
# Keys of libraries that run the code of a repository.
_CODE = ("_target_", "auto_map", "code", "custom_code", "custom_pipelines", "remote_code", "trust_remote_code")
_Frequency = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 .:]{1,32}$")]


class LEMConfig(Settings):
    """Architecture of a model.

    Every size has a limit, so that an untrusted configuration cannot ask for much memory: ``horizon``
    512, ``warmup`` + ``block`` within the 256 bars that may be asked for, ``embedding_dim`` 256, ``hidden_size`` 2,048,
    ``tkan_layers`` 16, ``attention_heads`` 64, ``attention_window`` 4,096, numbers of ``head_config`` 1,000,000 (the
    built-in heads allow less). A model that is loaded has at most 268,435,456 weights.

    Args:
        schema_version: Version of this format.
        horizon: Longest order in periods.
        warmup: Bars that the backbone reads before its first context.
        block: Contexts of one pass of the backbone, in bars. Blocks are aligned to the market's grid, so the
            context of a bar does not depend on how much history was loaded.
        sessions: Sessions that the expected volumes of the head average; 0 for those that the lookback holds, see
            :attr:`~lem_models.execution.policy.Policy.sessions`.
        features: Names of the input features, in order.
        embedding_dim: Size of the embedding of one feature.
        hidden_size: Width of the backbone.
        encoder: Recurrent network of the backbone: ``"tkan"``, ``"gru"``, ``"lstm"``, or ``"none"`` for the gate
            and the attention alone.
        tkan_layers: Number of layers of the encoder, of any kind.
        attention_heads: Heads of the attention.
        attention_window: Bars that each bar attends to, itself included.
        dropout: Dropout in the backbone.
        head: Registered name of the allocation head.
        head_config: Settings of the head, checked by the head's own ``Config``.
        risk_aversion: Default for orders that name none.
        fixed_risk_aversion: Default for orders of a fixed duration (minimum = maximum): they have no option to end
            early and only track the benchmark.
        unseen_from: First day that was used neither in training nor in validation, by the frequency of the bars
            (``{"1h": "2024-01-01"}``); benchmarks start there by default.
        benchmarks: Benchmarks of the orders that the weights were trained on.
        impact: Factor of the square-root law of impact, in bar volatilities, by which orders with an amount are decided
            where an execution names no costs. ``None`` for weights that were trained without sizes: decisions then do
            not depend on the size.
        frequencies: Lengths of the bars that the weights were last trained on (``("1h",)``): bars of another length are
            refused unless they are asked for. Empty if they are not recorded.

    Raises:
        ConfigError: naming every field that is wrong.
    """

    model_config = ConfigDict(validate_default=True)
    refusal: ClassVar[str] = "configuration refused"

    schema_version: Literal[1] = 1
    horizon: int = Field(12, ge=1, le=512, strict=True)
    warmup: int = Field(64, ge=0, le=4096, strict=True)
    block: int = Field(64, ge=1, le=4096, strict=True)
    sessions: int = Field(0, ge=0, le=MAX_SESSIONS, strict=True)
    features: tuple[str, ...] = ()
    embedding_dim: int = Field(4, ge=1, le=256, strict=True)
    hidden_size: int = Field(32, ge=1, le=2048, strict=True)
    encoder: Literal["tkan", "gru", "lstm", "none"] = "tkan"
    tkan_layers: int = Field(2, ge=1, le=16, strict=True)
    attention_heads: int = Field(4, ge=1, le=64, strict=True)
    attention_window: int = Field(32, ge=1, le=4096, strict=True)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    head: str = "flexible"
    head_config: dict[str, Any] = Field(default_factory=dict)
    risk_aversion: float = Field(0.5, ge=0.0, le=100.0)
    fixed_risk_aversion: float = Field(2.0, ge=0.0, le=100.0)
    benchmarks: tuple[Benchmark, ...] = Field((Benchmark.VWAP, Benchmark.TWAP), min_length=1, max_length=16)
    impact: float | None = Field(None, ge=0.0, le=100.0)
    unseen_from: dict[_Frequency, Day] = Field(default_factory=dict, max_length=64)
    frequencies: tuple[_Frequency, ...] = Field((), max_length=64)

    @model_validator(mode="before")
    @classmethod
    def _without_code(cls, data: Any) -> Any:  # noqa: ANN401
        code = [name for name in _CODE if isinstance(data, dict) and name in data]
        if code:
            raise ValueError(f"the configuration names code ({', '.join(code)}): only the package's own code is run")
        return data

    @field_validator("features")
    @classmethod
    def _known_features(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in FEATURES]
        if unknown:
            raise ValueError(f"unknown features {shown(unknown)}")
        if len(set(names)) != len(names):
            raise ValueError("a feature occurs twice")
        return names or FEATURES

    @field_validator("frequencies")
    @classmethod
    def _lengths_of_bars(cls, frequencies: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(clock(read_frequency(frequency)) for frequency in frequencies))

    @field_validator("head")
    @classmethod
    def _known_head(cls, name: str) -> str:
        if name not in list_heads():
            raise ValueError(f"unknown head {shown(name)}; registered: {', '.join(list_heads())}")
        return name

    @field_validator("head_config")
    @classmethod
    def _small(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if len(settings) > _MAX_HEAD_SETTINGS:
            raise ValueError(f"a head has at most {_MAX_HEAD_SETTINGS} settings, not {len(settings)}")
        values: list[tuple[str, object]] = list(settings.items())
        for key, value in values:  # the list grows by nested values
            if isinstance(value, dict | list | tuple):
                values.extend((key, inner) for inner in (value.values() if isinstance(value, dict) else value))
            elif isinstance(value, int | float) and not abs(value) <= _MAX_HEAD_NUMBER:
                raise ValueError(f"{shown(key)} is {shown(value)}; the largest number is {_MAX_HEAD_NUMBER:,}")
        return settings

    @model_validator(mode="after")
    def _consistent(self) -> LEMConfig:
        if self.hidden_size % self.attention_heads:
            raise ValueError("hidden_size must be a multiple of attention_heads")
        if self.warmup + self.block + SUPPORT > MAX_LOOKBACK:
            raise ValueError(
                f"warmup + block + {SUPPORT} bars of features exceed the {MAX_LOOKBACK} bars that may be asked for"
            )
        return self

    @property
    def lookback(self) -> int:
        """Bars of gapless history that a decision depends on (the volume profile uses all that may be asked for)."""
        return MAX_LOOKBACK

    def first_unseen(self, frequency: str) -> date | None:
        """First day of bars of a frequency that was used neither in training nor in validation; ``None`` if unknown.

        For a frequency that the model was not trained on, it is the latest such day of all frequencies.
        """
        return self.unseen_from.get(frequency, max(self.unseen_from.values(), default=None))

    def to_json(self) -> str:
        """JSON text, stable key order."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    @classmethod
    def from_file(cls, path: str | Path) -> LEMConfig:
        """Read a configuration.

        Raises:
            ConfigError: when the file is too large, is not a JSON object, repeats a key, or breaks a rule.
        """
        return ConfigFile.read(path).config


@dataclass(frozen=True)
class ConfigFile:
    """The file ``config.json`` of a model folder.

    Attributes:
        config: The configuration.
        weights_sha256: SHA-256 (hexadecimal) of its file of weights; ``None`` if the file has none.
        text: The text of the file; empty if it was not read from one.
    """

    config: LEMConfig
    weights_sha256: str | None
    text: str = ""

    def to_json(self) -> str:
        """JSON text, stable key order."""
        content = self.config.model_dump(mode="json")
        version = {"schema_version": content.pop("schema_version")}
        named = {} if self.weights_sha256 is None else {_WEIGHTS_KEY: self.weights_sha256}
        return json.dumps(version | named | content, indent=2) + "\n"

    @classmethod
    def read(cls, path: str | Path) -> ConfigFile:
        """Read the file.

        Raises:
            ConfigError: when the file is too large, is not a JSON object, repeats a key, or breaks a rule.
        """
        path = Path(path)
        try:
            text = read_text(path, MAX_CONFIG_BYTES)
            data = parse_json(text)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path.name} is not a readable JSON file: {error}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{path.name} must hold a JSON object, not a {type(data).__name__}")
        if data.get("schema_version") != SCHEMA_VERSION:
            raise ConfigError(
                f"{path.name} has schema_version {shown(data.get('schema_version'))}; "
                f"this version of lem_models reads {SCHEMA_VERSION}"
            )
        named = data.pop(_WEIGHTS_KEY, None)
        if named is not None and not (isinstance(named, str) and _SHA256.fullmatch(named)):
            raise ConfigError(f"{path.name} has {_WEIGHTS_KEY} {shown(named)}, not a SHA-256 of 64 hexadecimal digits")
        return cls(LEMConfig(**data), named, text)
