"""Calls of the Hub's client: repeated where that helps, and typed errors of one line that hold no secret.

What the client raises depends on its version and on the HTTP library under it, and may repeat what a server sent. So
nothing of it is chained to our errors: the type, the status and the first line are told, without control characters and
without tokens.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from lem_models.errors import LEMError

__all__ = ["asked", "hub_api", "is_unreachable", "repository_name"]

T = TypeVar("T")

_ATTEMPTS = 4
_LONGEST_WAIT = 60.0
"""Seconds; a server that wants to be left alone for longer gets an error instead."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SECRET = re.compile(r"hf_\w+|(?<=Bearer )\S+|(?<=X-Amz-Signature=)\w+|(?<=[?&]Signature=)[^&\s]+")
# By name: httpx or requests, depending on the client's version.
_CUT = {"RemoteProtocolError", "ReadError", "ReadTimeout", "WriteError", "WriteTimeout", "ChunkedEncodingError"}
_ABSENT = {"ConnectError", "ConnectTimeout", "ConnectionError", "OfflineModeIsEnabled", "ProxyError", "PoolTimeout"}


class _HubError(LEMError):
    """A call that failed: its HTTP status, and the client's name for it."""

    is_unreachable = False
    status: int | None = None
    kind = ""


def hub_api(token: str | bool | None) -> Any:  # noqa: ANN401 (a class of the client, which is imported late)
    """The client, with a token of the caller's or the one that the machine is signed in with."""
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="lem_models")


def repository_name(repo_id: str) -> str:
    """Check the name of a data set on the Hub.

    Raises:
        LEMError: It is not of the form ``org/name``.
    """
    if not isinstance(repo_id, str) or not _NAME.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
        raise LEMError(f"{repo_id!r} is not the name of a data set on the Hub; it has the form 'org/name'")
    return repo_id


def asked(what: str, call: Callable[[], T], *, token: str | bool | None = None, repeat: bool = True) -> T:
    """Make a call of the client.

    Args:
        what: What is wanted, for the error: ``"cannot <what>"``.
        call: The call.
        token: The caller's token, so that it is never shown.
        repeat: Whether to try again when the server is busy (429, after as long as it says), fails (5xx) or hangs up.

    Raises:
        LEMError: The Hub refuses, fails or cannot be reached.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return call()
        except LEMError:
            raise
        except Exception as error:  # errors of the HTTP library too
            failure = error
        wait = _wait(failure, attempt) if repeat and attempt + 1 < _ATTEMPTS else None
        if wait is None:
            break
        time.sleep(wait)
    raise _typed(what, failure, token)  # outside of the handler: nothing of the client's is chained to it


def is_unreachable(error: BaseException) -> bool:
    """Whether an error of :func:`asked` says that there was no answer at all, so that a cached copy will do."""
    return getattr(error, "is_unreachable", False)


def _wait(error: Exception, attempt: int) -> float | None:
    """Seconds until the next attempt; ``None`` if another one is of no use."""
    status = _status(error)
    backoff = 0.5 * 2.0**attempt
    if status is None:
        return backoff if type(error).__name__ in _CUT else None
    if status != 429 and status < 500:
        return None
    wanted = _retry_after(error)
    return backoff if wanted is None else wanted if wanted <= _LONGEST_WAIT else None


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asks to wait, which it says as a number or as a date."""
    try:
        text = str(error.response.headers["Retry-After"])  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError):
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _typed(what: str, error: Exception, token: str | bool | None) -> LEMError:
    status, name = _status(error), type(error).__name__
    cures = {
        401: "the Hub does not accept the token, or wants one: pass token= or run `hf auth login`",
        403: "the token does not allow this; it needs the right to write, or the terms of the data set be accepted",
        404: "there is no such repository, revision or file, or it is private and the token may not see it",
        429: "the Hub asks for fewer requests; try again later",
    }
    text = str(error) if token in (None, True, False, "") else str(error).replace(str(token), "***")
    lines = [line.strip() for line in _SECRET.sub("***", text).splitlines() if line.strip()]
    shown = "".join(character for character in " ".join(lines[:3]) if character.isprintable())[:300]
    cure = cures.get(status or 0, "")
    if not cure and isinstance(error, OSError) and status is None and error.errno is not None:
        cure = "the files of the Hub's cache cannot be written or read; cache_dir= or HF_HOME names another folder"
    typed = _HubError(f"cannot {what}: {cure + ': ' if cure else ''}{name}: {shown}")
    typed.is_unreachable = status is None and name in _ABSENT
    typed.status, typed.kind = status, name
    return typed
