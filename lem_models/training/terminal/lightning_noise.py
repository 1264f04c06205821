"""Lightning without its advertisements and its chatter; what it warns of, and what others say, is heard as ever.

Lightning tells every user of a trainer about products, devices that are not there, and its own use of deprecated parts
of torch. :func:`without_lightning_noise` leaves out, while it is open:

- messages of the level INFO that come from Lightning's own files. Warnings and errors of Lightning stay, and so do
  messages of other files, which may use the same logger;
- the warnings in :data:`NOT_FOR_US`, each by its text. No other warning is touched.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning

__all__ = ["NOT_FOR_US", "without_lightning_noise"]

NOT_FOR_US = (
    r".*IterableDataset` has `__len__` defined",  # no workers
    r".*does not have many workers",
    r".*number of training batches \(\d+\) is smaller than the logging interval",  # a short last epoch
    r".*Checkpoint directory .* exists and is not empty",  # a resumed run
    r".*could not find the monitored key",  # a resumed run is validated at the end of its next epoch
    r".*callbacks used to create the checkpoint need to be provided",  # a resumed run that no longer pushes to the Hub
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning uses what torch has deprecated
)
"""Beginnings of warnings by Lightning that do not apply to the trainings of this package."""

_LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")
_HOME = str(Path(lightning.__file__).parent)


@contextmanager
def without_lightning_noise() -> Iterator[None]:
    """Leave out the chatter of Lightning; see the module."""
    logs = [logging.getLogger(name) for name in _LOGGERS]
    for log in logs:
        log.addFilter(_is_heard)
    try:
        with warnings.catch_warnings():
            for beginning in NOT_FOR_US:
                warnings.filterwarnings("ignore", beginning)
            yield
    finally:
        for log in logs:
            log.removeFilter(_is_heard)


def _is_heard(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not record.pathname.startswith(_HOME)
