"""The text of a card: its YAML head, and the sections that are measured, replaced without touching the rest.

A card belongs to whoever wrote it. Publishing changes two keys of its head, ``configs`` and ``dataset_info``, without
which the library ``datasets`` would read the wrong files, and the sections that an earlier push generated and that
nobody has edited since: each stands between marks that carry its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lem_models.guard.yaml import parse_yaml

__all__ = ["marked", "put_section", "replace_keys", "split_card"]

_MARK = re.compile(
    r"<!-- lem_models: split (?P<split>[\w.]+), sha256 (?P<hash>[0-9a-f]{64}) -->\n"
    r"(?P<text>.*?)<!-- lem_models: end of split (?P=split) -->\n",
    re.DOTALL,
)


def split_card(card: str) -> tuple[str, str]:
    """YAML head and the rest of a card; the head is empty if it has none."""
    lines = card.splitlines(keepends=True)
    if not lines or lines[0].strip() != "---":
        return "", card
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() == "---":
            return "".join(lines[1:number]), "".join(lines[number + 1 :])
    return "", card


def replace_keys(card: str, values: Mapping[str, Any]) -> str:
    """A card with other values of some keys at the top of its head; all else stays as it is written.

    Args:
        card: The card; one without a head gets one.
        values: New values by key, as YAML has them.
    """
    head, body = split_card(card)
    old = parse_yaml(head) or {}
    if not isinstance(old, dict):
        old, head = {}, ""
    if all(key in old and old[key] == value for key, value in values.items()):
        return card
    wanted = {**old, **values}
    newline = "\r\n" if "\r\n" in head else "\n"
    text = head
    for key, value in values.items():
        text = _replace_key(text, key, _dump({key: value}).replace("\n", newline))
    if _loaded(text) != wanted:  # a head in an unusual form: anchors, braces, quoted keys
        text = _dump(wanted).replace("\n", newline)
    return f"---{newline}{text}---{newline}{body}"


def _replace_key(head: str, key: str, block: str) -> str:
    """Put a block in the place of a key: its line and what is indented below it (or a list at its own depth)."""
    lines, place, inside = head.splitlines(keepends=True), None, False
    kept: list[str] = []
    for line in lines:
        if re.match(rf"{re.escape(key)}\s*:", line):
            inside, place = True, len(kept)
        elif inside and line.strip() and not line.startswith((" ", "\t", "-")):
            inside = False
        if not inside:
            kept.append(line)
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    kept.insert(len(kept) if place is None else place, block)
    return "".join(kept)


def _dump(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)


def _loaded(text: str) -> object:
    try:
        return parse_yaml(text)
    except ValueError:
        return None


def marked(split: str, section: str) -> str:
    """A section between the marks of its split."""
    text = section.strip("\n") + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"<!-- lem_models: split {split}, sha256 {digest} -->\n{text}<!-- lem_models: end of split {split} -->\n"


def put_section(card: str, split: str, section: str) -> str | None:
    """A card with a new section of a split, in the place of the old one or after those of other splits.

    Returns:
        The card; ``None`` when it has no generated section, or somebody edited that of this split: it is left alone.
    """
    last = None
    for found in _MARK.finditer(card.replace("\r\n", "\n")):
        if found["split"] == split:
            if hashlib.sha256(found["text"].encode()).hexdigest() != found["hash"]:
                return None
            return found.string[: found.start()] + marked(split, section) + found.string[found.end() :]
        last = found
    if last is None or "\r\n" in card:
        return None
    return card[: last.end()] + "\n" + marked(split, section) + card[last.end() :]
