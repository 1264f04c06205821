"""The bars that a visitor works with, and what the form proposes for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property

import pandas as pd

from lem_models.app.words import note_in_words
from lem_models.baselines import list_policies, load_policy
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.execution.costs import cost_model_for
from lem_models.execution.policy import Policy, PolicySettings
from lem_models.features.market import Market
from lem_models.hub.models.zoo import list_models, model_for
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock, moment

__all__ = ["SAMPLE", "AppMarket", "policy_named", "policy_names", "sample_market"]

SAMPLE = "us-index-daily"
_SAMPLE_MODEL = "lem-dow-daily"
_SAMPLE_AMOUNT = "50 million units"
_SAMPLE_START = "2018-02-01"
_SAMPLE_SINCE = "2013-01-01"  # years before are history that nothing reads
_SAMPLE_ORDERS = "2017-01-01"  # the validation split of the model
_SAMPLE_NOTES = (
    "Daily bars of the S&P 500 (SPX) and the Nasdaq Composite (IXIC), which the dependency arch ships. An index is not "
    "traded, and the VWAP of a day is estimated by (high + low + close) / 3",
    "2017 and 2018 are the validation split of lem-dow-daily: they chose its checkpoint",
)
_BASELINES = ("twap", "volume_curve", "stopping_rule")
_HORIZON = 12
_HOURS = {"sessions": "those of the bars", "24/7": "all day, every day"}
_LEFT_AFTER = 2  # bars after the proposed order, at least


@dataclass(frozen=True, eq=False)
class AppMarket:
    """Bars, ready to execute orders on.

    Attributes:
        bars: The bars.
        title: What they are, for people.
        notes: What a reader must know about them, one sentence each.
        model: Name of the proposed policy.
        amount: Proposed amount; empty for an order of the size of the dial.
        start: Proposed start of an order; empty for one that lets the order end with the bars.
        orders_since: Day from which the orders of the risk dial start; ``None`` for the first that there is.
    """

    bars: Bars
    title: str
    notes: tuple[str, ...] = ()
    model: str = "twap"
    amount: str = ""
    start: str = ""
    orders_since: str | None = None
    _horizon: int = field(default=_HORIZON)

    @classmethod
    def of_bars(cls, bars: Bars, title: str, notes: tuple[str, ...] = ()) -> AppMarket:
        """A market of uploaded bars, with the bundled model that fits them."""
        notes = tuple(map(note_in_words, notes))
        try:
            model = str(model_for(bars))
        except ConfigError as error:
            return cls(bars, title, (*notes, str(error).replace("--model NAME --any-frequency", "the option below")))
        return cls(bars, title, notes, model)

    @cached_property
    def market(self) -> Market:
        """The bars with their features, which are computed once."""
        return Market(self.bars)

    @property
    def horizon(self) -> int:
        """Proposed longest duration, in bars."""
        return PolicySettings.of(policy_named(self.model)).horizon or self._horizon

    @property
    def baselines(self) -> tuple[str, ...]:
        """Proposed policies to compare with. Of daily bars the volume curve is the even pace, which TWAP is already."""
        is_daily = self.bars.frequency >= pd.Timedelta(days=1)
        return tuple(name for name in _BASELINES if not (is_daily and name == "volume_curve"))

    @property
    def costs(self) -> str:
        """Name of the cost model for these bars."""
        return cost_model_for(self.bars)

    def proposed_start(self, symbol: str) -> str:
        """Start of an order of the proposed duration that ends shortly before the bars of a symbol do."""
        if self.start:
            return self.start
        number = self.bars.number_of(symbol)
        first, last = int(self.bars.offsets[number]), int(self.bars.offsets[number + 1])
        row = max(last - self.horizon - _LEFT_AFTER, first)
        return moment(int(self.bars.timestamp[row])).strftime("%Y-%m-%d %H:%M")

    def facts(self) -> dict[str, str]:
        """What was read, for people."""
        bars = self.bars
        first, last = (moment(int(each(bars.timestamp))) for each in (min, max))
        form = "%Y-%m-%d" if bars.frequency >= pd.Timedelta(days=1) else "%Y-%m-%d %H:%M UTC"
        names = ", ".join(bars.symbols[:6]) + (f" and {len(bars.symbols) - 6} more" if len(bars.symbols) > 6 else "")
        return {
            "length of a bar": _in_words(bars.frequency),
            "symbols": names,
            "from": first.strftime(form),
            "to": last.strftime(form),
            "trading hours": ", ".join(_HOURS.get(name, name) for name in dict.fromkeys(bars.calendar_names.values())),
        }


def _in_words(length: pd.Timedelta) -> str:
    """A length of time: '1 day', '30 minutes'."""
    for seconds, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        number, rest = divmod(length, pd.Timedelta(seconds=seconds))
        if number and not rest:
            return f"{number} {name}{'s' if number > 1 else ''}"
    return clock(length)


@cache
def sample_market() -> AppMarket:
    """The bars that come with the package."""
    bars = Bars.sample(SAMPLE).between(_SAMPLE_SINCE)
    return AppMarket(bars, "The sample", _SAMPLE_NOTES, _SAMPLE_MODEL, _SAMPLE_AMOUNT, _SAMPLE_START, _SAMPLE_ORDERS)


def policy_names() -> list[str]:
    """Everything that may execute an order: the bundled models, then the registered policies."""
    return [*map(str, list_models()), *list_policies()]


@cache
def policy_named(name: str) -> Policy:
    """A policy of the closed list; it is loaded once.

    Raises:
        UnknownNameError: The list does not have it. Folders and names on the Hub are never looked for.
    """
    if name not in policy_names():
        raise UnknownNameError.among("policy", name, policy_names())
    return load_policy(name)
