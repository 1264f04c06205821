"""The places of bars as JSON: a schedule that makes no sense is refused, whatever wrote it."""

import numpy as np
import pytest

from lem_models.markets.storage.grid_record import _packed, grid_of

SCHEDULE = {"start": [0, 5], "number": [0, 5], "count": [5, 5], "opening": [0, 5]}
BAD_SCHEDULES = {
    "stretches overlap": ({"start": [0, 3]}, {}),
    "positions overlap": ({"number": [0, 3]}, {}),
    "an empty stretch": ({"count": [5, 0]}, {}),
    "one stretch less": ({"count": [5]}, {}),
    "no stretch": ({"start": [], "number": [], "count": []}, {}),
    "no session": ({"opening": []}, {}),
    "a session inside a stretch": ({"opening": [0, 4]}, {}),
    "a session later": ({"opening": [5]}, {}),
    "too many slots": ({}, {"slots_per_session": 6}),
    "no stride": ({}, {"stride": 0}),
    "a zone that is a path": ({}, {"zone": "../zone"}),
    "a zone that is none": ({}, {"zone": "Europe/Atlantis"}),
    "before the first bar": ({"start": [5, 10], "number": [6, 11], "opening": [6, 11]}, {}),
    "after the last bar": ({"start": [0], "number": [0], "count": [5], "opening": [0]}, {}),
}


@pytest.mark.parametrize(("arrays", "plain"), BAD_SCHEDULES.values(), ids=BAD_SCHEDULES)
def test_a_schedule_that_makes_no_sense_is_refused(arrays, plain):
    def record(arrays, plain):
        calendar = {"name": "X", "frequency": 60_000_000_000, "slots_per_session": 5, "is_session_bound": True}
        calendar |= {"kind": "scheduled", "stride": 1, "phase": 0, "zone": None} | plain
        calendar |= {name: _packed(np.array(values, np.int64)) for name, values in (SCHEDULE | arrays).items()}
        places = {"offsets": [0, 10], "run": [0, 10], "number": [0], "idle": []}
        return {"calendar": calendar} | {name: _packed(np.array(p, np.int64)) for name, p in places.items()}

    assert grid_of(record({}, {}), 1, 10).session_bounds.tolist() == [0, 5, 10]
    with pytest.raises(ValueError, match=r"calendar|a list of .* numbers"):
        grid_of(record(arrays, plain), 1, 10)
