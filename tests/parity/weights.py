"""The fixtures of the published networks, and their layers' weights under the names of this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lem_models.modeling.paper.arrays import grn, kan, prefixed, tkan_cell, vsn

__all__ = ["FIXTURES", "grn", "kan", "load_fixture", "prefixed", "tkan_cell", "vsn"]

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
"""Numbers computed with the authors' implementation; not part of the repository."""


def load_fixture(name: str) -> dict[str, NDArray[np.float32]]:
    """Read one fixture, or skip the calling test where the fixtures are not at hand."""
    path = FIXTURES / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"parity fixtures are kept outside the repository; {path.name} is not in {FIXTURES}")
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}
