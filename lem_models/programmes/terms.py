"""Terms of a share repurchase: what to buy, between which days, under which rules, and what it is judged against.

A programme buys back shares over days and is judged against the plain mean of the daily VWAPs of the days it took: the
contract of accelerated share repurchases, in which a bank promises the firm this mean less a discount and may choose
when to end (Guéant, Pu and Royer, "Accelerated share repurchase: pricing and execution strategy", International Journal
of Theoretical and Applied Finance 18, 2015; Jaimungal, Kinzebulatov and Rubisov, "Optimal accelerated share
repurchases", Applied Mathematical Finance 24, 2017).

The limits are those of SEC rule 10b-18(b) (17 CFR 240.10b-18): volume (paragraph 4) and time (paragraph 2). Not
modelled: one broker (paragraph 1), the price condition (paragraph 3), which needs quotes, and the block exception.
"""

from __future__ import annotations

import os
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, PlainValidator, field_validator, model_validator
from typing_extensions import Self

from lem_models.errors import ConfigError
from lem_models.execution.costs import CostModel
from lem_models.guard.settings import Settings
from lem_models.guard.text import read_text, shown
from lem_models.guard.yaml import parse_yaml

__all__ = ["Blackout", "CapBasis", "DailyCap", "Dates", "ProgrammeTerms"]

CapBasis = Literal["20 sessions", "four calendar weeks"]
"""Days whose volumes a daily cap averages."""

Dates = npt.NDArray[np.datetime64]
"""Days, datetime64[D]."""

_MAX_BYTES = 1 << 16
_MAX_SESSIONS = 500
_MAX_BLACKOUTS = 200


class Blackout(NamedTuple):
    """Days without trading, both ends included.

    Attributes:
        first: First day.
        last: Last day.
    """

    first: date
    last: date


def _read_day(value: object) -> date:
    """A day, as YAML reads it or as a text ``2024-01-31``."""
    if type(value) is date:
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"a day is written 2024-01-31; got {shown(value)}")


def _read_blackout(value: object) -> Blackout:
    """A day, or two days with a slash between them."""
    if isinstance(value, tuple) and len(value) == 2:
        first, last = map(_read_day, value)
    elif isinstance(value, str) and "/" in value:
        first, last = map(_read_day, value.split("/", 1))
    else:
        first = last = _read_day(value)
    if last < first:
        raise ValueError(f"the window {first}/{last} ends before it begins")
    return Blackout(first, last)


def _read_bound(value: object) -> int | date:
    """A number of sessions, or a day."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= _MAX_SESSIONS:
            raise ValueError(f"a number of sessions is 1 to {_MAX_SESSIONS}; got {value}")
        return value
    return _read_day(value)


_Day = Annotated[date, PlainValidator(_read_day)]
_Bound = Annotated[int | date, PlainValidator(_read_bound)]


class DailyCap(Settings):
    """Most shares of a day, as a part of the average daily volume.

    Args:
        fraction: The part; 0.25 is that of rule 10b-18(b)(4).
        basis: ``"four calendar weeks"``, those before the week of the day, as the rule defines the average; or
            ``"20 sessions"``, those before the day, which moves every day.
    """

    refusal: ClassVar[str] = "daily cap refused"

    fraction: float = Field(0.25, gt=0, le=1)
    basis: CapBasis = "20 sessions"

    def __str__(self) -> str:
        """In words."""
        sessions = "20 sessions" if self.basis == "20 sessions" else "four calendar weeks"
        return f"{100 * self.fraction:g} % of the average daily volume of the last {sessions}"


class ProgrammeTerms(Settings):
    """Terms of a programme. Methods are those of :class:`~lem_models.programmes.BuybackProgramme`.

    Args:
        symbol: Symbol of the bars.
        shares: Shares to buy; or
        notional: money to spend.
        minimum_notional: Least money to spend: the lower end of the greenshoe range. Default: ``notional``.
        maximum_notional: Most money to spend: the upper end. Default: ``notional``.
        first_day: First day on which the programme may buy. A day without a session counts as the next session.
        earliest: Completion at the earliest: a day, or a number of sessions (5: in the fifth). Blackout days are no
            sessions of a programme.
        latest: Completion at the latest, in the same way. Days need the sessions to come: give intraday and daily bars
            the calendar of their exchange, because an inferred one does not know coming holidays.
        lot_size: Every day's purchase is a whole multiple of so many shares.
        discount_bps: Discount that the bank guarantees on the mean of the daily VWAPs, in bps.
        daily_cap: Most shares of a day; ``None`` for no cap.
        no_opening_trade: Whether the first bar of a session is left out; needs intraday bars.
        quiet_close_minutes: Minutes before the close without purchases: 30, 10 for actively traded securities (average
            daily volume of at least 1 million USD and a public float of at least 150 million USD), or 0. Needs
            intraday bars.
        blackouts: Days without purchases: ``2024-01-31``, or ``2024-01-15/2024-01-31`` with both ends.
        blackout_in_benchmark: Whether their VWAPs count in the mean, if they lie inside the programme.
        risk_aversion: Of the policy; ``None`` for its own.
        costs: What trading costs (:class:`~lem_models.CostModel`): half-spread, fee and impact.

    Raises:
        ConfigError: A term is wrong or contradicts another; names it.
    """

    refusal: ClassVar[str] = "buyback programme refused"

    symbol: str = Field(min_length=1)
    shares: int | None = Field(None, ge=1, le=10**12)
    notional: float | None = Field(None, gt=0, le=1e15)
    minimum_notional: float | None = Field(None, gt=0, le=1e15)
    maximum_notional: float | None = Field(None, gt=0, le=1e15)
    first_day: _Day
    earliest: _Bound = 1
    latest: _Bound
    lot_size: int = Field(1, ge=1, le=10**9)
    discount_bps: float = Field(0.0, ge=0, le=2000)
    daily_cap: DailyCap | None = DailyCap()
    no_opening_trade: bool = True
    quiet_close_minutes: Literal[0, 10, 30] = 30
    blackouts: tuple[Annotated[Blackout, PlainValidator(_read_blackout)], ...] = Field((), max_length=_MAX_BLACKOUTS)
    blackout_in_benchmark: bool = False
    risk_aversion: float | None = Field(None, ge=0, allow_inf_nan=False)
    costs: CostModel = CostModel()

    @field_validator("blackouts", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) and not isinstance(value, Blackout) else (value,)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.shares is None) == (self.notional is None):
            raise ValueError("give the size once, as shares or as notional")
        if self.notional is None and (self.minimum_notional is not None or self.maximum_notional is not None):
            raise ValueError("a range of the notional needs a notional to aim at; a number of shares has no range")
        if self.shares is not None and self.shares % self.lot_size:
            below = self.shares // self.lot_size * self.lot_size
            raise ValueError(
                f"shares: {self.shares:,} is no whole number of lots of {self.lot_size:,}; take "
                f"{below + self.lot_size:,}" + (f" or {below:,}" if below else "")
            )
        if not self.minimum <= self.total <= self.maximum:
            raise ValueError("the notional must lie between minimum_notional and maximum_notional")
        for name in ("earliest", "latest"):
            bound = getattr(self, name)
            if isinstance(bound, date) and bound < self.first_day:
                raise ValueError(f"{name}: {bound} is before the first day, {self.first_day}")
        if type(self.earliest) is type(self.latest) and self.earliest > self.latest:  # type: ignore[operator]
            raise ValueError(f"earliest: {self.earliest} is after latest, {self.latest}")
        return self

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read the terms from a YAML file.

        Raises:
            ConfigError: The file cannot be read, or a term is refused.
        """
        try:
            content = parse_yaml(read_text(path, _MAX_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"cannot read the programme {os.fspath(path)}: {error}") from None
        return cls.parse(content, f"the programme {os.fspath(path)} is refused")

    @property
    def is_notional(self) -> bool:
        """Whether the money is fixed, and not the number of shares."""
        return self.notional is not None

    @property
    def total(self) -> float:
        """Shares or money to aim at."""
        return float(self.notional if self.notional is not None else self.shares or 0)

    @property
    def minimum(self) -> float:
        """Least shares or money."""
        return self.total if self.minimum_notional is None else self.minimum_notional

    @property
    def maximum(self) -> float:
        """Most shares or money."""
        return self.total if self.maximum_notional is None else self.maximum_notional

    @property
    def has_greenshoe(self) -> bool:
        """Whether the firm may end inside a range."""
        return self.minimum < self.maximum

    @property
    def promised(self) -> float:
        """Price that the bank is paid, as a part of the mean of the daily VWAPs."""
        return 1 - self.discount_bps / 1e4

    @property
    def half_spread_and_fee(self) -> float:
        """Costs that do not depend on the size, as a fraction of the price."""
        half_spread = self.costs.half_spreads_bps.get(self.symbol, self.costs.half_spread_bps)
        return (half_spread + self.costs.fee_bps) / 1e4

    def blacked_out(self, days: Dates) -> npt.NDArray[np.bool_]:
        """Whether each day lies in a blackout, bool [days]."""
        out = np.zeros(len(days), dtype=bool)
        for first, last in self.blackouts:
            out |= (days >= np.datetime64(first, "D")) & (days <= np.datetime64(last, "D"))
        return out

    def amount_in_words(self, amount: float) -> str:
        """Shares or money, whichever is fixed."""
        return f"{amount:,.0f}" + (" in money" if self.is_notional else f" {self.symbol}")

    def with_terms(self, **terms: Any) -> Self:
        """The same programme with some other terms, checked again."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(values | terms))
