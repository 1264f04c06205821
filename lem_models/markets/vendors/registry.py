"""The closed registry of formats: the presets, and those that users register."""

from __future__ import annotations

from lem_models.errors import UnknownNameError
from lem_models.markets.vendors.formats import Format
from lem_models.markets.vendors.presets import PRESETS

__all__ = ["format_named", "formats", "register_format"]

_FORMATS: dict[str, Format] = {each.name: each for each in PRESETS}


def register_format(description: Format) -> Format:
    """Add a format to the registry.

    Raises:
        ValueError: The name is taken.
    """
    if description.name in _FORMATS:
        raise ValueError(f"the format {description.name!r} is registered already")
    _FORMATS[description.name] = description
    return description


def formats() -> list[Format]:
    """All registered formats, in the order in which they were registered."""
    return list(_FORMATS.values())


def format_named(name: str) -> Format:
    """The format of a name.

    Raises:
        UnknownNameError: There is no such format.
    """
    if name not in _FORMATS:
        raise UnknownNameError.among("format of bars", str(name), _FORMATS)
    return _FORMATS[name]
