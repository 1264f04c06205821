"""Reading and writing model folders: ``config.json`` and ``model.safetensors``, nothing else, never pickle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lem_models.errors import ConfigError, WeightsError
from lem_models.hub.registry import bundled_folder
from lem_models.hub.safetensors_header import check_header

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "check_links", "read_weights", "write_model"]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def check_links(folder: Path, others: Collection[str] = ()) -> None:
    """Check that no file of a model folder is a link to elsewhere.

    An archive can hold a link to any file of the machine that unpacks it. The Hub's cache is made of links too: a file
    of a snapshot may lead to where the cache keeps the files of that repository. And the package itself may have been
    installed as links (``uv`` can do so): its own folders are not looked at.

    Args:
        folder: The folder.
        others: Other files that must not lead out of it, if they are there.

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
    for name in (CONFIG_NAME, WEIGHTS_NAME, *others):
        kind = WeightsError if name == WEIGHTS_NAME else ConfigError
        target = Path(os.path.realpath(folder / name))
        if not any(target.is_relative_to(place) for place in inside):
            raise kind(f"{name} is a link that leads out of its folder {folder}: put the file itself there")


def read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a safetensors file that fit exactly.

    Args:
        path: The file.
        expected: Tensors (meta tensors will do) with the names, shapes and types that the configuration asks for.

    Raises:
        WeightsError: when the file is damaged, lacks or adds tensors, has other shapes or types, or holds values that
            are not finite. The header is checked before any tensor is read.
    """
    check_header(path, expected)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is damaged: {error}") from None
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path.name}: {key} holds values that are not finite")
    return weights


def write_model(folder: Path, config: str, weights: Mapping[str, Tensor]) -> Path:
    """Write a model folder; each file is written aside and then moved into place."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as aside:
        prepared = Path(aside)
        (prepared / CONFIG_NAME).write_text(config, encoding="utf-8")
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        save_file(tensors, prepared / WEIGHTS_NAME, metadata={"format": "pt"})
        for name in (WEIGHTS_NAME, CONFIG_NAME):
            (prepared / name).chmod(0o644)  # safetensors writes files that only their owner can read
            os.replace(prepared / name, folder / name)
    return folder
