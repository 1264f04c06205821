"""The desk as a service: REST, WebSocket, a status page and metrics. Needs the extra ``serve``."""

from lem_models.desk.service.server import Server
from lem_models.desk.service.settings import ServiceSettings

__all__ = ["Server", "ServiceSettings"]
