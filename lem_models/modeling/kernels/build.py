"""Compile the sources of the kernels. Standard library only: wheels are built without torch (``release/bundle.py``).

There is a library for each type of numbers: few programs need both. A library is compiled for the processor at hand, on
first use, or for one of the levels of x86-64, in a wheel. The levels are sets of instructions that the psABI of x86-64
defines; a processor that has those of a level has those of every lower one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = [
    "BUNDLED",
    "BUNDLE_FLAGS",
    "BUNDLE_LINK_FLAGS",
    "FLAGS",
    "LEVELS",
    "SUFFIXES",
    "NoCompilerError",
    "bundled_name",
    "compile_library",
    "find_compiler",
    "output",
    "processor_flags",
    "source_texts",
]

FOLDER = Path(__file__).parent
BUNDLED = FOLDER / "bundled"
"""Folder of the libraries that a wheel may bring; a checkout has none."""
SUFFIXES = ("f32", "f64")
"""Types of numbers, as the names of the functions end."""
# What is compiled side by side: each about as long as the other, because every unit reads the headers again.
_UNITS = (
    ("flexible_roll.cpp",),
    ("recurrence.cpp", "scalar_networks.cpp", "backbone_step.cpp", "attention.cpp", "flexible_decision.cpp"),
)
_HEADERS = ("common.h", "flexible_head.h")
# Rounding may be reordered; infinities and NaN keep their meaning. Not -ffast-math, which would change the processor's
# treatment of tiny numbers for the whole program. Products and sums are fused where common.h says so, nowhere else.
# -O2 with all vector loops is as fast as -O3 here and compiles in two thirds of the time.
FLAGS = (
    *("-std=c++17", "-O2", "-ftree-vectorize", "-fvect-cost-model", "-fPIC", "-fno-math-errno", "-fno-trapping-math"),
    *("-fassociative-math", "-fno-signed-zeros", "-freciprocal-math", "-ffp-contract=off"),
)
# Without the runtime of C++ a library needs the C library alone, so it runs on old systems too. OpenMP stays open: the
# program loads torch's own before (library.py), under whatever name that has.
BUNDLE_FLAGS = ("-fopenmp", "-fno-exceptions", "-fno-rtti", "-Wno-psabi")
BUNDLE_LINK_FLAGS = ("-nodefaultlibs", "-lm", "-lc", "-Wl,--build-id=none", "-s")

_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVELS = {"x86-64-v4": _V4, "x86-64-v3": _V3, "x86-64-v2": _V2}
"""Levels of x86-64, the highest first, and the flags of ``/proc/cpuinfo`` that each needs."""


class NoCompilerError(OSError):
    """No C++ compiler is on the path, and none is named."""


def source_texts() -> list[str]:
    """The sources, in a fixed order."""
    names = (*(name for unit in _UNITS for name in unit), *_HEADERS)
    return [(FOLDER / name).read_text(encoding="utf-8") for name in names]


def bundled_name(level: str, suffix: str) -> str:
    """File of a library of a wheel. It names the sources, so that one of other sources is never taken.

    Args:
        level: One of :data:`LEVELS`.
        suffix: One of :data:`SUFFIXES`.
    """
    digest = hashlib.sha256(chr(0).join(source_texts()).encode()).hexdigest()
    return f"{level}-{suffix}-{digest[:16]}.so"


def processor_flags() -> frozenset[str]:
    """Instructions of the processor at hand, as Linux names them; empty where it is no x86-64 or no Linux."""
    if sys.platform != "linux" or platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def find_compiler() -> list[str]:
    """The compiler's command. It may have options, or another program in front, as in CXX="ccache g++".

    Raises:
        NoCompilerError: None is named, and there is none.
        OSError: The named one does not exist.
        ValueError: ``CXX`` cannot be read.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for name, *options in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if program := shutil.which(name):
            return [program, *options]
    if named:
        raise OSError(f"there is no C++ compiler {' '.join(named)}")
    raise NoCompilerError("there is no C++ compiler")


def compile_library(
    compiler: Sequence[str], flags: Sequence[str], suffix: str, link_flags: Sequence[str], library: Path
) -> None:
    """Compile the units side by side, for one type, and link them.

    Args:
        compiler: Its command.
        flags: Flags that it compiles with.
        suffix: One of :data:`SUFFIXES`.
        link_flags: Last arguments that it links with.
        library: File to write.

    Raises:
        OSError: A file cannot be read or written.
        subprocess.SubprocessError: The compiler fails.
    """
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:

        def compiled(unit: tuple[str, ...]) -> str:
            ours, made = Path(folder, unit[0]), Path(folder, f"{unit[0]}.o")
            parts = [_of_type((FOLDER / name).read_text(encoding="utf-8"), suffix) for name in unit]
            ours.write_text("#undef EXPORT\n".join(parts), encoding="utf-8")
            output([*compiler, *flags, f"-I{FOLDER}", "-c", str(ours), "-o", str(made)])
            return str(made)

        with ThreadPoolExecutor(len(_UNITS)) as pool:
            objects = list(pool.map(compiled, _UNITS))
        output([*compiler, "-shared", *objects, "-o", str(library), *link_flags])


def output(command: Sequence[str]) -> str:
    """What a command prints.

    Raises:
        OSError: It cannot be started.
        subprocess.SubprocessError: It fails, or takes more than five minutes.
    """
    return subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", errors="replace", timeout=300
    ).stdout


def _of_type(source: str, suffix: str) -> str:
    """A source without the functions of other types: it ends with one line ``EXPORT(float, f32)`` for each type."""
    return re.sub(rf"^EXPORT\((?!\w+, {suffix}\)).*$", "", source, flags=re.MULTILINE)
