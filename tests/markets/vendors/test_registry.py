"""Formats are descriptions in a closed registry; users may add their own."""

import pandas as pd
import pytest

from lem_models.errors import BarsError
from lem_models.markets.bars import Bars
from lem_models.markets.vendors import registry
from lem_models.markets.vendors.formats import Format
from lem_models.markets.vendors.registry import format_named, formats, register_format

MINE = Format(
    name="mine",
    title="files of my desk",
    page="",
    columns={
        "timestamp": ("closed",),
        "symbol": ("who",),
        **{name: (f"px_{name}",) for name in ("open", "high", "low", "close")},
        "volume": ("qty",),
        "vwap": ("px_vwap",),
    },
    meaning="end",
    zone="Asia/Tokyo",
    price_scale=0.01,
)
TABLE = {
    "closed": ["2025-09-02 10:00", "2025-09-02 11:00", "2025-09-02 12:00"],
    "who": "A",
    **{"px_open": 1000, "px_high": 1200, "px_low": 900, "px_close": 1100, "qty": 4, "px_vwap": 1050, "mark": 7},
}


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_FORMATS", dict(registry._FORMATS))
    return register_format(MINE)


def test_a_format_of_one_s_own_is_detected(registered):
    bars = Bars.from_frame(pd.DataFrame(TABLE))
    assert (bars.reading.format, bars.reading.is_detected) == ("mine", True)
    assert bars.frame["timestamp"][0] == pd.Timestamp("2025-09-02 00:00", tz="UTC")  # an hour before 10:00 in Tokyo
    assert (bars.open[0], bars.high[0], bars.close[0], bars.notional[0]) == (10.0, 12.0, 11.0, 42.0)
    assert bars.columns[-1] == "mark"
    assert "timestamps were the ends of bars" in bars.reading.in_words()


def test_without_it_the_table_is_not_known():
    with pytest.raises(BarsError, match="no format that is known"):
        Bars.from_frame(pd.DataFrame(TABLE))


def test_names_are_given_once(registered):
    with pytest.raises(ValueError, match="the format 'mine' is registered already"):
        register_format(MINE)
    assert format_named("mine") is registered


def test_roles_are_known():
    with pytest.raises(ValueError, match=r"there are no roles \['colse'\]"):
        Format(name="odd", title="", page="", columns={"colse": ("c",)})
    with pytest.raises(ValueError, match="not one over a whole number"):
        Format(name="odd", title="", page="", columns={}, price_scale=0.3)


@pytest.mark.parametrize("each", formats(), ids=lambda each: each.name)
def test_a_preset_is_described(each):
    assert each.title
    assert each.page.startswith("https://") or each.name in ("ohlcv", "date-time", "date-time-new-york")
    assert {"open", "high", "low", "close", "volume"} <= each.columns.keys() | {"volume"}
    assert all(note.endswith(".") for note in each.notes)
    if each.file_name is not None:
        assert "(?P<symbol>" in each.file_name
