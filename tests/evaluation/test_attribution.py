"""Where a gain comes from: contexts of null bars, placebos at matched risk, and their differences order by order."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import Bars, Decision, Order, execute, load_policy, synthetic_bars
from lem_models.errors import ConfigError
from lem_models.evaluation import attribution
from lem_models.evaluation.attribution import (
    PLACEBOS,
    MatchedPlacebo,
    MatchedRisk,
    WithContextsOf,
    information_split,
    placebo_difference,
    reads_contexts,
)
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.null import martingale_null
from lem_models.execution.policy import Policy
from lem_models.features.market import Market
from lem_models.orders.table import COLUMNS
from lem_models.statistics.null_draws import NullDraws
from lem_models.statistics.summary import paired_difference
from tests.helpers import rebuilt

SETTINGS = BenchmarkSettings(
    every=5, min_periods=(1, 6), max_periods=6, limit=600, null=2, information=3, bootstrap=300, placebos=()
)


class Follows(Policy):
    """Expects the last move to go on: finishes before the price runs away, and waits while it comes closer."""

    lookback = 2

    def encode(self, market, rows, side):
        bars = market.bars
        return torch.from_numpy(np.sign(bars.close[rows] - bars.close[rows - 1]) * side)[:, None]

    def decide(self, context, orders, state):
        runs_away = context[:, 0] > 0
        return Decision(runs_away.to(torch.float64), runs_away)


def trending_bars(persistence=0.8, days=60, seed=4):
    """Bars whose moves keep their direction with a probability: what the last bar did forecasts the next one."""
    plain = synthetic_bars(symbols=2, days=days, seed=seed)
    frame, rng = plain.frame, np.random.default_rng(seed)
    pieces = []
    for _, own in frame.groupby("symbol", sort=False):
        keeps = np.where(rng.random(len(own)) < persistence, 1.0, -1.0)
        close = 100 * np.exp(np.cumsum(np.cumprod(keeps) * rng.uniform(0.002, 0.01, len(own))))
        before = np.r_[100.0, close[:-1]]
        price = np.sqrt(before * close)
        pieces.append(
            own.assign(
                open=before,
                close=close,
                high=np.maximum(before, close),
                low=np.minimum(before, close),
                notional=price * own["volume"],
            )
        )
    return Bars.from_frame(
        pd.concat(pieces)[["timestamp", "symbol", "open", "high", "low", "close", "volume", "notional"]]
    )


# --- the ablation ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=2, days=40, seed=2)


@pytest.fixture(scope="module")
def trending():
    return trending_bars()


@pytest.mark.parametrize("name", ["stopping_rule", "longstaff_schwartz"])
def test_a_policy_that_reads_nothing_has_no_information(bars, name):
    assert not reads_contexts(load_policy(name))
    run = run_benchmark({name: load_policy(name)}, bars, SETTINGS.model_copy(update={"null": 0}))
    table = run.information(["min_periods"])
    assert table["orders"].sum() == 600
    columns = [column for column in table if column.startswith("information")]
    assert len(columns) == 6
    assert (table[columns] == 0.0).all(axis=None)


def test_a_planted_signal_shows_as_information(trending):
    run = run_benchmark({"follows": Follows(), "twap": load_policy("twap")}, trending, SETTINGS)
    table = run.information(["min_periods"])
    assert table["policy"].tolist() == ["follows"] * 2  # TWAP reads no contexts
    flexible = table.set_index("min_periods").loc[1]
    assert 0 < flexible["information_low_vol"] < flexible["information_vol"] < flexible["information_high_vol"]
    assert flexible["information_low_bps"] > 0
    assert table["real_vol"].to_numpy() == pytest.approx((table["ablated_vol"] + table["information_vol"]).to_numpy())
    # The other policy of the run is split by the null as well.
    assert run.splits(["min_periods"])["policy"].unique().tolist() == ["follows", "twap"]


def test_what_contexts_tell_of_the_own_path_is_the_control(bars):
    """On a martingale nothing can be forecast: what contexts are worth to a flexible order there is the control."""
    martingale = martingale_null(synthetic_bars(symbols=2, days=150, seed=1), 9)
    settings = SETTINGS.model_copy(update={"limit": 3000, "null": 3})
    table = run_benchmark({"follows": Follows()}, martingale, settings).information(["min_periods"])
    flexible, fixed = table.iloc[0], table.iloc[1]
    assert flexible["information_high_vol"] < 0  # it ends when the price runs away, which throws the option away
    assert flexible["information_vol"] == pytest.approx(flexible["control_vol"], abs=0.02)
    assert flexible["control_low_vol"] < flexible["control_vol"] < flexible["control_high_vol"] < 0
    for row in (flexible, fixed):  # nothing is left beyond the control
        assert row["beyond_control_low_vol"] < 0 < row["beyond_control_high_vol"]
    # At a fixed duration every adapted schedule pays the arrival price on average, whatever it reads.
    assert fixed["control_low_vol"] < 0 < fixed["control_high_vol"]


def test_the_control_leaves_the_planted_signal_out(trending):
    flexible = run_benchmark({"follows": Follows()}, trending, SETTINGS).information(["min_periods"]).iloc[0]
    assert flexible["control_high_vol"] < flexible["information_low_vol"]
    assert flexible["beyond_control_vol"] == pytest.approx(flexible["information_vol"] - flexible["control_vol"])
    assert 0 < flexible["beyond_control_low_vol"] < flexible["beyond_control_vol"] < flexible["beyond_control_high_vol"]


def test_one_draw_leaves_no_control(bars):
    run = run_benchmark({"follows": Follows()}, bars, SETTINGS.model_copy(update={"information": 1}))
    assert run.controls == {}
    assert run.information(["min_periods"])[["control_vol", "beyond_control_vol"]].isna().all(axis=None)


def test_only_contexts_come_from_the_null(bars):
    """The state, the prices and the volumes that a policy trades at are those of the real bars."""

    class Notes(Follows):
        def __init__(self):
            self.states, self.contexts = [], []

        def decide(self, context, orders, state):
            self.states.append((state.expected_volume.clone(), state.volatility.clone(), state.last_price.clone()))
            self.contexts.append(context.clone())
            return Decision(1 / 6, False)

    orders = Order.sample(bars, every=7, max_periods=6, limit=200)
    real, ablated = Notes(), Notes()
    null = Market(martingale_null(bars, 1))
    one, other = execute(real, bars, orders), execute(WithContextsOf(ablated, null), bars, orders)
    pd.testing.assert_frame_equal(one.orders, other.orders)
    for ours, theirs in zip(real.states, ablated.states, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(real.contexts, ablated.contexts, strict=True))
    # Expected volumes of the null are the real ones: it keeps volumes.
    start, periods = np.arange(300, 320), np.full(20, 6)
    ours, theirs = (market.over_orders(start, periods, 6) for market in (Market(bars), null))
    np.testing.assert_array_equal(ours["expected_volume"], theirs["expected_volume"])


def test_contexts_of_the_null_do_not_look_ahead(bars):
    """Later bars of the market change no context of an earlier bar, the null being drawn from the changed bars."""
    cut = bars.offsets[1] - 100  # in the first symbol
    frame = bars.frame
    late = (frame["symbol"] == bars.symbols[0]) & (frame["timestamp"] >= frame["timestamp"].iloc[cut])
    frame.loc[late, ["open", "high", "low", "close", "notional"]] *= 1.7
    changed = rebuilt(bars, frame)
    rows, side = np.arange(50, cut), np.ones(cut - 50, dtype=np.int64)
    model = load_policy("lem-crypto-hourly")
    first, second = (
        WithContextsOf(model, Market(martingale_null(market, 5))).encode(Market(market), rows, side)
        for market in (bars, changed)
    )
    assert torch.equal(first, second)


def test_contexts_of_other_bars_are_refused(bars):
    other = Market(synthetic_bars(symbols=2, days=30, seed=2))
    with pytest.raises(ConfigError, match="need the symbols and timestamps of the bars that are traded"):
        execute(WithContextsOf(Follows(), other), bars, Order.sample(bars, every=50, max_periods=6))


def test_every_calendar_of_a_table_has_the_contexts_of_its_own_null():
    around = synthetic_bars(symbols=("A",), days=30, seed=1).frame
    session = synthetic_bars(symbols=("B",), days=30, seed=1, session=("14:30", "20:30")).frame
    both = Bars.from_frame(pd.concat([around, session]), calendar={"A": "24/7", "B": "sessions"})
    assert len(both.by_calendar()) == 2
    orders = Order.sample(both, every=1, max_periods=3, lookback=20, limit=200)
    assert set(orders["symbol"]) == {"A", "B"}
    same = execute(WithContextsOf(Follows(), Market(both)), both, orders)
    pd.testing.assert_frame_equal(same.orders, execute(Follows(), both, orders).orders)
    null = execute(WithContextsOf(Follows(), Market(martingale_null(both, 3))), both, orders)
    assert not null.orders["slippage_bps"].equals(same.orders["slippage_bps"])


class Counts(Follows):
    """Counts the bars that it encodes."""

    encoded = 0

    def encode(self, market, rows, side):
        self.encoded += len(rows)
        return super().encode(market, rows, side)


@pytest.mark.parametrize("limit", [attribution.KEPT_CONTEXTS, 0])
def test_a_draw_is_encoded_once_for_all_of_its_executions(bars, limit, monkeypatch):
    """Once on the real bars and once a draw; the numbers are those of encoding again for every execution."""
    monkeypatch.setattr(attribution, "KEPT_CONTEXTS", limit)
    policy = Counts()
    run = run_benchmark({"counts": policy}, bars, SETTINGS)
    once = Counts()
    execute(once, bars, run.results["counts"].orders[list(COLUMNS)])
    # Its own orders on the null (2), the ablation (3) and the control (1), and the real bars.
    assert policy.encoded == once.encoded * (1 + 3 if limit else 1 + 2 + 3 + 1)

    orders = run.results["counts"].orders[list(COLUMNS)]
    nulls = [martingale_null(bars, 1000 + draw) for draw in range(3)]
    ablated = [execute(WithContextsOf(Counts(), Market(null)), bars, orders).orders for null in nulls]
    own = [execute(Counts(), null, orders).orders for null in nulls[:2]]
    other = execute(WithContextsOf(Counts(), Market(nulls[0])), nulls[1], orders).orders
    for drawn, tables in ((run.ablated["counts"], ablated), (run.nulls["counts"], own)):
        np.testing.assert_array_equal(
            drawn.improvement_bps, 0.0 - np.stack([each["slippage_bps"].to_numpy() for each in tables])
        )
    control = other["slippage_bps"].to_numpy() - own[1]["slippage_bps"].to_numpy()
    np.testing.assert_allclose(run.controls["counts"].improvement_bps[0], control, rtol=0, atol=1e-9)


def test_other_rows_and_sides_are_encoded_for_themselves(bars):
    policy, null = Follows(), Market(martingale_null(bars, 1))
    reading, market = WithContextsOf(policy, null), Market(bars)
    rows, buy = np.arange(300, 320), np.ones(20, dtype=np.int64)
    for asked, side in ((rows, buy), (rows, -buy), (rows + 5, buy), (rows[:3], buy[:3]), (rows, buy)):
        assert torch.equal(reading.encode(market, asked, side), policy.encode(null, asked, side))


def test_a_model_with_contexts_of_other_bars_decides_all_periods_at_once(bars, monkeypatch):
    """As without them; period by period gives the same up to float32."""
    model, null = load_policy("lem-crypto-hourly"), Market(martingale_null(bars, 1))
    orders = Order.sample(bars, every=40, min_periods=[1, 6], max_periods=6)
    fast = execute(WithContextsOf(model, null), bars, orders).orders
    same = execute(WithContextsOf(model, Market(bars)), bars, orders).orders
    pd.testing.assert_frame_equal(same, execute(model, bars, orders).orders)
    asked = []
    monkeypatch.setattr(WithContextsOf, "_roll_out", lambda *_, **__: asked.append(1))
    slow = execute(WithContextsOf(model, null), bars, orders).orders
    assert asked
    np.testing.assert_allclose(fast["slippage_bps"], slow["slippage_bps"], atol=1e-3)


# --- placebos --------------------------------------------------------------------------------------------------------


def orders_table(std, seed=0, count=300, mean=5.0, **columns):
    rng = np.random.default_rng(seed)
    start = pd.date_range("2024-01-01", periods=count, freq="5h", tz="UTC")
    table = {"order_id": np.arange(count), "symbol": "A", "start": start, "side": "buy", "min_periods": 1}
    gain = std * rng.standard_normal(count) + mean
    return pd.DataFrame({**table, "max_periods": 6, "volatility_bps": 50.0, "slippage_bps": -gain, **columns})


@pytest.mark.parametrize(("target", "expected"), [(100.0, 0.0), (58.0, 0.4), (62.0, 0.2), (5.0, 1.6)])
def test_the_nearest_standard_deviation_of_the_grid_is_chosen(target, expected):
    grid = PLACEBOS["longstaff_schwartz"]
    stds = dict(zip(grid, (90.0, 80.0, 70.0, 64.0, 58.5, 50.0, 40.0), strict=True))
    search = MatchedRisk(orders_table(target), grid, ["min_periods"])
    rounds = 0
    while (risks := search.ask()) is not None:
        rounds += 1
        assert risks.nunique() == 1
        search.tell(orders_table(stds[risks.iloc[0]]).sample(frac=1, random_state=1))
    assert rounds == 3
    assert search.best().tolist() == [expected] * 300


def test_each_group_has_a_risk_aversion_of_its_own():
    model = pd.concat([orders_table(90.0), orders_table(40.0, min_periods=6).assign(order_id=range(300, 600))])
    search = MatchedRisk(model, (0.0, 1.0, 2.0), ["min_periods"])
    while (risks := search.ask()) is not None:
        spread = 90.0 - 25.0 * risks.to_numpy()
        noise = np.tile(np.random.default_rng(0).standard_normal(300), 2)
        search.tell(model.assign(slippage_bps=spread * noise))
    assert search.best().groupby(model["min_periods"].to_numpy()).unique().map(list).tolist() == [[0.0], [2.0]]


def test_the_difference_to_a_placebo_is_paired_and_says_both_risks():
    model, theirs = orders_table(40.0), orders_table(44.0, seed=1, mean=3.0, risk_aversion=0.2)
    null = NullDraws.of(orders_table(30.0, seed=2)), NullDraws.of(orders_table(30.0, seed=3, mean=1.0))
    placebo = MatchedPlacebo("longstaff_schwartz", True, theirs.sample(frac=1, random_state=0), null[1])
    row = placebo_difference(model, null[0], placebo, ["min_periods"], bootstrap=200).iloc[0]
    assert (row["placebo"], row["risk_aversion"]) == ("longstaff_schwartz, matched", 0.2)
    gained = -model["slippage_bps"] / 50, -theirs["slippage_bps"] / 50
    assert (row["std_vol"], row["placebo_std_vol"]) == pytest.approx((gained[0].std(), gained[1].std()))
    expected = paired_difference(model, theirs, ["min_periods"], draws=200).iloc[0]
    assert row[["mean_bps", "low_bps", "high_vol", "p_value_vol"]].tolist() == pytest.approx(
        expected[["mean_bps", "low_bps", "high_vol", "p_value_vol"]].tolist()
    )
    above = [g.mean() - each.means()[:, 1].mean() for g, each in zip(gained, null, strict=True)]
    assert row["above_vol"] == pytest.approx(above[0] - above[1])
    assert row["above_low_vol"] < row["above_vol"] < row["above_high_vol"]


def test_a_benchmark_runs_placebos_on_the_orders_of_its_first_scenario(bars):
    settings = SETTINGS.model_copy(
        update={"placebos": tuple(PLACEBOS), "benchmark": ("vwap", "twap"), "min_periods": (1,), "null": 1}
    )
    run = run_benchmark({"twap": load_policy("twap")}, bars, settings)
    dialled, rule = run.placebos
    assert [each.label for each in run.placebos] == ["longstaff_schwartz, matched", "stopping_rule"]
    ours = run.main()["twap"]
    for placebo in run.placebos:
        assert placebo.orders["order_id"].tolist() == ours["order_id"].tolist()
        assert len(placebo.draws) == 1
    (risk,) = dialled.orders["risk_aversion"].unique()
    assert risk in PLACEBOS["longstaff_schwartz"]
    again = execute("longstaff_schwartz", bars, ours[list(Order.model_fields)].assign(risk_aversion=risk))
    assert dialled.orders["slippage_bps"].to_numpy() == pytest.approx(again.orders["slippage_bps"].to_numpy())
    table = run.placebo_differences(["benchmark", "min_periods"])
    assert table["placebo"].tolist() == [each.label for each in run.placebos]
    assert table["risk_aversion"].isna().tolist() == [False, True]
    assert table["benchmark"].tolist() == ["vwap", "vwap"]
    policies = run.splits(["benchmark", "min_periods"])["policy"].unique().tolist()
    assert policies == ["twap", dialled.label, rule.label]


def test_a_policy_is_no_placebo_of_itself(bars):
    settings = SETTINGS.model_copy(update={"placebos": ("stopping_rule",), "null": 0})
    run = run_benchmark({"stopping_rule": load_policy("stopping_rule")}, bars, settings)
    assert run.placebos == ()
    assert run.placebo_differences(["min_periods"]) is None
    with pytest.raises(ConfigError, match=r"placebos: .*'twap' is not a placebo; the placebos are longstaff_schwartz"):
        BenchmarkSettings(placebos=("twap",))


def test_information_is_what_contexts_add_order_by_order():
    real = orders_table(20.0)
    ablated = [NullDraws.of(orders_table(20.0, mean=gain)) for gain in (1.0, 2.0)]
    row = information_split(real, NullDraws.join(ablated), None, ["min_periods"], draws=200).iloc[0]
    assert row["information_bps"] == pytest.approx(5.0 - 1.5)
    assert row["ablated_bps"] == pytest.approx(row["real_bps"] - 3.5)
    # The noise of an order is in both, so it is not in the interval.
    assert row["information_high_bps"] - row["information_low_bps"] < 1e-9


def test_beyond_the_control_is_paired_order_by_order():
    """What information and control share, order by order, is not in the interval of their difference."""
    real = orders_table(20.0, mean=0.0)
    ablated = NullDraws.of(orders_table(0.0, mean=0.0))  # the information of an order is its own noise
    noise = NullDraws.of(orders_table(20.0, mean=-1.0))  # and so is its control, less 1
    row = information_split(real, ablated, noise, ["min_periods"], draws=200).iloc[0]
    assert row["information_high_bps"] - row["information_low_bps"] > 1
    assert row["beyond_control_bps"] == pytest.approx(1.0)
    assert row["beyond_control_high_bps"] - row["beyond_control_low_bps"] < 1e-9
