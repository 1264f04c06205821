"""Regressions that take little time, for tests in which Longstaff-Schwartz is one policy among others."""

import pytest

from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz


def few_paths(patch: pytest.MonkeyPatch) -> None:
    """Longstaff-Schwartz is fitted as ever, but on few paths."""
    patch.setitem(LongstaffSchwartz.__init__.__kwdefaults__, "paths", 512)
