"""The REST routes."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar

import pandas as pd
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from lem_models.desk.desk import Desk
from lem_models.desk.service.hub import encoded
from lem_models.desk.service.messages import (
    LABEL,
    NAMES,
    Accepted,
    Amendment,
    BarIn,
    BarsIn,
    ChildIn,
    Created,
    DecisionOut,
    Decisions,
    Feed,
    FillsIn,
    FillsOut,
    Followed,
    History,
    OrderIn,
    OrderOut,
    OrderPage,
    OrdersIn,
    Reason,
    Report,
    Status,
)
from lem_models.desk.service.problems import ProblemError, responses
from lem_models.desk.service.service import Service
from lem_models.desk.service.views import feed_row, order_page, order_row, summary
from lem_models.guard.output import json_text
from lem_models.markets.bars import Bars

__all__ = ["routes_of"]

_T = TypeVar("_T")
_PAGE = FilePath(__file__).with_name("status.html")
_NONE = Reason()

OrderId = Annotated[str, Path(pattern=LABEL, description="Label of an order")]
Wait = Annotated[bool, Query(description="Answer once the bars are in the log, not at once.")]
Against = Annotated[
    str, Query(max_length=200, pattern=NAMES, description="Policies to compare with, comma-separated; empty for none.")
]
OrderOrBasket = Annotated[str, Path(pattern=LABEL, description="Label of an order, or of a basket")]


def routes_of(service: Service) -> APIRouter:
    """The routes of a service."""
    router = APIRouter(responses=responses())
    _add_orders(router, service)
    _add_changes(router, service)
    _add_market(router, service)
    _add_sights(router, service)
    return router


def _add_orders(router: APIRouter, service: Service) -> None:
    desk = service.desk

    @router.post("/orders", status_code=201, responses=_known(), response_model=Created, tags=["orders"])
    async def add_order(order: OrderIn, response: Response) -> Any:  # noqa: ANN401
        """Take an order. Sending it again with its id changes nothing."""
        return _created(*await service.add([order]), response)

    @router.post("/orders/batch", status_code=201, responses=_known(), response_model=Created, tags=["orders"])
    async def add_orders(orders: OrdersIn, response: Response) -> Any:  # noqa: ANN401
        """Take several orders, such as a basket: all or none."""
        return _created(*await service.add(orders.orders), response)

    @router.get("/orders", response_model=OrderPage, responses=responses(404), tags=["orders"])
    async def list_orders(
        status: Annotated[str | None, Query(max_length=20)] = None,
        symbol: Annotated[str | None, Query(max_length=64)] = None,
        parent: Annotated[str | None, Query(pattern=LABEL)] = None,
        after: Annotated[str | None, Query(pattern=LABEL, description="Last order of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Any:  # noqa: ANN401
        """List orders in the sequence in which they came."""
        return await desk.read(
            lambda of: order_page(of, status=status, symbol=symbol, parent=parent, after=after, limit=limit)
        )

    @router.get("/orders/{order_id}", response_model=OrderOut, responses=responses(404), tags=["orders"])
    async def get_order(order_id: OrderId) -> Any:  # noqa: ANN401
        """Get an order, and what has become of it."""
        return await desk.read(lambda of: order_row(of, order_id))

    @router.get("/orders/{order_id}/report", response_model=Report, responses=responses(404, 409), tags=["orders"])
    async def get_report(order_id: OrderId, against: Against = "twap,volume_curve") -> Response:
        """Get what an order cost, and why, beside policies on the same bars; it needs a fill whose bar has closed."""
        report = await service.report(order_id, against)
        return Response(json_text(report.as_dict()), media_type="application/json")


def _add_changes(router: APIRouter, service: Service) -> None:
    desk = service.desk
    errors = responses(404, 409)

    @router.patch("/orders/{order_id}", response_model=OrderOut, responses=errors, tags=["orders"])
    async def amend(order_id: OrderId, amendment: Amendment) -> Any:  # noqa: ANN401
        """Change an order under way; its child order in force is replaced."""
        changes = amendment.model_dump(exclude_unset=True)

        def work(of: Desk) -> dict[str, Any]:
            of.order(order_id)
            of.amend(order_id, **changes)
            return order_row(of, order_id)

        return await desk.change(work)

    @router.post("/orders/{order_id}/cancel", response_model=OrderPage, responses=errors, tags=["orders"])
    async def cancel(order_id: OrderOrBasket, reason: Reason = _NONE) -> Any:  # noqa: ANN401
        """End an order, or a basket. Fills of its child orders that still come are booked."""
        return await desk.change(lambda of: _changed(of, order_id, of.cancel, reason))

    @router.post("/orders/{order_id}/pause", response_model=OrderPage, responses=errors, tags=["orders"])
    async def pause(order_id: OrderOrBasket, reason: Reason = _NONE) -> Any:  # noqa: ANN401
        """Send nothing for an order, or a basket, until it is resumed; its time goes on."""
        return await desk.change(lambda of: _changed(of, order_id, of.pause, reason))

    @router.post("/orders/{order_id}/resume", response_model=OrderPage, responses=errors, tags=["orders"])
    async def resume(order_id: OrderOrBasket, reason: Reason = _NONE) -> Any:  # noqa: ANN401
        """Go on with a paused order, or basket."""
        return await desk.change(lambda of: _changed(of, order_id, of.resume, reason))

    @router.post("/orders/{order_id}/child", response_model=OrderOut, responses=errors, tags=["fills"])
    async def end_child(order_id: OrderId, child: ChildIn) -> Any:  # noqa: ANN401
        """Say that a child order fills no more, or that the venue refused it."""

        def work(of: Desk) -> dict[str, Any]:
            if child.refused is None:
                of.close_child(order_id, child.child)
            else:
                of.reject(order_id, child.refused, child.child)
            return order_row(of, order_id)

        return await desk.change(work)


def _add_market(router: APIRouter, service: Service) -> None:
    accepted: dict[int | str, dict[str, Any]] = {200: {"model": Accepted, "description": "They are in the log"}}

    async def taken(bars: list[BarIn], wait: bool, response: Response) -> dict[str, Any]:
        logged, ignored = service.take_bars(bars)
        answer = {"accepted": len(bars), "ignored": ignored, "logged": wait, "messages": []}
        if not wait:
            logged.add_done_callback(lambda done: done.cancelled() or done.exception())
            return answer
        response.status_code = 200
        return answer | {"messages": [each for messages in await logged for each in messages]}

    @router.post("/bars", status_code=202, response_model=Accepted, responses=accepted, tags=["market"])
    async def take_bar(bar: BarIn, response: Response, wait: Wait = False) -> Any:  # noqa: ANN401
        """Take a closed bar; all bars of a close are decided together."""
        return await taken([bar], wait, response)

    @router.post("/bars/batch", status_code=202, response_model=Accepted, responses=accepted, tags=["market"])
    async def take_bars(bars: BarsIn, response: Response, wait: Wait = False) -> Any:  # noqa: ANN401
        """Take closed bars."""
        return await taken(bars.bars, wait, response)

    @router.post("/history", response_model=Followed, responses=responses(409), tags=["market"])
    async def follow(history: History) -> Any:  # noqa: ANN401
        """Follow symbols: give their closed bars up to now, at least as many as the policy looks back."""
        bars = await asyncio.to_thread(_history, history)
        return {"symbols": await service.desk.change(lambda of: of.follow(bars))}

    @router.post("/fills", response_model=FillsOut, responses=responses(404), tags=["fills"])
    async def take_fills(fills: FillsIn) -> Any:  # noqa: ANN401
        """Book fills, all or none. A fill that is sent again is booked once."""
        booked = await service.fill(fills.fills)
        return {
            "fills": [
                {"order": fill.order, "id": fill.id, "kind": each.kind, "message": each.message}
                for fill, each in zip(fills.fills, booked, strict=True)
            ]
        }


def _add_sights(router: APIRouter, service: Service) -> None:
    desk = service.desk

    @router.get("/decisions", response_model=Decisions, tags=["decisions"])
    async def get_decisions() -> Response:
        """Get the decisions in force."""
        return Response(encoded(service.hub.snapshot()), media_type="application/json")

    @router.get("/decisions/{order_id}", response_model=DecisionOut, responses=responses(404), tags=["decisions"])
    async def get_decision(order_id: OrderId) -> Any:  # noqa: ANN401
        """Get the decision in force of an order."""
        row = service.hub.decisions.get(order_id)
        if row is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "decision", f"no decision of an order {order_id!r} is in force")
        return row

    @router.get("/feeds", response_model=list[Feed], tags=["market"])
    async def list_feeds(
        symbol: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Any:  # noqa: ANN401
        """List the symbols that the desk follows, and what was wrong with their bars."""
        return await desk.read(
            lambda of: [feed_row(of.state, each) for each in of.state.market if symbol in (None, each)]
        )

    @router.get("/status", response_model=Status, tags=["service"])
    async def get_status(limit: Annotated[int, Query(ge=0, le=200)] = 50) -> Any:  # noqa: ANN401
        """Get the desk at a glance."""
        seen = await desk.read(lambda of: summary(of, orders=limit, feeds=50))
        stages = service.hub.stages
        return seen | {
            "clients": len(service.hub),
            "waiting": desk.waiting,
            "last_decide_ms": round(1e3 * stages[-1].total, 3) if stages else None,
        }

    @router.get("/metrics", response_class=PlainTextResponse, tags=["service"])
    async def get_metrics() -> Response:
        """Get the metrics for Prometheus."""
        seen = await desk.read(lambda of: summary(of, orders=0, feeds=0)["orders"])
        text = service.metrics.text(seen, desk.waiting, len(service.hub))
        return Response(text, media_type="text/plain; version=0.0.4")

    @router.get("/health", response_model=dict[str, str], tags=["service"])
    async def get_health() -> Any:  # noqa: ANN401
        """Say whether the desk runs; needs no token."""
        if desk.failure is not None:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "stopped", "the desk has stopped; see the log")
        return {"status": "ok"}

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def get_page() -> Response:
        """The status page."""
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"))


def _known() -> dict[int | str, dict[str, Any]]:
    """Answers of what takes orders, besides 201."""
    return responses(409) | {200: {"model": Created, "description": "All of them had been taken before"}}


def _created(rows: list[dict[str, Any]], known: list[str], response: Response) -> dict[str, Any]:
    if len(known) == len(rows):
        response.status_code = 200
    return {"orders": rows, "known": known}


def _changed(desk: Desk, label: str, change: Any, reason: Reason) -> dict[str, Any]:  # noqa: ANN401
    """Change an order or a basket, and show its orders."""
    change(label, reason.reason)
    members = (
        [label]
        if label in desk.state.orders
        else [name for name, order in desk.state.orders.items() if order.order.parent == label]
    )
    return {"orders": [order_row(desk, each) for each in members], "total": len(members), "next": None}


def _history(history: History) -> Bars:
    """The bars of a request.

    Raises:
        BarsError: They break a rule.
    """
    frame = pd.DataFrame([bar.model_dump() for bar in history.bars])
    return Bars.from_frame(frame) if history.calendar is None else Bars.from_frame(frame, calendar=history.calendar)
