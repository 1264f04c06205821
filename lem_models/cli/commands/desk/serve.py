"""``lem serve``: a desk as a service."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.output import Output
from lem_models.cli.paths import check_readable
from lem_models.cli.policies import PolicyName, named_policy
from lem_models.errors import ConfigError

__all__ = ["ServeOptions", "serve"]

_NEEDED = ("fastapi", "uvicorn", "websockets", "prometheus_client", "sqlalchemy")


class ServeOptions(BarsOptions):
    """Options of ``lem serve``."""

    flags: ClassVar[dict[str, str]] = {"model": "--policy --model"}

    db: str = Field(description="The desk: path of an SQLite file, or URL of a PostgreSQL database.")
    model: PolicyName | None = Field(
        None,
        description="Who decides: model or baseline by name, or your own policy as file.py:Name; default the policy "
        "that decided last on this desk.",
    )
    any_frequency: bool = Field(False, description="Also run a model on bars of a length that it was not trained on.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8765, ge=0, description="Port to listen on; 0 for any free one.")
    token_file: Path | None = Field(
        None,
        description="File with the token, which another address than this machine's own needs; default the variable "
        "LEM_SERVE_TOKEN.",
    )
    history: Path | None = Field(None, description=f"{BARS} Closed bars of the symbols to follow.")
    gather: float = Field(0.5, description="Seconds after the first bar of a close that the others are waited for.")
    grace: float = Field(10.0, description="Seconds after its end before a bar that has not come is stale.")
    patience: float = Field(60.0, description="Seconds after its end before a bar without volume stands for it.")
    watch: bool = Field(True, description="Look at the clock for stale feeds and missing bars; off for replays.")
    max_orders: int = Field(20_000, ge=1, description="Most active orders.")
    threads: int | None = Field(None, ge=1, description="Threads of torch; default all processors.")
    takeover: bool = Field(False, description="Take the desk from a process that still runs it.")


def serve(options: ServeOptions, out: Output) -> None:
    """Serve a desk: REST, WebSocket, a status page and metrics.

    It prints its address once it can be reached, and runs until it is interrupted. Every answer is in the log before it
    is given, so the process may be killed at any moment and started again.

    Example: lem serve --db desk.db --history bars.parquet --policy lem-crypto-hourly
    """
    _check_installed()
    from lem_models.desk.market_data.feed import FeedRules
    from lem_models.desk.service import Server, ServiceSettings
    from lem_models.desk.service.settings import read_token
    from lem_models.execution.frequency_check import check_frequency

    settings = ServiceSettings(
        host=options.host,
        port=options.port,
        token=read_token(options.token_file),
        gather=options.gather,
        watch=options.watch,
        max_orders=options.max_orders,
    )
    settings.check()
    history = None
    if options.history is not None:
        check_readable(options.history)
        history = options.read(options.history)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    gc.disable()  # the thread of the desk searches for garbage when it has nothing else to do
    own = options.model is not None and options.model.rpartition(":")[0].endswith(".py")
    if history is not None and options.model is not None:
        check_frequency(named_policy(options.model), history, allow=options.any_frequency)
    server = Server(
        options.db,
        named_policy(options.model or "") if own else options.model,
        settings,
        rules=FeedRules(grace=options.grace, patience=options.patience),
        history=history,
        takeover=options.takeover,
        allow_frequency=options.any_frequency,
    )
    server.run(lambda address: out.event("address", {"address": address}, f"The desk is at {address}"))


def _check_installed() -> None:
    """Refuse to start without the extra.

    Raises:
        ConfigError: A package is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"lem serve needs {', '.join(missing)}: pip install 'lem-models[serve]'")
