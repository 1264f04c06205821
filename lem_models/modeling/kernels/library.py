"""Build and load the compiled kernels.

The sources are compiled by the system's C++ compiler on first use, for the processor at hand (some seconds), and kept
in the user's cache folder under a name that holds the sources, the compiler, its flags and the processor. Without a
compiler, or where the build fails, there are no kernels and the eager code runs instead: slower, the same numbers up to
rounding. Loading happens through ``ctypes``, which also releases the interpreter's lock during a call.

Environment:
    LEM_KERNELS: ``0`` switches the kernels off.
    LEM_CACHE: Cache folder; default ``lem_models`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    CXX: Compiler, with options if need be; default the first of ``c++``, ``g++``, ``clang++``.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Kernels", "is_available", "kernels", "loaded"]

_LOG = logging.getLogger("lem_models")
_SOURCES = tuple(Path(__file__).with_name(name) for name in ("recurrence.cpp", "selection.cpp", "common.h"))
_POINTER, _INDEX, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_PLAIN = (Tensor, torch.nn.Parameter)  # others, as those of torch.export, may have no numbers behind them
_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
# Rounding may be reordered; infinities and NaN keep their meaning. Not -ffast-math, which would change the processor's
# treatment of tiny numbers for the whole program. Products and sums are fused where common.h says so, nowhere else.
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math"),
    *("-fno-signed-zeros", "-freciprocal-math", "-ffp-contract=off"),
)
# Arguments of each function: arrays, sizes, real numbers; then comes the number of threads.
_SIGNATURES = {
    "cell_forward": (9, 3, 0),
    "cell_backward": (10, 3, 0),
    "sub_layer_forward": (12, 4, 3),
    "sub_layer_backward": (15, 4, 3),
    "expand_rows": (4, 3, 3),
    "selection_forward": (10, 3, 1),
    "selection_backward": (14, 3, 1),
}


class Kernels:
    """The loaded library.

    Args:
        path: The compiled library.

    Raises:
        OSError: If it cannot be loaded.
        AttributeError: If it lacks a function.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        library = ctypes.CDLL(str(path))
        self._functions = {}
        for name, (arrays, sizes, reals) in _SIGNATURES.items():
            for dtype, suffix in _SUFFIXES.items():
                function = getattr(library, f"lem_{name}_{suffix}")
                function.argtypes = [_POINTER] * arrays + [_INDEX] * sizes + [_REAL] * reals + [ctypes.c_int]
                function.restype = ctypes.c_int
                self._functions[name, dtype] = function

    def __call__(self, name: str, *arguments: Tensor | int | float | None) -> None:
        """Run a kernel.

        Args:
            name: Function, without prefix and suffix.
            arguments: Contiguous tensors of one type (``None`` for a null pointer), sizes, real numbers.

        Raises:
            MemoryError: If its scratch memory cannot be had.
            TypeError: If a tensor is not what the kernels read.
        """
        first = arguments[0]
        dtype = first.dtype if isinstance(first, Tensor) else torch.float32
        values: list[int | float | None] = []
        for argument in arguments:
            if isinstance(argument, Tensor):
                # The kernels take what the pointers say for granted: anything else would be a stray memory access.
                plain = type(argument) in _PLAIN and argument.is_cpu and argument.is_contiguous()
                if not plain or argument.dtype != dtype:
                    raise TypeError(
                        f"{name} takes plain contiguous {dtype} tensors on the CPU, "
                        f"got a {type(argument).__name__} of {argument.dtype} on {argument.device}"
                    )
                values.append(argument.data_ptr())
            else:
                values.append(argument)
        if self._functions[name, dtype](*values, torch.get_num_threads()):
            raise MemoryError(f"no memory for the scratch arrays of {name}")


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """The kernels, built now if need be; ``None`` where they cannot be had or are switched off."""
    if os.environ.get("LEM_KERNELS", "1") == "0" or sys.platform == "win32":
        return None
    try:
        path = _built()
        try:
            return Kernels(path)
        except (OSError, AttributeError):  # a damaged file: build it again, once
            path.unlink(missing_ok=True)
            return Kernels(_built())
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError) as error:
        detail = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        _LOG.warning("TKAN runs without its compiled kernels, some times slower: %s", str(detail).strip()[-400:])
        return None


def loaded() -> Kernels:
    """The kernels, where they are known to be there.

    Raises:
        RuntimeError: If they are not.
    """
    found = kernels()
    if found is None:
        raise RuntimeError("the compiled kernels are not available")
    return found


def is_available(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether kernels can run where ``x`` lies, in a type; not while a trace records the operations of torch."""
    if x.device.type != "cpu" or dtype not in _SUFFIXES or type(x) not in _PLAIN:
        return False
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    found: bool = _are_there()
    return found


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _are_there() -> bool:
    return kernels() is not None


def _built() -> Path:
    """The compiled library in the cache, compiled if it is not there yet.

    Raises:
        OSError: If there is no compiler or no folder to write to.
        subprocess.SubprocessError: If the compiler fails.
    """
    compiler = _compiler()
    attempts = list(_attempts())
    sources = [source.read_text(encoding="utf-8") for source in _SOURCES]
    facts = [*sources, _first_line(compiler), _processor(), torch.__version__, repr((_FLAGS, attempts))]
    target = _cache_folder() / f"kernels-{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:32]}.so"
    if target.is_file() and _is_own(target.stat()):
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for number, (compile_flags, link_flags) in enumerate(attempts):
            try:
                _compile(compiler, compile_flags, link_flags, Path(folder))
                break
            except subprocess.CalledProcessError:
                if number == len(attempts) - 1:
                    raise
        (Path(folder) / "kernels.so").chmod(0o700)
        os.replace(Path(folder) / "kernels.so", target)  # whole or not at all, whoever else builds it now
    return target


def _compile(compiler: list[str], compile_flags: tuple[str, ...], link_flags: tuple[str, ...], folder: Path) -> None:
    objects = []
    for source in _SOURCES:
        if source.suffix == ".cpp":
            objects.append(str(folder / f"{source.stem}.o"))
            _run([*compiler, *_FLAGS, *compile_flags, "-c", str(source), "-o", objects[-1]])
    _run([*compiler, "-shared", *objects, "-o", str(folder / "kernels.so"), *link_flags])


def _run(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", errors="replace", timeout=300
    ).stdout


def _attempts() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Flags of compiler and linker, best first."""
    native = "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"
    # The threads of torch's own OpenMP, where it brings one: two pools of threads would fight for the processors.
    folder = Path(torch.__file__).parent
    own = sorted([*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")])
    for threads in ((str(own[0]),) if own else (), ("-fopenmp",)):
        if threads:
            yield (native, "-fopenmp"), threads
    yield (native,), ()
    yield (), ()


def _compiler() -> list[str]:
    """The compiler's command, which may have options or another program in front: CXX="ccache g++"."""
    named = shlex.split(os.environ.get("CXX", ""))
    for name, *options in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        found = shutil.which(name)
        if found:
            return [found, *options]
    raise OSError(f"there is no C++ compiler {' '.join(named)}" if named else "there is no C++ compiler")


def _first_line(compiler: list[str]) -> str:
    return repr(compiler) + _run([*compiler, "--version"]).partition("\n")[0]


def _processor() -> str:
    """What "native" stands for: a cache folder may be shared by machines with different processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        known = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
        return "\n".join(sorted(set(known)))
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.release()}"


def _cache_folder() -> Path:
    """A folder that belongs to the user and that nobody else can write to: what lies in it is loaded as code.

    Raises:
        OSError: If there is none.
    """
    root = _cache_root()
    folder = root / "kernels"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)  # who can write to it could put another folder in its place
    folder.mkdir(exist_ok=True, mode=0o700)
    if not _is_own(folder.stat()):
        raise OSError(f"the cache folder {folder} can be written to by others (chmod 700 it, or set LEM_CACHE)")
    return folder


def _cache_root() -> Path:
    if named := os.environ.get("LEM_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "lem_models"
    except RuntimeError as error:  # a user without an entry of its own, as in some containers
        raise OSError(f"{error} (set LEM_CACHE)") from None


def _is_own(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to the user and nobody else can write to it."""
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
