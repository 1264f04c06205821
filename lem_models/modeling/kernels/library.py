"""Build and load the compiled kernels.

The system's C++ compiler compiles the sources on first use, for the processor at hand (a few seconds, and a line in the
log says so). There is a library for each type of numbers: few programs need both. It is kept in the user's cache
folder. Its name is a hash of the sources, the compiler, its flags and the processor. Without a compiler, or if the
build fails, the eager code runs instead: slower, the same numbers up to rounding. The library is loaded with
``ctypes``, which releases the interpreter's lock during a call.

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
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from lem_models.guard.output import replacing

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

__all__ = ["Kernels", "Table", "call", "is_available", "kernels", "outside_kernels"]

_LOG = logging.getLogger("lem_models")
# What is compiled side by side: each about as long as the other, because every unit reads the headers again.
_UNITS = (
    ("flexible_roll.cpp",),
    ("recurrence.cpp", "scalar_networks.cpp", "backbone_step.cpp", "attention.cpp", "flexible_decision.cpp"),
)
_FOLDER = Path(__file__).parent
_SOURCES = (*(name for unit in _UNITS for name in unit), "common.h", "flexible_head.h")
_POINTER, _INDEX, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_PLAIN = (Tensor, torch.nn.Parameter)  # a tensor of another type, as of torch.export, may have no numbers
_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
# Rounding may be reordered; infinities and NaN keep their meaning. Not -ffast-math, which would change the processor's
# treatment of tiny numbers for the whole program. Products and sums are fused where common.h says so, nowhere else.
# -O2 with all vector loops is as fast as -O3 here and compiles in two thirds of the time.
_FLAGS = (
    *("-std=c++17", "-O2", "-ftree-vectorize", "-fvect-cost-model", "-fPIC", "-fno-math-errno", "-fno-trapping-math"),
    *("-fassociative-math", "-fno-signed-zeros", "-freciprocal-math", "-ffp-contract=off"),
)
# Arguments of each function: arrays and tables of arrays, sizes, real numbers; then comes the number of threads.
_SIGNATURES = {
    "cell_forward": (9, 3, 0),
    "cell_backward": (10, 3, 0),
    "sub_layer_forward": (12, 4, 3),
    "sub_layer_backward": (15, 4, 3),
    "expand_rows": (4, 3, 3),
    "networks_forward": (10, 3, 1),
    "networks_backward": (14, 3, 1),
    "attention_forward": (4, 6, 0),
    "attention_backward": (5, 5, 0),
    "backbone_step": (4, 7, 3),
    "flexible_decision": (3, 7, 5),
    "flexible_roll_forward": (4, 10, 6),
    "flexible_roll_backward": (6, 9, 6),
}


class Table:
    """Many tensors as one argument of a kernel, which knows their number, order and types.

    Args:
        tensors: Plain contiguous tensors on the CPU; the table keeps them alive.

    Raises:
        TypeError: If one of them is not.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            _check_plain(tensor, "a table")
        self._tensors = tuple(tensors)
        self.addresses = (_POINTER * len(tensors))(*[tensor.data_ptr() for tensor in tensors])

    def __reduce__(self) -> tuple[type[Table], tuple[tuple[Tensor, ...]]]:
        """A copy, and what is read from a pickle, has the addresses of its own tensors."""
        return Table, (self._tensors,)


def _check_plain(tensor: Tensor, taker: str, dtype: torch.dtype | None = None) -> None:
    """Refuse any other tensor: the kernels read raw pointers and would read or write stray memory."""
    plain = type(tensor) in _PLAIN and tensor.is_cpu and tensor.is_contiguous()
    if not plain or (dtype is not None and tensor.dtype != dtype):
        raise TypeError(
            f"{taker} takes plain contiguous {dtype or 'torch'} tensors on the CPU, "
            f"got a {type(tensor).__name__} of {tensor.dtype} on {tensor.device}"
        )


class Kernels:
    """The loaded library of a type.

    Args:
        path: The compiled library.
        dtype: The type.

    Raises:
        OSError: If it cannot be loaded.
        AttributeError: If it lacks a function.
    """

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path, self._dtype = path, dtype
        library = ctypes.CDLL(str(path))
        self._functions = {}
        for name, (arrays, sizes, reals) in _SIGNATURES.items():
            function = getattr(library, f"lem_{name}_{_SUFFIXES[dtype]}")
            function.argtypes = [_POINTER] * arrays + [_INDEX] * sizes + [_REAL] * reals + [ctypes.c_int]
            function.restype = ctypes.c_int
            self._functions[name] = function

    def __call__(self, name: str, *arguments: Tensor | Table | int | float | None) -> None:
        """Call a kernel.

        Args:
            name: Function, without prefix and suffix.
            arguments: Contiguous tensors of the type (``None`` for a null pointer) or tables, sizes, real numbers.

        Raises:
            MemoryError: If there is no memory for its scratch arrays.
            TypeError: If a tensor is not a plain contiguous one of that type on the CPU.
        """
        values: list[object] = []
        for argument in arguments:
            if isinstance(argument, Tensor):
                _check_plain(argument, name, self._dtype)
                values.append(argument.data_ptr())
            else:
                values.append(argument.addresses if isinstance(argument, Table) else argument)
        if self._functions[name](*values, torch.get_num_threads()):
            raise MemoryError(f"no memory for the scratch arrays of {name}")


@cache
def kernels(dtype: torch.dtype = torch.float32) -> Kernels | None:
    """The kernels of a type, built now if need be; ``None`` if they cannot be built or are switched off."""
    if os.environ.get("LEM_KERNELS", "1") == "0" or sys.platform == "win32" or dtype not in _SUFFIXES:
        return None
    try:
        path = _built(dtype)
        try:
            return Kernels(path, dtype)
        except (OSError, AttributeError):  # the file is damaged: build it again, once
            path.unlink(missing_ok=True)
            return Kernels(_built(dtype), dtype)
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError) as error:
        detail = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        _LOG.warning("TKAN runs without its compiled kernels, some times slower: %s", str(detail).strip()[-400:])
        return None


def call(name: str, first: Tensor, *arguments: Tensor | Table | int | float | None) -> None:
    """Call the kernel of the type of its first argument, for a caller who knows that it is available.

    Args:
        name: Function, without prefix and suffix.
        first: The first argument.
        arguments: The others, see :class:`Kernels`.

    Raises:
        RuntimeError: If there are no kernels of this type.
        MemoryError: If there is no memory for its scratch arrays.
        TypeError: If a tensor is not a plain contiguous one of that type on the CPU.
    """
    library = kernels(first.dtype)
    if library is None:
        raise RuntimeError(f"there are no compiled kernels for {first.dtype}")
    library(name, first, *arguments)


def outside_graphs(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Keep a function out of the graphs of ``torch.compile``, at next to no cost where nothing is compiled."""

    @wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        if torch.compiler.is_compiling():  # only now: it loads the compiler, a second that nobody else needs
            disabled: Callable[Arguments, Result] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
            return disabled(*arguments, **named)
        return function(*arguments, **named)

    return call


@outside_graphs
def _are_loadable(dtype: torch.dtype) -> bool:
    return kernels(dtype) is not None


_traced_by: set[int] = set()  # programs that are traced now, which hold no kernels


@contextmanager
def outside_kernels() -> Iterator[None]:
    """Compute by the eager code of torch: for programs that are exported, which cannot call the kernels."""
    mark = object()
    _traced_by.add(id(mark))
    try:
        yield
    finally:
        _traced_by.discard(id(mark))


def is_available(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether kernels can compute with ``x`` in a type. They cannot while ``torch.jit`` traces."""
    if _traced_by:
        return False
    if x.device.type != "cpu" or dtype not in _SUFFIXES or type(x) not in _PLAIN:
        return False
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    return _are_loadable(dtype)


def _built(dtype: torch.dtype) -> Path:
    """The compiled library of a type in the cache, compiled if it is not there yet.

    Raises:
        OSError: If there is no compiler or no folder to write to.
        subprocess.SubprocessError: If the compiler fails.
    """
    compiler = _compiler()
    attempts = list(_attempts())
    sources = [(_FOLDER / name).read_text(encoding="utf-8") for name in _SOURCES]
    facts = [*sources, str(dtype), _version(compiler), _processor(), torch.__version__, repr((_FLAGS, attempts))]
    target = _cache_folder() / f"kernels-{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:32]}.so"
    if target.is_file() and _is_own(target.stat()):
        return target
    name = str(dtype).removeprefix("torch.")
    _LOG.warning("compiling the kernels (%s) for this processor: once, a few seconds", name)
    start = time.perf_counter()
    with replacing(target) as library:
        for number, (compile_flags, link_flags) in enumerate(attempts):
            try:
                _compile([*compiler, *_FLAGS, *compile_flags], dtype, link_flags, library)
                break
            except subprocess.CalledProcessError:
                if number == len(attempts) - 1:
                    raise
        library.chmod(0o700)
    _LOG.warning("compiled the kernels in %.1f s; they stay in %s", time.perf_counter() - start, target.parent)
    return target


def _compile(command: list[str], dtype: torch.dtype, link_flags: tuple[str, ...], library: Path) -> None:
    """Compile the units side by side, for one type, and link them."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:

        def compiled(unit: tuple[str, ...]) -> str:
            ours, made = Path(folder, unit[0]), Path(folder, f"{unit[0]}.o")
            parts = [_of_type((_FOLDER / name).read_text(encoding="utf-8"), dtype) for name in unit]
            ours.write_text("#undef EXPORT\n".join(parts), encoding="utf-8")
            _output([*command, f"-I{_FOLDER}", "-c", str(ours), "-o", str(made)])
            return str(made)

        with ThreadPoolExecutor(len(_UNITS)) as pool:
            objects = list(pool.map(compiled, _UNITS))
        _output([*command, "-shared", *objects, "-o", str(library), *link_flags])


def _of_type(source: str, dtype: torch.dtype) -> str:
    """A source without the functions of other types: it ends with one line ``EXPORT(float, f32)`` for each type."""
    return re.sub(rf"^EXPORT\((?!\w+, {_SUFFIXES[dtype]}\)).*$", "", source, flags=re.MULTILINE)


def _output(command: list[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", errors="replace", timeout=300
    ).stdout


def _attempts() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Flags of compiler and linker, best first."""
    native = "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"
    # Torch's own OpenMP first, where it brings one: two pools of threads would compete for the processors.
    folder = Path(torch.__file__).parent
    own = sorted([*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")])
    for threads in ((str(own[0]),) if own else (), ("-fopenmp",)):
        if threads:
            yield (native, "-fopenmp"), threads
    yield (native,), ()
    yield (), ()


def _compiler() -> list[str]:
    """The compiler's command. It may have options, or another program in front, as in CXX="ccache g++"."""
    named = shlex.split(os.environ.get("CXX", ""))
    for name, *options in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if program := shutil.which(name):
            return [program, *options]
    raise OSError(f"there is no C++ compiler {' '.join(named)}" if named else "there is no C++ compiler")


def _version(compiler: list[str]) -> str:
    """The command and the first line of what it prints as its version."""
    return repr(compiler) + _output([*compiler, "--version"]).partition("\n")[0]


def _processor() -> str:
    """The processor at hand: machines with different processors may share a cache folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.release()}"


def _cache_folder() -> Path:
    """The folder of the libraries. It belongs to the user and nobody else can write to it: its files are run as code.

    Raises:
        OSError: If there is no such folder.
    """
    root = _cache_root()
    folder = root / "kernels"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)  # a user who can write to it could replace the folder in it
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
    except RuntimeError as error:  # the user has no home folder, as in some containers
        raise OSError(f"{error} (set LEM_CACHE)") from None


def _is_own(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to the user and nobody else can write to it."""
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
