"""Cards of repositories: Markdown below metadata in YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lem_models.guard.text import read_text
from lem_models.guard.yaml import parse_yaml

__all__ = ["MAX_CARD_BYTES", "Card"]

MAX_CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class Card:
    """A card.

    Attributes:
        text: The whole text, line ends as they are.
    """

    text: str = ""

    @classmethod
    def read(cls, path: Path) -> Card:
        """A card from a file.

        Raises:
            OSError: It cannot be read.
            ValueError: It is not a regular file, is too large or is not UTF-8.
        """
        return cls(read_text(path, MAX_CARD_BYTES))

    @cached_property
    def _metadata_and_body(self) -> tuple[str, str]:
        lines = self.text.splitlines(keepends=True)
        if lines and lines[0].strip() == "---":
            for number, line in enumerate(lines[1:], 1):
                if line.rstrip() == "---":
                    return "".join(lines[1:number]), "".join(lines[number + 1 :])
        return "", self.text

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata; empty if there are none.

        Raises:
            ValueError: They are not YAML, or not a mapping.
        """
        try:
            metadata = parse_yaml(self._metadata_and_body[0])
        except RecursionError:
            raise ValueError("its metadata are nested too deeply") from None
        if metadata is None:
            return {}
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are not a mapping")
        return metadata

    def with_metadata(self, values: Mapping[str, Any]) -> Card:
        """The card with new values of some metadata; everything else stays unchanged.

        Args:
            values: New values by key. A card without metadata gets them.

        Raises:
            ValueError: See :attr:`metadata`.
        """
        if all(key in self.metadata and self.metadata[key] == value for key, value in values.items()):
            return self
        old, body = self._metadata_and_body
        wanted = {**self.metadata, **values}
        newline = "\r\n" if "\r\n" in old else "\n"
        new = old
        for key, value in values.items():
            new = _replace_key(new, key, _yaml({key: value}).replace("\n", newline))
        card = Card(f"---{newline}{new}---{newline}{body}")
        if card._holds(wanted):
            return card
        # The old metadata have an unusual form: anchors, braces, quoted keys.
        return Card(f"---{newline}{_yaml(wanted).replace(chr(10), newline)}---{newline}{body}")

    def without_metadata(self, *keys: str) -> Card:
        """The card without some keys of its metadata; everything else stays unchanged.

        Raises:
            ValueError: See :attr:`metadata`.
        """
        wanted = {key: value for key, value in self.metadata.items() if key not in keys}
        if wanted == self.metadata:
            return self
        old, body = self._metadata_and_body
        newline = "\r\n" if "\r\n" in old else "\n"
        new = old
        for key in keys:
            new = _replace_key(new, key, "")
        card = Card(f"---{newline}{new}---{newline}{body}")
        return card if card._holds(wanted) else Card(f"---{newline}{_yaml(wanted)}---{newline}{body}")

    def _holds(self, metadata: Mapping[str, Any]) -> bool:
        try:
            return self.metadata == metadata
        except ValueError:
            return False


def _replace_key(text: str, key: str, block: str) -> str:
    """Replace a key, which is its line and the lines indented below it (or a list at the same depth), by a block."""
    kept: list[str] = []
    place, is_inside = None, False
    for line in text.splitlines(keepends=True):
        if re.match(rf"{re.escape(key)}\s*:", line):
            is_inside, place = True, len(kept)
        elif is_inside and line.strip() and not line.startswith((" ", "\t", "-")):
            is_inside = False
        if not is_inside:
            kept.append(line)
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    kept.insert(len(kept) if place is None else place, block)
    return "".join(kept)


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)
