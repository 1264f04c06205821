"""The desk: live orders in units and money, from an event log."""

from lem_models.desk.decision import Decision
from lem_models.desk.desk import Desk
from lem_models.desk.feed import BarFeed, ChildDone, FeedRules, Fill, follow
from lem_models.desk.order import DeskOrder

__all__ = ["BarFeed", "ChildDone", "Decision", "Desk", "DeskOrder", "FeedRules", "Fill", "follow"]
