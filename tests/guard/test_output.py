"""Tables and texts on disk: complete or not at all, exact, strict."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, LEMError
from lem_models.guard.output import replacing, to_csv, to_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rename is the only moment at which the target changes."""
    target = write_text(tmp_path / "report.html", "Old")

    def fail(_: Path, __: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(ConfigError, match="cannot be written: disk full"):
        write_text(target, "New")
    assert "Old" in target.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_inside_the_context_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The file beside the target goes, whatever happened."""
    target = tmp_path / "bars.arrow"
    with replacing(target) as partial:
        partial.write_text("Old")
    with pytest.raises(FileNotFoundError), replacing(target) as partial:
        partial.with_name("missing").rename(partial)
    assert target.read_text() == "Old"
    assert list(tmp_path.iterdir()) == [target]


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    """What is read back is what was written."""
    frame = pd.DataFrame({"policy": ["model", '<b>",;\n'], "mean_bps": [1 / 3, np.nan]})
    path = to_csv(frame, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), frame, check_dtype=False, check_exact=True)


def test_json_is_strict_and_in_order(tmp_path: Path) -> None:
    """NaN is null, numpy and pandas types are plain, keys keep their sequence."""
    frame = pd.DataFrame(
        {
            "zeta": [np.nan, 0.5],
            "alpha": [1, 2],
            "time": [pd.Timestamp("2024-01-01", tz="UTC"), pd.NaT],
            "done": [True, False],
        }
    )
    content = {"table": frame, "seed": np.int64(3), "level": np.float32(0.5), "path": Path("a"), "inf": math.inf}
    text = to_json(content, tmp_path / "table.json").read_text(encoding="utf-8")
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert loaded == {
        "table": [
            {"zeta": None, "alpha": 1, "time": "2024-01-01T00:00:00+00:00", "done": True},
            {"zeta": 0.5, "alpha": 2, "time": None, "done": False},
        ],
        "seed": 3,
        "level": 0.5,
        "path": "a",
        "inf": None,
    }
    assert list(loaded["table"][0]) == list(frame.columns)
    assert to_json(content, tmp_path / "again.json").read_text(encoding="utf-8") == text


def test_json_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    """A typed error, and no file."""
    with pytest.raises(LEMError, match="set has no form in JSON"):
        to_json({"x": {1, 2}}, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())
