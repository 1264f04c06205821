"""Programmes: orders over days with rules of their own. :class:`BuybackProgramme` buys back shares."""

from lem_models.programmes.account import ProgrammeReport
from lem_models.programmes.backtest import ProgrammeBacktest
from lem_models.programmes.decision import DayDecision
from lem_models.programmes.programme import BuybackProgramme
from lem_models.programmes.terms import DailyCap

__all__ = ["BuybackProgramme", "DailyCap", "DayDecision", "ProgrammeBacktest", "ProgrammeReport"]
