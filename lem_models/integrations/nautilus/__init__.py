"""Parent orders of NautilusTrader executed with any policy of this package; see docs/nautilus.md.

:class:`ChildLedger` needs nothing but this package. The other names need ``nautilus_trader`` 1.x:
``pip install 'lem-models[nautilus]'``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lem_models.errors import ConfigError
from lem_models.integrations.nautilus.core import ChildLedger, ChildOrder

if TYPE_CHECKING:
    from lem_models.integrations.nautilus.algorithm import LEMExecAlgorithm, LEMExecAlgorithmConfig
    from lem_models.integrations.nautilus.engine_data import engine_bars
    from lem_models.integrations.nautilus.fill_model import NextBarVwap

__all__ = ["ChildLedger", "ChildOrder", "LEMExecAlgorithm", "LEMExecAlgorithmConfig", "NextBarVwap", "engine_bars"]

_MODULE_OF = {
    "LEMExecAlgorithm": "algorithm",
    "LEMExecAlgorithmConfig": "algorithm",
    "NextBarVwap": "fill_model",
    "engine_bars": "engine_data",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("nautilus_trader") is None:
        raise ConfigError(
            f"{name} needs the package nautilus_trader, whose 1.x releases need pandas 2: pip install "
            "'lem-models[nautilus]', best into an environment of its own"
        )
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
