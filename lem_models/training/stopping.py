"""A signal stops a training between two batches, where nothing is half-done.

A handler that raises does so wherever the process happens to be: between two lines of the queue that a log is written
through, say, whose thread then waits for two minutes for the rest. While a training runs, a signal is therefore noted,
and the caller's handler is called at the next batch. It is the caller's handler that decides what becomes of the
process: Lightning's own one for SIGTERM would end it with exit code 0.
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
_PATIENCE = 10.0  # seconds that a batch may take before another signal is not put off


class StopBetweenBatches(Callback):
    """Puts off signals until the next batch, or the end of the ``with`` block that it makes around training.

    Signals without a handler in Python (``SIG_DFL``, ``SIG_IGN``) act as they do outside of training.
    """

    def __init__(self) -> None:
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        self._handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
        self._noted: int | None = None
        self._noted_at = 0.0

    def __enter__(self) -> Self:
        """Training begins."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers back, and call the one whose signal was put off: training is over, or has failed by it."""
        self._call_noted()
        self._install(self._handlers)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put signals off; Lightning has just set its own handlers."""
        self._put_off()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The same where a trainer only validates."""
        self._put_off()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Stop here."""
        self._call_noted()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop here."""
        self._call_noted()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End the processes that Lightning has started: they would wait for this one. Only this one writes files."""
        kill = getattr(trainer.strategy.launcher, "kill", None)
        if isinstance(exception, SystemExit) and kill is not None:
            kill(getattr(signal, "SIGKILL", signal.SIGTERM))

    def _put_off(self) -> None:
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
                if handler is not None:  # None: set by C code, which cannot be set again from here
                    signal.signal(number, handler)
