"""A recipe reads files of vendors by the same names as Bars.read."""

import pytest

from lem_models import synthetic_bars
from lem_models.errors import ConfigError
from lem_models.training.recipe import DataConfig

DAYS = {"train_end": "2024-01-20", "validation_end": "2024-01-30"}
READING = {
    "columns": {"timestamp": "Time", "close": "Last"},
    "symbol": "AAPL",
    "tz": "Asia/Tokyo",
    "notional": "close",
    "repair": ["clip_vwap"],
}


def test_a_recipe_reads_a_file_of_a_vendor(tmp_path):
    bars = synthetic_bars(symbols=1, days=40)
    frame = bars.frame.drop(columns=["symbol", "notional"]).rename(columns={"close": "Last"})
    frame["Time"] = frame.pop("timestamp").dt.tz_convert("Asia/Tokyo").dt.tz_localize(None)
    frame.to_csv(tmp_path / "bars.csv", index=False)
    read = DataConfig(**DAYS, **READING).read(tmp_path / "bars.csv")
    assert read.symbols == ("AAPL",)
    assert read.timestamp.tolist() == bars.timestamp.tolist()
    assert read.notional.tolist() == (bars.close * bars.volume).tolist()
    assert not read.notional_exact.any()


def test_bars_that_are_read_already_take_no_options():
    with pytest.raises(
        ConfigError, match=r"\(data.symbol, data.tz, data.columns, data.notional, data.repair\)"
    ) as caught:
        DataConfig(**DAYS, **READING).check_read()
    assert "pass the file" in str(caught.value)
    DataConfig(**DAYS).check_read()
