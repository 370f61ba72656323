"""What every request passes: its id, security headers, limits of the body, and an answer whatever happens.

Plain ASGI: Starlette's BaseHTTPMiddleware costs a task and a queue a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ossa.gateway.answers import answer_of
from ossa.gateway.health import Health
from ossa.gateway.metrics import UNMATCHED, Metrics
from ossa.gateway.problems import Problem

_log = logging.getLogger("ossa.gateway")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)
NO_STORE = (b"cache-control", b"no-store")
# So that no request meets a connection that closes just then.
CLOSE = (b"connection", b"close")
# W3C Trace Context; a version that we do not know is read as 00, ff is none.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in a trace a request stands: 32 and 16 hex digits; `parent` is the caller's span, where there is one."""

    trace_id: str
    span_id: str
    parent: str | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """As the header and the annotation have it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came: its id (never the client's choice: audit entries are told apart by it) and its trace."""

    id: str
    trace: Trace


def request_id(now: float | None = None) -> str:
    """A UUID of version 7 (RFC 9562): those of a later millisecond are greater."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def trace_from(header: bytes | None) -> Trace:
    """The caller's trace, where the header traceparent holds one, else a new one; with a span of our own."""
    span = os.urandom(8).hex()
    found = _TRACEPARENT.fullmatch(header) if header is not None and len(header) <= 512 else None
    if found is None:
        return Trace(os.urandom(16).hex(), span)
    trace_id, parent, flags, _ = found.groups()
    return Trace(trace_id.decode(), span, parent.decode(), bool(int(flags, 16) & 1))


def arrival_of(scope: Scope) -> Arrival:
    """What `Frame` knows of a request."""
    arrival = scope["ossa.arrival"]
    if not isinstance(arrival, Arrival):
        raise TypeError("the request did not pass Frame")
    return arrival


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this name (lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)


class Frame:
    """Outermost: names the request, measures it, adds headers, and turns what nobody caught into a 500."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, health: Health) -> None:
        self._app, self._metrics, self._health = app, metrics, health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        arrival = scope["ossa.arrival"] = Arrival(request_id(), trace_from(header(scope, b"traceparent")))
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        return await self._answer(scope, receive, send, arrival)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, arrival: Arrival) -> None:
        code = 0

        async def framed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", arrival.id.encode()), *SECURITY_HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                if self._health.draining:
                    headers.append(CLOSE)
                message = {**message, "headers": headers}
            await send(message)

        began = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, framed)
        except Exception:
            _log.exception(
                "a defect: the request could not be answered",
                extra={"request": arrival.id, "trace_id": arrival.trace.trace_id, "method": scope["method"]},
            )
            if code:
                raise  # the server breaks off what has begun
            await answer_of(defect(arrival.id))(scope, receive, framed)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", UNMATCHED)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.observe(route, method, code, time.perf_counter() - began)


def defect(request: str) -> Problem:
    """What a client is told of an error of ours: nothing but how to find it."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"an error of the gateway's own; its log tells of it under the request {request}",
        more={"request": request},
    )


class BodyGuard:
    """Bounds a body in bytes and in time, also one that does not say its length. Bytes, seconds."""

    def __init__(self, app: ASGIApp, *, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        length = header(scope, b"content-length")
        if length is None and header(scope, b"transfer-encoding") is None:
            return await self._app(scope, receive, send)
        if length is not None and (not length.isdigit() or int(length) > self._most):
            return await answer_of(self._too_large())(scope, receive, send)
        return await self._app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Receive:
        deadline = asyncio.get_running_loop().time() + self._seconds
        taken, complete = 0, False

        async def bounded() -> Message:
            nonlocal taken, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self._most:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a body may have {self._most} bytes; pass large values as artifacts, or have a task read them",
        )

    def _too_slow(self) -> Problem:
        # What is left of the body must not be taken for the next request.
        return Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not come within {self._seconds:g} s; send it at once",
            headers={"Connection": "close"},
        )
