"""Policies by name."""

from __future__ import annotations

from pathlib import Path

from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz
from lem_models.baselines.schedules import TWAP, VolumeCurve
from lem_models.baselines.stopping_rule import StoppingRule
from lem_models.errors import UnknownNameError
from lem_models.execution.policy import Policy

__all__ = ["load_policy", "policy_names"]

_POLICIES: dict[str, type[Policy]] = {
    "twap": TWAP,
    "volume_curve": VolumeCurve,
    "stopping_rule": StoppingRule,
    "longstaff_schwartz": LongstaffSchwartz,
}


def policy_names() -> list[str]:
    """Names of the classical policies."""
    return list(_POLICIES)


def load_policy(name: str) -> Policy:
    """A policy by name: a classical one, or a model as :meth:`LEMModel.from_pretrained` finds it.

    Raises:
        UnknownNameError: naming the closest known policies.

    Example:
        >>> load_policy("twap").horizon is None
        True
    """
    if name in _POLICIES:
        return _POLICIES[name]()
    from lem_models.hub.registry import list_models

    if name in list_models() or "/" in name or Path(name).is_dir():
        from lem_models.modeling.model import LEMModel

        return LEMModel.from_pretrained(name)
    raise UnknownNameError.among("policy", name, [*_POLICIES, *list_models()])
