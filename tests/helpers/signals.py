"""Signals of processes that tests start."""

import signal

__all__ = ["hear_signals"]


def hear_signals():
    """No signal is ignored, whatever the tests run in: for ``preexec_fn``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
