"""The library ``datasets`` as a user of a data set who knows nothing of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.server import HubServer


def point_datasets_at(hub: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the library in this process use a server and keep its files in a folder; it reads its variables once."""
    from datasets import config

    monkeypatch.setattr(config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(config, "HUB_DATASETS_URL", hub.endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}")
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.setattr(config, "HF_MODULES_CACHE", str(home / "modules"))
    monkeypatch.setattr(config, "DOWNLOADED_DATASETS_PATH", home / "downloads")
