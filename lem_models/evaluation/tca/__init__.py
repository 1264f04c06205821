"""Transaction cost analysis of real fills."""

from lem_models.evaluation.tca.analysis import TransactionCosts, analyse_fills
from lem_models.evaluation.tca.fills import Decisions, Fills, read_decisions, read_fills

__all__ = ["Decisions", "Fills", "TransactionCosts", "analyse_fills", "read_decisions", "read_fills"]
