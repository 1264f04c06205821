"""Model folders: read ``config.json`` and ``model.safetensors``, never pickle.

The two files belong together: the configuration names the SHA-256 of its weights. Another process may be saving to the
folder, or may have been killed during a save (:mod:`~lem_models.hub.models.save` has the order of the steps). Then the
model before or after the save is read, never a mixture.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lem_models.errors import ConfigError, WeightsError
from lem_models.guard.safetensors import check_header
from lem_models.guard.text import open_regular
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.names import CONFIG_NAME, STAGED, WEIGHTS_NAME
from lem_models.modeling.config import ConfigFile

__all__ = ["check_hash", "check_links", "missing_files", "read_pair", "read_weights"]

_T = TypeVar("_T")
_PATIENCE = 30.0  # seconds for which a folder may change under a reader


def check_links(folder: Path, others: Collection[str] = ()) -> None:
    """Check that no file of a model folder is a link to elsewhere.

    An archive can hold a link to any file of the machine that unpacks it. The Hub's cache consists of links too: a file
    of a snapshot may be a link to the blobs of its repository. The package may be installed as links (``uv`` can do
    so), so its own folders are not checked.

    Args:
        folder: The folder.
        others: Other files that must not lead out of it, if they exist.

    Raises:
        WeightsError: when the weights lead out of the folder.
        ConfigError: when the configuration or another file does.
    """
    if folder == bundled_folder(folder.name):
        return
    home = Path(os.path.realpath(folder))
    inside = [home]
    # <cache>/models--org--name/snapshots/<commit>/config.json -> ../../blobs/<hash>
    if home.parent.name == "snapshots" and home.parents[1].name.startswith("models--"):
        inside.append(home.parents[1] / "blobs")
    for name in (CONFIG_NAME, WEIGHTS_NAME, f"{STAGED}/{CONFIG_NAME}", *others):
        kind = WeightsError if name == WEIGHTS_NAME else ConfigError
        target = Path(os.path.realpath(folder / name))
        if not any(target.is_relative_to(place) for place in inside):
            raise kind(f"{name} is a link that leads out of its folder {folder}: replace the link by the file")


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a folder lacks to be a model."""
    # After a first save that was killed at its last step, the configuration is still in the folder of preparation.
    places = {CONFIG_NAME: [folder / CONFIG_NAME, folder / STAGED / CONFIG_NAME], WEIGHTS_NAME: [folder / WEIGHTS_NAME]}
    return [name for name, paths in places.items() if not any(map(os.path.isfile, paths))]


def read_pair(folder: Path, read: Callable[[ConfigFile, BinaryIO], _T]) -> _T:
    """Read a configuration and its weights, also while another process saves to the folder.

    Args:
        folder: The folder.
        read: Reads a model from a configuration and the open file of the weights. After one of the errors below it is
            called again, as long as there is another configuration or the folder has changed.

    Returns:
        The value of ``read``.

    Raises:
        ConfigError: when the configuration is refused.
        WeightsError: when the weights cannot be read, or belong to another configuration.
    """
    start = time.monotonic()
    while True:
        before = _state(folder)
        try:
            return _read_once(folder, read)
        except (ConfigError, WeightsError):
            if _state(folder) == before or time.monotonic() - start > _PATIENCE:
                raise


def _read_once(folder: Path, read: Callable[[ConfigFile, BinaryIO], _T]) -> _T:
    try:
        # Open the weights before the configurations are read. An open file does not change, and its configuration
        # enters the folder earlier and stays longer.
        weights = open_regular(folder / WEIGHTS_NAME)
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read the weights {WEIGHTS_NAME}: {error}") from None
    with weights:
        *others, own = _configs(folder)
        for config in others:
            if isinstance(config, ConfigFile):
                with contextlib.suppress(ConfigError, WeightsError):
                    return read(config, weights)
        if isinstance(own, ConfigError):
            raise own
        return read(own, weights)


def read_weights(
    file: BinaryIO, expected: Mapping[str, Tensor], sha256: str | None = None, *, name: str = WEIGHTS_NAME
) -> dict[str, Tensor]:
    """Weights of a safetensors file that fit exactly.

    Args:
        file: The file, open.
        expected: Tensors (or meta tensors) with the names, shapes and types of the configuration.
        sha256: SHA-256 (hexadecimal) that the file must have; any if ``None``.
        name: Name of the file in messages.

    Raises:
        WeightsError: when the file is damaged, lacks or adds tensors, has other shapes or types, holds values that are
            not finite, or has another hash. The header is checked before any tensor is read.
    """
    check_header(file, name, expected)
    try:
        file.seek(0)
        content = file.read()
        weights = load(content)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{name} is damaged: {error}") from None
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{name}: {key} holds values that are not finite")
    check_hash(content, sha256, name)
    return weights


def check_hash(weights: bytes, sha256: str | None, name: str = WEIGHTS_NAME) -> None:
    """Check that weights have the hash in their configuration, if it has one.

    Raises:
        WeightsError: They have another hash.
    """
    if sha256 is not None and (actual := hashlib.sha256(weights).hexdigest()) != sha256:
        raise WeightsError(
            f"{name} is damaged or another model's: its SHA-256 is {actual}, and {CONFIG_NAME} belongs to {sha256}. "
            "Get both files from one place; if you changed the weights yourself, remove weights_sha256 from "
            f"{CONFIG_NAME}"
        )


def _configs(folder: Path) -> list[ConfigFile | ConfigError]:
    """Configurations that may belong to the weights: the one in preparation, if there is one, and the folder's own."""
    staged = _config(folder / STAGED / CONFIG_NAME)  # read first, because a save moves the file from here to the folder
    own = _config(folder / CONFIG_NAME)
    if isinstance(staged, ConfigError) or staged.weights_sha256 is None:
        return [own]
    if isinstance(own, ConfigFile) and own.weights_sha256 == staged.weights_sha256:
        return [own]
    return [staged, own]


def _config(path: Path) -> ConfigFile | ConfigError:
    if not os.path.isfile(path):
        return ConfigError(f"there is no file {path}")
    try:
        return ConfigFile.read(path)
    except ConfigError as error:
        return error


def _state(folder: Path) -> list[tuple[int, ...] | None]:
    """Identity of the files of a model; it changes when a file is replaced."""
    state: list[tuple[int, ...] | None] = []
    for name in (WEIGHTS_NAME, CONFIG_NAME, f"{STAGED}/{CONFIG_NAME}"):
        try:
            status = os.stat(folder / name)
        except OSError:
            state.append(None)
        else:
            state.append((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return state
