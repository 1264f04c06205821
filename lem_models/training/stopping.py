"""A signal stops a training between two batches.

A handler that raises can interrupt the process anywhere. If it interrupts a write to the queue of a log, the thread of
the log waits two minutes for the rest. So during training a signal is only noted, and the caller's handler is called
at the next batch. The caller's handler decides how the process ends. (Lightning's own handler for SIGTERM would end it
with exit code 0.)
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StopBetweenBatches"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE = 10.0  # seconds that a batch may take before another signal is no longer deferred


class StopBetweenBatches(Callback):
    """Defers signals to the next batch, or to the end of its ``with`` block around training.

    Signals without a handler in Python (``SIG_DFL``, ``SIG_IGN``) act as they do outside of training.
    """

    def __init__(self) -> None:
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        self._handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
        self._noted: int | None = None
        self._noted_at = 0.0

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the handlers and call the handler of a deferred signal."""
        self._call_noted()
        self._install(self._handlers)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Defer signals; Lightning has just set its own handlers."""
        self._defer()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Defer signals where a trainer only validates."""
        self._defer()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Call the handler of a deferred signal."""
        self._call_noted()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Call the handler of a deferred signal."""
        self._call_noted()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End the processes that Lightning has started, which would wait for this one."""
        kill = getattr(trainer.strategy.launcher, "kill", None)
        if isinstance(exception, SystemExit) and kill is not None:
            kill(getattr(signal, "SIGKILL", signal.SIGTERM))

    def _defer(self) -> None:
        self._install(
            {number: self._note if callable(handler) else handler for number, handler in self._handlers.items()}
        )

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted, self._noted_at = number, time.monotonic()
        elif time.monotonic() - self._noted_at > _PATIENCE:
            self._call_noted()

    def _call_noted(self) -> None:
        if self._noted is not None:
            number, self._noted = self._noted, None
            self._install(self._handlers)
            self._handlers[number](number, None)

    def _install(self, handlers: dict[int, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None:  # None: a handler of C code, which Python cannot set again
                    signal.signal(number, handler)
