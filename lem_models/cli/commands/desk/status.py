"""``lem desk status``: orders, feeds and faults of a desk, also while another process runs it."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import Field

from lem_models.cli.commands.desk.place import DB, existing_store
from lem_models.cli.output import Output
from lem_models.guard.settings import Settings

__all__ = ["StatusOptions", "status"]


class StatusOptions(Settings):
    """Options of ``lem desk status``."""

    db: Annotated[str, typer.Argument()] = Field(description=DB)


def status(options: StatusOptions, out: Output) -> None:
    """Print the orders of a desk, what each does in its coming bar, and what is wrong with its feeds.

    It only reads: another process may run the desk.

    Example: lem desk status desk.db
    """
    from lem_models.desk.log.state import replay
    from lem_models.desk.requests import waiting
    from lem_models.desk.status import status_of

    store = existing_store(options.db, read_only=True)
    try:
        state = replay(store.read())
        requests = waiting(store)
    finally:
        store.close()
    desk = status_of(state, state.policy)
    asked = [{"number": each.number, "action": each.action, "order": each.order} for each in requests]
    out.say(str(desk), **desk.as_dict(), requests=asked)
    for each in requests:
        out.say(f"request {each.number} waits: {each.action} order {each.order}")
