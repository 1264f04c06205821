"""What a visitor of the app may send, and how much work one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LIMITS", "Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits.

    Attributes:
        upload_bytes: Bytes of an uploaded file.
        unpacked_bytes: Bytes that it may expand to.
        rows: Bars.
        symbols: Symbols.
        periods: Bars of the order.
        text: Letters of a field of the form.
        body_bytes: Bytes of any other request.
        orders: Orders of a point of the risk dial.
        sessions: Visitors whose bars are kept in memory.
        waiting: Requests that wait for their turn; more are refused.
    """

    upload_bytes: int = 32 << 20
    unpacked_bytes: int = 128 << 20
    rows: int = 500_000
    symbols: int = 500
    periods: int = 240
    text: int = 80
    body_bytes: int = 1 << 20
    orders: int = 250
    sessions: int = 32
    waiting: int = 32


LIMITS = Limits()
"""Limits of the app."""
