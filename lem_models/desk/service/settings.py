"""Settings of the service, and the rule that only this machine may reach it without a token."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from lem_models.errors import ConfigError
from lem_models.guard.settings import Settings

__all__ = ["TOKEN_VARIABLE", "ServiceSettings", "is_loopback", "read_token"]

TOKEN_VARIABLE = "LEM_SERVE_TOKEN"
"""Environment variable with the token."""

_SHORTEST = 16  # characters of a token
_LONGEST = 512


class ServiceSettings(Settings):
    """How a desk is served.

    Raises:
        ConfigError: A value is out of bounds, or other machines could reach the service without a token.
    """

    refusal: ClassVar[str] = "service refused"

    host: str = Field("127.0.0.1", description="Address to listen on; other than this machine's own it needs a token.")
    port: int = Field(8765, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    token: SecretStr | None = Field(None, description="Token that every request carries.")
    gather: float = Field(
        0.5, ge=0, le=60, description="Seconds after the first bar of a close that the others are waited for."
    )
    watch: bool = Field(True, description="Look at the clock, and bridge bars that are overdue; off for replays.")
    max_body: int = Field(1 << 20, ge=1024, description="Most bytes of a request or of a WebSocket message.")
    max_history: int = Field(64 << 20, ge=1024, description="Most bytes of a request with a history of bars.")
    max_orders: int = Field(20_000, ge=1, description="Most active orders.")
    max_waiting: int = Field(10_000, ge=1, description="Most requests that wait for the desk.")
    max_clients: int = Field(64, ge=1, description="Most WebSocket connections.")

    def check(self) -> None:
        """Refuse to be reached by other machines without a token.

        Raises:
            ConfigError: The address is not this machine's own, and there is no token; or the token is too short.
        """
        if self.token is None:
            if not is_loopback(self.host):
                raise ConfigError(
                    f"{self.refusal}: other machines can reach {self.host}, so a token is needed: set "
                    f"{TOKEN_VARIABLE}, or give --token-file; or listen on 127.0.0.1"
                )
            return
        length = len(self.token.get_secret_value())
        if not _SHORTEST <= length <= _LONGEST or not self.token.get_secret_value().isascii():
            raise ConfigError(
                f"{self.refusal}: the token must have {_SHORTEST} to {_LONGEST} ASCII characters, and has {length}: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
            )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> SecretStr | None:
    """The token of a file, or of :data:`TOKEN_VARIABLE`; ``None`` where there is neither.

    Raises:
        ConfigError: The file cannot be read, or holds nothing.
    """
    if file is None:
        text = environment.get(TOKEN_VARIABLE, "").strip()
        return SecretStr(text) if text else None
    try:
        with file.open(encoding="ascii") as opened:
            text = opened.read(4 * _LONGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {file} cannot be read: {error}") from None
    if not text:
        raise ConfigError(f"the token file {file} is empty")
    return SecretStr(text)
