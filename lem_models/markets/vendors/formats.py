"""Formats of vendors: which of their columns are ours, and what their numbers mean.

A :class:`Format` is a description, not code. The presets are in :mod:`lem_models.markets.vendors.presets`, and
:mod:`lem_models.markets.vendors.registry` knows formats by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["CANDLE", "ROLES", "Format"]

CANDLE = ("open", "high", "low", "close", "volume")
"""Roles that every format has."""

ROLES = (
    *("timestamp", "date", "time", "symbol", *CANDLE, "notional", "vwap"),
    *("end", "contracts", "interval_ms", "bar_type"),
)
"""What a vendor's column can be for us; ``end`` is a timestamp that is the end of its bar."""

Stamps: TypeAlias = Literal["number", "text", "any"]


@dataclass(frozen=True)
class Format:
    """How a vendor writes bars.

    The notional is the column ``notional`` if there is one; else ``vwap`` times ``volume``; else it is estimated.

    Attributes:
        name: Name for ``format=``.
        title: What the format is, in words.
        page: Where the vendor documents it.
        columns: By role (:data:`ROLES`), the names that the vendor's column may have; the first that is there counts.
            Either ``timestamp``, or ``date`` and perhaps ``time``, say when a bar is.
        optional: Roles that may be missing.
        marks: Other columns that every such table has; they tell the format from others.
        headerless: Names of the columns of a table without a header, by position; empty if it always has one. The last
            ``headerless_optional`` of them may be missing.
        headerless_optional: See above.
        has_header: Whether a table with a header can be taken for this format.
        shape: ``"wide"`` for tables with one column per symbol and price.
        stamps: Whether timestamps are numbers or texts; what it does not fit is another format.
        meaning: Whether a timestamp is the start or the end of its bar.
        unit: Unit of timestamps that are numbers: ``"s"``, ``"ms"``, ``"us"``, ``"ns"``; or ``"by size"`` where a
            vendor changed it, for no number is a time since 1980 in two units. ``None`` if the user must name it.
        zone: Zone of timestamps without one; ``None`` if the user must name it.
        patterns: Forms of texts that are not ISO 8601, for ``strptime``; a name of a zone may follow.
        file_name: Regular expression of the names of files, with a group ``symbol``.
        needs_file_name: Whether a table is taken for this format only if the name of its file says so.
        price_scale: Factor of prices and VWAPs, one over a whole number.
        prices: Whether prices are whole numbers (before ``price_scale``); what it does not fit is another format.
        contract_values: Of inverse contracts: by beginning of the symbol, the value of a contract in quote units. Then
            the notional is ``contracts`` times this value.
        ignores_case: Whether names of columns are compared without regard to case.
        expects: By column, the value that every row has; others are not bars in time.
        drops: Columns that mean nothing and are not carried along.
        drops_empty: Whether rows without any price are left out: the vendor writes them for days without a bar.
        is_detected: Whether a table can be taken for this format without being told so.
        notes: What readers must know, one sentence each.

    Raises:
        ValueError: A role is unknown, or the price scale is not one over a whole number.
    """

    name: str
    title: str
    page: str
    columns: Mapping[str, tuple[str, ...]]
    optional: frozenset[str] = frozenset()
    marks: tuple[str, ...] = ()
    headerless: tuple[str, ...] = ()
    headerless_optional: int = 0
    has_header: bool = True
    shape: Literal["long", "wide"] = "long"
    stamps: Stamps = "any"
    meaning: Literal["start", "end"] = "start"
    unit: str | None = None
    zone: str | None = None
    patterns: tuple[str, ...] = ()
    file_name: str | None = None
    needs_file_name: bool = False
    price_scale: float = 1.0
    prices: Literal["whole", "decimal", "any"] = "any"
    contract_values: Mapping[str, float] = field(default_factory=dict)
    ignores_case: bool = False
    expects: Mapping[str, str] = field(default_factory=dict)
    drops: frozenset[str] = frozenset()
    drops_empty: bool = False
    is_detected: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the roles."""
        unknown = set(self.columns) - set(ROLES)
        if unknown:
            raise ValueError(f"{self.name}: there are no roles {sorted(unknown)}")
        divisor = 1.0 / self.price_scale
        if divisor < 0.5 or abs(divisor - round(divisor)) > 1e-6 * divisor:
            raise ValueError(f"{self.name}: the price scale {self.price_scale} is not one over a whole number")

    def named(self, available: tuple[str, ...]) -> dict[str, str]:
        """By role, the column of a table that has it; roles without a column are left out."""
        by_key = {self._key(name): name for name in reversed(available)}
        chosen = {}
        for role, names in self.columns.items():
            name = next((by_key[self._key(name)] for name in names if self._key(name) in by_key), None)
            if name is not None:
                chosen[role] = name
        return chosen

    def lacking(self, available: tuple[str, ...]) -> list[str]:
        """Columns that a table lacks to be of this format, by their first names."""
        chosen, keys = self.named(available), {self._key(name) for name in available}
        lacking = [names[0] for role, names in self.columns.items() if role not in chosen and role not in self.optional]
        return lacking + [name for name in self.marks if self._key(name) not in keys]

    def _key(self, name: str) -> str:
        return name.lower() if self.ignores_case else name
