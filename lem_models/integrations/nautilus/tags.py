"""Tags of child orders, by which a fill model or another component knows their participation limit.

Nothing here imports ``nautilus_trader``.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

__all__ = ["participation_of", "participation_tag"]

_PREFIX = "max_participation="


def participation_tag(limit: float) -> str:
    """The tag of a participation limit.

    Example:
        >>> participation_tag(0.1)
        'max_participation=0.1'
    """
    return f"{_PREFIX}{limit!r}"


def participation_of(tags: Iterable[str] | None) -> Decimal | None:
    """The participation limit in the tags of an order; ``None`` where there is none.

    Example:
        >>> participation_of(["desk-7", "max_participation=0.1"]), participation_of(None)
        (Decimal('0.1'), None)
    """
    for tag in tags or ():
        if tag.startswith(_PREFIX):
            try:
                return Decimal(tag[len(_PREFIX) :])
            except InvalidOperation:
                return None
    return None
