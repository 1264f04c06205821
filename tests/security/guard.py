"""Load model folders one by one, each in a process of its own that is watched, and say what happened.

    python -m tests.security.guard FOLDER...        (the repository's root on the path)

prints a line of JSON for each: the error, peak memory over what the process had before, seconds, and everything that
the interpreter's audit hooks saw of code being run, imported or unpickled, of processes and connections, and of files
opened. Memory and processor time are limited by the system too: what asks for much fails there and then.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = 192 << 20
"""Bytes of address space that loading may take more than the process had."""
SECONDS = 20

_FORBIDDEN = (
    *("pickle.find_class", "marshal.loads", "exec", "compile", "import", "code.__new__", "function.__new__"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "ctypes.dlopen"),
    *("socket.connect", "socket.getaddrinfo", "urllib.Request", "shutil.unpack_archive", "os.symlink", "os.rename"),
    *("os.remove", "os.mkdir", "os.chmod", "os.truncate", "os.link"),
)


class Watch:
    """Audit hook of a process (hooks cannot be removed: it is off until started).

    Attributes:
        events: What was seen of ``_FORBIDDEN``.
        opened: Paths of the files opened.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.opened: list[str] = []
        self.is_on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event in _FORBIDDEN:
            self.events.append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            self.opened.append(os.fsdecode(arguments[0]))


def run(task: Callable[[], object]) -> dict[str, Any]:
    """What a task does, run in a process of its own."""
    with tempfile.TemporaryFile() as report:
        child = os.fork()
        if not child:
            try:
                found = _watched(task)
                report.write(json.dumps(found).encode())
                report.flush()
            finally:
                os._exit(0)
        _, status, used = os.wait4(child, 0)
        report.seek(0)
        text = report.read()
    found = (
        json.loads(text) if text else {"error": f"killed, status {status}", "message": "", "events": [], "opened": []}
    )
    return {**found, "seconds": used.ru_utime + used.ru_stime}


def _watched(task: Callable[[], object]) -> dict[str, Any]:
    watch = Watch()
    size = _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    before = _memory("VmRSS")
    kind, message = "", ""
    started = time.monotonic()
    watch.is_on = True
    try:
        task()
    except BaseException as error:
        watch.is_on = False
        kind, message = f"{type(error).__module__}.{type(error).__qualname__}", str(error)
        if not kind.startswith("lem_models."):
            message += "".join(traceback.format_tb(error.__traceback__)[-3:])
    watch.is_on = False
    return {
        "error": kind,
        "message": message,
        "events": watch.events,
        "opened": watch.opened,
        "memory": _memory("VmHWM") - before,
        "wall": time.monotonic() - started,
    }


def _memory(name: str) -> int:
    """Bytes, from the process's own record: VmHWM is its peak, which a new process starts at what it has."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def main(folders: list[str]) -> None:
    """See the module."""
    import torch

    from lem_models.errors import LEMError
    from lem_models.modeling.model import LEMModel

    torch.set_num_threads(1)
    # What is imported on first use is imported now: afterwards, any import is an event.
    sound, *others = folders
    LEMModel.from_pretrained(sound)
    for folder in (f"{sound}/nothing", f"{sound}/../nothing at all"):
        try:
            LEMModel.from_pretrained(folder)
        except LEMError:
            continue
    gc.freeze()  # what is there is not looked at again: children share its pages instead of copying them
    for folder in others:
        print(json.dumps(run(lambda: LEMModel.from_pretrained(Path(folder)))), flush=True)  # noqa: B023


if __name__ == "__main__":
    main(sys.argv[1:])
