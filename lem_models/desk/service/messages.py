"""What the service reads and answers: the models of its JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Accepted",
    "Amendment",
    "BarIn",
    "BarsIn",
    "BookedFill",
    "ChildIn",
    "Created",
    "DecisionOut",
    "Decisions",
    "Feed",
    "FillIn",
    "FillsIn",
    "FillsOut",
    "Followed",
    "History",
    "OrderIn",
    "OrderOut",
    "OrderPage",
    "OrdersIn",
    "Reason",
    "Report",
    "Status",
]

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._:~-]{0,119}$"
NAMES = r"^([A-Za-z0-9._-]+(,[A-Za-z0-9._-]+){0,7})?$"
MOMENT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})$"

Label: TypeAlias = Annotated[str, Field(pattern=LABEL, description="Letters, digits, and . _ : ~ -")]
Symbol: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
Text: TypeAlias = Annotated[str, Field(max_length=500)]
Number: TypeAlias = Annotated[str, Field(min_length=1, max_length=80)] | int | float
Price: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Volume: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Duration: TypeAlias = int | Annotated[str, Field(max_length=40)]
Moment: TypeAlias = Annotated[str, Field(max_length=40)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OrderIn(_In):
    """A new order; ``id`` makes it safe to send again. Its fields are those of ``DeskOrder``."""

    id: Label
    symbol: Symbol
    side: Literal["buy", "sell"]
    amount: Number = Field(description="Units or money: 40, '40 BTC', '1.5 million USD'.")
    target: Literal["quantity", "notional"] | None = None
    parent: Label | None = None
    benchmark: Literal["vwap", "twap", "full_vwap", "arrival"] | None = None
    start: Moment | None = None
    end: Moment | None = None
    min_duration: Duration | None = None
    max_duration: Duration | None = None
    lot_size: Number | None = None
    tick_size: Number | None = None
    min_notional: Number | None = None
    min_quantity: Number | None = None
    max_participation: float | None = Field(None, gt=0, le=1)
    risk_aversion: float | None = Field(None, ge=0, allow_inf_nan=False)
    calendar: Annotated[str, Field(max_length=40)] | None = None
    hold_open: bool = False
    allow_incomplete: bool = False


class OrdersIn(_In):
    """Several orders: all of them are taken, or none."""

    orders: Annotated[list[OrderIn], Field(min_length=1, max_length=5000)]


class Amendment(_In):
    """What changes of an order; durations count from its start."""

    amount: Number | None = None
    end: Moment | None = None
    max_duration: Duration | None = None
    min_duration: Duration | None = None
    max_participation: float | None = Field(None, gt=0, le=1)
    risk_aversion: float | None = Field(None, ge=0, allow_inf_nan=False)


class Reason(_In):
    """Why, for the log."""

    reason: Text = ""


class BarIn(_In):
    """A closed bar."""

    symbol: Symbol
    timestamp: Annotated[str, Field(pattern=MOMENT, description="Start of the bar, ISO 8601 with a zone.")]
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Volume
    notional: Volume


class BarsIn(_In):
    """Closed bars of any symbols and moments."""

    bars: Annotated[list[BarIn], Field(min_length=1, max_length=20_000)]


class History(_In):
    """Closed bars up to now of symbols to follow."""

    bars: Annotated[list[BarIn], Field(min_length=1, max_length=2_000_000)]
    calendar: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="Trading hours: 24/7, sessions, or an exchange code; default is told from the bars."
    )


class FillIn(_In):
    """A fill; one with an ``id`` of its order that was booked is not booked again."""

    order: Label
    quantity: Number
    price: Number
    id: Annotated[str, Field(min_length=1, max_length=120)]
    child: Annotated[str, Field(max_length=160)] | None = None
    time: Annotated[str, Field(pattern=MOMENT)] | None = Field(
        None, description="When the venue filled it, ISO 8601 with a zone; by default when it comes in."
    )


class FillsIn(_In):
    """Fills, booked in one transaction."""

    fills: Annotated[list[FillIn], Field(min_length=1, max_length=20_000)]


class ChildIn(_In):
    """A child order that fills no more."""

    child: Annotated[str, Field(max_length=160)] | None = Field(None, description="Default: the last one.")
    refused: Text | None = Field(None, description="Why the venue refused it, or the rest of it.")


class DecisionOut(BaseModel):
    """What an order does in its coming bar."""

    order_id: str
    child: str
    symbol: str
    side: str
    quantity: str
    notional: str
    fraction: float
    start: str
    end: str
    limit_participation: float | None
    finish: bool
    reason: str


class Decisions(BaseModel):
    """The decisions in force, and the place in the log that they follow from."""

    position: int
    decisions: list[DecisionOut]


class OrderOut(BaseModel):
    """An order, and what has become of it."""

    order_id: str
    parent: str | None
    symbol: str
    side: str
    status: str
    amount: str
    unit: str
    filled: str
    left: str
    over: str
    average_price: str | None
    period: int
    max_periods: int
    end: str
    policy: str
    bridged: int
    rejections: int
    notes: list[str]
    text: str
    decision: DecisionOut | None


class OrderPage(BaseModel):
    """Orders; ``next`` is the ``after`` of the page that follows."""

    orders: list[OrderOut]
    total: int
    next: str | None


class Created(BaseModel):
    """Orders that were taken, now or when they were sent before."""

    orders: list[OrderOut]
    known: list[str] = Field(description="Those that had been taken before.")


class Accepted(BaseModel):
    """Bars that came in. ``logged`` says whether their close is in the log."""

    accepted: int
    ignored: list[str] = Field(description="Symbols that the desk does not follow.")
    logged: bool
    messages: list[str]


class Followed(BaseModel):
    """Symbols whose bars were taken; the desk had those of the others already."""

    symbols: list[str]


class BookedFill(BaseModel):
    """What became of a fill."""

    order: str
    id: str
    kind: Literal["booked", "duplicate", "late", "over", "conflict"]
    message: str


class FillsOut(BaseModel):
    """What became of fills."""

    fills: list[BookedFill]


class Feed(BaseModel):
    """Bars of one symbol."""

    symbol: str
    last: str
    close: float
    bars: int
    bridged: int
    faults: dict[str, int]
    message: str


class Report(BaseModel):
    """What an order cost, and why, as ``lem desk report --json`` prints it; a positive slippage is a cost."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: int = Field(alias="schema")
    status: dict[str, Any] = Field(description="Where the order stands.")
    notes: list[str] = Field(description="What happened on the way.")
    costs: dict[str, Any] = Field(description="Totals, causes, reversion, and the comparison with policies.")


class Status(BaseModel):
    """The desk at a glance."""

    policy: str
    position: int
    openings: int
    orders: dict[str, int] = Field(description="Orders by status.")
    symbols: int
    clients: int
    waiting: int
    last_close: str | None = Field(description="Start of the last bar.")
    last_decide_ms: float | None
    faults: dict[str, int]
    active: list[OrderOut] = Field(description="The first of the active orders.")
    feeds: list[Feed] = Field(description="Feeds that something was wrong with.")
