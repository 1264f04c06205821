"""The log of one order, found in that of its desk without reading the rest.

An order has its own stream, but its decisions are in events of the desk, one for all orders at the close of a bar. They
share the numbers of the order's stream. So the numbers that its own events lack are those of its decisions, and the
search ends with the last of them.
"""

from __future__ import annotations

from dataclasses import replace

from lem_models.desk.log.events import Decided, Recorded
from lem_models.desk.store.event_store import EventStore

__all__ = ["order_log"]


def order_log(store: EventStore, order: str, last: int) -> list[Recorded]:
    """Every event of an order, its decisions too, in their sequence.

    Args:
        store: Where the log is kept.
        order: Label of the order.
        last: Number of its last event.
    """
    events = {each.seq: each for each in store.read(stream=order) if each.seq <= last}
    lacking = set(range(1, last + 1)) - events.keys()
    first = min((each.position for each in events.values()), default=0)
    for recorded in store.read(first, kind=Decided.kind) if lacking else ():
        for entry in recorded.event.decisions if isinstance(recorded.event, Decided) else ():
            if entry.order == order and entry.seq in lacking:
                lacking.discard(entry.seq)
                events[entry.seq] = replace(recorded, stream=order, seq=entry.seq, event=Decided((entry,)))
        if not lacking:
            break
    return [events[seq] for seq in sorted(events)]
