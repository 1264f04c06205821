"""Errors of the service as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from lem_models.errors import BarsError, DeskError, LEMError, OrderError, one_line

__all__ = ["PROBLEM_JSON", "Problem", "ProblemError", "handle_errors", "problem_of", "responses"]

PROBLEM_JSON = "application/problem+json"
_CONFLICTS = frozenset(
    ["unique id", "one fill a label", "one id a order", "active order", "history", "fills", "closed bars only"]
)
_TITLES = {
    OrderError: ("order", "The order is refused"),
    BarsError: ("bars", "The bars are refused"),
    DeskError: ("desk", "The desk cannot be changed"),
}
_MOST_SHOWN = 8


class Problem(BaseModel):
    """What is wrong, where, and how to mend it.

    Attributes:
        type: Kind of the problem.
        title: The same in words.
        status: HTTP status.
        detail: What is wrong, and the cure.
        rule: Rule that is broken.
        field: Field that breaks it.
        order_id: Order that it is about.
        symbol: Symbol that it is about.
    """

    type: str
    title: str
    status: int
    detail: str
    rule: str | None = None
    field: str | None = None
    order_id: str | None = None
    symbol: str | None = None


class ProblemError(Exception):
    """A problem of the service itself.

    Args:
        status: HTTP status.
        kind: Last part of the problem's type.
        detail: What is wrong, and the cure.
        rule: Rule that is broken.
    """

    def __init__(self, status: HTTPStatus, kind: str, detail: str, rule: str | None = None) -> None:
        self.problem = Problem(type=_type(kind), title=status.phrase, status=status, detail=detail, rule=rule)
        super().__init__(detail)


def problem_of(error: Exception) -> Problem:
    """The problem of an error."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, ValidationError | RequestValidationError):
        return Problem(type=_type("form"), title="The request has the wrong form", status=422, detail=_listed(error))
    if not isinstance(error, LEMError):
        return Problem(
            type=_type("fault"), title="The service failed", status=500, detail="an unexpected error; see the log"
        )
    kind, title = next((named for of, named in _TITLES.items() if isinstance(error, of)), ("value", "It is refused"))
    rule = getattr(error, "rule", None)
    label = getattr(error, "order_id", None)
    return Problem(
        type=_type(kind),
        title=title,
        status=_status(error, rule),
        detail=str(error),
        rule=rule,
        field=getattr(error, "field", None) or getattr(error, "column", None),
        order_id=None if label is None else str(label),
        symbol=getattr(error, "symbol", None),
    )


def _status(error: LEMError, rule: str | None) -> int:
    if isinstance(error, DeskError):
        return 503
    if rule == "known order":
        return 404
    return 409 if rule in _CONFLICTS else 422


def _type(kind: str) -> str:
    return f"urn:lem-models:problem:{kind}"


def _listed(error: ValidationError | RequestValidationError) -> str:
    """The places and faults of a body, without what was sent: it may be large, or secret."""
    faults = error.errors()
    shown = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in faults[:_MOST_SHOWN]]
    more = f"; and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
    return one_line("; ".join(shown) + more)


def answer(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The response of a problem."""
    body = problem.model_dump(exclude_none=True)
    return JSONResponse(body, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def handle_errors(app: FastAPI) -> None:
    """Answer every error with a problem."""

    async def on_error(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        return answer(problem, {"Retry-After": "1"} if problem.status == 503 else None)

    async def on_status(request: Request, error: Exception) -> Response:
        status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.BAD_REQUEST
        detail = error.detail if isinstance(error, HTTPException) else status.description
        problem = Problem(type=_type("http"), title=status.phrase, status=status, detail=one_line(str(detail)))
        return answer(problem, dict(getattr(error, "headers", None) or {}))

    for kind in (LEMError, ProblemError, RequestValidationError, ValidationError, Exception):
        app.add_exception_handler(kind, on_error)
    app.add_exception_handler(HTTPException, on_status)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides its success, for the OpenAPI schema."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    every = sorted({400, 401, 403, 413, 415, 421, 422, 503, *statuses})
    return {status: {"description": HTTPStatus(status).phrase, "content": {PROBLEM_JSON: schema}} for status in every}
