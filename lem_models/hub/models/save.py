"""Save a model folder so that a reader sees the old model or the new one.

Two files of fixed names cannot be replaced at once, so they are replaced in a sequence that a reader can follow. The
configuration names the hash of its weights:

1. both files are written to ``.saving/`` and forced to the disk;
2. the new weights replace the old: the configuration that belongs to them is the one in ``.saving/`` now;
3. that configuration replaces the old one.

A reader (:func:`~lem_models.hub.models.folder.read_pair`) takes the configuration that names the weights it has opened.
A process that is killed before step 2 has changed nothing. A process that is killed before step 3 leaves a folder that
loads as the new model, and the next save completes it. Only one process at a time saves to a folder. So any content of
``.saving/`` at the start of a save was left by a process that has ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lem_models.errors import ConfigError
from lem_models.guard.hashes import file_sha256
from lem_models.hub.names import CONFIG_NAME, STAGED, WEIGHTS_NAME
from lem_models.modeling.config import ConfigFile, LEMConfig

if TYPE_CHECKING:
    from lem_models.modeling.model import LEMModel

__all__ = ["save_model", "write_model"]

_LOCK = ".saving.lock"
_PATIENCE = 120.0  # seconds that another process may take for its save
_PAUSE = 0.005


def save_model(model: LEMModel, folder: str | Path) -> Path:
    """Write a trained model to a folder; see :meth:`lem_models.LEMModel.save_pretrained`."""
    model.require_trained()
    return write_model(Path(folder), model.config, model.state_dict())


def write_model(folder: Path, config: LEMConfig, weights: Mapping[str, Tensor]) -> Path:
    """Write a model folder, completely or not at all; other files in it stay.

    Args:
        folder: The folder; made if it does not exist.
        config: Configuration.
        weights: Weights.

    Raises:
        ConfigError: when the folder cannot be written, e.g. because the disk is full, or another process does not
            finish its save.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _finish(folder)
            _save(folder, config, weights)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"the model cannot be saved to {folder}: {error}. Free some space, or name a folder that can be written; "
            "the folder is unchanged"
        ) from None
    return folder


def _save(folder: Path, config: LEMConfig, weights: Mapping[str, Tensor]) -> None:
    staged = folder / STAGED
    try:
        staged.mkdir()
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        save_file(tensors, staged / WEIGHTS_NAME, metadata={"format": "pt"})
        text = ConfigFile(config, file_sha256(staged / WEIGHTS_NAME)).to_json()
        (staged / CONFIG_NAME).write_text(text, encoding="utf-8")
        for name in (WEIGHTS_NAME, CONFIG_NAME):
            (staged / name).chmod(0o644)  # safetensors writes files that only their owner can read
            _force(staged / name)
        _force(staged)
        os.replace(staged / WEIGHTS_NAME, folder / WEIGHTS_NAME)
        _force(folder)
        _commit(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            _finish(folder)
        raise


def _finish(folder: Path) -> None:
    """End an interrupted save: take its last step if the new weights are in place, else remove its files."""
    staged = folder / STAGED
    if os.path.lexists(staged):
        with contextlib.suppress(ConfigError, FileNotFoundError):
            if ConfigFile.read(staged / CONFIG_NAME).weights_sha256 == file_sha256(folder / WEIGHTS_NAME):
                return _commit(folder)
        _remove(staged)
    return None


def _commit(folder: Path) -> None:
    os.replace(folder / STAGED / CONFIG_NAME, folder / CONFIG_NAME)
    _force(folder)
    _remove(folder / STAGED)


def _remove(staged: Path) -> None:
    if staged.is_symlink() or not staged.is_dir():
        staged.unlink()
    else:
        shutil.rmtree(staged)


def _force(path: Path) -> None:
    """Force a file or the entries of a folder to the disk, where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process saves to the folder. The lock ends with the process that holds it."""
    path, start = folder / _LOCK, time.monotonic()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            # Another process removes the file when it ends its save, and a lock on a removed file locks nothing.
            if _try_lock(descriptor) and _is_at(descriptor, path):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() - start > _PATIENCE:
            raise ConfigError(f"another process saves to {folder} and does not finish: end it, or name another folder")
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        if os.name != "nt":  # Windows does not remove an open file
            path.unlink(missing_ok=True)
        os.close(descriptor)
        if os.name == "nt":
            with contextlib.suppress(OSError):  # another process waits and has it open
                path.unlink()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Some network file systems have no locks. Save there without one: a model may have taken days to train.
            return error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
        return True
