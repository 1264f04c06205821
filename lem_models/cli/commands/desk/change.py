"""``lem desk amend``, ``cancel``, ``pause`` and ``resume``: change an order."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import typer
from pydantic import Field

from lem_models.cli.commands.desk.place import DB, TERM, existing_store
from lem_models.cli.output import Output
from lem_models.cli.policies import PolicyName, named_policy
from lem_models.errors import ConfigError, DeskError
from lem_models.guard.settings import Settings

__all__ = ["AmendOptions", "ChangeOptions", "amend", "cancel", "pause", "resume"]


class _Change(Settings):
    """What all changes have in common."""

    flags: ClassVar[dict[str, str]] = {"model": "--model --policy"}

    db: Annotated[str, typer.Argument()] = Field(description=DB)
    order: Annotated[str, typer.Argument()] = Field(description="Label of the order, or of a basket.")
    model: PolicyName | None = Field(
        None, description="Policy of the desk, where its name does not say it: file.py:Name."
    )
    wait: float = Field(10.0, ge=0, description="Seconds to wait for the answer of a process that runs the desk.")


class ChangeOptions(_Change):
    """Options of ``lem desk cancel``, ``pause`` and ``resume``."""

    reason: str = Field("", description="Why; it goes into the log.")


class AmendOptions(_Change):
    """Options of ``lem desk amend``."""

    amount: str | None = Field(None, description="New amount, in what the order is.")
    end: str | None = Field(None, description="New end: a time, or a duration from the order's start.")
    min_duration: str | None = Field(None, description="New shortest duration, from the order's start.")
    max_duration: str | None = Field(None, description="New longest duration, from the order's start.")
    max_participation: float | None = Field(None, description="New largest part of a bar's volume.")
    risk_aversion: float | None = Field(None, description="New weight of the squared slippage.")


def amend(options: AmendOptions, out: Output) -> None:
    """Change the amount, the end, the participation limit or the risk aversion of an order under way.

    A desk that another process runs is asked to do it: at its next look, at the latest at the next bar.

    Example: lem desk amend desk.db 1 --amount "60 BTC" --max-participation 0.05
    """
    from lem_models.desk.orders.times import duration_or_bars

    names = [name for name in AmendOptions.model_fields if name not in _Change.model_fields]
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if not given:
        raise ConfigError("name what to change: --amount, --end, --max-participation, --risk-aversion, ...")
    for name in ("min_duration", "max_duration"):
        if name in given:
            given[name] = duration_or_bars(given[name])
    _change(options, "amend", given, out)


def cancel(options: ChangeOptions, out: Output) -> None:
    """End an order, or a basket; fills of its child orders that still come are booked.

    Example: lem desk cancel desk.db 1 --reason "the client called"
    """
    _change(options, "cancel", {"reason": options.reason}, out)


def pause(options: ChangeOptions, out: Output) -> None:
    """Send nothing for an order, or a basket, until it is resumed; its time goes on.

    Example: lem desk pause desk.db 1
    """
    _change(options, "pause", {"reason": options.reason}, out)


def resume(options: ChangeOptions, out: Output) -> None:
    """Go on with a paused order, or basket; it is decided anew.

    Example: lem desk resume desk.db 1
    """
    _change(options, "resume", {"reason": options.reason}, out)


def _change(options: _Change, kind: str, values: dict[str, Any], out: Output) -> None:
    """Change the desk, or ask the process that runs it."""
    from lem_models.desk.desk import Desk
    from lem_models.desk.requests import carry_out

    policy = (
        None if options.model is None else named_policy(options.model) if ".py:" in options.model else options.model
    )
    store = existing_store(options.db)
    try:
        with Desk(store, policy, term=TERM) as desk:
            _say(out, carry_out(desk, kind, options.order, values), is_done=True)
            return
    except DeskError as error:
        if error.rule != "lease":
            raise
    _ask(options, kind, values, out)


def _say(out: Output, text: str, *, is_done: bool, request: int | None = None) -> None:
    out.say(text, done=is_done, text=text, request=request)


def _ask(options: _Change, kind: str, values: dict[str, Any], out: Output) -> None:
    from lem_models.desk.requests import answer, ask

    store = existing_store(options.db)
    try:
        number = ask(store, kind, options.order, **values)
        answered = answer(store, number, wait=options.wait)
    finally:
        store.close()
    if answered is None:
        text = f"asked (request {number}): the process that runs the desk does it at its next look"
        _say(out, text, is_done=False, request=number)
    elif answered.is_refused:
        raise DeskError(f"refused by the process that runs the desk: {answered.text}", rule="request")
    else:
        _say(out, answered.text, is_done=True, request=number)
