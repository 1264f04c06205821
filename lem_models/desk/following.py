"""The loop of a desk: bars in, decisions out, also after a crash."""

from __future__ import annotations

from collections.abc import Iterator

from lem_models.desk.decision import Decision
from lem_models.desk.desk import Desk
from lem_models.desk.market_data.feed import BarFeed

__all__ = ["follow"]


def follow(desk: Desk, feed: BarFeed) -> Iterator[list[Decision]]:
    """Run a desk on a feed: the loop of a desk, also after a crash.

    What the venue filled is booked first, then the child orders in force are sent again, then every bar is observed
    with the fills until then and its decisions are sent.

    Yields:
        The decisions of each bar close.
    """
    desk.fills(feed.fills())
    yield _sent(desk, feed)
    for closed in feed.bars():
        desk.observe(closed, fills=feed.fills())
        yield _sent(desk, feed)
        if not desk.is_active:
            return


def _sent(desk: Desk, feed: BarFeed) -> list[Decision]:
    decisions = desk.decide()
    for decision in decisions:
        if decision.quantity:
            feed.send(decision)
    return decisions
