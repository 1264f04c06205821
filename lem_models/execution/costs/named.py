"""Named cost models: settings for a kind of market, each with where its numbers come from.

They are round numbers for liquid symbols and no measurement of yours: every number can be replaced. The half-spread can
be estimated from the bars (:mod:`lem_models.execution.costs.spreads`). The factor of the impact is 0.8 in all of them,
inside the range of 0.5 to 1 bar volatilities that is found across markets: Toth et al., "Anomalous price impact and the
critical nature of liquidity in financial markets", Physical Review X 1, 021006, 2011 (futures: about 1); Donier and
Bonart, "A million metaorder analysis of market impact on the Bitcoin", Market Microstructure and Liquidity 1, 2015 (the
same law in a market of small traders).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lem_models.errors import UnknownNameError
from lem_models.execution.costs.model import CostModel
from lem_models.markets.bars import Bars

__all__ = ["COST_MODELS", "NamedCostModel", "cost_model", "cost_model_for", "cost_model_name", "cost_model_of"]


@dataclass(frozen=True)
class NamedCostModel:
    """A row of :data:`COST_MODELS`.

    Attributes:
        costs: The settings; they name no size of orders.
        description: Market that they are for.
        source: Where half-spread and fee come from.
    """

    costs: CostModel
    description: str
    source: str


COST_MODELS: Mapping[str, NamedCostModel] = MappingProxyType(
    {
        "none": NamedCostModel(CostModel(), "trading is free", "definition: prices are gross"),
        "crypto": NamedCostModel(
            CostModel(half_spread_bps=1.0, fee_bps=2.0, impact=0.8),
            "liquid pairs of a large exchange, a desk with a fee discount",
            "fee: taker fee of the highest volume tiers of large exchanges, 2 to 3 bps; half-spread: an assumption, "
            "wider than the tick of the largest pairs",
        ),
        "crypto_retail": NamedCostModel(
            CostModel(half_spread_bps=1.0, fee_bps=10.0, impact=0.8),
            "liquid pairs of a large exchange, an account without a discount",
            "fee: 0.1 % of a trade, the regular fee on Binance spot; half-spread: as crypto",
        ),
        "us_equity": NamedCostModel(
            CostModel(half_spread_bps=1.0, fee_bps=0.5, impact=0.8),
            "large US shares and ETFs",
            "half-spread: half of one to two ticks of 0.01 USD (SEC Regulation NMS, Rule 612) at a price of 100 USD; "
            "fee: 0.005 USD a share (the fixed commission of Interactive Brokers) at that price",
        ),
    }
)
"""Named cost models by name."""


def cost_model(name: str) -> CostModel:
    """The settings of a named cost model.

    Raises:
        UnknownNameError: There is none of this name; the error lists the names.

    Example:
        >>> cost_model("crypto").fee_bps
        2.0
    """
    if name not in COST_MODELS:
        raise UnknownNameError.among("cost model", name, COST_MODELS)
    return COST_MODELS[name].costs


def cost_model_for(bars: Bars) -> str:
    """Name of the cost model for the market of some bars: ``crypto`` if it never closes, else ``us_equity``."""
    calendars = set(bars.calendar_names.values())
    return cost_model_of(calendars.pop()) if len(calendars) == 1 else "us_equity"


def cost_model_of(calendar: str) -> str:
    """Name of the cost model for a market with this calendar; see :func:`cost_model_for`."""
    return "crypto" if calendar == "24/7" else "us_equity"


def cost_model_name(costs: CostModel) -> str | None:
    """Name of the cost model with these settings, whatever the size of orders; ``None`` if none has them.

    Example:
        >>> cost_model_name(cost_model("crypto").at(0.01))
        'crypto'
    """
    unsized = costs.model_copy(update={"order_size": None})
    return next((name for name, each in COST_MODELS.items() if each.costs == unsized), None)
