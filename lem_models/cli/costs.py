"""Options for trading costs and sizes of orders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lem_models.errors import ConfigError
from lem_models.guard.settings import Settings
from lem_models.guard.text import shown

if TYPE_CHECKING:
    import pandas as pd

    from lem_models.execution.costs import CostModel
    from lem_models.markets.bars import Bars

__all__ = ["CostOptions", "read_sizes"]


class CostOptions(Settings):
    """Trading costs: those of a named model, of which each number can be replaced. Trading is free by default."""

    refusal: ClassVar[str] = "costs refused"

    cost_model: str | None = Field(
        None, description="Costs by name: none, crypto, crypto_retail or us_equity. The following options replace some."
    )
    half_spread: str | None = Field(
        None,
        description="Cost: half of the spread, in bps; or corwin_schultz or abdi_ranaldo, estimated from the bars.",
    )
    fee: float | None = Field(None, description="Cost: fees, in bps.")
    impact: float | None = Field(
        None, description="Cost: factor Y of the impact Y * bar volatility * sqrt(participation)."
    )
    order_size: str | None = Field(
        None, description="Size of orders without an amount: a part of the expected volume, as 0.01 or 1%."
    )

    def costs(
        self, bars: Bars | None = None, *, default: str = "none", before: str | pd.Timestamp | None = None
    ) -> CostModel | None:
        """The cost model; ``None`` if trading is free and no size is given.

        Args:
            bars: Bars that the spread may be estimated from; ``None`` where costs cannot depend on the symbol.
            default: Name of the cost model if none is given.
            before: Only bars that have closed by then are read for it; all bars if none has.

        Raises:
            ConfigError: A cost is out of its range, or the spread is to be estimated and there are no bars.
            UnknownNameError: There is no such cost model or estimator.
            BarsError: A symbol has too few bars to estimate its spread.
        """
        from lem_models.execution.costs import CostModel, cost_model

        values: dict[str, Any] = cost_model(self.cost_model or default).model_dump()
        values |= self._spread(bars, before)
        values |= {"fee_bps": self.fee} if self.fee is not None else {}
        values |= {"impact": self.impact} if self.impact is not None else {}
        if self.order_size is not None:
            values["order_size"] = _part(self.order_size, "--order-size")
        costs = CostModel(**values)
        return None if costs == CostModel() else costs

    def _spread(self, bars: Bars | None, before: str | pd.Timestamp | None) -> dict[str, Any]:
        """Half-spread of the option, as settings of a cost model."""
        if self.half_spread is None:
            return {}
        try:
            return {"half_spread_bps": float(self.half_spread)}
        except ValueError:
            pass
        if bars is None:
            raise ConfigError(f"--half-spread is a number of bps here; got {shown(self.half_spread)}")
        import pandas as pd

        from lem_models.execution.costs import half_spreads_bps

        moment = None if before is None else pd.Timestamp(before)
        if moment is not None:
            moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment
            if moment.value <= bars.timestamp.min():
                moment = None
        return {"half_spread_bps": 0.0, "half_spreads_bps": half_spreads_bps(bars, self.half_spread, before=moment)}


def read_sizes(text: str, option: str = "--sizes") -> tuple[float, ...]:
    """Sizes of orders: parts of the expected volume, as fractions or per cent, comma-separated; ascending.

    Raises:
        ConfigError: One is not a number, negative or infinite; names the option.

    Example:
        >>> read_sizes("0, 10%,0.1 %,0.01")
        (0.0, 0.001, 0.01, 0.1)
    """
    return tuple(sorted({_part(part, option) for part in text.split(",") if part.strip()}))


def _part(text: str, option: str) -> float:
    number, percent, rest = text.strip().partition("%")
    try:
        # 0.1 % as a decimal number is 0.001, which 0.1 / 100 is not.
        size = float(f"{number.strip()}e-2" if percent else number)
    except ValueError:
        size = math.nan
    if rest or not 0 <= size < math.inf:
        raise ConfigError(f"{option} takes parts of the expected volume, as 0.01 or 1%; got {shown(text)}")
    return size
