"""Policies by name: models, baselines, and the user's own from a Python file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field

from lem_models.cli.options import Completed
from lem_models.cli.output import note
from lem_models.errors import ConfigError
from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.execution.policy import Policy
    from lem_models.markets.bars import Bars

__all__ = [
    "ANY_FREQUENCY",
    "BASELINES",
    "BundledName",
    "ModelOptions",
    "PolicyName",
    "PolicyNames",
    "comma_separated",
    "fitting_model",
    "named_policies",
    "named_policy",
]

BASELINES = ("twap", "volume_curve", "stopping_rule")
"""Default policies to compare a model with."""


ANY_FREQUENCY = "Also run a model on bars of a length that it was not trained on."
"""Help of ``--any-frequency``."""


def _bundled_names() -> list[str]:
    from lem_models.hub.models.registry import bundled_names

    return bundled_names()


def _policy_names() -> list[str]:
    from lem_models.baselines import list_policies

    return [*_bundled_names(), *list_policies()]


BundledName: TypeAlias = Annotated[str, Completed(_bundled_names)]
"""A model by name, folder or Hub id; the shell completes bundled names."""

PolicyName: TypeAlias = Annotated[str, Completed(_policy_names)]
"""A policy by name; the shell completes it."""

PolicyNames: TypeAlias = Annotated[str, Completed(_policy_names)]
"""Policies by name, comma-separated; the shell completes the last one."""


class ModelOptions(Settings):
    """The model under test."""

    model: PolicyName | None = Field(
        None,
        description="Bundled name, folder, Hub id, baseline, or your own policy as file.py:Name; default the bundled "
        "model that fits the bars (see `lem list`).",
    )
    any_frequency: bool = Field(False, description=ANY_FREQUENCY)


def comma_separated(text: str) -> tuple[str, ...]:
    """Split the value of an option at its commas.

    Example:
        >>> comma_separated("twap, volume_curve,")
        ('twap', 'volume_curve')
    """
    return tuple(value.strip() for value in text.split(",") if value.strip())


def named_policy(name: str) -> Policy:
    """Load a policy by name, or the user's own from a Python file, ``file.py:Name``. The file is run.

    Raises:
        UnknownNameError: No policy, no model and no folder has this name; the error names the closest ones.
        ConfigError: There is no such file, or the file does not define the name.
    """
    from lem_models.baselines import load_policy

    file, _, attribute = name.rpartition(":")
    if not file.endswith(".py"):
        return load_policy(name)
    spec = importlib.util.spec_from_file_location("users_policy", file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ConfigError(f"there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    policy: Any = getattr(module, attribute, None)
    if policy is None:
        raise ConfigError(f"{file} defines no {attribute!r}")
    return policy() if isinstance(policy, type) else policy  # type: ignore[no-any-return]


def named_policies(names: Iterable[str]) -> dict[str, Policy]:
    """Load policies, keyed by the last part of their names: ``mine`` of ``org/mine`` and of ``file.py:mine``."""
    return {Path(name).name.rpartition(":")[2]: named_policy(name) for name in names}


def fitting_model(bars: Bars) -> str:
    """Choose the bundled model that fits the bars; a note names it."""
    from lem_models.hub.models.zoo import model_for
    from lem_models.markets.calendar.frequency import clock

    model = model_for(bars)
    length = clock(bars.frequency)
    note(f"model: {model}, the bundled one for bars of {length} (--model chooses another)")
    return model
