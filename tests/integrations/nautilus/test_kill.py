"""kill -9 of the engine's process in the middle of a parent order: nothing is lost, and nothing is traded twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

pytest.importorskip("nautilus_trader", reason="nautilus_trader is the extra 'nautilus', which is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is the extra 'desk', which is not installed")
if not hasattr(os, "fork"):
    pytest.skip("processes are forked, which this system cannot", allow_module_level=True)

from lem_models.integrations.nautilus.core import ChildLedger
from tests.integrations.nautilus.killed import AMOUNT, PARENT, fills_of, lines_of

ROOT = Path(__file__).resolve().parents[3]


def check(folder, seeds):
    command = [sys.executable, "-m", "tests.integrations.nautilus.killed", str(folder), *map(str, seeds)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    killed = json.loads(done.stdout.splitlines()[-1])
    alone = resumed = 0
    for seed in seeds:
        fills = fills_of(folder / str(seed))
        alone += sum("alone" in fill for fill in fills)
        resumed += sum(bool(line.get("resumed")) for line in lines_of(folder / str(seed) / "venue.jsonl"))
        ledger = ChildLedger(folder / str(seed) / "state.db", "twap")
        state = ledger.parent(PARENT)
        at_venue = sum(Decimal(fill["quantity"]) for fill in fills)
        assert len({fill["child"] for fill in fills}) == len(fills), seed  # the venue took every child once
        assert at_venue == state.filled, seed  # nothing forgotten, nothing booked twice
        assert (state.filled + state.left, state.over) == (AMOUNT, 0), seed
        assert ledger.open_children() == [], seed
        assert (state.status, state.left) == ("done", 0), seed  # what was on its way when a process died, too
        ledger.shut()
    # Child orders were in flight when a process died: they filled while none ran, or in the life of the next.
    assert alone
    assert resumed
    return killed


def test_a_killed_process_loses_and_doubles_nothing(tmp_path):
    killed = check(tmp_path, range(4))
    assert sum(killed.values()) >= 4


@pytest.mark.slow
def test_fifty_orders_of_killed_processes(tmp_path):
    killed = check(tmp_path, range(100, 150))
    assert sum(killed.values()) >= 100
