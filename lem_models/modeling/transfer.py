"""Report on the tensors of a model that got another head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["HeadReport"]

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class HeadReport:
    """Tensors kept, dropped and freshly initialised, by name with their shapes; prints as a list of them.

    Attributes:
        head: Registered name of the new head.
        kept: Tensors of the backbone, with the values of the old model.
        dropped: Tensors of the old model that are not in the new one.
        fresh: Tensors of the new model with random values: it refuses to predict until they are trained.
    """

    head: str
    kept: Shapes
    dropped: Shapes
    fresh: Shapes

    @classmethod
    def between(cls, head: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> HeadReport:
        """The report on two state dicts; everything in ``new`` outside ``head.`` comes from ``old``."""

        def shapes(weights: Mapping[str, Tensor], *, in_head: bool) -> Shapes:
            return {name: tuple(value.shape) for name, value in weights.items() if name.startswith("head.") == in_head}

        return cls(head, shapes(new, in_head=False), shapes(old, in_head=True), shapes(new, in_head=True))

    def __str__(self) -> str:
        """A line per tensor, under the number of tensors and values of each kind."""
        lines = [f"head {self.head!r}"]
        for kind in ("kept", "dropped", "fresh"):
            tensors: Shapes = getattr(self, kind)
            lines.append(f"{kind}: {len(tensors)} tensors, {sum(map(_size, tensors.values())):,} values")
            lines += [f"  {name} {list(shape)}" for name, shape in tensors.items()]
        return "\n".join(lines)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
