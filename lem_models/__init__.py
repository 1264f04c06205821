"""Large Execution Models: policies that decide, bar by bar, how much of an order to trade and when to finish.

    from lem_models import Bars, LEMModel, Order, execute

    bars = Bars.sample("us-index-daily")
    model = LEMModel.from_pretrained("lem-dow-daily")
    result = execute(model, bars, Order.sample(bars, every=20, start="2017-01-01"))
    print(result.summary())

The names below are the public ones. They resolve on first use (PEP 562), so `import lem_models` costs milliseconds: it
loads neither torch nor pandas. The block under TYPE_CHECKING tells editors and type checkers the same; a test keeps
both in step with `__all__`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = [
    "TKAN",
    "AllocationHead",
    "Bars",
    "Benchmark",
    "CostModel",
    "Decision",
    "LEMBackbone",
    "LEMConfig",
    "LEMError",
    "LEMModel",
    "Order",
    "Side",
    "Target",
    "__version__",
    "execute",
    "list_heads",
    "list_models",
    "list_policies",
    "list_samples",
    "load_policy",
    "register_head",
    "register_policy",
    "synthetic_bars",
]

_MODULE_OF = {
    "AllocationHead": "lem_models.modeling.heads",
    "Bars": "lem_models.markets.bars",
    "Benchmark": "lem_models.orders",
    "CostModel": "lem_models.execution.costs",
    "Decision": "lem_models.execution.records",
    "LEMBackbone": "lem_models.modeling.backbone",
    "LEMConfig": "lem_models.modeling.config",
    "LEMError": "lem_models.errors",
    "LEMModel": "lem_models.modeling.model",
    "Order": "lem_models.orders",
    "Side": "lem_models.orders",
    "TKAN": "lem_models.modeling.layers.tkan",
    "Target": "lem_models.orders",
    "execute": "lem_models.execution.execute",
    "list_heads": "lem_models.modeling.heads",
    "list_models": "lem_models.hub.models.zoo",
    "list_policies": "lem_models.baselines",
    "list_samples": "lem_models.markets.samples",
    "load_policy": "lem_models.baselines",
    "register_head": "lem_models.modeling.heads",
    "register_policy": "lem_models.baselines",
    "synthetic_bars": "lem_models.markets.synthetic",
}

if TYPE_CHECKING:
    from lem_models.baselines import list_policies, load_policy, register_policy
    from lem_models.errors import LEMError
    from lem_models.execution.costs import CostModel
    from lem_models.execution.execute import execute
    from lem_models.execution.records import Decision
    from lem_models.hub.models.zoo import list_models
    from lem_models.markets.bars import Bars
    from lem_models.markets.samples import list_samples
    from lem_models.markets.synthetic import synthetic_bars
    from lem_models.modeling.backbone import LEMBackbone
    from lem_models.modeling.config import LEMConfig
    from lem_models.modeling.heads import AllocationHead, list_heads, register_head
    from lem_models.modeling.layers.tkan import TKAN
    from lem_models.modeling.model import LEMModel
    from lem_models.orders import Benchmark, Order, Side, Target


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute can be anything)
    """Import the module behind a public name the first time the name is used."""
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value  # the next look-up finds it without coming here
        return value
    message = f"module 'lem_models' has no attribute {name!r}"
    if not name.startswith("_"):  # tools probe for private names: nobody reads that message
        from difflib import get_close_matches

        close = get_close_matches(name, __all__, n=1, cutoff=0.6)
        message += (f"; did you mean {close[0]!r}?" if close else "") + f" Public names: {', '.join(__all__)}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """Names for completion: the public ones, whether they have been used yet or not."""
    return sorted({*globals(), *__all__})
