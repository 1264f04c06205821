"""Policies by name."""

from __future__ import annotations

import logging
from pathlib import Path

from lem_models.baselines.almgren_chriss import AlmgrenChriss
from lem_models.baselines.dynamic_volume_curve import DynamicVolumeCurve
from lem_models.baselines.kalman_volume import KalmanVolume
from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz
from lem_models.baselines.oracle_vwap import OracleVWAP
from lem_models.baselines.schedules import TWAP, VolumeCurve
from lem_models.baselines.stopping_rule import StoppingRule
from lem_models.errors import UnknownNameError
from lem_models.execution.policy import Policy

__all__ = ["bound_names", "load_policy", "policy_names"]

_POLICIES: dict[str, type[Policy]] = {
    "twap": TWAP,
    "volume_curve": VolumeCurve,
    "dynamic_volume_curve": DynamicVolumeCurve,
    "kalman_volume": KalmanVolume,
    "almgren_chriss": AlmgrenChriss,
    "stopping_rule": StoppingRule,
    "longstaff_schwartz": LongstaffSchwartz,
}
_BOUNDS: dict[str, type[Policy]] = {"oracle_vwap": OracleVWAP}


def policy_names() -> list[str]:
    """Names of the classical policies that can be executed."""
    return list(_POLICIES)


def bound_names() -> list[str]:
    """Names of the bounds: benchmarks compute them, nobody can execute them."""
    return list(_BOUNDS)


def load_policy(name: str) -> Policy:
    """A policy by name: a classical one, or a model as :meth:`LEMModel.from_pretrained` finds it.

    A bound (:func:`bound_names`) comes with a warning, and ``executable`` is ``False``.

    Raises:
        UnknownNameError: naming the closest known policies.

    Example:
        >>> load_policy("twap").horizon is None
        True
    """
    if name in _POLICIES:
        return _POLICIES[name]()
    if name in _BOUNDS:
        logging.getLogger("lem_models").warning(
            "%s is a bound, not a policy: it sees what no order can know, and only benchmarks compute it", name
        )
        return _BOUNDS[name]()
    from lem_models.hub.models.zoo import list_models

    if name in list_models() or "/" in name or Path(name).is_dir():
        from lem_models.modeling.model import LEMModel

        return LEMModel.from_pretrained(name)
    raise UnknownNameError.among("policy", name, [*_POLICIES, *_BOUNDS, *list_models()])
