"""The live step of a model as one module of tensors: closed bars, orders and state in; decisions and state out.

    bar -> booked fills, features, chains of the backbone, context -> the head -> fraction and finish

It takes raw bars. There is no way in for features that were computed elsewhere: normalised by anything else than the
model's own past volatility and volumes, they would be other features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from lem_models.errors import ConfigError
from lem_models.features.causal import SIGNED, SUPPORT
from lem_models.features.profile import LEVEL_WINDOW, expected_of_profile
from lem_models.integrations.export.contexts import ChainStep
from lem_models.integrations.export.features import SERIES, TensorInputs, feature_tensor, known_mean
from lem_models.integrations.export.layout import MarketLayout, Place
from lem_models.integrations.export.orders import (
    CARRIED,
    ORDER_INPUTS,
    PATHS,
    CarriedOrders,
    CarriedRoll,
    feasible,
    order_batch,
)
from lem_models.modeling.heads.flexible import FlexibleHead
from lem_models.modeling.model import LEMModel
from lem_models.orders.rules import SIZE_SESSIONS

__all__ = ["BAR_INPUTS", "OUTPUTS", "PLACE_INPUTS", "LiveStep", "Slot"]

BAR_INPUTS = ("timestamp", "open", "high", "low", "close", "volume", "notional")
"""Columns of the new bar: its start in nanoseconds UTC (int64), prices, volumes."""

PLACE_INPUTS = ("session", "slot", "start_slot")
"""Inputs of a market that closes, int64: number of the bar's session (one more from session to session), its slot, and
the slot of an order's first bar."""

OUTPUTS = ("fraction", "finish", "finish_probability", "remaining", "ready")
"""Outputs beside the state, [rows] each."""

_CLOCK = ("timestamp", "session", "slot", "bars", "side", "serving")
_NONE = -1.0  # a volume that is not there


@dataclass(frozen=True)
class Slot:
    """A tensor that goes in or out.

    Attributes:
        name: Its name.
        dtype: Its type.
        shape: Its shape without the rows.
        fill: Value before anything is known, of a state; the default, of an input that describes orders.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...] = ()
    fill: float | None = None

    def filled(self, rows: int) -> Tensor:
        """The tensor before anything is known."""
        return torch.full((rows, *self.shape), self.fill or 0, dtype=self.dtype)


class LiveStep(nn.Module):
    """The live step of a model.

    Args:
        model: The model.
        layout: The market that it will trade.

    Attributes:
        inputs: Inputs but for the state, in order.
        state: The state, in order; it comes in after the inputs, and goes out after :data:`OUTPUTS`.

    Raises:
        UntrainedHeadError: When the model is untrained.
        ConfigError: When the model cannot be exported.
    """

    def __init__(self, model: LEMModel, layout: MarketLayout) -> None:
        super().__init__()
        model.require_trained()
        if type(model) is not LEMModel or type(model.head) is not FlexibleHead or "decide" in vars(model.head):
            raise ConfigError(
                f"only LEMModel with the 'flexible' head can be exported, not {type(model).__name__} with the "
                f"{model.config.head!r} head"
            )
        if model.training:
            raise ConfigError("a model is exported as it decides: call model.eval() first")
        config = model.config
        layout.check_cells(model.sessions)
        self._layout, self._head, self._names = layout, model.head, config.features
        self._horizon, self._benchmarks, self._lookback = model.horizon, model.benchmarks, model.lookback
        costs = model.assumed_costs
        self._impact = 0.0 if costs is None else costs.impact
        self._sessions = layout.expected_sessions(model.sessions)
        self._table = max(self._sessions, layout.feature_sessions()) + 1
        self.chains = ChainStep(model.backbone, config, layout)
        signs = [-1.0 if SIGNED[name] else 1.0 for name in config.features]
        self.register_buffer("mirror", torch.tensor(signs), persistent=False)
        recent = config.warmup if self.chains.reads_late else 1
        real, whole, single = torch.float64, torch.int64, torch.float32
        bars = [Slot(name, whole if name == "timestamp" else real) for name in BAR_INPUTS]
        places = [Slot(name, whole, fill=0) for name in PLACE_INPUTS if layout.needs_place]
        orders = [Slot(each.name, each.dtype, fill=each.default) for each in ORDER_INPUTS]
        self.inputs = (*bars, *places, *orders)
        self.state = (
            Slot("clock", whole, (len(_CLOCK),), 0),
            Slot("series", real, (len(SERIES), SUPPORT), 0),
            Slot("sessions", real, (self._table, layout.slots), _NONE),
            Slot("recent", single, (recent, len(config.features)), 0),
            Slot("read", whole, (self.chains.chains,), 0),
            *(Slot(name, single, (self.chains.chains, *shape), 0) for name, shape in self.chains.shapes.items()),
            Slot("order", real, (len(CARRIED),), 0),
            Slot("paths", real, (len(PATHS), model.horizon), 0),
        )

    @property
    def history(self) -> int:
        """Bars to read before the first order, for the decisions of a model with all its memory."""
        return max(self._lookback, (max(self._sessions, SIZE_SESSIONS) + 2) * self._layout.slots)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            *tensors: :attr:`inputs` and :attr:`state`, rows first.

        Returns:
            :data:`OUTPUTS` and the new state. The fraction of an order is NaN where the row is not ready (bars are
            missing, or fewer than the lookback have been read since), or the order breaks a rule.
        """
        names = [slot.name for slot in (*self.inputs, *self.state)]
        given = dict(zip(names, tensors, strict=True))
        vwap = torch.where(given["volume"] > 0, given["notional"] / given["volume"], given["close"])
        place = self._layout.place(given)
        clock, before, is_new_session = self._clock(given, place)
        series = self._series(given, vwap, clock[:, 3])
        table = self._volumes(given, place, is_new_session)
        bars = SimpleNamespace(
            **{name: given[name] for name in BAR_INPUTS},
            vwap=vwap,
            slot=place.slot.to(torch.float64),
            usual_slots=float(self._layout.slots),
        )
        inputs = TensorInputs(bars, series, clock[:, 3], table, place.slot, self._layout.feature_sessions())
        features = feature_tensor(inputs, self._names)
        orders = order_batch(given)
        mirror: Tensor = self.mirror  # type: ignore[assignment]
        now, past = (
            torch.where(orders.side.view(-1, *([1] * (each.ndim - 1))) > 0, each, each * mirror)
            for each in (features, given["recent"])
        )
        chains = [given[name] for name in self.chains.shapes]
        serving = given["clock"][:, _CLOCK.index("serving")]
        context, previous, chains, read, serving = self.chains(now, past, place, before, chains, given["read"], serving)
        clock = torch.cat([clock, serving[:, None]], 1)
        projected = self._head.project(torch.cat([context, now, previous], -1))

        carried = CarriedOrders.of(given["order"], given["paths"])
        if self._layout.is_session_bound:  # an order ends with its session
            over = is_new_session & (carried.period > 0)
            carried = carried.replaced(over, {"under_way": torch.zeros_like(vwap)}, {})
        carried = carried.booked(orders, vwap, given["close"], given["volume"])
        start = self._start_slot(given, place)
        level, volatility = (torch.as_tensor(each) for each in (inputs.level, inputs.sigma))
        expected = self._expected(table, place, start, level)
        crosses = start + orders.max_periods > self._layout.slots
        refused = crosses if self._layout.is_session_bound else torch.zeros_like(crosses)
        fresh = expected, given["close"], volatility, orders.max_periods, refused
        carried = carried.begun(given["begin"], *fresh)
        orders = carried.sized(orders, given["amount"], self._impact)
        roll = CarriedRoll(orders, carried)
        finishing = roll.settle(
            self._head.decide(projected, orders, carried.state(roll)), carried.numbers["finishing"] > 0
        )
        finishing = finishing & carried.under_way
        after = {"fraction": roll.fraction, "finishing": finishing.to(vwap.dtype)}
        carried = carried.replaced(carried.under_way, after, {})

        ready = clock[:, 3] >= self._lookback
        allowed = ready & feasible(orders, given, self._horizon, self._benchmarks)
        allowed = allowed & (carried.numbers["refused"] == 0)
        decided = torch.where(allowed, torch.minimum(roll.fraction, roll.largest), torch.nan)
        recent = torch.cat([given["recent"][:, 1:], features[:, None]], 1)
        return (
            torch.where(carried.under_way, decided, 0.0),
            finishing,
            torch.where(carried.under_way, roll.finish, 0.0),
            carried.numbers["remaining"] + 0.0,
            ready,
            clock,
            series,
            table,
            recent,
            read,
            *chains,
            *carried.tensors(),
        )

    # -- the bar -----------------------------------------------------------------------------------------------------

    def _clock(self, given: Mapping[str, Tensor], place: Place) -> tuple[Tensor, Place, Tensor]:
        """The new clock but for the chain, the place of the bar before, and whether a session begins."""
        timestamp, session, slot, count, side, _ = given["clock"].unbind(1)
        before = Place(timestamp, session, slot)
        is_first = count == 0
        low, high = given["low"], given["high"]
        is_bar = (low > 0) & (low <= high) & (high < torch.inf) & (given["volume"] >= 0) & (given["close"] > 0)
        goes_on = ~is_first & is_bar & self._layout.follows(place, before) & (side == given["side"])
        count = torch.where(goes_on, count + 1, torch.where(is_bar, 1, 0))
        clock = torch.stack([place.timestamp, place.session, place.slot, count, given["side"]], 1)
        return clock, before, is_first | (place.session != session)

    def _series(self, given: Mapping[str, Tensor], vwap: Tensor, count: Tensor) -> Tensor:
        """Series with the new bar. Until a row is ready, lags may read what was before its first bar."""
        series, log_vwap, log_close = given["series"], torch.log(vwap), torch.log(given["close"])
        is_first = count <= 1
        squared = torch.where(is_first, 0.0, (log_vwap - series[:, 0, -1]) ** 2)
        newest = torch.stack([log_vwap, log_close, squared, given["volume"]], 1)[:, :, None]
        return torch.cat([series[:, :, 1:], newest], 2)

    def _volumes(self, given: Mapping[str, Tensor], place: Place, is_new_session: Tensor) -> Tensor:
        """Volumes by session and slot with the new bar."""
        table = given["sessions"]
        turned = torch.cat([torch.full_like(table[:, :1], _NONE), table[:, :-1]], 1)
        table = torch.where(is_new_session[:, None, None], turned, table)
        own = torch.arange(table.shape[2], device=table.device) == place.slot[:, None]
        current = torch.where(own, given["volume"][:, None], table[:, 0])
        return torch.cat([current[:, None], table[:, 1:]], 1)

    # -- the start of an order ---------------------------------------------------------------------------------------

    def _start_slot(self, given: Mapping[str, Tensor], place: Place) -> Tensor:
        """Slot of the bar with which an order begins, int64 [rows]."""
        return given["start_slot"] if self._layout.is_session_bound else (place.slot + 1) % self._layout.slots

    def _expected(self, table: Tensor, place: Place, start: Tensor, recent: Tensor) -> Tensor:
        """Volumes expected in the periods of an order that begins with the next bar, [rows, horizon].

        See :meth:`lem_models.features.profile.VolumeProfile.expected`: the profile of the session in which the order
        starts; in the next session, for slots before that of the start, the profile that knows that session too.
        """
        assert LEVEL_WINDOW <= SUPPORT
        slots, sessions = self._layout.slots, self._sessions
        within, after = (known_mean(table[:, first : first + sessions]) for first in (1, 0))
        same = (start == place.slot + 1) & (start < slots)
        own = torch.where(same[:, None], within, after)
        position = start[:, None] + torch.arange(self._horizon, device=table.device)
        slot, later = position % slots, position // slots
        knows_more = same[:, None] & (later == 1) & (slot < start[:, None])
        expected = torch.where(knows_more, after.gather(1, slot), own.gather(1, slot))
        filled: Tensor = expected_of_profile(own, expected, recent, torch)  # type: ignore[arg-type, assignment]
        return filled
