"""What the split of the improvement keeps of the draws of the null."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, OrderError
from lem_models.statistics.null_draws import NullDraws


def _draw(slippage, volatility=50.0, ids=("a", "b", "c")):
    return NullDraws.of(pd.DataFrame({"order_id": ids, "slippage_bps": slippage, "volatility_bps": volatility}))


def test_draws_keep_improvements_and_volatilities_of_the_orders():
    """Means over the draws in which an order was priced, each in the volatility of its own draw."""
    draws = NullDraws.join([_draw([-10.0, 0.0, np.nan]), _draw([-30.0, np.nan, np.nan], [100.0, 0.0, 10.0])])
    assert (len(draws), draws.improvement_bps.shape) == (2, (2, 3))
    expected = [[20.0, (0.2 + 0.3) / 2], [0.0, 0.0], [np.nan, np.nan]]
    np.testing.assert_allclose(draws.means(), expected)
    np.testing.assert_allclose(draws.of_orders(["c", "a"]).means(), [expected[2], expected[0]])


def test_draws_are_of_the_same_orders():
    with pytest.raises(OrderError, match="different orders"):
        NullDraws.join([_draw([1.0, 2.0, 3.0]), _draw([1.0, 2.0, 3.0], ids=("a", "c", "b"))])
    with pytest.raises(OrderError, match="d is not there"):
        _draw([1.0, 2.0, 3.0]).of_orders(["a", "d"])
    with pytest.raises(ConfigError, match="at least one draw"):
        NullDraws.join([])
