"""Untrusted YAML: plain values only, every key once, and a bounded number of values.

Aliases can expand a short text: a line ``[*a, *a]`` doubles ``a``, and thirty such lines give a billion values. The
number of values with aliases expanded is counted while the nodes are composed, before any value is built. It is bounded
here. Merging (``<<: *a``) works as usual: a key of the mapping overrides a merged one.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from lem_models.guard.text import MAX_DEPTH, shown

__all__ = ["MAX_VALUES", "parse_yaml"]

MAX_VALUES = 20_000
"""Largest number of values of a text, with its aliases expanded."""


def parse_yaml(text: str) -> object:
    r"""Parse a YAML text into the types of YAML alone, without Python objects.

    Raises:
        ValueError: The text is not YAML, is nested deeper than :data:`~lem_models.guard.text.MAX_DEPTH`, repeats a key,
            contains itself, or has more than :data:`MAX_VALUES` values.

    Example:
        >>> parse_yaml("a: 1\na: 2")
        Traceback (most recent call last):
        ValueError: a key occurs twice: 'a' (line 2)
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None  # the message of the library has several lines
    except (LookupError, AttributeError, TypeError, OverflowError) as error:  # e.g. of `!!int ""` or `!!bool x`
        raise ValueError(f"a value does not fit its tag: {type(error).__name__}") from None


class _StrictLoader(yaml.SafeLoader):
    """Checks nodes while they are composed."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # number of values of a finished node, by the node's id

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
        self._measure(node, [child for pair in node.value for child in pair])
        seen: set[object] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in seen:
                raise ValueError(f"a key occurs twice: {shown(key.value)} (line {key.start_mark.line + 1})")
            seen.add(name)
        return node

    def _measure(self, node: yaml.Node, children: Iterable[yaml.Node]) -> None:
        size = 1
        for child in children:
            if id(child) not in self._sizes:  # begun and not finished
                raise ValueError(f"a value contains itself (line {node.start_mark.line + 1})")
            size += self._sizes[id(child)]
        if size > MAX_VALUES:
            raise ValueError(f"it stands for more than {MAX_VALUES:,} values")
        self._sizes[id(node)] = size
