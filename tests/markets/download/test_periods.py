"""Lengths of bars and periods, as vendors and users write them."""

import pandas as pd
import pytest

from lem_models.errors import BarsError, ConfigError
from lem_models.markets.download.periods import read_interval, read_period

NOW = pd.Timestamp("2024-06-15 10:20", tz="UTC")


@pytest.mark.parametrize(
    ("text", "length"),
    [("1m", "1min"), ("5min", "5min"), ("1h", "1h"), ("1d", "24h"), ("1D", "24h"), ("30s", "30s"), ("90m", "90min")],
)
def test_an_interval(text, length):
    assert read_interval(text) == pd.Timedelta(length)


@pytest.mark.parametrize("text", ["", "h", "1M", "1mo", "1w", "1 h", "-1h", "1.5h", "1H", "1h\n"])
def test_what_is_no_interval(text):
    with pytest.raises(ConfigError, match="is not the length of a bar"):
        read_interval(text)


def test_an_interval_of_nothing():
    with pytest.raises(BarsError, match="shortest is a second"):
        read_interval("0h")


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2023", "2023", "2023-01-01", "2024-01-01"),
        ("2023-02", "2023-02", "2023-02-01", "2023-03-01"),
        ("2023-02-28", "2023-02-28", "2023-02-28", "2023-03-01"),
        ("2023-12", "2024-01-05", "2023-12-01", "2024-01-06"),
        ("2023-01-01T06:00:00Z", "2023-01-01T07:00:00+01:00", None, None),
        ("2023-01-01T06:00:00Z", "2023-01-01T09:00:00+01:00", "2023-01-01 06:00", "2023-01-01 08:00"),
        ("2024", None, "2024-01-01", "2024-06-15 10:20"),
        ("2024", "2030", "2024-01-01", "2024-06-15 10:20"),
        ("2024-07", "2024-08", None, None),
    ],
)
def test_a_period(start, end, first, last):
    if first is None:
        with pytest.raises(ConfigError, match="holds no closed bar"):
            read_period(start, end, NOW)
        return
    period = read_period(start, end, NOW)
    assert (period.start, period.end) == (pd.Timestamp(first, tz="UTC"), pd.Timestamp(last, tz="UTC"))


@pytest.mark.parametrize("text", ["", "2023-13", "2023-02-30", "23", "01/02/2023", "now", "2023-01-01 25:00"])
def test_what_is_no_time(text):
    with pytest.raises(ConfigError, match=r"--from .* is not a time"):
        read_period(text, None, NOW)
