"""What the tests of the Hub share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import HubServer, point_client_at


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub of its own, which the client in this process uses."""
    with HubServer() as server:
        point_client_at(server, monkeypatch, tmp_path / "home")
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that somebody wanted to wait; nobody does."""
    asked: list[float] = []
    real = time.sleep

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        real(min(seconds, 0.001))

    monkeypatch.setattr(time, "sleep", sleep)
    return asked
