"""Build and load the compiled kernels.

The system's C++ compiler compiles the sources on first use, for the processor at hand (a few seconds, and a line in the
log says so). The library is kept in the user's cache folder. Its name is a hash of the sources, the compiler, its flags
and the processor. Without a compiler, or if the build fails, a library of the wheel is taken, if the wheel brings one
that the processor can run. Otherwise the eager code runs: slower, the same numbers up to rounding. Libraries are loaded
with ``ctypes``, which releases the interpreter's lock during a call.

Environment:
    LEM_KERNELS: ``0`` switches the kernels off; ``bundled`` takes those of the wheel and compiles nothing.
    LEM_CACHE: Cache folder; default ``lem_models`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    CXX: Compiler, with options if need be; default the first of ``c++``, ``g++``, ``clang++``.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from lem_models.guard.output import replacing
from lem_models.modeling.kernels.build import (
    BUNDLED,
    FLAGS,
    LEVELS,
    NoCompilerError,
    bundled_name,
    compile_library,
    find_compiler,
    output,
    processor_flags,
    source_texts,
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

__all__ = ["Kernels", "Table", "call", "is_available", "kernels", "outside_kernels"]

_LOG = logging.getLogger("lem_models")
_POINTER, _INDEX, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_PLAIN = (Tensor, torch.nn.Parameter)  # a tensor of another type, as of torch.export, may have no numbers
_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
_FAULTS = (OSError, ValueError, AttributeError, subprocess.SubprocessError)  # of a build or of a library
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
    """The kernels of a type, built now if need be; ``None`` if there are none to be had or they are switched off."""
    choice = os.environ.get("LEM_KERNELS", "1")
    if choice == "0" or sys.platform == "win32" or dtype not in _SUFFIXES:
        return None
    try:
        return _bundled(dtype) if choice == "bundled" else _compiled_here(dtype)
    except _FAULTS as error:
        reason, has_no_compiler = _text(error), isinstance(error, NoCompilerError)
        if choice != "bundled":
            try:
                library = _bundled(dtype)
            except _FAULTS as other:
                reason += f"; {_text(other)}"
            else:
                # A machine without a compiler is what the wheel brings them for. Any other reason is worth a look.
                level = logging.INFO if has_no_compiler else logging.WARNING
                _LOG.log(level, "the kernels of the wheel serve (%s): %s", library.path.name, reason)
                return library
        _LOG.warning("TKAN runs without its compiled kernels, some times slower: %s", reason)
        return None


def _compiled_here(dtype: torch.dtype) -> Kernels:
    path = _built(dtype)
    try:
        return Kernels(path, dtype)
    except (OSError, AttributeError):  # the file is damaged: build it again, once
        path.unlink(missing_ok=True)
        return Kernels(_built(dtype), dtype)


def _bundled(dtype: torch.dtype) -> Kernels:
    """The library of the wheel for the highest level of instructions that the processor has.

    Raises:
        OSError: The wheel brings none for this processor, or it cannot be loaded.
        AttributeError: It lacks a function.
    """
    flags, suffix = processor_flags(), _SUFFIXES[dtype]
    paths = [BUNDLED / bundled_name(level, suffix) for level, needed in LEVELS.items() if needed <= flags]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise OSError("this installation has no compiled kernels for this processor")
    # The library leaves the functions of OpenMP open: those of the library that torch has loaded, or of the system's.
    ctypes.CDLL(next(iter(_own_openmp()), "libgomp.so.1"), mode=ctypes.RTLD_GLOBAL)
    return Kernels(path, dtype)


def _text(error: Exception) -> str:
    return str(error.stderr if isinstance(error, subprocess.CalledProcessError) else error).strip()[-400:]


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
    """The compiled library of a type in the cache, compiled if it is not there yet: by one process, others wait for it.

    Raises:
        OSError: If there is no compiler or no folder to write to.
        subprocess.SubprocessError: If the compiler fails.
    """
    compiler = find_compiler()
    attempts = list(_attempts())
    facts = [*source_texts(), str(dtype), _version(compiler), _processor(), torch.__version__, repr((FLAGS, attempts))]
    target = _cache_folder() / f"kernels-{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:32]}.so"
    if _is_there(target):
        return target
    with _one_at_a_time(target.parent):
        if _is_there(target):  # another process has compiled it meanwhile
            return target
        name = str(dtype).removeprefix("torch.")
        _LOG.warning("compiling the kernels (%s) for this processor: once, a few seconds", name)
        start = time.perf_counter()
        with replacing(target) as library:
            for number, (compile_flags, link_flags) in enumerate(attempts):
                try:
                    compile_library(compiler, (*FLAGS, *compile_flags), _SUFFIXES[dtype], link_flags, library)
                    break
                except subprocess.CalledProcessError:
                    if number == len(attempts) - 1:
                        raise
            library.chmod(0o700)
        _LOG.warning("compiled the kernels in %.1f s; they stay in %s", time.perf_counter() - start, target.parent)
    return target


def _is_there(target: Path) -> bool:
    return target.is_file() and _is_own(target.stat())


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process after the other in, as far as the file system has locks; a process that ends gives its own up."""
    import fcntl  # Windows has none, and no kernels either

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _attempts() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Flags of compiler and linker, best first."""
    native = "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"
    own = _own_openmp()  # two pools of threads would compete for the processors
    for threads in (("-fopenmp", own[0]) if own else (), ("-fopenmp",)):
        if threads:
            yield (native, "-fopenmp"), threads
    yield (native,), ()
    yield (), ()


def _own_openmp() -> list[str]:
    """Torch's own OpenMP library; empty where torch brings none."""
    folder = Path(torch.__file__).parent
    return [str(p) for p in sorted([*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")])]


def _version(compiler: list[str]) -> str:
    """The command and the first line of what it prints as its version."""
    return repr(compiler) + output([*compiler, "--version"]).partition("\n")[0]


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
