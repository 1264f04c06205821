"""Tracking by least squares: the linear slippage, the back-loaded curve, the convex policy, and their files."""

import json
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import Bars, execute, load_policy
from lem_models.baselines import BackloadedCurve, ConvexPolicy
from lem_models.baselines.tracking.coefficients import (
    FILE,
    SHIPPED,
    Coefficients,
    knot_count,
    knot_weights,
    shipped_coefficients,
)
from lem_models.baselines.tracking.features import CONTEXT, NAMES, market_context, order_features
from lem_models.baselines.tracking.fit import durations_up_to, fit_tracking, fixed_orders, order_design
from lem_models.baselines.tracking.kinds import KINDS, kind_numbers
from lem_models.baselines.tracking.slippage import LinearSlippage, fitted
from lem_models.errors import BarsError, ConfigError, OrderError, UnknownNameError
from lem_models.evaluation.tracking import tracking_ratios
from lem_models.execution.records import OrderBatch
from lem_models.execution.roll import Roll
from lem_models.execution.simulator import settle
from lem_models.features.market import Market
from lem_models.orders import Order
from tests.helpers import (
    Recorder,
    hourly,
    order_batch,
    order_table,
    random_orders,
    random_window,
    reflected,
    sessions,
)

TRACKERS = ("backloaded_curve", "convex")
BARS = hourly()
TRAIN_END, VALIDATION_END = "2024-05-01", "2024-07-01"
DURATIONS = (4, 12)


@lru_cache(maxsize=1)
def planted():
    """Hourly bars whose volume is large when prices move, and for some bars after: nothing else can be forecast."""
    rng, frames = np.random.default_rng(5), []
    for symbol in ("A", "B"):
        time = pd.date_range("2024-01-01", VALIDATION_END, freq="h", tz="UTC", inclusive="left")
        log_volatility = np.zeros(len(time))
        for k, shock in enumerate(rng.normal(0, 0.8, len(time))):
            log_volatility[k] = 0.6 * log_volatility[k - 1] + shock if k else shock
        move = np.exp(log_volatility) * rng.normal(0, 0.004, len(time))
        close = 100 * np.exp(np.cumsum(move))
        opened = np.r_[100.0, close[:-1]]
        volume = 1 + np.exp(2 * log_volatility) * np.exp(rng.normal(0, 0.2, len(time)))
        high, low = np.maximum(opened, close), np.minimum(opened, close)
        columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
        frames.append(pd.DataFrame({"timestamp": time, "symbol": symbol, **columns, "notional": volume * close}))
    return Bars.from_frame(pd.concat(frames, ignore_index=True))


@lru_cache(maxsize=1)
def fit():
    return fit_tracking(
        planted(), train_end=TRAIN_END, validation_end=VALIDATION_END, durations=DURATIONS, orders=4_000
    )


# --- the linear form -------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**16), periods=st.integers(2, 12), target=st.sampled_from(["quantity", "notional"]))
def test_the_linear_slippage_is_that_of_the_simulator(seed, periods, target):
    rng = np.random.default_rng(seed)
    window = random_window(rng, 20, periods)
    orders = order_batch(20, max_periods=periods, target=target, side=rng.choice(["buy", "sell"], 20))
    fills = torch.from_numpy(rng.dirichlet(np.ones(periods), 20))
    last, steps = LinearSlippage.of(window)
    linear = orders.side * (last + (fills.cumsum(1)[:, :-1] * steps).sum(1)) * window.volatility
    exact = -settle(fills[:, None], orders, window).improvement[:, 0]
    if target == "quantity":
        torch.testing.assert_close(linear, exact, rtol=0, atol=1e-12)
    else:  # to first order: what is left is of the order of squared moves
        spread = (window.price.amax(1) / window.price.amin(1)).log()
        assert ((linear - exact).abs() <= 2 * spread**2).all()


@given(seed=st.integers(0, 2**16), huber=st.sampled_from([0.5, 1.0, 100.0]))
def test_the_fit_is_where_the_gradient_of_the_huber_loss_and_the_ridge_vanishes(seed, huber):
    generator = torch.Generator().manual_seed(seed)
    design = torch.randn((400, 3), generator=generator)
    errors = torch.randn(400, generator=generator) ** 3
    slippage = errors - design @ torch.tensor([1.0, -2.0, 0.0])
    found = fitted(design, slippage, huber=huber, ridge=1e-6)
    influence = (slippage + design @ found).clamp(-huber, huber)
    assert (design.t() @ influence).abs().max() / 400 < 0.01 * huber
    assert found.sub(torch.tensor([1.0, -2.0, 0.0])).abs().max() < 1.2


def test_a_column_that_never_varies_gets_no_coefficient():
    design = torch.cat([torch.randn((400, 1), generator=torch.Generator().manual_seed(0)), torch.zeros((400, 1))], 1)
    found = fitted(design, -0.5 * design[:, 0], huber=1.0, ridge=1e-3)
    assert found[0] == pytest.approx(0.5, abs=0.01)
    assert found[1] == 0


# --- the curve -------------------------------------------------------------------------------------------------------


def _spread(design, traded):
    return float((design.slippage.last + design.slippage.steps @ traded).square().mean())


@pytest.mark.parametrize("periods", DURATIONS)
def test_where_volume_comes_when_prices_move_the_curve_is_back_loaded(periods):
    traded = np.array([fit().curve_at(s, periods) for s in range(periods)])
    even = np.arange(1, periods + 1) / periods
    assert traded[-1] == 1
    assert (traded[1:-1] < even[1:-1] - 0.02).all()


def test_the_fitted_curve_has_the_least_squared_slippage():
    orders = fixed_orders(planted(), 12, end=TRAIN_END, limit=4_000, seed=0)  # those of the fit
    design = order_design(Market(planted()), orders, 12)
    curve = torch.tensor([fit().curve_at(s, 12) for s in range(11)], dtype=torch.float64)
    best = _spread(design, curve)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        nearby = curve + 0.01 * torch.randn(11, generator=generator, dtype=torch.float64)
        assert _spread(design, nearby) > best


# --- what they gain --------------------------------------------------------------------------------------------------


def _validation(periods, limit=3_000):
    return fixed_orders(planted(), periods, start=TRAIN_END, end=VALIDATION_END, limit=limit, seed=1)


@pytest.mark.parametrize("periods", [4, 7, 12])  # 7 is not fitted: between two durations
def test_where_volume_comes_when_prices_move_both_track_closer_than_twap(periods):
    policies = {"curve": BackloadedCurve(fit()), "convex": ConvexPolicy(fit())}
    ratios = tracking_ratios(policies, Market(planted()), _validation(periods), draws=50).set_index("policy")
    assert ratios.loc["curve", "std"] < 0.95
    assert ratios.loc["convex", "clipped_std"] < ratios.loc["curve", "clipped_std"] < 1
    assert ratios.loc["convex", "clipped_std_high"] < 1
    assert (ratios["orders"] == len(_validation(periods))).all()


def test_the_slippage_of_the_design_is_what_the_policy_pays():
    # A twentieth of the coefficients: the schedule then never falls, which no order could follow.
    tables = [
        table.model_copy(update={"values": tuple(tuple(value / 20 for value in row) for row in table.values)})
        for table in fit().tables
    ]
    small = Coefficients(**fit().model_dump(exclude={"tables"}), tables=[table.model_dump() for table in tables])
    orders = _validation(12, limit=600)
    design = order_design(Market(planted()), orders, 12)
    beta = torch.tensor(np.array(tables[1].values), dtype=torch.float32).flatten()
    linear = (design.plain + design.columns @ beta).numpy()
    paid = execute(ConvexPolicy(small), planted(), orders).orders
    np.testing.assert_allclose(paid["slippage_bps"] / paid["volatility_bps"], linear, rtol=0, atol=1e-4)
    assert np.abs(linear - design.plain.numpy()).max() > 0.05


# --- decisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRACKERS)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), horizon=st.integers(1, 14), silent=st.sampled_from([0.0, 0.3]))
def test_they_aim_inside_the_feasible_interval(name, seed, horizon, silent):
    rng = np.random.default_rng(seed)
    orders, window = OrderBatch.from_frame(random_orders(rng, 30, horizon)), random_window(rng, 30, horizon)
    window.volume[torch.from_numpy(rng.random(window.volume.shape) < silent)] = 0.0
    policy, roll = load_policy(name), Roll.of(orders, window)
    context = torch.from_numpy(rng.normal(0, 1, (30, len(CONTEXT) + 1)))
    context[:, -1] = 0.0
    for s in range(horizon):
        state = roll.state()
        decision = policy.decide(context if name == "convex" else context[:, -1:], orders, state)
        live = (state.period < orders.max_periods) & ~orders.is_twap
        assert (decision.fraction >= state.lower)[live].all()
        assert (decision.fraction <= state.upper)[live].all()
        assert not decision.finish
        roll.decide(policy, context if name == "convex" else context[:, -1:])
        roll.book(window.price[:, s], window.close[:, s], window.volume[:, s])


@pytest.mark.parametrize("name", TRACKERS)
def test_against_the_twap_the_pace_is_even(name):
    orders = order_table(BARS, [300, 340], max_periods=[7, 12], benchmark="twap")
    assert execute(name, BARS, orders).schedule["fraction"].equals(execute("twap", BARS, orders).schedule["fraction"])


@pytest.mark.parametrize("name", TRACKERS)
def test_flexible_orders_are_traded_up_to_their_maximum(name):
    result = execute(name, BARS, order_table(BARS, [300] * 3, min_periods=[1, 5, 12], max_periods=12))
    assert (result.orders["periods_used"] == 12).all()
    assert len({tuple(result.periods_of(number)["fraction"]) for number in range(3)}) == 1


@pytest.mark.parametrize("name", TRACKERS)
def test_a_sell_is_traded_as_a_buy_and_a_market_as_its_mirror_image(name):
    orders = order_table(BARS, [300, 350, 400], max_periods=12)
    buys = execute(name, BARS, orders).schedule["fraction"]
    assert execute(name, BARS, orders.assign(side="sell")).schedule["fraction"].equals(buys)
    mirrored = execute(name, reflected(BARS), orders.assign(side="sell")).schedule["fraction"]
    np.testing.assert_allclose(mirrored, buys, atol=2e-3)  # the mean of mirrored prices is not their mirrored mean


@pytest.mark.parametrize("name", TRACKERS)
def test_an_order_is_decided_alone_as_among_others(name):
    orders = Order.sample(BARS, every=3, max_periods=12, benchmark=["vwap", "twap"], target=["quantity", "notional"])
    together = execute(name, BARS, orders)
    longer = orders.assign(max_periods=30, min_periods=30)
    both = pd.concat([orders, longer], ignore_index=True).drop(columns="order_id")
    mixed = execute(name, BARS, both)
    for number in range(0, len(orders), 17):
        alone = execute(name, BARS, orders.iloc[[number]]).periods_of(number)["fraction"].to_numpy()
        np.testing.assert_array_equal(alone, together.periods_of(number)["fraction"])
        # The unit of volume is a sum over more periods: the same up to rounding.
        among_longer = mixed.periods_of(number)["fraction"].to_numpy()[: len(alone)]
        np.testing.assert_allclose(alone, among_longer, atol=1e-12)


def test_a_silent_bar_is_caught_up():
    orders = order_batch(1, max_periods=4)
    window = random_window(np.random.default_rng(0), 1, 4)
    window.volume[0, 1] = 0.0
    policy, roll = BackloadedCurve(fit()), Roll.of(orders, window)
    for s in range(4):
        roll.decide(policy, torch.zeros((1, 1), dtype=torch.float64))
        roll.book(window.price[:, s], window.close[:, s], window.volume[:, s])
    traded = torch.stack(roll.fills).cumsum(0)[:, 0]
    wanted = [fit().curve_at(s, 4) for s in range(4)]
    assert traded.tolist() == pytest.approx([wanted[0], wanted[0], wanted[2], 1.0])


def test_the_features_are_named_and_bounded():
    recorder, seen = Recorder(load_policy("convex")), []
    market = Market(BARS)
    contexts = market_context(market, np.arange(200, 260))
    assert contexts.shape == (60, len(CONTEXT))
    assert contexts.abs().max() <= 2.5
    execute(recorder, BARS, order_table(BARS, [300, 350], max_periods=12))
    for state in recorder.states:
        features = order_features(contexts[:2], order_batch(2, max_periods=12), state)
        seen.append(torch.stack(features))
    assert len(features) == len(NAMES)
    assert torch.isfinite(torch.stack(seen)).all()
    assert torch.stack(seen).abs().max() <= 2.5**2


# --- kinds of bars and calendar --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bars", "kind"),
    [(hourly(), "crypto-hourly"), (sessions(), "equity-5min")],
    ids=["round the clock", "sessions"],
)
def test_the_kind_of_bars_is_known_from_calendar_and_frequency(bars, kind):
    assert {KINDS[int(number)] for number in kind_numbers(Market(bars), np.arange(5))[:, 0]} == {kind}


def _daily(start, days):
    time = pd.bdate_range(start, periods=days, tz="UTC")
    columns = {name: 100.0 for name in ("open", "high", "low", "close")}
    frame = pd.DataFrame({"timestamp": time, "symbol": "X", **columns, "volume": 1.0, "notional": 100.0})
    return Bars.from_frame(frame, calendar="sessions", frequency="1D")


def test_daily_bars_know_the_end_of_the_month_and_the_expiries():
    bars = _daily("2018-01-01", 90)
    market = Market(bars)
    assert KINDS[int(kind_numbers(market, np.array([0]))[0, 0])] == "dow-daily"
    days = pd.to_datetime(bars.timestamp)
    near = pd.DataFrame(market_context(market, np.arange(90))[:, -3:].numpy(), index=days, columns=CONTEXT[-3:])
    assert near.loc["2018-01-30", "month_end"] == pytest.approx(0.8)  # one weekday to the 31st
    assert near.loc["2018-01-31", "month_end"] == 1.0
    assert near.loc["2018-01-18", "expiry"] == pytest.approx(0.8)  # the third Friday is the 19th
    assert near.loc["2018-01-19", "expiry"] == pytest.approx(0.8**20)  # the next is February 16th
    assert near.loc["2018-01-18", "quarterly_expiry"] == pytest.approx(0.8**41)  # March 16th
    assert near.loc["2018-03-15", "quarterly_expiry"] == pytest.approx(0.8)
    assert (market_context(Market(BARS), np.arange(200, 210))[:, -3:] == 0).all()


def test_the_shipped_numbers_cover_every_kind():
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(KINDS)
    for coefficients in shipped_coefficients():
        assert all(coefficients.curve_at(s, 12) < (s + 1) / 12 for s in range(3, 11))  # back-loaded
        assert {3, 6, 12, 24} <= {table.periods for table in coefficients.tables}
        assert pd.Timestamp(coefficients.train_end) < pd.Timestamp(coefficients.validation_end)


# --- interpolation ---------------------------------------------------------------------------------------------------


@given(elapsed=st.floats(0, 1), knots=st.integers(2, 12))
def test_the_weights_of_knots_interpolate(elapsed, knots):
    weights = knot_weights(elapsed, knots)
    inside = np.clip(min(elapsed * knots, (1 - elapsed) * knots), 0, 1)  # towards the ends they fade
    assert weights.sum() == pytest.approx(inside)
    assert weights @ np.arange(1, knots) / knots == pytest.approx(
        elapsed if elapsed <= (knots - 1) / knots else (1 - elapsed) * (knots - 1)
    )


def test_coefficients_of_a_fitted_duration_are_its_table_and_others_lie_between():
    coefficients = fit()
    short, long = (np.array(table.values) for table in coefficients.tables)
    for s in range(11):
        np.testing.assert_allclose(coefficients.at(s, 12), long[s])
    np.testing.assert_array_equal(coefficients.at(0, 2), short[1])  # half of the duration
    np.testing.assert_allclose(coefficients.at(23, 48), long[5])
    middle = coefficients.at(3, 8)  # half of it too
    share = np.log(8 / 4) / np.log(12 / 4)
    np.testing.assert_allclose(middle, (1 - share) * short[1] + share * long[5])
    for periods in (1, 4, 8, 12, 78):
        assert not coefficients.at(periods - 1, periods).any()
        assert coefficients.curve_at(periods - 1, periods) == 1


def test_durations():
    assert durations_up_to(12) == (3, 6, 12)
    assert durations_up_to(20) == (3, 6, 12, 20)
    assert durations_up_to(2) == (2,)
    assert knot_count(3) == 3
    assert knot_count(78) == 12


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_saved_policy_decides_the_same_by_the_name_of_its_folder(tmp_path):
    policy = ConvexPolicy(fit())
    assert policy.save(tmp_path / "mine") == tmp_path / "mine" / FILE
    loaded = load_policy(str(tmp_path / "mine"))
    assert isinstance(loaded, ConvexPolicy)
    assert loaded.coefficients == policy.coefficients
    assert loaded.frequencies == ("1h",)
    orders = order_table(BARS, [300, 350], max_periods=[5, 12])
    assert execute(loaded, BARS, orders).schedule.equals(execute(policy, BARS, orders).schedule)
    with pytest.raises(BarsError, match="trained on bars of 1h"):
        execute(loaded, sessions(), order_table(sessions(), 300, max_periods=3))


def test_the_shipped_coefficients_are_not_saved_under_another_name(tmp_path):
    with pytest.raises(ConfigError, match="have the name 'convex'"):
        load_policy("convex").save(tmp_path)


def test_a_folder_that_holds_a_model_stays_one(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a model"):
        ConvexPolicy(fit()).save(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_a_folder_without_the_file_is_no_policy(tmp_path):
    with pytest.raises(UnknownNameError, match="is not a model"):
        load_policy(str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot read .*convex\.json"):
        ConvexPolicy.from_folder(tmp_path)


def _with(content, **values):
    return json.dumps({**content, **values})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text, _: text[:-200], "cannot read"),
        (lambda text, _: text.replace('"huber": 0.7', '"huber": NaN'), "not finite"),
        (lambda text, _: text.replace('"huber": 0.7', '"huber": 0.7, "huber": 2.0'), "a key occurs twice"),
        (lambda _, content: _with(content, huber=-1), "huber"),
        (lambda _, content: _with(content, schema_version=2), "schema_version"),
        (lambda _, content: _with(content, frequency="1 hour"), "frequency"),
        (lambda _, content: _with(content, extra=1), "extra: Extra inputs are not permitted"),
        (lambda _, content: _with(content, features=content["features"][::-1]), "not the features of this version"),
        (lambda _, content: _with(content, tables=content["tables"][::-1]), "durations must rise"),
        (lambda _, content: _with(content, tables=[]), "tables"),
        (
            lambda _, content: _with(content, tables=[{**content["tables"][0], "periods": 5}]),
            f"values must be 4 rows of {len(NAMES)} coefficients",
        ),
        (
            lambda _, content: _with(
                content, tables=[{**content["tables"][0], "values": [[1e9] * len(NAMES)] * 3}, content["tables"][1]]
            ),
            "a coefficient is not a number up to 1000",
        ),
        (
            lambda _, content: _with(content, tables=[{**content["tables"][0], "curve": [0.1]}]),
            "curve must be 3 numbers",
        ),
        (lambda _, __: "[1, 2]", "must hold a JSON object"),
        (lambda text, _: text + " " * (1 << 22), "bytes"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage, message):
    path = ConvexPolicy(fit()).save(tmp_path)
    text = path.read_text()
    path.write_text(damage(text, json.loads(text)))
    with pytest.raises(ConfigError, match=message):
        load_policy(str(tmp_path))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durations", [(), (1, 12)])
def test_durations_without_a_decision_are_refused(durations):
    with pytest.raises(ConfigError, match="at least 2 periods"):
        fit_tracking(planted(), train_end=TRAIN_END, durations=durations)


@pytest.mark.parametrize("huber", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_is_not_positive_is_refused(huber):
    with pytest.raises(ConfigError, match="huber must be positive"):
        fit_tracking(planted(), train_end=TRAIN_END, huber=huber)


def test_too_few_orders_are_refused():
    with pytest.raises(OrderError, match="a fit needs 500"):
        fit_tracking(planted(), train_end="2024-01-12", durations=(12,))
    with pytest.raises(OrderError, match="a fit needs 500"):
        ConvexPolicy.fit(planted(), train_end=TRAIN_END, validation_end="2024-05-02", durations=(12,), orders=2_000)


def test_later_bars_change_no_coefficient():
    whole, some = planted(), planted().between(end=VALIDATION_END)
    later = whole.frame
    late = later["timestamp"] >= pd.Timestamp("2024-06-01", tz="UTC")
    later.loc[late, ["volume", "notional"]] *= 3.0
    shorter = {"train_end": TRAIN_END, "validation_end": "2024-06-01", "durations": (4,), "orders": 2_000}
    assert fit_tracking(some, **shorter) == fit_tracking(Bars.from_frame(later), **shorter)
