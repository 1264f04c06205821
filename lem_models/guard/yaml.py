"""YAML of unknown origin: plain values only, every key once, and no short text that stands for a long one.

YAML has aliases: ``[*a, *a]`` twice is four of ``a``, and thirty lines of it are a billion. Their size with all aliases
written out is known while the text is put together, before any value is made of it, and is bounded here. Merging
(``<<: *a``) works as always: a key of the mapping itself beats a merged one.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from lem_models.guard.text import MAX_DEPTH, shown

__all__ = ["MAX_VALUES", "parse_yaml"]

MAX_VALUES = 20_000
"""How many values a text may stand for, with its aliases written out."""


def parse_yaml(text: str) -> object:
    r"""What a YAML text says, in the types of YAML alone (no Python objects).

    Raises:
        ValueError: when it is no YAML, is nested deeper than :data:`~lem_models.guard.text.MAX_DEPTH`, repeats a key,
            contains itself, or stands for more than :data:`MAX_VALUES` values.

    Example:
        >>> parse_yaml("a: 1\na: 2")
        Traceback (most recent call last):
        ValueError: a key occurs twice: 'a' (line 2)
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None  # the library's own text has several lines
    except (LookupError, AttributeError, TypeError, OverflowError) as error:  # of the library: `!!int ""`, `!!bool x`
        raise ValueError(f"a value is not what its tag says: {type(error).__name__}") from None


class _StrictLoader(yaml.SafeLoader):
    """Looks at nodes while they are put together."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # values that a finished node stands for, by the node's id

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: dict[str, yaml.Node]) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        self._sizes[id(node)] = 1
        return node

    def compose_sequence_node(self, anchor: dict[str, yaml.Node]) -> yaml.SequenceNode:
        node = super().compose_sequence_node(anchor)
        self._measure(node, node.value)
        return node

    def compose_mapping_node(self, anchor: dict[str, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        self._measure(node, [part for pair in node.value for part in pair])
        seen: set[object] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in seen:
                raise ValueError(f"a key occurs twice: {shown(key.value)} (line {key.start_mark.line + 1})")
            seen.add(name)
        return node

    def _measure(self, node: yaml.Node, parts: Iterable[yaml.Node]) -> None:
        size = 1
        for part in parts:
            if id(part) not in self._sizes:  # begun and not finished
                raise ValueError(f"a value contains itself (line {node.start_mark.line + 1})")
            size += self._sizes[id(part)]
        if size > MAX_VALUES:
            raise ValueError(f"it stands for more than {MAX_VALUES:,} values")
        self._sizes[id(node)] = size
