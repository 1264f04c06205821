"""Typed errors: what is wrong, where, and how to mend it.

Every error of the package derives from :class:`LEMError`, so one ``except`` clause catches them all. Errors about
values also derive from :class:`ValueError`, and errors about unknown names from :class:`LookupError`, so code that does
not know this package can handle them too. An error is raised before any compute starts and before anything is written.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "BarsError",
    "BarsWarning",
    "ConfigError",
    "DeskError",
    "DownloadError",
    "FillError",
    "HubError",
    "LEMError",
    "LookAheadError",
    "OrderError",
    "PolicyError",
    "UnknownNameError",
    "UntrainedHeadError",
    "WeightsError",
]


def one_line(text: str) -> str:
    r"""Escape every character of a text that does not print as itself.

    Line ends and other control characters move the cursor of a terminal. Characters of direction reverse the text.
    Characters without width hide in it.

    Example:
        >>> print(one_line("a\x1b[31mb\nc \u202ed"))
        a\x1b[31mb\nc \u202ed
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


class LEMError(Exception):
    r"""Base class of every error that the package raises on purpose.

    Its message is one line. It may quote text from untrusted files and servers, so :func:`one_line` escapes it.

    Example:
        >>> print(LEMError("no model \x1b[2J\n'a'"))
        no model \x1b[2J\n'a'
    """

    def __init__(self, *arguments: object) -> None:
        """See the class."""
        super().__init__(*(one_line(each) if isinstance(each, str) else each for each in arguments))


class BarsError(LEMError, ValueError):
    """A table of bars that breaks a rule.

    The message starts with what is wrong and ends with every coordinate that is known, e.g.
    ``the price is not positive (symbol 'BTCUSDT', timestamp 2024-01-01 00:00:00+00:00, column 'low', rule 'positive
    price')``.

    Args:
        message: What is wrong, and the cure.
        symbol: Symbol of the first row that breaks the rule.
        timestamp: Timestamp of that row, usually a ``pandas.Timestamp``.
        column: Column that breaks the rule.
        rule: Short name of the rule.

    Attributes:
        symbol: See above; ``None`` when the error is not about one symbol.
        timestamp: See above.
        column: See above.
        rule: See above.
    """

    def __init__(
        self,
        message: str,
        *,
        symbol: str | None = None,
        timestamp: object | None = None,
        column: str | None = None,
        rule: str | None = None,
    ) -> None:
        """See the class."""
        self.message = message
        self.symbol = symbol
        self.timestamp = timestamp
        self.column = column
        self.rule = rule
        super().__init__(message + _coordinates(symbol=symbol, timestamp=timestamp, column=column, rule=rule))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the coordinates when the error crosses a process border (data loader workers)."""
        return _rebuild, (
            type(self),
            self.message,
            {"symbol": self.symbol, "timestamp": self.timestamp, "column": self.column, "rule": self.rule},
        )


class BarsWarning(UserWarning):
    """Bars that were changed while they were read, or that the user should check; the message says where.

    The message is one line, like that of a :class:`LEMError`.
    """

    def __init__(self, *arguments: object) -> None:
        """See the class."""
        super().__init__(*(one_line(each) if isinstance(each, str) else each for each in arguments))


class OrderError(LEMError, ValueError):
    """An order that cannot be executed, or a wrong column of a table of orders.

    Args:
        message: What is wrong, and the cure.
        field: Name of the offending field, e.g. ``"max_rate"``.
        rule: Short name of the rule that it breaks.
        row: Row of the orders table (0-based position), if the order came from a table.
        order_id: Label of the order, if it has one.

    Attributes:
        field: See above; ``None`` when not known.
        rule: See above.
        row: See above.
        order_id: See above.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        rule: str | None = None,
        row: int | None = None,
        order_id: object | None = None,
    ) -> None:
        """See the class."""
        self.message = message
        self.field = field
        self.rule = rule
        self.row = row
        self.order_id = order_id
        super().__init__(message + _coordinates(**self._known()))

    def at(self, row: int | None, order_id: object | None = None) -> Self:
        """The same error for an order in a table."""
        return type(self)(self.message, **self._known() | {"row": row, "order_id": order_id})

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the coordinates when the error crosses a process border (data loader workers)."""
        return _rebuild, (type(self), self.message, self._known())

    def _known(self) -> dict[str, Any]:
        return {"field": self.field, "row": self.row, "order_id": self.order_id, "rule": self.rule}


class FillError(OrderError):
    """A table of fills, or of decisions, that cannot be read without a guess.

    It has the fields of an :class:`OrderError`; ``row`` is a row of the table of fills.
    """


class ConfigError(LEMError, ValueError):
    """A configuration that is malformed, contradictory or out of bounds."""


class DeskError(LEMError):
    """A desk that cannot be opened or written to, or a log that does not fit together.

    Args:
        message: What is wrong, and the cure.
        rule: Short name of the rule.

    Attributes:
        rule: See above; ``"lease"`` when another process runs the desk.
    """

    def __init__(self, message: str, *, rule: str | None = None) -> None:
        """See the class."""
        self.message = message
        self.rule = rule
        super().__init__(message + _coordinates(rule=rule))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the rule when the error crosses a process border."""
        return _rebuild, (type(self), self.message, {"rule": self.rule})


class WeightsError(LEMError):
    """Weights that cannot be loaded: truncated, of the wrong shape, missing, unexpected or not finite."""


class DownloadError(LEMError):
    """A source of bars refused, failed or could not be reached, or what it sent is damaged.

    The message is one line and never holds a key. No error of a vendor's client is chained to it, because those hold
    the request and its headers.

    Args:
        message: What went wrong, and what to do about it.
        url: The address, without secrets.
        status: HTTP status of the answer, e.g. 429.
        retry_after: Seconds that the source asks to wait.

    Attributes:
        url: See above; ``None`` when the error is not about one address.
        status: See above; ``None`` when there was no answer.
        retry_after: See above; ``None`` when it asks for none.
    """

    def __init__(
        self, message: str, *, url: str | None = None, status: int | None = None, retry_after: float | None = None
    ) -> None:
        """See the class."""
        self.url = url
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


class HubError(LEMError):
    """The Hugging Face Hub refused, failed or could not be reached, or the cache of its files cannot be used.

    The message is one line and never holds a token. No error of the Hub's client is chained to it, because those hold
    the request and its headers.

    Args:
        message: What went wrong, and what to do about it.
        repo_id: The repository.
        status: HTTP status of the answer, e.g. 429.
        retry_after: Seconds that the Hub asks to wait.

    Attributes:
        repo_id: See above; ``None`` when the error is not about one repository.
        status: See above; ``None`` when there was no answer.
        retry_after: See above; ``None`` when it asks for none.
    """

    def __init__(
        self, message: str, *, repo_id: str | None = None, status: int | None = None, retry_after: float | None = None
    ) -> None:
        """See the class."""
        self.repo_id = repo_id
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


class PolicyError(LEMError):
    """A policy that breaks its protocol: it has no ``decide``, or it does not give one finite number per order.

    Args:
        message: What is wrong, and the cure.
        positions: Positions of the orders with a wrong decision, among the orders that the policy decided for.
        policy: Name of the policy.
        order_id: Label of the first of these orders.
        symbol: Its symbol.
        start: Its start.

    Attributes:
        message: See above.
        positions: See above; empty when the decisions for all orders are wrong.
        policy: See above; ``None`` when not known.
        order_id: See above; ``None`` when not known, and likewise below.
        symbol: See above.
        start: See above.
    """

    def __init__(
        self,
        message: str,
        *,
        positions: tuple[int, ...] = (),
        policy: str | None = None,
        order_id: object | None = None,
        symbol: str | None = None,
        start: object | None = None,
    ) -> None:
        """See the class."""
        self.message = message
        self.positions = positions
        self.policy = policy
        self.order_id = order_id
        self.symbol = symbol
        self.start = start
        super().__init__(message + _coordinates(**self._known()))

    def named(self, policy: str, **order: Any) -> Self:
        """The same error with the name of the policy, and ``order_id``, ``symbol`` and ``start`` of an order."""
        return type(self)(self.message, positions=self.positions, **self._known() | {"policy": policy} | order)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the coordinates when the error crosses a process border."""
        return _rebuild, (type(self), self.message, self._known() | {"positions": self.positions})

    def _known(self) -> dict[str, Any]:
        return {"policy": self.policy, "order_id": self.order_id, "symbol": self.symbol, "start": self.start}


class LookAheadError(PolicyError):
    """A model that reads bars before they have closed was to be executed, benchmarked or published."""

    @classmethod
    def of(cls, model: object) -> Self:
        """Build the error for a model that looks ahead."""
        return cls(
            f"{type(model).__name__} looks ahead: its decisions read the bars that they trade. It only reproduces "
            "published numbers; the causal head is named 'paper'"
        )


class UnknownNameError(LEMError, LookupError):
    """A name that no registry knows; the message lists the closest names and the known ones.

    Attributes:
        known: The names that exist; empty where the set of names is open.
    """

    known: tuple[str, ...] = ()

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> Self:
        """Build the error for a name that is not in a set of names.

        Args:
            kind: What the name stands for, e.g. ``"model"``.
            name: The unknown name.
            known: The names that exist.

        Returns:
            The error, ready to be raised.

        Example:
            >>> str(UnknownNameError.among("policy", "twop", ["twap", "vwap_curve"]))
            "unknown policy 'twop'; did you mean 'twap'? known: 'twap', 'vwap_curve'"
        """
        names = sorted({str(candidate) for candidate in known})
        lowered = {candidate.lower(): candidate for candidate in names}
        close = difflib.get_close_matches(str(name).lower(), list(lowered), n=3, cutoff=0.5)
        message = f"unknown {kind} {name!r}"
        if close:
            message += f"; did you mean {' or '.join(repr(lowered[match]) for match in close)}?"
        shown = ", ".join(repr(candidate) for candidate in names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        error = cls(message + (" known: " if close else "; known: ") + (shown or "none") + more)
        error.known = tuple(names)
        return error


class UntrainedHeadError(LEMError):
    """A head without trained weights was to predict."""


_NAMES_SHOWN = 20


def _coordinates(**known: object | None) -> str:
    """Format the known coordinates as `` (symbol 'X', rule 'y')``; empty when none is known."""
    named = [
        f"{name} {value!r}" if isinstance(value, str) else f"{name} {value}"
        for name, value in known.items()
        if value is not None
    ]
    return f" ({', '.join(named)})" if named else ""


def _rebuild(kind: type[LEMError], message: str, coordinates: dict[str, Any]) -> LEMError:
    """Rebuild an error that was pickled."""
    return kind(message, **coordinates)
