"""What is measured after the fact: reversion after the end, and where in the order the slippage arose."""

import numpy as np
import pandas as pd
import pytest

from lem_models import Order, execute, synthetic_bars
from lem_models.errors import ConfigError
from lem_models.evaluation.post_trade import post_trade_reversion, reversion_bps
from lem_models.evaluation.trajectory import slippage_by_part, trajectory_shortfall
from tests.helpers.markets import hourly, rebuilt

BARS = synthetic_bars(symbols=2, days=40, seed=4)
ORDERS = Order.sample(
    BARS,
    every=7,
    side="both",
    min_periods=[1, 5, 12],
    max_periods=12,
    benchmark=["vwap", "twap", "full_vwap", "arrival"],
    target=["quantity", "notional"],
    limit=600,
)
RESULTS = {name: execute(name, BARS, ORDERS) for name in ("stopping_rule", "twap", "volume_curve")}


class TestReversion:
    """The price that the order got against the VWAP of a later bar."""

    def test_it_is_the_slippage_against_a_later_bar(self):
        result = RESULTS["stopping_rule"]
        found = reversion_bps(result, (1, 6))
        frame = BARS.frame
        for row in (0, 17, 300):
            order = result.orders.iloc[row]
            bars = frame[frame["symbol"] == order["symbol"]].reset_index(drop=True)
            last = result.schedule[result.schedule["order_id"] == order["order_id"]]["timestamp"].max()
            at = int(bars.index[bars["timestamp"] == last][0])
            vwap = bars["notional"] / bars["volume"]
            side = 1.0 if order["side"] == "buy" else -1.0
            for ahead in (1, 6):
                assert found[f"last_fill_{ahead}"][row] == pytest.approx(side * (vwap[at] / vwap[at + ahead] - 1) * 1e4)
                expected = side * (order["executed_price"] / vwap[at + ahead] - 1) * 1e4
                assert found[f"executed_{ahead}"][row] == pytest.approx(expected)

    def test_a_price_that_falls_after_a_purchase_is_a_cost(self):
        frame = hourly(days=16, symbols=1).frame
        start = frame["timestamp"].iloc[300]
        fall = np.where(frame["timestamp"] > start, 0.9, 1.0)
        prices = ["open", "high", "low", "close", "notional"]
        bars = rebuilt(hourly(days=16, symbols=1), frame.assign(**{name: frame[name] * fall for name in prices}))
        orders = pd.DataFrame({"side": ["buy", "sell"], "symbol": frame["symbol"].iloc[0], "start": start})
        orders["max_periods"] = 1
        found = reversion_bps(execute("twap", bars, orders), (1,))
        bought, sold = found["last_fill_1"]
        assert bought > 500 > -500 > sold
        assert bought == pytest.approx(-sold)

    def test_without_a_later_price_it_is_unknown(self):
        """Because the bars end: orders of the last hours."""
        last = ORDERS.sort_values("start").tail(40)
        result = execute("twap", BARS, last)
        table = post_trade_reversion({"twap": result}, after=(1, 24), draws=50).set_index(["reference", "bars_after"])
        known = reversion_bps(result, (24,))["last_fill_24"].notna().sum()
        assert 0 < known < 40
        assert table.loc[("last_fill", 24), "orders"] == known
        assert table.loc[("last_fill", 24), "unknown"] == 40 - known

    def test_a_gap_in_between_makes_it_unknown(self):
        frame = hourly(days=16, symbols=1).frame
        start = frame["timestamp"].iloc[300]
        bars = rebuilt(hourly(days=16, symbols=1), frame.drop(index=[303, 304]).reset_index(drop=True))
        orders = pd.DataFrame({"symbol": [frame["symbol"].iloc[0]], "start": [start], "side": "buy", "max_periods": 2})
        found = reversion_bps(execute("twap", bars, orders), (1, 6)).iloc[0]
        assert np.isfinite(found["last_fill_1"])
        assert np.isnan(found["last_fill_6"])

    def test_the_means_of_each_policy_have_intervals(self):
        table = post_trade_reversion(RESULTS, "side", after=(1,), draws=100)
        assert len(table) == 3 * 2 * 2
        assert (table["low_bps"] < table["mean_bps"]).all()
        assert (table["mean_bps"] < table["high_bps"]).all()
        own = reversion_bps(RESULTS["twap"], (1,))["executed_1"][(RESULTS["twap"].orders["side"] == "buy").to_numpy()]
        row = table.query("policy == 'twap' and side == 'buy' and reference == 'executed'").iloc[0]
        assert row["mean_bps"] == pytest.approx(own.mean())
        with pytest.raises(ConfigError, match="at least one bar after the end"):
            reversion_bps(RESULTS["twap"], (0,))


class TestTrajectory:
    """The parts of an order's slippage."""

    @pytest.mark.parametrize("policy", RESULTS)
    @pytest.mark.parametrize("parts", [None, 10, 3, 1])
    def test_the_parts_sum_to_the_whole(self, policy, parts):
        """For every benchmark and target, incomplete orders included."""
        result = RESULTS[policy]
        filled, slippage = slippage_by_part(result, parts)
        assert slippage.shape == (len(result.orders), parts or 12)
        np.testing.assert_allclose(slippage.sum(axis=1), result.orders["slippage_bps"], rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(filled.sum(axis=1), result.orders["filled"], atol=1e-9)

    def test_the_parts_of_an_incomplete_order_sum_to_its_slippage(self):
        frame = hourly(days=16, symbols=1).frame
        frame.loc[[302, 303], ["volume", "notional"]] = 0.0
        bars = rebuilt(hourly(days=16, symbols=1), frame)
        order = {"symbol": frame["symbol"].iloc[0], "start": frame["timestamp"].iloc[300], "side": "sell"}
        result = execute("twap", bars, pd.DataFrame([order | {"max_periods": 4, "max_rate": 0.25}]))
        assert not result.orders["completed"].item()
        filled, slippage = slippage_by_part(result)
        assert filled.sum() == pytest.approx(result.orders["filled"].item())
        assert slippage.sum() == pytest.approx(result.orders["slippage_bps"].item(), abs=1e-7)

    def test_a_period_belongs_to_the_part_in_which_it_begins(self):
        filled, _ = slippage_by_part(RESULTS["twap"], 3)
        fixed = (RESULTS["twap"].orders["min_periods"] == 12).to_numpy()
        np.testing.assert_allclose(filled[fixed], 1 / 3, atol=0.02)

    def test_means_sum_to_the_mean_slippage_of_their_group(self):
        table = trajectory_shortfall(RESULTS, ["benchmark", "target"], parts=10, draws=50)
        orders = RESULTS["volume_curve"].orders
        expected = orders.groupby(["benchmark", "target"])["slippage_bps"].mean()
        own = table[table["policy"] == "volume_curve"].groupby(["benchmark", "target"])["mean_bps"].sum()
        assert own.to_dict() == pytest.approx(expected.to_dict())
        assert table.groupby("policy")["filled_percent"].sum().to_numpy() == pytest.approx(100 * 8, rel=0.01)
        with pytest.raises(ConfigError, match="at least one part"):
            trajectory_shortfall(RESULTS, parts=0)
