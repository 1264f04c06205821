"""The process of a service: the desk is opened, then the port, and both are closed in order."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from lem_models.desk.desk import Desk
from lem_models.desk.market_data.feed import FeedRules
from lem_models.desk.service.app import app_of
from lem_models.desk.service.service import Service
from lem_models.desk.service.settings import ServiceSettings
from lem_models.desk.service.tapped_store import TappedStore
from lem_models.desk.store.database import DatabaseStore
from lem_models.errors import ConfigError

if TYPE_CHECKING:
    from lem_models.execution.policy import Policy
    from lem_models.markets.bars import Bars

__all__ = ["Server"]

_SWITCH = 0.001  # seconds after which the desk thread lets the event loop send: the default of 5 ms would be felt
_GRACE = 5  # seconds for connections to end


class Server:
    """A desk and its port, both taken: :meth:`run` serves them.

    Args:
        db: Path of an SQLite file, or URL of a PostgreSQL database.
        policy: Who decides; default the policy that decided last on this desk.
        settings: Address, token, limits.
        rules: How long the desk waits for bars.
        history: Closed bars of symbols to follow.
        takeover: Whether to take the desk from a process that still runs it.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Attributes:
        address: URL of the service.

    Raises:
        ConfigError: Other machines could reach it without a token, or the address cannot be used.
        DeskError: The desk cannot be opened.
    """

    def __init__(
        self,
        db: str,
        policy: Policy | str | None = None,
        settings: ServiceSettings | None = None,
        *,
        rules: FeedRules | None = None,
        history: Bars | None = None,
        takeover: bool = False,
        allow_frequency: bool = False,
    ) -> None:
        settings = settings or ServiceSettings()
        settings.check()
        self._bound = _bound(settings)
        self.address = _address(self._bound)

        def opened(store: TappedStore) -> Desk:
            desk = Desk(store, policy, rules=rules, takeover=takeover, allow_frequency=allow_frequency)
            if history is not None:
                desk.follow(history)
            return desk

        try:
            self._service = Service(settings, TappedStore(DatabaseStore(db)), opened)
            self._service.desk.start()
        except BaseException:
            self._bound.close()
            raise
        self._server = _Server(settings, self._service)

    def run(self, listening: Callable[[str], None] = print) -> None:
        """Serve until :meth:`stop`, or a signal; then close the desk.

        Args:
            listening: Is told the address, once the service can be reached.

        Raises:
            DeskError: Another process has taken the desk over.
        """
        sys.setswitchinterval(_SWITCH)
        self._server.listening = lambda: listening(self.address)
        try:
            self._server.run(sockets=[self._bound])
        finally:
            self._service.desk.stop()
            self._bound.close()
        if self._service.desk.failure is not None:
            raise self._service.desk.failure

    def stop(self) -> None:
        """Let :meth:`run` end, from any thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Says that it listens, and stops when the desk has failed."""

    def __init__(self, settings: ServiceSettings, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                app_of(service),
                log_level="warning",
                access_log=False,
                server_header=False,
                ws_max_size=settings.max_body,
                ws_per_message_deflate=False,  # deflating would cost milliseconds a close
                timeout_graceful_shutdown=_GRACE,
                lifespan="on",
            )
        )
        self.listening: Callable[[], None] = lambda: None
        service.on_failure = self._stop

    def _stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self.listening()


def _bound(settings: ServiceSettings) -> socket.socket:
    """The port, taken before the desk is opened: a desk that nobody can reach would only hold the lease."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise ConfigError(
            f"{settings.host}:{settings.port} cannot be listened on: {error}; name another port, or 0 for any free one "
            "(--port, --host)"
        ) from None
    return bound


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
