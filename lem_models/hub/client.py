"""Calls of the Hub's client: its errors become typed ones, and temporary failures are tried again.

A message is one line and holds no token. The client itself repeats uploads of large files on 429, 5xx and a cut
connection, and waits as long as ``Retry-After`` says. Other calls (questions about a repository, downloads, commits)
are repeated here a few times. A pull request is repeated only if the Hub answered that it did nothing.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lem_models.errors import HubError, LEMError

__all__ = ["ask", "hub_error", "is_offline", "without_token"]

_T = TypeVar("_T")

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_NOT_DONE = frozenset({429, 503})
_ATTEMPTS = 3
_FIRST_WAIT = 1.0  # seconds, doubled with each attempt
_LONGEST_WAIT = 30.0  # seconds; a longer wait is the caller's decision
_PATIENCE = 20.0  # seconds after which no further attempt starts, because the client has made its own attempts

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{4,}|(?i:bearer)\s+[^\s'\"]+")
_LOGIN = re.compile(r"(https?://)[^\s/'\"]+@")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")  # signatures of storage hosts
_ELSEWHERE = re.compile(r" ?For more information check: \S+ ?")  # of the HTTP library, on status codes in general
_LONGEST_REASON = 600
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def ask(
    doing: str,
    repo_id: str,
    call: Callable[[], _T],
    *,
    token: str | bool | None = None,
    cache: Path | None = None,
    once: bool = False,
) -> _T:
    """Call the client; a temporary failure is tried again.

    Args:
        doing: Purpose of the call, e.g. ``"publish 'org/name'"``; the error names it.
        repo_id: The repository.
        call: The call.
        token: The token that it uses; no message repeats it.
        cache: Folder that it writes to.
        once: Whether the Hub must not do it twice. Then a call whose answer may have been lost is not repeated.

    Raises:
        HubError: when it fails for good. Other errors of this package pass through.
    """
    if not _is_possible(token):
        # The client would log the header that it cannot send.
        raise HubError(
            f"cannot {doing}: the token holds a line break, a space or another character that no token has",
            repo_id=repo_id,
        )
    start, wait = time.monotonic(), _FIRST_WAIT
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return call()
        except LEMError:
            raise
        except Exception as error:  # errors of its HTTP library too, which depends on the client's version
            problem = hub_error(doing, repo_id, error, token=token, cache=cache)
            again = _is_temporary(error)
        if again and once and problem.status not in _NOT_DONE:
            problem = HubError(
                f"{problem}. It may have arrived anyway, so it is not sent again: look at the repository first",
                repo_id=repo_id,
                status=problem.status,
            )
            break
        # Raise outside the handler: the context of our error must not hold the client's error with its request.
        pause = wait if problem.retry_after is None else problem.retry_after
        if not again or attempt == _ATTEMPTS or pause > _LONGEST_WAIT or time.monotonic() - start > _PATIENCE:
            break
        time.sleep(pause)
        wait *= 2
    raise problem


def hub_error(
    doing: str, repo_id: str, error: Exception, *, token: str | bool | None = None, cache: Path | None = None
) -> HubError:
    """The typed error for an error of the client; see :func:`ask`."""
    status, retry_after = _answer(error)
    reason = without_token(f"{type(error).__name__}: {error}", token)
    advice = _advice(error, status, retry_after, cache)
    return HubError(
        f"cannot {doing}: {advice + '. The client says: ' if advice else ''}{reason}",
        repo_id=repo_id,
        status=status,
        retry_after=retry_after,
    )


def is_offline() -> bool:
    """Whether the client is set to work offline (``HF_HUB_OFFLINE``)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def without_token(text: str, token: str | bool | None = None) -> str:
    """A text on one line, without tokens and signatures."""
    known = {token.strip() for token in (token, _client_token()) if isinstance(token, str) and token.strip()}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _TOKEN.sub("***", _LOGIN.sub(r"\1***@", _QUERY.sub(r"\1", text)))
    text = _ELSEWHERE.sub(" ", " ".join(text.split())).strip()
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def _client_token() -> str | None:
    """The client's own token."""
    try:
        from huggingface_hub import get_token

        return get_token()
    except Exception:  # a broken token file holds no token
        return None


def _is_possible(token: str | bool | None) -> bool:
    """Whether a token can be sent: visible ASCII characters."""
    used = _client_token() if token is None or token is True else token
    return not isinstance(used, str) or bool(re.fullmatch(r"[!-~]*", used))


def _chain(error: BaseException) -> list[BaseException]:
    """An error and its causes, the latest first."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    return chain


def _answer(error: BaseException) -> tuple[int | None, float | None]:
    """Status and ``Retry-After`` of the answer behind an error; ``None`` where there was no answer."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if response is not None:
            after = str(response.headers.get("Retry-After", "")).strip()
            return int(response.status_code), float(after) if after.isascii() and after.isdigit() else None
    return None, None


def _is_temporary(error: BaseException) -> bool:
    status, _ = _answer(error)
    if status is not None:
        return status in _TRANSIENT
    names = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    # Refused connections are not tried again: the machine is probably offline.
    if names & {"ConnectError", "ConnectTimeout", "OfflineModeIsEnabled"}:
        return False
    cut = bool(names & {"NetworkError", "TimeoutException", "RemoteProtocolError", "ConnectionError"})
    return cut or "Consistency check failed" in str(error)


def _advice(error: BaseException, status: int | None, retry_after: float | None, cache: Path | None) -> str:
    """The problem and the cure; empty if there is nothing to add to the client's message."""
    numbers = {one.errno for one in _chain(error) if isinstance(one, OSError)}
    where = f" {cache}" if cache is not None else ""
    if numbers & _FULL:
        return f"the disk of the cache{where} is full: free some space, or name another folder with cache_dir"
    if numbers & _CLOSED:
        return f"the cache{where} cannot be written: name another folder with cache_dir"
    kinds = {type(one).__name__ for one in _chain(error)}
    if "RepositoryNotFoundError" in kinds:
        return "there is no such repository, or it is private: pass token=, set HF_TOKEN, or use `hf auth login`"
    if "RevisionNotFoundError" in kinds:
        return "the repository has no such branch, tag or commit"
    if status == 401:
        return "the Hub requires a valid token: pass token=, set HF_TOKEN, or log in with `hf auth login`"
    if status == 403:
        return "the token does not allow it: use one with the right to do so"
    if status == 429:
        after = "later" if retry_after is None else f"in {retry_after:.0f} seconds"
        return f"the Hub has received too many requests: try again {after}"
    if status is not None and status >= 500:
        return "the Hub has a problem: try again later"
    return ""
