"""The benchmark of live decisions: what it counts as the memory of a session."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import live


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process its memory")
def test_the_memory_of_a_session_is_what_each_one_adds(monkeypatch):
    # Ones, because pages of zeros take no memory until they are written; so many, because smaller pieces may come out
    # of memory that the process has freed before.
    policy = SimpleNamespace(session=lambda order, history: b"\x01" * 40_000_000)
    monkeypatch.setattr(live, "load_policy", lambda name: policy)
    assert live.grown("any", 5, 0) == pytest.approx(40.0, rel=0.1)


def test_latencies_are_percentiles_of_the_fastest_repeats(monkeypatch):
    monkeypatch.setattr(live, "session_memory", lambda name, seed: 0.5)
    facts = live.live_latency("twap", orders=4, repeats=2)
    assert facts["p50_ms"] <= facts["p90_ms"] <= facts["p99_ms"] <= facts["max_ms"]
    assert facts["p50_ms"] <= facts["all_p50_ms"]
    assert facts["create_p50_ms"] > 0
    assert (facts["session_mb"], facts["repeats"]) == (0.5, 2)
