"""The model of the LEM paper as published, look-ahead included: for parity and for weights trained elsewhere.

Nothing here is a policy. The causal head with the same step-wise networks is
:mod:`lem_models.modeling.heads.paper`.
"""

from lem_models.modeling.paper.convert import from_arrays
from lem_models.modeling.paper.look_ahead import LookAheadPaperModel, PaperConfig
from lem_models.modeling.paper.loss import paper_loss, with_branches
from lem_models.modeling.paper.published_metrics import PAPER_METRICS, PaperMetrics

__all__ = [
    "PAPER_METRICS",
    "LookAheadPaperModel",
    "PaperConfig",
    "PaperMetrics",
    "from_arrays",
    "paper_loss",
    "with_branches",
]
