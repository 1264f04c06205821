"""The execution algorithm in the backtest engine: life of parent orders, and what is known to go wrong."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest

pytest.importorskip("nautilus_trader", reason="nautilus_trader is the extra 'nautilus', which is not installed")

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.config import ExecAlgorithmConfig
from nautilus_trader.execution.algorithm import ExecAlgorithm
from nautilus_trader.model.enums import OrderStatus, TradingState
from nautilus_trader.model.events import OrderCanceled, OrderDenied, OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, ExecAlgorithmId

from lem_models.desk import Desk
from lem_models.integrations.nautilus.engine_data import engine_bars
from tests.helpers.markets import hourly, sessions
from tests.integrations.nautilus.engine import Parent, as_bars, backtest, bar_type_of, instrument_of

HOUR = 3600 * 10**9
AT = pd.Timestamp("2024-01-05 06:00", tz="UTC")
LATER = AT + pd.Timedelta("5h")
FRAME = hourly(days=7).frame.query("symbol == 'S000'")
INSTRUMENT = instrument_of("S000USDT", lot="0.1", tick="0.01")
BARS = engine_bars(FRAME, INSTRUMENT, bar_type_of(INSTRUMENT, pd.Timedelta("1h")), with_money=True)
CLOSE = {bar.ts_init: bar.close.as_decimal() for bar in BARS}


def parent(at=AT, side="buy", quantity="60", **options):
    terms = {"max_periods": 6} | options.pop("terms", {})
    return Parent(at, side, quantity, terms, **options)


def ran(*parents, model="twap", bars=BARS, instrument=INSTRUMENT, **settings):
    run = backtest(bars, instrument, parents, model, **settings)
    run.engine.run()
    return run


def state(run, number=0):
    return run.algorithm.ledger.parent(run.trader.ids[number])


def filled(run, number=0):
    return sum(quantity for _, quantity, _ in run.fills(run.trader.ids[number]))


class TestParents:
    def test_a_parent_is_executed_in_children_that_sum_to_it(self):
        run = ran(parent())
        label = run.trader.ids[0]
        assert [quantity for _, quantity, _ in run.fills(label)] == [Decimal(10)] * 6
        assert state(run).status == "done"
        assert run.engine.cache.exec_spawn_total_filled_qty(ClientOrderId(label)) == 60
        assert run.engine.cache.order(ClientOrderId(label)).quantity == 60  # it was not reduced
        assert not any(isinstance(event, OrderCanceled) for event in run.trader.events)

    def test_children_are_named_as_the_engine_names_them(self):
        run = ran(parent())
        label = run.trader.ids[0]
        children = run.engine.cache.orders_for_exec_spawn(ClientOrderId(label))
        assert {order.client_order_id.value for order in children} == {label, *(f"{label}-E{n}" for n in range(1, 7))}
        assert all(order.is_spawned for order in children if order.client_order_id.value != label)

    def test_parents_at_one_time_and_one_after_another_do_not_disturb_each_other(self):
        run = ran(
            parent(), parent(side="sell"), parent(at=AT + pd.Timedelta("2h")), parent(at=AT + pd.Timedelta("40h"))
        )
        assert [state(run, number).status for number in range(4)] == ["done"] * 4
        alone = ran(parent(at=AT + pd.Timedelta("2h")))
        assert run.fills(run.trader.ids[2]) == alone.fills(alone.trader.ids[0])

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (parent(terms={"max_period": 3}), "did you mean 'max_periods'"),
            (parent(terms={"max_periods": 0}), "max_duration is 0 bars"),
            (parent(terms={"min_periods": 9}), "min_duration is 9 bars, and the order ends after 6"),
            (parent(terms={"benchmark": "close"}), "benchmark must be one of"),
            (parent(quantity="900000", terms={"max_participation": 0.1}), "max_participation is 10.0%"),
        ],
    )
    def test_one_that_cannot_be_executed_is_denied_with_the_reason(self, bad, reason):
        run = ran(bad, parent(at=LATER))
        label = run.trader.ids[0]
        assert reason in run.reasons(label)[0]
        assert run.engine.cache.order(ClientOrderId(label)).status == OrderStatus.DENIED
        assert run.fills(label) == []
        assert state(run, 1).status == "done"

    def test_one_of_another_instrument_is_denied(self):
        run = backtest(BARS, INSTRUMENT, [parent()], "twap")
        other = instrument_of("S001USDT", lot="0.1", tick="0.01")
        run.engine.add_instrument(other)
        run.trader.place = lambda _: run.trader.submit_order(  # type: ignore[method-assign]
            run.trader.order_factory.market(other.id, 1, other.make_qty(1), exec_algorithm_id=ExecAlgorithmId("LEM"))
        )
        run.engine.run()
        (denied,) = [event for event in run.trader.events if isinstance(event, OrderDenied)]
        assert denied.reason.startswith("this algorithm trades S000USDT.SIM, and not S001USDT.SIM")

    def test_one_that_its_strategy_cancels_ends(self):
        run = backtest(BARS, INSTRUMENT, [parent()], "twap")
        moment = (AT + pd.Timedelta("2h")).value

        def cancel():
            run.trader.cancel_order(run.engine.cache.order(ClientOrderId(run.trader.ids[0])))

        run.trader.actions[moment] = cancel
        run.engine.run()
        assert (state(run).status, filled(run)) == ("cancelled", state(run).filled)
        assert filled(run) == 20  # what was at the venue when it was cancelled, and not more

    def test_one_that_expires_is_closed(self):
        run = ran(parent(quantity="600", terms={"max_participation": 0.05, "max_periods": 12}))
        if state(run).status == "done":
            pytest.fail("the cap was meant to hold the order back")
        assert run.engine.cache.order(ClientOrderId(run.trader.ids[0])).status == OrderStatus.CANCELED
        assert filled(run) == state(run).filled < 600

    def test_a_limit_is_never_passed(self):
        prices = [CLOSE[(AT + pd.Timedelta(f"{hour}h")).value] for hour in range(1, 7)]
        limit = sorted(prices)[2]
        run = ran(parent(limit=str(limit)), fill_model=FillModel())
        fills = run.fills(run.trader.ids[0])
        assert fills
        assert all(price <= limit for _, _, price in fills)
        assert filled(run) == state(run).filled <= 60

    def test_an_amount_of_money_is_spent_to_the_lot(self):
        run = ran(parent(quantity="6000", quote=True))
        spent = sum(quantity * price for _, quantity, price in run.fills(run.trader.ids[0]))
        assert state(run).status == "done"
        assert 0 <= 6000 - spent < Decimal("0.1") * max(price for _, _, price in run.fills(run.trader.ids[0]))


class TestBars:
    def test_ts_init_is_the_close(self):
        """Bars stamped with their start would be known an hour too early; on a calendar it shows."""
        frame = sessions(days=8).frame
        frame = frame[frame["timestamp"] >= pd.Timestamp("2024-01-02", tz="UTC")]  # the 1st was a holiday
        share = instrument_of("S000", lot="1", tick="0.01")
        bar_type = bar_type_of(share, pd.Timedelta("5min"))
        good = engine_bars(frame, share, bar_type, with_money=False)
        opening = pd.Timestamp("2024-01-05 15:00", tz="UTC")
        assert state(ran(parent(at=opening), bars=good, instrument=share, calendar="XNYS")).status == "done"
        shifted = frame.assign(timestamp=frame["timestamp"] - pd.Timedelta("5min"))
        early = engine_bars(shifted, share, bar_type, with_money=False)
        run = ran(parent(at=opening), bars=early, instrument=share, calendar="XNYS")
        assert "XNYS" in run.reasons(run.trader.ids[0])[0]

    def test_a_decision_reads_no_bar_that_has_not_closed(self):
        """Later bars change nothing of what was filled before them."""
        cut = (AT + pd.Timedelta("3h")).value
        changed = FRAME.copy()
        late = changed["timestamp"].map(lambda stamp: stamp.value) >= cut
        for name in ("open", "high", "low", "close", "notional"):
            changed.loc[late, name] *= 1.1
        other = engine_bars(changed, INSTRUMENT, BARS[0].bar_type, with_money=True)
        one, two = (ran(parent(), model="pov", bars=bars) for bars in (BARS, other))
        lots = [[fill[:2] for fill in run.fills(run.trader.ids[0]) if fill[0] <= cut + HOUR] for run in (one, two)]
        assert lots[0] == lots[1]
        assert len(lots[0]) == 4

    def test_a_missing_bar_is_bridged(self):
        gone = (AT + pd.Timedelta("3h")).value
        run = ran(parent(), bars=[bar for bar in BARS if bar.ts_init != gone])
        assert (state(run).status, state(run).bridged, filled(run)) == ("done", 1, 60)

    def test_bars_of_the_engine_are_the_same_bars(self):
        table = as_bars(BARS).frame
        assert list(table["close"]) == list(FRAME["close"].round(2))
        assert list(table["notional"]) == list(FRAME["notional"])
        assert list(table["timestamp"]) == list(FRAME["timestamp"])


class TestFills:
    def test_without_latency_a_market_order_fills_at_the_last_close_and_with_it_at_the_next(self):
        at_once, later = (ran(parent(), fill_model=FillModel(), latency=latency) for latency in (None, 1))
        first, second = (run.fills(run.trader.ids[0]) for run in (at_once, later))
        assert [fill[0] + HOUR for fill in first] == [fill[0] for fill in second]
        assert all(price == CLOSE[at] for at, _, price in [*first, *second])

    @pytest.mark.parametrize("latency", [None, 1, 90 * 60 * 10**9, 150 * 60 * 10**9])
    def test_it_never_waits_for_a_fill(self, latency):
        """A child is decided at every close, however late its predecessors fill, and nothing is filled twice."""
        run = ran(parent(), latency=latency)
        sent = [
            order.ts_init for order in run.engine.cache.orders() if order.client_order_id.value not in run.trader.ids
        ]
        assert sorted(sent) == [AT.value + hour * HOUR for hour in range(len(sent))]
        assert len(sent) in (5, 6)  # what is open is not sent again, so the last bar may have nothing left
        assert (filled(run), state(run).filled, state(run).status) == (60, 60, "done")
        assert state(run).over == 0

    def test_above_a_quarter_of_the_volume_the_rest_fills_a_tick_worse_and_is_booked(self):
        volume = min(float(bar.volume) for bar in BARS if AT.value < bar.ts_init <= AT.value + HOUR)
        quantity = f"{volume / 2:.1f}"
        run = ran(parent(quantity=quantity, terms={"max_periods": 1}), fill_model=FillModel())
        (_, first, price), (_, second, worse) = run.fills(run.trader.ids[0])
        assert worse - price == Decimal("0.01")
        assert first + second == Decimal(quantity) == state(run).filled
        assert state(run).status == "done"
        run = ran(parent(side="sell", quantity=quantity, terms={"max_periods": 1}), fill_model=FillModel())
        (_, _, price), (_, _, worse) = run.fills(run.trader.ids[0])
        assert price - worse == Decimal("0.01")

    def test_with_a_limit_of_participation_the_rest_comes_back(self):
        run = ran(parent(quantity="300", terms={"max_participation": 0.2, "max_periods": 6}))
        volumes = {bar.ts_init: bar.volume.as_decimal() for bar in BARS}
        assert all(quantity <= volumes[at] * Decimal("0.2") for at, quantity, _ in run.fills(run.trader.ids[0]))
        assert state(run).filled == filled(run)

    @pytest.mark.parametrize("limit", [None, 0.1])
    @pytest.mark.parametrize("acknowledges", [False, True])
    def test_nothing_fills_in_a_bar_without_volume(self, limit, acknowledges):
        """Unless the venue acknowledges market orders first, when the engine can reject them no more."""
        if acknowledges and "use_market_order_acks" not in (BacktestEngine.add_venue.__doc__ or ""):
            pytest.skip("this release of nautilus_trader does not acknowledge market orders")
        quiet = AT + pd.Timedelta("2h")
        frame = FRAME.copy()
        frame.loc[frame["timestamp"] == quiet, ["volume", "notional"]] = 0.0
        bars = engine_bars(frame, INSTRUMENT, BARS[0].bar_type, with_money=True)
        order = parent(terms={} if limit is None else {"max_participation": limit})
        run = ran(order, bars=bars, acknowledges=acknowledges)
        quantities = {at: quantity for at, quantity, _ in run.fills(run.trader.ids[0])}
        assert sum(quantities.values()) == state(run).filled == 60
        assert state(run).rejections == (not acknowledges)
        forced = Decimal(10) if limit is None else Decimal("0.1")
        assert quantities.get(quiet.value + HOUR) == (forced if acknowledges else None)

    def test_nothing_fills_where_the_limit_allows_less_than_a_lot(self):
        thin = AT + pd.Timedelta("2h")
        frame = FRAME.copy()
        row = frame["timestamp"] == thin
        frame.loc[row, "notional"] *= 0.9 / frame.loc[row, "volume"]
        frame.loc[row, "volume"] = 0.9  # a tenth of it is less than the lot of 0.1
        bars = engine_bars(frame, INSTRUMENT, BARS[0].bar_type, with_money=True)
        run = ran(parent(terms={"max_participation": 0.1}), bars=bars)
        assert thin.value + HOUR not in [at for at, _, _ in run.fills(run.trader.ids[0])]
        assert (filled(run), state(run).rejections) == (60, 1)

    def test_a_child_that_is_denied_is_restored(self):
        run = backtest(BARS, INSTRUMENT, [parent()], "twap")
        risk, moment = run.engine.kernel.risk_engine, (AT + pd.Timedelta("2h")).value
        run.trader.actions[moment] = lambda: risk.set_trading_state(TradingState.HALTED)
        run.trader.actions[moment + HOUR] = lambda: risk.set_trading_state(TradingState.ACTIVE)
        run.engine.run()
        denied = run.trader.of(run.trader.ids[0], OrderDenied)
        assert len(denied) == state(run).rejections == 1
        assert (filled(run), state(run).status) == (60, "done")
        assert sorted({quantity for _, quantity, _ in run.fills(run.trader.ids[0])}) == [
            Decimal("10"),
            Decimal("13.3"),
            Decimal("13.4"),
        ]


class Counting(ExecAlgorithm):
    """An algorithm that takes its ids from the engine's counter: a child at every alert."""

    def on_order(self, order):
        self.primary = order
        self.clock.set_timer_ns("count", HOUR, self.clock.timestamp_ns(), 0, self.spawn, fire_immediately=True)

    def spawn(self, event):
        order = self.spawn_market(self.primary, self.primary.quantity.__class__(10, 1), reduce_primary=False)
        self.submit_order(order)


class TestRestarts:
    def restarted(self, algorithm):
        algorithm.stop()
        algorithm.reset()
        algorithm.start()

    def test_the_counter_of_the_engine_loses_quantity_after_a_reset(self):
        """Why ids come from the ledger: the first child after a reset has an id that is taken, and is not sent."""
        run = backtest(BARS, INSTRUMENT, [], "twap")
        counting = Counting(ExecAlgorithmConfig(exec_algorithm_id=ExecAlgorithmId("COUNT")))
        run.engine.add_exec_algorithm(counting)
        order = run.trader.order_factory.market

        def submit():
            made = order(INSTRUMENT.id, 1, INSTRUMENT.make_qty(60), exec_algorithm_id=ExecAlgorithmId("COUNT"))
            run.trader.submit_order(made)

        def restart():
            self.restarted(counting)
            counting.clock.set_timer_ns("again", HOUR, counting.clock.timestamp_ns(), 0, counting.spawn)

        run.trader.actions[AT.value] = submit
        run.trader.actions[AT.value + 2 * HOUR] = restart
        run.trader.actions[AT.value + 6 * HOUR] = counting.stop
        run.engine.run()
        sent = [event for event in run.trader.events if isinstance(event, OrderFilled)]
        assert len({event.client_order_id for event in sent}) == len(sent)
        spawned = 2 + 4  # before and after the restart, one an hour
        assert len(sent) < spawned

    @pytest.mark.parametrize("in_file", [False, True])
    def test_the_ledger_goes_on_after_a_reset(self, in_file, tmp_path):
        place = str(tmp_path / "state.db") if in_file else None
        run = backtest(BARS, INSTRUMENT, [parent()], "twap", state_path=place)
        run.trader.actions[AT.value + 2 * HOUR] = lambda: self.restarted(run.algorithm)
        run.engine.run()
        assert [quantity for _, quantity, _ in run.fills(run.trader.ids[0])] == [Decimal(10)] * 6
        if in_file:  # which `lem desk status` reads
            run.engine.dispose()
            (order,) = Desk.peek(place).orders
            assert (order.order_id, order.status) == (run.trader.ids[0], "done")
        else:
            assert (state(run).filled, state(run).status) == (60, "done")

    def test_the_trader_saves_no_state_of_algorithms(self):
        """Why the state is in a file of its own."""
        run = backtest(BARS, INSTRUMENT, [parent()], "twap")
        asked = []
        run.algorithm.on_save = lambda: asked.append("algorithm") or {}
        run.trader.on_save = lambda: asked.append("strategy") or {}
        run.engine.run()
        run.engine.trader.save()
        assert asked in (["strategy"], [])  # never the algorithm

    def test_a_backtest_can_be_run_again(self):
        run = backtest(BARS, INSTRUMENT, [parent()], "twap")
        run.engine.run()
        once = run.fills(run.trader.ids[0])
        run.engine.reset()
        run.trader.events.clear()
        run.trader.waiting = {AT.value: [parent()]}
        run.engine.run()
        assert run.fills(run.trader.ids[-1]) == once
        assert state(run, -1).status == "done"

    def test_an_order_of_a_file_that_is_done_is_not_executed_again(self, tmp_path):
        place = str(tmp_path / "state.db")
        first = ran(parent(id="P-1"), state_path=place)
        first.engine.dispose()
        again = ran(parent(id="P-1"), state_path=place)
        assert again.fills("P-1") == []
        assert "another state_path" in again.reasons("P-1")[0]
        again.engine.dispose()
