"""``LightningModule`` as a base class that joins when Lightning is imported, and not before.

A decision needs no trainer, but ``import lightning`` loads the trainer, its loggers and callbacks, all of torchmetrics
and ``torch._dynamo``, whatever is asked of it. In a fresh process this takes longer than everything up to the first
decision together. So :class:`LateLightningModule` is a plain ``torch.nn.Module`` as long as nobody has imported
Lightning, and a ``LightningModule`` from the moment somebody has:

- Lightning is imported already: the class has it as its base from the start.
- Lightning is imported later, by whoever: a finder in ``sys.meta_path`` waits for the module that defines
  ``LightningModule`` and changes the base as soon as it is there. ``isinstance`` and ``Trainer.fit`` see no difference.
- Nobody has imported it, and an attribute is asked for that a plain module lacks (``model.freeze()``): it is imported.

Only this class changes; Lightning's modules are loaded by the ordinary import system, whole and in their order.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning import LightningModule as Base
else:
    Base = nn.Module

__all__ = ["LateLightningModule"]

_HOME = "lightning.pytorch.core.module"  # the module that defines LightningModule


class LateLightningModule(Base):
    """A ``LightningModule`` once Lightning is imported; until then, a ``torch.nn.Module``."""

    def __init__(self) -> None:
        super().__init__()
        self._has_lightning_state = _has_joined()

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        """What a ``LightningModule`` has and this object does not have yet.

        Raises:
            AttributeError: when a ``LightningModule`` does not have it either.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            is_complete = self.__dict__.get("_has_lightning_state")
            if is_complete is None or (is_complete and _has_joined()):
                raise
            if name.startswith("_") and not _has_joined():  # Lightning's own code alone uses such names
                raise
        if not _has_joined():
            import_module(_HOME)
        if not is_complete:
            self._add_lightning_state()
        value: Tensor | nn.Module = getattr(self, name)
        return value

    def _add_lightning_state(self) -> None:
        """Set what the constructor of ``LightningModule`` sets: it was not a base class when this object was made."""
        self._has_lightning_state = True
        (base,) = LateLightningModule.__bases__
        for name, value in base().__dict__.items():
            self.__dict__.setdefault(name, value)
        # Lightning notes device and type when a module is moved. These moves are to where all its tensors are.
        tensors = [tensor for tensor in (*self.parameters(), *self.buffers()) if tensor.is_floating_point()]
        for places in ({tensor.device for tensor in tensors}, {tensor.dtype for tensor in tensors}):
            if len(places) == 1:
                self.to(*places)


def _has_joined() -> bool:
    return LateLightningModule.__bases__ != (nn.Module,)


def _join(home: ModuleType) -> None:
    """Make the ``LightningModule`` of a module the base class."""
    LateLightningModule.__bases__ = (home.LightningModule,)


class _Waiting(MetaPathFinder):
    """Finds one module where the import system finds it, and joins once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, with a loader that joins; ``None`` for other modules."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == _HOME else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_join(module: ModuleType) -> None:
            load(module)
            _join(module)
            sys.meta_path.remove(self)

        spec.loader.exec_module = load_and_join  # type: ignore[method-assign]
        return spec


if hasattr(sys.modules.get(_HOME), "LightningModule"):
    _join(sys.modules[_HOME])
else:
    sys.meta_path.insert(0, _Waiting())
