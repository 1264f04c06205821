"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lem_models.desk.service.desk_thread import Change, Stages

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_STAGES = ("wait", "policy", "decide", "commit", "publish", "cpu")


class Metrics:
    """Counts and times of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._bars = Counter("lem_bars", "Bars that closed.", registry=registry)
        self._closes = Counter("lem_closes", "Closes of bars.", registry=registry)
        self._decisions = Counter("lem_decisions", "Decisions.", registry=registry)
        self._fills = Counter("lem_fills", "Fills that were booked.", registry=registry)
        self._faults = Counter("lem_bar_faults", "Faults of bars.", ["fault"], registry=registry)
        self._refused = Counter(
            "lem_refused", "Requests and messages that were refused.", ["status"], registry=registry
        )
        self._close_seconds = Histogram(
            "lem_close_seconds", "From a close's last bar to its decisions.", buckets=_SECONDS, registry=registry
        )
        self._stage_seconds = Histogram(
            "lem_stage_seconds",
            "Stages of a close; cpu is that of the desk's thread.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._orders = Gauge("lem_orders", "Orders by status.", ["status"], registry=registry)
        self._waiting = Gauge("lem_waiting", "Requests that wait for the desk.", registry=registry)
        self._clients = Gauge("lem_clients", "WebSocket connections.", registry=registry)
        self._position = Gauge("lem_log_position", "Place of the last event in the log.", registry=registry)
        self._last_close = Gauge("lem_last_bar_timestamp_seconds", "Start of the last bar.", registry=registry)

    def changed(self, change: Change) -> None:
        """Count what a transaction changed."""
        self._bars.inc(change.bars)
        self._closes.inc(len(change.closes))
        self._decisions.inc(len(change.decisions))
        self._fills.inc(change.fills)
        for fault in change.faults:
            self._faults.labels(fault).inc()
        self._position.set(change.position)
        if change.closes:
            self._last_close.set(max(change.closes) / 1e9)
        if change.stages is not None:
            self._took(change.stages)

    def _took(self, stages: Stages) -> None:
        self._close_seconds.observe(stages.total)
        for stage in _STAGES:
            self._stage_seconds.labels(stage).observe(getattr(stages, stage))

    def refused(self, status: int) -> None:
        """Count a refusal."""
        self._refused.labels(str(status)).inc()

    def text(self, orders: Mapping[str, int], waiting: int, clients: int) -> bytes:
        """All of it as Prometheus reads it.

        Args:
            orders: Orders by status.
            waiting: Requests that wait for the desk.
            clients: WebSocket connections.
        """
        self._orders.clear()
        for status, count in orders.items():
            self._orders.labels(status).set(count)
        self._waiting.set(waiting)
        self._clients.set(clients)
        return generate_latest(self._registry)
