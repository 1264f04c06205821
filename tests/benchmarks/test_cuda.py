"""The script for a CUDA device: its parts run without one, and none takes another down."""

import json
import sys
import time
from argparse import Namespace

import pytest
import torch

from benchmarks import cuda
from benchmarks.speed_table import cuda_table
from tests.benchmarks.script import run_script

TINY = ("--device", "cpu", "--steps", 2, "--orders", 200)


def parts_of(folder):
    return json.loads((folder / "cuda.json").read_text())["parts"]


@pytest.mark.slow
def test_every_part_runs_on_the_cpu(tmp_path):
    done = run_script("cuda.py", *TINY, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    parts = parts_of(tmp_path)
    assert list(parts) == list(cuda.PARTS)
    assert [facts["status"] for facts in parts.values()] == ["done", "done", "refused", "done", "refused", "done"]
    assert "passed" in parts["tests"]["summary"]
    for name in ("training, float32", "training, bf16"):
        assert (parts[name]["steps"], parts[name]["orders_per_step"]) == (1, 1536)
        assert parts[name]["steps_per_second"] == pytest.approx(1e3 / parts[name]["step_ms"])
        assert abs(parts[name]["validation_utility"]) < 1


def test_a_refusal_is_recorded_and_the_next_part_runs(tmp_path, monkeypatch):
    in_a_process = cuda._one

    def one(arguments, limit):
        """Training in this process, which has imported the trainer already."""
        if "execute" in arguments:
            return in_a_process(arguments, limit)
        return json.loads(run_script("cuda.py", *arguments).stdout)

    monkeypatch.setattr(cuda, "_one", one)
    wanted = ("--only", "training, float32, CUDA graphs", "execute", "--out", tmp_path)
    monkeypatch.setattr(sys, "argv", ["cuda.py", *map(str, (*TINY, *wanted))])
    assert cuda.main() == 0
    refused, executed = parts_of(tmp_path).values()
    assert refused["status"] == "refused"
    assert refused["reason"].startswith("trainer.cuda_graphs needs one CUDA device and precision 32-true")
    assert (executed["status"], executed["orders"], executed["same_periods_as_cpu"]) == ("done", 200, 1.0)
    assert executed["largest_difference_bps"] == 0.0
    table = cuda_table(json.loads((tmp_path / "cuda.json").read_text()))
    assert "| training, float32, CUDA graphs | refused: trainer.cuda_graphs" in table
    assert "| execute | 200 orders of 24 periods, " in table


def test_a_part_that_fails_or_hangs_is_recorded(monkeypatch):
    def fails(options):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setitem(cuda.PARTS, "execute", fails)
    assert cuda._part(Namespace(part="execute")) == {"status": "failed", "reason": "OutOfMemoryError: no memory"}
    began = time.monotonic()
    hung = cuda._one(["--device", "cpu", "--part", "execute"], 0.2)
    assert (hung["status"], hung["reason"]) == ("timed out", "stopped after 0 s")
    assert time.monotonic() - began < 10
    broken = cuda._one(["--device", "cpu", "--steps", "x"], 60)
    assert broken["status"] == "failed"
    assert "invalid int value: 'x'" in broken["reason"]


def test_the_limit_is_kept_and_the_file_is_written_after_each_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cuda, "_one", lambda arguments, limit: {"status": "done", "limit": limit})
    kept = []
    options = Namespace(limit=3.0, only=list(cuda.PARTS)[:3])
    clock = iter([0.0, 0.5, 1.0, 2.5])
    monkeypatch.setattr(cuda.time, "monotonic", lambda: next(clock))
    cuda.measured_parts(options, [], lambda parts: kept.append(dict(parts)))
    assert [len(parts) for parts in kept] == [1, 2, 3]
    first, second, third = kept[-1].values()
    assert (first["limit"], second["limit"]) == (1.5, 1.5)
    assert third == {"status": "not started", "reason": "the limit of 3 s was reached"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(tmp_path):
    done = run_script("cuda.py", "--out", tmp_path)
    assert done.returncode == 1
    assert "needs a CUDA device" in done.stderr
    assert "--device cpu --steps 2 --orders 200" in done.stderr
    assert not (tmp_path / "cuda.json").exists()
