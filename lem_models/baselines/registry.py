"""Policies by name: the classical ones, a user's own, and models.

A class becomes known by a decorator, and then every function and command that takes a policy takes its name::

    @register_policy("hasty")
    class Hasty(Policy):
        def decide(self, context, orders, state):
            return Decision(fraction=2.0 / orders.max_periods, finish=False)

    execute("hasty", bars, orders)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.execution.policy import Policy
from lem_models.guard.text import shown

__all__ = ["list_policies", "load_policy", "register_policy"]

PolicyType = TypeVar("PolicyType", bound=type[Any])
_POLICIES: dict[str, type[Any]] = {}
_FILES: dict[str, type[Any]] = {}
"""Classes whose objects are saved in folders, by the file that such a folder holds."""


def register_policy(name: str, *, file: str | None = None) -> Callable[[PolicyType], PolicyType]:
    """Class decorator that makes a policy known under a name.

    The class has a method ``decide`` (see :class:`~lem_models.execution.policy.Policy`) and is made without arguments.

    Args:
        name: Letters, digits and underscores, so that it is no name of a bundled model and no Hub id.
        file: File by which a folder is recognised that holds such a policy; the class method ``from_folder`` loads it.

    Raises:
        ConfigError: The name has other characters, or another class has it.
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise ConfigError(
            f"{shown(name)} cannot be the name of a policy: take letters, digits and underscores, not a digit first"
        )

    def register(cls: PolicyType) -> PolicyType:
        if _POLICIES.setdefault(name, cls) is not cls:
            raise ConfigError(f"policy {name!r} is already registered as {_POLICIES[name].__name__}")
        if file is not None:
            _FILES[file] = cls
        return cls

    return register


def list_policies() -> list[str]:
    """Names of the registered policies that can be executed, sorted; models are in ``list_models()``.

    Example:
        >>> "twap" in list_policies()
        True
    """
    return sorted(name for name, cls in _POLICIES.items() if getattr(cls, "executable", True))


def load_policy(name: str) -> Policy:
    """A policy by name: a registered one, the folder of one, or a model as :meth:`LEMModel.from_pretrained` takes it.

    A bound (``"oracle_vwap"``) is loaded with a warning: its ``executable`` is ``False``, and only benchmarks compute
    it.

    Raises:
        UnknownNameError: There is no such policy; names the closest ones and all known ones.
        ConfigError: The file in the folder is damaged.

    Example:
        >>> load_policy("twap").horizon is None
        True
    """
    if name in _POLICIES:
        policy = cast(Policy, _POLICIES[name]())
        if not getattr(policy, "executable", True):
            logging.getLogger("lem_models").warning(
                "%s is a bound, not a policy: it sees what no order can know, and only benchmarks compute it", name
            )
        return policy
    for file, cls in _FILES.items():
        if os.path.isfile(os.path.join(str(name), file)):  # False, and no error, for a name that is no path
            return cast(Policy, cls.from_folder(name))
    from lem_models.modeling.model import LEMModel

    try:
        return LEMModel.from_pretrained(name)
    except UnknownNameError as error:
        if not error.known:  # the name is right: a folder or a Hub repository that is not a model
            raise
        raise UnknownNameError.among("policy", name, [*_POLICIES, *error.known]) from None
