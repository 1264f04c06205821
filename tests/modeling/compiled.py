"""For tests of the compiled kernels: where they must be there, and where they cannot be."""

import os
import shutil

import pytest

from lem_models.modeling.kernels.library import kernels

__all__ = ["need_kernels"]


def need_kernels() -> None:
    """Skip where nothing can or shall be compiled; with a compiler at hand the build must work."""
    if os.environ.get("LEM_KERNELS") == "0":
        pytest.skip("LEM_KERNELS=0 turns the kernels off")
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("there is no C++ compiler")
    assert kernels() is not None
