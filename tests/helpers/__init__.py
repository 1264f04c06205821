"""What several tests share: markets, orders, policies, models, and the detector of look-ahead."""

from __future__ import annotations

from tests.helpers.look_ahead import Decided, Moved, decided, first_moved, first_moved_row
from tests.helpers.markets import flat_bars, from_bar, hourly, perturbed, rebuilt, reflected, scaled, sessions
from tests.helpers.models import random_model, tiny_config
from tests.helpers.orders import order_batch, order_table, random_orders, random_window
from tests.helpers.policies import KINDS, POLICIES, SIZED, Erratic, Recorder, Scripted, policy_named

__all__ = [
    "KINDS",
    "POLICIES",
    "SIZED",
    "Decided",
    "Erratic",
    "Moved",
    "Recorder",
    "Scripted",
    "decided",
    "first_moved",
    "first_moved_row",
    "flat_bars",
    "from_bar",
    "hourly",
    "order_batch",
    "order_table",
    "perturbed",
    "policy_named",
    "random_model",
    "random_orders",
    "random_window",
    "rebuilt",
    "reflected",
    "scaled",
    "sessions",
    "tiny_config",
]
