"""Build hook of hatch: compiled kernels in a wheel for Linux on x86-64.

    LEM_BUNDLE_KERNELS=1 python -m build --wheel

Without the variable the wheel is pure. With it, there is a library for each level of x86-64 and each type of numbers,
see ``lem_models/modeling/kernels/build.py``. The wheel says ``linux_x86_64``, which package indexes refuse;
``auditwheel repair`` reads from the libraries which C library they need, and renames the wheel accordingly.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_INSIDE = "lem_models/modeling/kernels/bundled"


class BundleKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the kernels and adds them to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the libraries, if they are asked for.

        Raises:
            RuntimeError: The machine is another one, or the compiler fails.
        """
        if os.environ.get("LEM_BUNDLE_KERNELS", "0") in ("", "0") or version == "editable":
            return
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise RuntimeError(
                f"LEM_BUNDLE_KERNELS=1 builds wheels on Linux with x86-64, not on {sys.platform} with "
                f"{platform.machine()}; without it the wheel is pure"
            )
        build = _build_module(Path(self.root))
        compiler = build.find_compiler()
        if "clang" in build.output([*compiler, "--version"]):
            raise RuntimeError("CXX=g++ is needed: what clang compiles calls another OpenMP than torch brings")
        self._made = tempfile.TemporaryDirectory(prefix="lem-kernels-")
        for level in build.LEVELS:
            for suffix in build.SUFFIXES:
                library = Path(self._made.name, build.bundled_name(level, suffix))
                flags = (*build.FLAGS, *build.BUNDLE_FLAGS, f"-march={level}")
                try:
                    build.compile_library(compiler, flags, suffix, build.BUNDLE_LINK_FLAGS, library)
                except subprocess.CalledProcessError as error:
                    raise RuntimeError(f"cannot compile the kernels for {level}: {error.stderr[-2000:]}") from None
                library.chmod(0o755)
                build_data["force_include"][str(library)] = f"{_INSIDE}/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"  # the same for every Python: they are loaded with ctypes

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the compiled files."""
        if hasattr(self, "_made"):
            self._made.cleanup()


def _build_module(root: Path) -> ModuleType:
    """The module that compiles, from its file: what the package itself imports is not there during a build."""
    path = root / "lem_models" / "modeling" / "kernels" / "build.py"
    spec = importlib.util.spec_from_file_location("lem_kernels_build", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
