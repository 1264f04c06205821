"""Options for trading costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lem_models.guard.settings import Settings

if TYPE_CHECKING:
    from lem_models.execution.costs import CostModel

__all__ = ["CostOptions"]


class CostOptions(Settings):
    """Trading costs; all are zero by default."""

    half_spread: float = Field(0.0, description="Cost: half of the spread, in bps.")
    fee: float = Field(0.0, description="Cost: fees, in bps.")
    impact: float = Field(0.0, description="Cost: factor Y of the impact Y * bar volatility * sqrt(participation).")
    order_size: float | None = Field(
        None, description="Size of orders without an amount: a fraction of the expected volume."
    )

    def cost_model(self) -> CostModel | None:
        """The cost model; ``None`` if no option was given.

        Raises:
            ConfigError: A cost is out of its range.
        """
        from lem_models.execution.costs import CostModel

        costs = CostModel(
            half_spread_bps=self.half_spread, fee_bps=self.fee, impact=self.impact, order_size=self.order_size
        )
        return None if costs == CostModel() else costs
