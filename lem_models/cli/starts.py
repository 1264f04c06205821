"""Options for tables of orders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lem_models.guard.settings import Settings

__all__ = ["ORDERS", "StartOptions"]

ORDERS = "Table of orders: .csv, .parquet or .json."
"""Help of options that name a table of orders."""


class StartOptions(Settings):
    """What happens to starts inside a bar."""

    starts: Literal["next", "exact"] = Field(
        "next",
        description="Orders that start inside a bar or while the market is closed: next moves them to the next bar, "
        "exact refuses them.",
    )
