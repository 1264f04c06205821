"""Results on disk: JSON with few digits and one line per row of a table, so that files stay small and diffs legible."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lem_models.guard.output import Json, is_missing, write_text

DIGITS = 6


def plain(value: object) -> Json:
    """Content in the types that JSON knows: tables as records, floats with six digits, what is missing as null."""
    if is_missing(value):
        return None
    if isinstance(value, pd.DataFrame):
        return [plain(record) for record in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}")
    return str(value)


def record_text(content: Mapping[str, Any]) -> str:
    """JSON text: what holds no table is on one line, a table has a line per row."""
    return _indented(plain(content), "") + "\n"


def write_record(content: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a record, complete or not at all."""
    return write_text(path, record_text(content))


def _indented(value: Json, margin: str) -> str:
    inner = margin + " "
    if isinstance(value, dict) and any(_is_table(part) or isinstance(part, dict) for part in value.values()):
        parts = [f"{json.dumps(key)}: {_indented(part, inner)}" for key, part in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{margin}}}"
    if _is_table(value):
        return "[\n" + ",\n".join(inner + _indented(part, inner) for part in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _is_table(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
