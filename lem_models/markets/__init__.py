"""What the market did: bars, their calendars, and simulated ones. Importing it does not import torch."""

from lem_models.markets.bars import Bars
from lem_models.markets.calendar import Calendar

__all__ = ["Bars", "Calendar"]
