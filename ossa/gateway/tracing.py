"""The trace of a request: the caller's where the header traceparent holds one, else a new one.

What a caller says is a claim. Its trace id is taken over, so that the caller finds the spans in its own trace; whether
they are exported is decided here, by the trace id alone, so that nobody can have all of theirs kept, or none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ossa.api.trace import GATEWAY_RECEIVE, GATEWAY_RESPOND, TraceParent, parse_traceparent
from ossa.logs import log_about
from ossa.tracing import Attribute, Span, Tracing, is_kept

HEADER = b"traceparent"
SCOPE_KEY = "ossa.trace"
# Asked every few seconds by the kubelet and Prometheus.
UNTRACED = frozenset({"/healthz", "/readyz", "/livez", "/metrics"})


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in a trace a request stands: 32 and 16 hex digits; `parent` is the caller's span, where there is one."""

    trace_id: str
    span_id: str
    parent: str | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """Of the span gateway-receive, as the header and the annotation of an Execution have it."""
        return str(TraceParent(self.trace_id, self.span_id, self.sampled))


def trace_from(headers: Iterable[tuple[bytes, bytes]], ratio: float = 1.0) -> Trace:
    """The trace of a request, with a span of our own. ratio: how many traces are exported, from 0 to 1."""
    held = [value for name, value in headers if name == HEADER]
    # Two of them are none: nobody could say which one the others go by.
    given = parse_traceparent(held[0].decode("latin-1")) if len(held) == 1 else None
    trace_id = given.trace_id if given is not None else os.urandom(16).hex()
    parent = given.span_id if given is not None else None
    return Trace(trace_id, os.urandom(8).hex(), parent, is_kept(trace_id, ratio))


def trace_of(scope: Scope) -> Trace:
    """The trace of a request that passed `Traced`."""
    trace = scope[SCOPE_KEY]
    if not isinstance(trace, Trace):
        raise TypeError("the request did not pass Traced")
    return trace


class Traced:
    """Plain ASGI: gives each request its trace, says it in the answer, and tells of gateway-receive and -respond.

    tracing: None where nothing is exported; the trace is there all the same.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing | None) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        tracing = self._tracing
        trace = scope[SCOPE_KEY] = trace_from(scope["headers"], tracing.ratio if tracing is not None else 1.0)
        log_about({"traceId": trace.trace_id})  # the server has a task for each request
        if scope["type"] == "websocket" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, trace)
        began = time.time_ns()
        try:
            await self._app(scope, receive, answer)
        finally:
            if tracing is not None and trace.sampled:
                _tell(tracing, scope, answer, began)


class _Answer:
    """Passes an answer on with the header, and sees when it began and what it was."""

    def __init__(self, send: Send, trace: Trace) -> None:
        self._send = send
        self.trace = trace
        self.began: int | None = None
        self.status = 500  # of what breaks off before it says one

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began, self.status = time.time_ns(), message["status"]
            headers = [*message.get("headers", ()), (HEADER, self.trace.traceparent.encode())]
            message = {**message, "headers": headers}
        await self._send(message)


def _tell(tracing: Tracing, scope: Scope, answer: _Answer, began: int) -> None:
    trace, ended = answer.trace, time.time_ns()
    attributes: dict[str, Attribute] = {
        "http.request.method": scope["method"],
        # The pattern, not the path: that has names in it.
        "http.route": getattr(scope.get("route"), "path", ""),
        "http.response.status_code": answer.status,
        "ossa.request_id": getattr(scope.get("ossa.arrival"), "id", ""),
    }
    error = f"status {answer.status}" if answer.status >= 500 else None
    tracing.tell(
        Span(
            name=GATEWAY_RECEIVE,
            trace_id=trace.trace_id,
            span_id=trace.span_id,
            parent=trace.parent,
            start=began,
            end=ended,
            attributes=attributes,
            error=error,
            server=True,
        )
    )
    if answer.began is not None:
        tracing.tell(
            Span(
                name=GATEWAY_RESPOND,
                trace_id=trace.trace_id,
                span_id=os.urandom(8).hex(),
                parent=trace.span_id,
                start=answer.began,
                end=ended,
                attributes={"http.response.status_code": answer.status},
            )
        )
