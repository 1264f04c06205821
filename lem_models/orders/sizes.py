"""The size of an order under its own name: ``quantity`` in units, ``notional`` in money.

``quantity=40`` is ``amount=40`` with ``target="quantity"``; ``notional=1e6`` is ``amount=1e6`` with
``target="notional"``. An order has one size: two of them, or a target that contradicts the name, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lem_models.errors import OrderError
from lem_models.orders.fields import SIZES, is_missing, read_choice, read_number

__all__ = ["named_size", "with_amount"]


def named_size(sizes: Mapping[str, object], target: object) -> str | None:
    """Name under which an order has its size; ``None`` if it has none, or has it as an amount.

    Args:
        sizes: The values of ``amount``, ``quantity`` and ``notional`` that are there.
        target: The order's target, as far as it is known.

    Raises:
        OrderError: The order has several sizes, or its target contradicts the name.
    """
    named = [name for name, value in sizes.items() if not is_missing(value)]
    if len(named) > 1:
        raise OrderError(
            f"the order has {' and '.join(named)}: leave one of them out; quantity is in units, notional in money, and "
            "amount in what the target says",
            field=named[-1],
            rule="one size",
        )
    if not named or named[0] not in SIZES:
        return None
    (name,) = named
    wanted = read_choice(target, "target")
    if wanted is not None and wanted != SIZES[name]:
        raise OrderError(
            f"{name} is a size in {_UNITS[name]}, and the target is {wanted!r}: leave the target out, or name the size "
            f"{wanted!r}",
            field=name,
            rule="one size",
        )
    return name


def with_amount(order: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an order with its size as amount and target; a list of sizes, as for samples, stays a list.

    Raises:
        OrderError: See :func:`named_size`; or the size is no number.

    Example:
        >>> with_amount({"symbol": "KO", "notional": 2_000_000})
        {'symbol': 'KO', 'amount': 2000000.0, 'target': 'notional'}
    """
    sizes = {name: order[name] for name in ("amount", *SIZES) if name in order}
    name = named_size(sizes, order.get("target"))
    plain = {key: value for key, value in order.items() if key not in SIZES}
    if name is None:
        return plain
    value = order[name]
    return plain | {"amount": value if isinstance(value, list) else read_number(value, name), "target": SIZES[name]}


_UNITS = {"quantity": "units", "notional": "money"}
