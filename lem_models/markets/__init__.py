"""What the market did: bars, their calendars, and simulated ones. Importing it does not import torch."""

from lem_models.markets.bars import Bars
from lem_models.markets.calendar.kinds import Calendar
from lem_models.markets.storage.writer import BarsWriter, store_bars

__all__ = ["Bars", "BarsWriter", "Calendar", "store_bars"]
