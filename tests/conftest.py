"""Settings and fixtures that every test shares."""

import functools
import gc
import os
import re
from pathlib import Path

import pytest
import typer.testing
from hypothesis import settings

from tests.pictures import blank_pictures

# Several test processes on a few cores: one thread each. The variable is read when torch is first imported, and that is
# still to come, so tests that need no torch do not pay for it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What torch, lightning and pandas make on import stays. Looking through it for garbage again and again took a tenth of
# the time: it is done less often, and not at all for what is there when the tests begin.
gc.set_threshold(50_000, 20, 50)

# No deadlines: a shared machine is slow at times. In continuous integration every run tries the same examples.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# The runner of typer makes all commands anew for each call, which takes longer than most commands.
typer.testing._get_command = functools.cache(typer.testing._get_command)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary folders in memory where there is room: databases and saved models wait for a disk again and again.

    Many tests end processes by force. None ends the machine's power, which alone would tell memory from a disk.
    """
    memory = Path("/dev/shm")
    if config.getoption("basetemp") is None and os.access(memory, os.W_OK):
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize > 4 << 30 and not room.f_flag & os.ST_NOEXEC:  # compiled kernels are loaded
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that hold an address: they differ from process to process."""
    unstable = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]{6,}", item.nodeid)]
    if unstable:
        raise pytest.UsageError(f"names of tests hold addresses of objects, give ids: {', '.join(unstable)}")


def pytest_collection_finish() -> None:
    """What was imported stays."""
    gc.freeze()


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are saved as blank pictures."""
    blank_pictures(monkeypatch)


@pytest.fixture
def quick_regressions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longstaff-Schwartz is fitted on few paths."""
    from tests.regressions import few_paths  # here, because many tests need no torch

    few_paths(monkeypatch)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the development data sets (real bars), kept beside the repository and not part of it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development data (folder shared/data beside the repository) are not on this machine")
    return folder
