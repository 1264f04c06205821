"""The header of a safetensors file, checked before any tensor is read.

    8 bytes         length N of the header, little-endian
    N bytes         JSON: name -> {dtype, shape, data_offsets: [begin, end]}, and "__metadata__" (texts)
    the rest        the numbers, one tensor after the other

The model determines names, types and shapes, and so the largest length of the header. The offsets must cut the rest of
the file into pieces of the right sizes, without a gap or an overlap.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lem_models.errors import WeightsError
from lem_models.guard.text import parse_json, shown

__all__ = ["check_header"]

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
_ROOM = 1 << 16  # for metadata and padding
_ROOM_EACH = 512  # for the entry of one tensor beside its name
_LARGEST_OFFSET = 1 << 53


def check_header(file: BinaryIO, name: str, expected: Mapping[str, Tensor]) -> None:
    """Check that a file is whole and holds exactly the tensors expected.

    Args:
        file: The file, open.
        name: Its name in messages.
        expected: Tensors, e.g. meta tensors, with the names, shapes and types that the file must have.

    Raises:
        WeightsError: The file is damaged, lacks tensors, or has other tensors.
    """
    header, size = _read(file, name, _ROOM + sum(_ROOM_EACH + 6 * len(key) for key in expected))
    missing, extra = sorted(set(expected) - set(header)), sorted(set(header) - set(expected))
    if missing or extra:
        raise WeightsError(
            f"{name} does not fit the configuration: missing {_names(missing)}, unexpected {_names(extra)}"
        )
    pieces: list[tuple[int, int, str, int]] = []
    for key, tensor in expected.items():
        entry = header[key]
        shape, offsets = _integers(entry, "shape"), _integers(entry, "data_offsets")
        if shape is None or offsets is None or len(offsets) != 2 or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise WeightsError(
                f"{name} is damaged: the header's entry {shown(key)} is not a dtype, a shape and two data_offsets"
            )
        dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if shape != list(tensor.shape) or dtype != tensor.dtype:
            raise WeightsError(
                f"{name}: {key} is {shown(entry['dtype']).strip(chr(39))} {shown(shape)}, "
                f"the configuration asks for {tensor.dtype} {list(tensor.shape)}"
            )
        pieces.append((offsets[0], offsets[1], key, math.prod(shape) * tensor.dtype.itemsize))
    _check_offsets(name, pieces, size)


def _read(file: BinaryIO, name: str, limit: int) -> tuple[dict[str, Any], int]:
    """Entries by name, and the bytes that come after the header."""
    try:
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
        prefix = file.read(8)
        if len(prefix) < 8:
            raise WeightsError(f"{name} is truncated: {size} bytes")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(limit, size - 8):
            raise WeightsError(
                f"{name} is damaged: its header claims {length} bytes of a file of {size}, at most {limit} fit"
            )
        header = parse_json(file.read(length).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read the weights {name}: {error}") from None
    if not isinstance(header, dict):
        raise WeightsError(f"{name} is damaged: its header is not an object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(f"{name} is damaged: its metadata are not texts")
    return header, size - 8 - length


def _check_offsets(name: str, pieces: list[tuple[int, int, str, int]], size: int) -> None:
    """Check that the tensors fill the rest of the file without an overlap."""
    at = 0
    for begin, end, key, wanted in sorted(pieces):
        if begin != at or end - begin != wanted:
            raise WeightsError(
                f"{name} is damaged: {key} has the data_offsets [{shown(begin)}, {shown(end)}], "
                f"and should have [{at}, {at + wanted}]"
            )
        at = end
    if at != size:
        raise WeightsError(f"{name} is damaged: its tensors have {at} bytes, and {size} are there")


def _integers(entry: object, name: str) -> list[int] | None:
    """A list of integers in an entry of the header; ``None`` if it is anything else."""
    values = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(values, list) or len(values) > 16:
        return None
    fine = all(type(value) is int and 0 <= value < _LARGEST_OFFSET for value in values)
    return values if fine else None


def _names(names: list[str]) -> str:
    listed = ", ".join(shown(name) for name in names[:5])
    return f"[{listed}{', ...' if len(names) > 5 else ''}]"
