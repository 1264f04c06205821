"""The desk: live orders in units and money, from an event log."""

from lem_models.desk.decision import Decision
from lem_models.desk.desk import Desk
from lem_models.desk.following import follow
from lem_models.desk.market_data.feed import BarFeed, ChildDone, FeedRules, Fill
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.session import DeskSession

__all__ = ["BarFeed", "ChildDone", "Decision", "Desk", "DeskOrder", "DeskSession", "FeedRules", "Fill", "follow"]
