"""The zoo: which models the package carries."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_folder", "list_models"]

_PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def list_models() -> list[str]:
    """Names of the bundled models, sorted; each loads offline with ``LEMModel.from_pretrained(name)``."""
    return sorted(path.parent.name for path in _PRETRAINED.glob("*/config.json"))


def bundled_folder(name: str) -> Path:
    """Folder of a bundled model (whether it exists is the caller's question)."""
    return _PRETRAINED / name
