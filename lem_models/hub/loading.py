"""Reading and writing model folders: ``config.json`` and ``model.safetensors``, nothing else, never pickle."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lem_models.errors import WeightsError

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "read_weights", "write_model"]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
_MAX_HEADER = 1 << 22
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


def read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a safetensors file that fit exactly.

    Args:
        path: The file.
        expected: Tensors (meta tensors will do) with the names, shapes and types that the configuration asks for.

    Raises:
        WeightsError: when the file is damaged, lacks or adds tensors, has other shapes or types, or holds values that
            are not finite. The header is checked before any tensor is read.
    """
    header = _header(path)
    missing, extra = sorted(set(expected) - set(header)), sorted(set(header) - set(expected))
    if missing or extra:
        raise WeightsError(f"{path.name} does not fit the configuration: missing {missing[:5]}, unexpected {extra[:5]}")
    for key, tensor in expected.items():
        shape, dtype = tuple(header[key]["shape"]), _DTYPES.get(str(header[key]["dtype"]))
        if shape != tuple(tensor.shape) or dtype != tensor.dtype:
            raise WeightsError(
                f"{path.name}: {key} is {header[key]['dtype']} {list(shape)}, "
                f"the configuration asks for {tensor.dtype} {list(tensor.shape)}"
            )
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is damaged: {error}") from None
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path.name}: {key} holds values that are not finite")
    return weights


def _header(path: Path) -> dict[str, dict[str, Any]]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            if len(prefix) < 8:
                raise WeightsError(f"{path.name} is truncated: {size} bytes")
            (length,) = struct.unpack("<Q", prefix)
            if length > min(_MAX_HEADER, size - 8):
                raise WeightsError(f"{path.name} is damaged: its header claims {length} bytes of a file of {size}")
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read the weights {path.name}: {error}") from None
    if not isinstance(header, dict):
        raise WeightsError(f"{path.name} is damaged: its header is not an object")
    header.pop("__metadata__", None)
    for key, entry in header.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape) or "dtype" not in entry:
            raise WeightsError(f"{path.name} is damaged: the header's entry {key[:80]!r} has no shape and dtype")
    return header


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
