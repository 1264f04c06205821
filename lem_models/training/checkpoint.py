"""Training checkpoints (``.ckpt``): what a run goes on from. They are pickles, and are opened as plain data only.

``torch.load(weights_only=True)`` reads tensors and plain values and calls no other code; before it opens a file, the
file has to be an archive as ``torch.save`` writes them. Its other formats are not needed, and the oldest one, a tar
archive, was a way around ``weights_only`` in torch before 2.6 (CVE-2025-32434). The members of the archive are stored,
not compressed, so a small file cannot stand for a large one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from lem_models.errors import ConfigError
from lem_models.untrusted import open_regular

__all__ = ["check_checkpoint", "read_checkpoint"]

_PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Raises:
        ConfigError: when there is no such file, or it holds anything but tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no checkpoint {path}")
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of zip archives, of pickles, of tensors
        # The message of torch tells how to switch the protection off: not repeated.
        detail = f": {error}" if isinstance(error, _NotPlainError) else ""
        raise ConfigError(f"{path} is not a checkpoint: {type(error).__name__}{detail}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return content


def check_checkpoint(path: str | Path) -> None:
    """Check that a run can go on from a checkpoint, as far as the file alone tells.

    Raises:
        ConfigError: when there is no such file, it holds anything but tensors and plain values, or lacks a part.
    """
    content = read_checkpoint(path)
    missing = [name for name in _PARTS if name not in content]
    if missing:
        raise ConfigError(f"{path} is not a checkpoint of a training run: it lacks {', '.join(missing)}")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ConfigError(f"{path} is not a checkpoint of a training run: its state_dict are not tensors by name")


class _NotPlainError(ValueError):
    """A file that is no archive as torch writes them."""


def _check_archive(path: Path) -> None:
    with open_regular(path) as file:
        if file.read(4) != b"PK\x03\x04":
            raise _NotPlainError("it is no archive that torch.save made")
        size = file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _NotPlainError("its members are compressed")
    if sum(member.file_size for member in members) > size:
        raise _NotPlainError("its members overlap")
