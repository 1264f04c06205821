"""Whether a token got out: into an error, into what hangs on it, or into what was logged or printed."""

from __future__ import annotations

import traceback


def everything_said(error: BaseException) -> str:
    """Messages, arguments and attributes of an error and of all that led to it, and the traceback as it is printed."""
    said, seen, pending = ["".join(traceback.format_exception(error))], set(), [error]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        said += [repr(one), str(one), repr(one.args), repr(vars(one))]
        for name in ("request", "response"):
            part = getattr(one, name, None)
            said.append(str(dict(getattr(part, "headers", {}))))
            said.append(str(dict(getattr(getattr(part, "request", None), "headers", {}))))
        pending += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return "\n".join(said)
