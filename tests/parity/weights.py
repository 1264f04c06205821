"""The fixtures of the published networks, and their layers' weights under the names of this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lem_models.modeling.paper.arrays import grn, kan, prefixed, tkan_cell, vsn

__all__ = ["FIXTURES", "grn", "kan", "load_fixture", "prefixed", "tkan_cell", "vsn"]

FIXTURES = Path(__file__).with_name("fixtures")
"""Numbers computed with the authors' implementation."""


def load_fixture(name: str) -> dict[str, NDArray[np.float32]]:
    """Read one fixture."""
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
