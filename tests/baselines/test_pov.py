"""A constant part of the volume, by hand."""

import numpy as np
import pytest

from lem_models.baselines.pov import POV
from lem_models.errors import ConfigError
from lem_models.execution.execute import execute
from tests.helpers import flat_bars, hourly, order_table


def _fractions(policy, volumes, periods, **order):
    """Fills of an order after 300 bars of volume 10, whose expected volume is then 10 in every period."""
    bars = flat_bars([100.0] * (300 + len(volumes)), [10.0] * 300 + volumes)
    traded = execute(policy, bars, order_table(bars, 300, max_periods=periods, **order)).schedule
    fractions = np.zeros(periods)
    fractions[traded["period"]] = traded["fraction"]
    return fractions


def test_volume_as_expected_is_an_even_pace():
    np.testing.assert_allclose(_fractions(POV(), [10.0] * 5, 4), 0.25)


def test_it_trades_the_forecast_and_makes_up_for_its_error():
    # 40 are expected. The first bar trades 20 instead of 10: 10/40 then, and of the 20 + 20 forecast another 30/40.
    np.testing.assert_allclose(_fractions(POV(window=1), [20.0, 10.0, 10.0, 10.0, 10.0], 4), [0.25, 0.75, 0, 0])
    # 4 instead of 10: 8 are due after the second bar, less than has been traded; then 4 + 6 + 6 = 16 are due.
    np.testing.assert_allclose(
        _fractions(POV(window=1), [4.0, 6.0, 8.0, 9.0, 1.0], 4), [0.25, 0.0, (16 - 10) / 40, 1 - 16 / 40]
    )


def test_the_forecast_is_the_mean_of_the_window():
    # Two bars of 4 and 8: 6 are forecast, 18 due.
    np.testing.assert_allclose(_fractions(POV(window=2), [4.0, 8.0, 1.0, 1.0, 1.0], 4)[2], 18 / 40 - 10 / 40)


def test_a_faster_pace_ends_earlier():
    np.testing.assert_allclose(_fractions(POV(pace=2.0), [10.0] * 9, 8), [0.25] * 4 + [0] * 4)


def test_participation_is_steadier_than_that_of_an_even_pace():
    bars = hourly(days=60)
    orders = order_table(bars, list(range(300, 1300, 7)), max_periods=24)
    spreads = []
    for policy in (POV(), "twap"):
        result = execute(policy, bars, orders)
        ratios = [
            (rows["fraction"].cumsum() / rows["volume"].cumsum()).iloc[4:20]
            for rows in map(result.periods_of, result.orders["order_id"])
        ]
        spreads.append(np.mean([ratio.std() / ratio.mean() for ratio in ratios]))
    assert spreads[0] < 0.7 * spreads[1]


@pytest.mark.parametrize(("setting", "message"), [({"pace": 0.0}, "pace must be"), ({"window": 0}, "window must be")])
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        POV(**setting)
