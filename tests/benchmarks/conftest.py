"""Scripts of the tests write to a log of looks of their own."""

import pytest

from benchmarks import looks


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    """The log of looks of one test; empty."""
    path = tmp_path / "looks.jsonl"
    monkeypatch.setattr(looks, "LOG", path)
    return path
