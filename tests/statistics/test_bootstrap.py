"""What the bootstrap over days promises: honest intervals for orders that share days, or outlast them."""

from __future__ import annotations

import time
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
from arch.bootstrap import IIDBootstrap, StationaryBootstrap
from scipy import stats

from lem_models.errors import ConfigError
from lem_models.statistics import bootstrap
from lem_models.statistics.bootstrap import (
    OrderBootstrap,
    block_length,
    bootstrap_mean_interval,
    bootstrap_mean_intervals,
    bootstrap_means,
    resample_weights,
)


def clustered(generator: np.random.Generator, days: int, per_day: int, day_std: float) -> tuple[np.ndarray, np.ndarray]:
    """Observations with mean 0 that share an effect of their day, and the days."""
    effect = generator.normal(0.0, day_std, days)
    values = effect[:, None] + generator.normal(0.0, 1.0, (days, per_day))
    return values.ravel(), np.repeat(np.arange(days), per_day)


class TestBootstrap:
    """The interval of a mean from a bootstrap over days."""

    def test_weights_pick_as_many_days_as_there_are(self) -> None:
        """Every draw is a resample of the same size, seeded."""
        weights = resample_weights(30, 500, seed=3)
        assert weights.shape == (500, 30)
        assert (weights.sum(axis=1) == 30).all()
        assert (weights >= 0).all()
        np.testing.assert_array_equal(weights, resample_weights(30, 500, seed=3))
        assert (weights != resample_weights(30, 500, seed=4)).any()
        # variance of a multinomial count: 1 - 1/30
        assert weights.var() == pytest.approx(1 - 1 / 30, rel=0.05)

    @pytest.mark.parametrize(("days", "block"), [(1, 1), (40, 1), (365, 5), (7, 3)])
    def test_draws_are_those_of_arch(self, days: int, block: int) -> None:
        """All draws at once give, bit for bit, what the package gives draw by draw."""
        place = np.arange(days)
        plain = IIDBootstrap(place, seed=3) if block == 1 else StationaryBootstrap(block, place, seed=3)
        expected = [np.bincount(np.asarray(plain.update_indices()), minlength=days) for _ in range(50)]
        np.testing.assert_array_equal(resample_weights(days, 50, 3, block), expected)

    def test_draws_do_not_depend_on_what_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Blocks of every length are made of the same random numbers, kept up to a limit; many are drawn in chunks."""
        cases = [(days, block) for block in (4, 1, 2, 9) for days in (40, 41)]
        kept = {case: resample_weights(case[0], 30, 11, case[1]) for case in cases}
        monkeypatch.setattr(bootstrap, "_STREAMS_BYTES", 20_000)  # one of them
        for name in ("_STREAMS", "_CACHED"):
            monkeypatch.setattr(bootstrap, name, OrderedDict())
        for chunk in (bootstrap._CHUNK, 70):
            monkeypatch.setattr(bootstrap, "_CHUNK", chunk)
            for days, block in cases:
                bootstrap._CACHED.clear()
                np.testing.assert_array_equal(resample_weights(days, 30, 11, block), kept[days, block])
                assert sum(f.nbytes + u.nbytes for f, u in bootstrap._STREAMS.values()) <= 20_000

    def test_equals_a_loop_over_draws(self) -> None:
        """The vectorised form is the plain one: copy the orders of each picked day, take the mean."""
        generator = np.random.default_rng(0)
        days = np.sort(generator.integers(0, 12, 60))
        values = generator.normal(size=60)
        labels = np.unique(days)
        means = [
            np.concatenate([np.tile(values[days == day], times) for day, times in zip(labels, row, strict=True)]).mean()
            for row in resample_weights(len(labels), 300, seed=7)
        ]
        # Widened about the mean as a t interval of 12 days is wider than a normal one.
        factor = stats.t.ppf(0.95, 11) / stats.norm.ppf(0.95) / np.sqrt(1 - 1 / 12)
        expected = values.mean() + factor * (np.quantile(means, [0.05, 0.95]) - values.mean())
        interval = bootstrap_mean_interval(values, days, block=1, level=0.9, draws=300, seed=7)
        np.testing.assert_allclose(interval, expected, rtol=1e-12)

    def test_covers_the_mean_of_clustered_data(self) -> None:
        """A 95 % interval holds the true mean in about 95 % of the worlds, though orders of a day move together."""
        generator = np.random.default_rng(1)
        held = 0
        for world in range(300):
            values, days = clustered(generator, days=60, per_day=8, day_std=1.0)
            low, high = bootstrap_mean_interval(values, days, draws=400, seed=world)
            held += low <= 0.0 <= high
        assert 0.90 <= held / 300 <= 0.985

    def test_is_wider_than_the_independent_interval_when_days_are_correlated(self) -> None:
        """Treating every order as independent would claim a precision that is not there."""
        values, days = clustered(np.random.default_rng(2), days=80, per_day=20, day_std=1.0)
        low, high = bootstrap_mean_interval(values, days)
        alone_low, alone_high = bootstrap_mean_interval(values, np.arange(len(values)), block=1)
        assert high - low > 2.5 * (alone_high - alone_low)

    def test_agrees_with_the_normal_interval_when_days_are_independent(self) -> None:
        """Without an effect of the day it is the textbook interval."""
        values, days = clustered(np.random.default_rng(3), days=300, per_day=5, day_std=0.0)
        low, high = bootstrap_mean_interval(values, days, draws=4000, block=1)
        assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(values.size), rel=0.12)

    def test_shrinks_with_more_days(self) -> None:
        """Four times the days, half the width."""
        generator = np.random.default_rng(4)
        widths = []
        for days in (100, 400):
            low, high = bootstrap_mean_interval(*clustered(generator, days=days, per_day=5, day_std=1.0))
            widths.append(high - low)
        assert widths[0] / widths[1] == pytest.approx(2.0, rel=0.3)

    def test_columns_share_the_draws(self) -> None:
        """Columns resampled together are paired; a constant shift moves the interval by just that."""
        values, days = clustered(np.random.default_rng(5), days=40, per_day=3, day_std=1.0)
        low, high = bootstrap_mean_intervals(np.column_stack([values, values + 2.0, -values]), days)
        assert (low[1] - low[0], high[1] - high[0]) == pytest.approx((2.0, 2.0))
        assert (low[2], high[2]) == pytest.approx((-high[0], -low[0]))
        assert bootstrap_mean_interval(values, days) == pytest.approx((low[0], high[0]))

    def test_missing_observations_leave_their_column_only(self) -> None:
        """NaN is no observation; the other column keeps its own."""
        values, days = clustered(np.random.default_rng(6), days=40, per_day=4, day_std=1.0)
        holes = values.copy()
        holes[::3] = np.nan
        low, high = bootstrap_mean_intervals(np.column_stack([values, holes]), days, block=2)
        assert (low[0], high[0]) == pytest.approx(bootstrap_mean_interval(values, days, block=2))
        kept = ~np.isnan(holes)
        assert (low[1], high[1]) == pytest.approx(bootstrap_mean_interval(holes[kept], days[kept], block=2))

    def test_order_of_rows_does_not_matter(self) -> None:
        """Shuffled rows give the same interval."""
        generator = np.random.default_rng(7)
        values, days = clustered(generator, days=30, per_day=4, day_std=1.0)
        shuffled = generator.permutation(len(values))
        assert bootstrap_mean_interval(values[shuffled], days[shuffled]) == pytest.approx(
            bootstrap_mean_interval(values, days)
        )

    @pytest.mark.parametrize(("values", "days"), [([], []), ([1.0, 2.0], [0, 0]), ([1.0, np.nan], [0, 1])])
    def test_fewer_than_two_days_give_no_interval(self, values: list[float], days: list[int]) -> None:
        """One day says nothing about how days differ."""
        assert np.isnan(bootstrap_mean_interval(values, days)).all()

    def test_a_sparse_column_and_few_draws_stay_silent(self) -> None:
        """Draws that miss every observation are left out, without a warning."""
        values = np.full(400, np.nan)
        values[[3, 200]] = 1.0
        for draws in (1, 50):
            low, high = bootstrap_mean_interval(values, np.arange(400), draws=draws)
            assert (low, high) == (1.0, 1.0) or np.isnan([low, high]).all()

    @pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95.0])
    def test_refuses_an_impossible_level(self, level: float) -> None:
        """A level is a probability, not a percentage."""
        with pytest.raises(ConfigError, match=r"level of an interval lies inside \(0, 1\)"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1], level=level)

    def test_refuses_no_draws_and_shapes_that_do_not_match(self) -> None:
        """Typed errors say what is wrong."""
        with pytest.raises(ConfigError, match="at least one day long"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1], block=0)
        with pytest.raises(ConfigError, match="at least one draw"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1], draws=0)
        with pytest.raises(ConfigError, match="do not match"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1, 2])
        with pytest.raises(ConfigError, match="one column"):
            bootstrap_mean_interval(np.zeros((2, 2)), [0, 1])


def overlapping(
    generator: np.random.Generator, days: int, span: int, per_day: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Observations of mean 0 of orders that live on the market's moves of the next ``span`` days, and their days."""
    moves = generator.normal(size=days + span - 1)
    shared = np.convolve(moves, np.ones(span) / np.sqrt(span), mode="valid")
    values = shared[:, None] + 0.5 * generator.normal(size=(days, per_day))
    return values.ravel(), np.repeat(np.arange(days), per_day)


class TestBlocks:
    """Days in blocks, for orders that last longer than a day and markets with a memory."""

    def test_neighbouring_days_come_up_together(self) -> None:
        """The next day follows with probability q = 1 - 1/b: covariance at lag k (1 - k/D) q^k - (2 b - 1) / D."""
        weights = resample_weights(60, 4000, seed=1, block=4)
        assert (weights.sum(axis=1) == 60).all()
        assert weights.mean(axis=0) == pytest.approx(1.0, abs=0.15)
        for lag in (0, 1, 3, 10):
            together = np.mean((weights - 1) * (np.roll(weights, -lag, axis=1) - 1))
            assert together == pytest.approx((1 - lag / 60) * 0.75**lag - 7 / 60, abs=0.02)
        np.testing.assert_array_equal(weights, resample_weights(60, 4000, seed=1, block=4))

    def test_intervals_cover_the_mean_of_orders_that_last_for_days(self) -> None:
        """Single days would claim three times the precision that there is."""
        generator = np.random.default_rng(0)
        held = np.zeros(2)
        for world in range(200):
            values, days = overlapping(generator, days=300, span=8, per_day=3)
            for place, settings in enumerate(({"last_days": days + 7}, {"block": 1})):
                low, high = bootstrap_mean_intervals(values[:, None], days, draws=200, seed=world, **settings)
                held[place] += low[0] <= 0.0 <= high[0]
        assert 0.86 <= held[0] / 200 <= 0.98
        assert held[1] / 200 < 0.65

    def test_a_memory_of_the_market_is_found_without_being_told(self) -> None:
        """The block length comes from the data where orders themselves are short."""
        generator = np.random.default_rng(1)
        values, days = overlapping(generator, days=400, span=6)
        noise = generator.normal(size=400)
        assert block_length(values) >= 5
        assert block_length(noise) <= 3
        both = bootstrap_means(np.column_stack([noise, values]), days, draws=10)
        assert both.blocks.tolist() == [block_length(noise), block_length(values)]  # each its own
        held = [np.subtract(*bootstrap_mean_interval(values, days, block=block)) for block in (1, None)]
        assert held[1] / held[0] > 1.6

    def test_length_has_a_floor_and_a_ceiling(self) -> None:
        """At least what an order spans, and never so long that nothing is left to draw."""
        noise = np.random.default_rng(2).normal(size=90)
        assert block_length(noise, span=7) == 7
        assert block_length(noise, span=80) == 28  # min(3 sqrt(90), 90 / 3)
        assert block_length(noise[:6], span=2) == 2
        assert block_length(np.ones(50)) == 1
        assert block_length(np.full(50, np.nan)) == 1

    def test_the_span_is_counted_in_days_of_the_table(self) -> None:
        """A five-day order that starts on Friday touches the five weekdays that follow, not those of the weekend."""
        days = pd.bdate_range("2024-01-01", periods=100, freq="B").to_numpy().astype("datetime64[D]")
        values = np.random.default_rng(3).normal(size=(100, 1))
        found = bootstrap_means(values, days, last_days=days + np.timedelta64(7, "D"), draws=10)
        assert found.blocks[0] == 6
        sparse = bootstrap_means(values[::10], days[::10], last_days=days[::10] + np.timedelta64(7, "D"), draws=10)
        assert sparse.blocks[0] == 1

    def test_few_blocks_make_wide_intervals(self) -> None:
        """The widening, worked out: 60 days in blocks of 6."""
        found = bootstrap_means(np.random.default_rng(4).normal(size=(60, 1)), np.arange(60), block=6, draws=500)
        low, high = found.interval(0.95)
        plain = np.subtract(*np.quantile(found.means[:, 0], [0.975, 0.025]))
        factor = stats.t.ppf(0.975, 60 / 6 - 1) / stats.norm.ppf(0.975) / np.sqrt(1 - 11 / 60)
        assert high[0] - low[0] == pytest.approx(factor * plain)
        assert found.estimate[0] == pytest.approx(np.random.default_rng(4).normal(size=60).mean())


class TestWeights:
    """Orders that count more than others."""

    def test_a_weight_is_a_number_of_equal_orders(self) -> None:
        """Weight 3 is three orders of weight 1."""
        generator = np.random.default_rng(0)
        values, days = generator.normal(size=50), np.arange(50) // 2
        times = generator.integers(1, 4, 50)
        weighted = bootstrap_mean_intervals(values[:, None], days, weights=times[:, None], block=2)
        copied = bootstrap_mean_intervals(np.repeat(values, times)[:, None], np.repeat(days, times), block=2)
        np.testing.assert_allclose(np.ravel(weighted), np.ravel(copied))

    def test_orders_of_no_weight_say_nothing(self) -> None:
        """Nor do orders whose weight is unknown."""
        values, days = np.array([[1.0], [2.0], [50.0], [60.0]]), np.arange(4)
        weights = np.array([[1.0], [1.0], [0.0], [np.nan]])
        low, high = bootstrap_mean_intervals(values, days, weights=weights, block=1, draws=200)
        without_low, without_high = bootstrap_mean_intervals(values[:2], days[:2], block=1, draws=200)
        assert (low[0], high[0]) == pytest.approx((without_low[0], without_high[0]), abs=1.0)
        assert bootstrap_means(values, days, weights=weights, draws=5).estimate[0] == 1.5


class TestOrders:
    @pytest.mark.parametrize("shared_block", [False, True])
    def test_groups_see_the_days_of_their_own_orders(self, shared_block: bool) -> None:
        """What a group of rows gives is what its orders give alone, days without any of them left out."""
        generator = np.random.default_rng(3)
        start = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(generator.integers(0, 24 * 60, 500), unit="h")
        end = start + pd.to_timedelta(generator.integers(1, 60, 500), unit="h")
        orders = pd.DataFrame({"start": start, "end": end})
        values = generator.normal(size=(500, 3)) + np.sin(np.arange(500) / 60)[:, None]
        values[generator.random((500, 3)) < 0.1] = np.nan
        days, last = (
            pd.DatetimeIndex(each).tz_localize(None).to_numpy().astype("datetime64[D]")
            for each in (start, end - pd.Timedelta("1us"))
        )
        for rows in (np.flatnonzero(generator.random(500) < 0.1), np.flatnonzero(start.day == 7), np.arange(500)):
            ours = OrderBootstrap(orders, 100, 5).means(values[rows], rows, shared_block=shared_block)
            block = int(ours.blocks.max()) if shared_block else None
            alone = bootstrap_means(values[rows], days[rows], last_days=last[rows], block=block, draws=100, seed=5)
            for name in ("estimate", "means", "days", "blocks"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(alone, name))

    """The days of an orders table."""

    def test_days_are_those_of_the_start_and_of_the_end(self) -> None:
        """An order that ends at midnight does not reach the next day."""
        start = pd.date_range("2024-01-01 12:00", periods=90, freq="D", tz="UTC")
        values = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 1)))
        for hours, block in ((12, 1), (13, 2), (72, 4)):
            table = pd.DataFrame({"start": start, "end": start + pd.Timedelta(hours=hours)})
            assert OrderBootstrap(table, draws=10, seed=0).means(values, np.arange(90)).blocks[0] == block

    def test_a_hundred_thousand_orders_are_fast(self) -> None:
        """1,000 draws of a year, three columns: far below a second."""
        generator = np.random.default_rng(0)
        values, days = generator.normal(size=(100_000, 3)), generator.integers(0, 366, 100_000)
        bootstrap_mean_intervals(values[:100], days[:100], draws=2)  # imports
        started = time.perf_counter()
        bootstrap_mean_intervals(values, days, last_days=days + 1, draws=1000)
        assert time.perf_counter() - started < 1.0
