"""A desk survives kill -9 at any moment: the same decisions, and no lot lost or doubled."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from lem_models.desk import Desk
from lem_models.desk.log.events import Decided
from lem_models.desk.log.state import replay
from tests.desk.lives import Scene, kill_lives, market
from tests.helpers.venue import FakeVenue

pytest.importorskip("sqlalchemy")


def decisions(desk: Desk) -> dict[str, list[tuple[object, ...]]]:
    made: dict[str, list[tuple[object, ...]]] = {}
    for recorded in desk._ledger.store.read():
        if isinstance(recorded.event, Decided):
            for entry in recorded.event.decisions:
                made.setdefault(entry.order, []).append(
                    (entry.child, entry.start, entry.quantity, entry.carry, entry.finish, entry.reason)
                )
    return made


def check_reconciled(scene: Scene, reference: Scene) -> None:
    _, bars = market(scene.days)
    venue = FakeVenue(scene.venue, bars, late=0.3, partial=0.3)
    filled = venue.filled()
    with Desk(scene.place) as desk, Desk(reference.place) as uninterrupted:
        assert desk.state.orders.keys() == uninterrupted.state.orders.keys()
        for label, order in desk.state.orders.items():
            assert order.filled == filled.get(label, Decimal(0)), label
            assert order.filled == sum(quantity for quantity, _ in order.fills.values())
            assert order.filled <= order.order.amount
            assert order.over == 0
            assert order.filled % 1 == 0
            other = uninterrupted.state.orders[label]
            assert order.fills == other.fills
            assert order.status == other.status
            assert order.conflicts == 0
        assert decisions(desk) == decisions(uninterrupted)
        done = [order for order in desk.state.orders.values() if order.status == "done"]
        assert len(done) > len(desk.state.orders) // 3
        again = replay(desk._ledger.store.read())
        assert again.orders == desk.state.orders


def run(tmp_path: Path, place: str, *, days: int, kills: int) -> None:
    reference = Scene(str(tmp_path / "reference.db"), tmp_path / "reference.jsonl", days)
    reference.live()
    scene = Scene(place, tmp_path / "venue.jsonl", days)
    killed = kill_lives(scene, kills, seed=1, size=reference.venue.stat().st_size)
    assert killed >= 0.9 * kills  # some of the last may end before
    check_reconciled(scene, reference)


def test_killed_fifteen_times(tmp_path):
    run(tmp_path, str(tmp_path / "desk.db"), days=3, kills=16)


@pytest.mark.slow
def test_killed_two_hundred_times(tmp_path):
    run(tmp_path, str(tmp_path / "desk.db"), days=40, kills=225)


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_on_postgresql(tmp_path, postgresql, kills):
    run(tmp_path, postgresql, days=2 if kills == 6 else 10, kills=kills)
