"""Calls of vendors' clients: keys from the environment, temporary failures tried again, errors without secrets."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from lem_models.errors import ConfigError, DownloadError
from lem_models.markets.download.transfer import TEMPORARY, Manners, seconds_to_wait

__all__ = ["ask_client", "read_key", "without_secrets"]

_T = TypeVar("_T")

_QUERY = re.compile(r"(?i)\b(api_?key|key|token|secret|signature)=[^&\s'\"]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\"]+")
_LONGEST = 500
_TEMPORARY_NAMES = frozenset(
    {
        *("ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "ChunkedEncodingError", "ProtocolError"),
        *("RequestException", "MaxRetryError"),  # of requests and urllib3, and of curl_cffi by the same names
        *("YFRateLimitError", "NetworkError"),  # of yfinance; of ccxt, the base of RateLimitExceeded and others
    }
)


def read_key(names: Sequence[str], source: str) -> str:
    """Read a key from the environment.

    Args:
        names: Variables that may hold it, the first one that is set counts.
        source: The source that needs it.

    Raises:
        ConfigError: None of them is set, or the key has characters that no key has. The message does not repeat it.
    """
    for name in names:
        key = os.environ.get(name, "")
        if key:
            if not re.fullmatch(r"[!-~]+", key):
                raise ConfigError(f"the key in {name} holds a space, a line break or another character that no key has")
            return key
    raise ConfigError(
        f"the source {source} needs a key: set the environment variable {' or '.join(names)}. It is neither logged nor "
        "written anywhere"
    )


def without_secrets(text: str, secrets: Sequence[str] = ()) -> str:
    """A message without keys.

    Example:
        >>> without_secrets("GET /v2?apiKey=abc&n=1 failed: bearer x.y", ["x.y"])
        'GET /v2?apiKey=***&n=1 failed: bearer ***'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _BEARER.sub(r"\1 ***", _QUERY.sub(r"\1=***", text))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def ask_client(
    doing: str,
    call: Callable[[], _T],
    *,
    manners: Manners,
    secrets: Sequence[str] = (),
    headers: Callable[[], object] | None = None,
) -> _T:
    """Call the client of a vendor; a temporary failure is tried again.

    Args:
        doing: What is asked for; the error names it: ``"fetch KO from Yahoo"``.
        call: The call.
        manners: How often, and with which waits.
        secrets: Keys that no message may repeat.
        headers: Headers of the last answer, for clients whose errors do not hold them.

    Raises:
        DownloadError: It fails for good.
    """
    wait = manners.first_wait
    for attempt in range(1, manners.attempts + 1):
        try:
            return call()
        except (ConfigError, DownloadError):
            raise
        except Exception as error:  # whatever the client raises
            status, after = _answer(error, None if headers is None else headers())
            names = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
            again = status in TEMPORARY if status is not None else bool(names & _TEMPORARY_NAMES)
            reason = without_secrets(f"{type(error).__name__}: {error}", secrets)
        pause = wait if after is None else after
        if not again or attempt == manners.attempts or pause > manners.longest_wait:
            break
        time.sleep(pause)
        wait = min(2 * wait, manners.longest_wait)
    # Raised outside the handler: the context must not hold the client's error with its request.
    raise DownloadError(f"cannot {doing}: {_advice(status)}{reason}", status=status, retry_after=after)


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    return chain


def _answer(error: BaseException, last_headers: object) -> tuple[int | None, float | None]:
    """Status and ``Retry-After`` of the answer behind an error; ``None`` where there was no answer."""
    for one in _chain(error):
        for holder in (one, getattr(one, "http_error", None)):
            response = getattr(holder, "response", None)
            status = getattr(response, "status_code", None)
            if isinstance(status, int):
                return status, seconds_to_wait(_header(getattr(response, "headers", None)))
    return None, seconds_to_wait(_header(last_headers))


def _header(headers: object) -> str | None:
    get = getattr(headers, "get", None)
    if get is None:
        return None
    value = get("Retry-After") or get("retry-after")
    return None if value is None else str(value)


def _advice(status: int | None) -> str:
    if status in (401, 403):
        return "the key is not valid, or does not allow it. The client says: "
    if status == 429:
        return "too many requests: try again later. The client says: "
    if status is not None and status >= 500:
        return "the source has a problem: try again later. The client says: "
    return ""
